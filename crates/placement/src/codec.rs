//! Writing and reading the values of the persisted state: a version byte, then fields.
//!
//! Numbers are eight bytes big-endian, strings have their length before them. Each kind of value
//! has its own version, so that one can change without the others.
//!
//! **Invariant.** Reading never panics and never allocates more than the value's own length,
//! whatever the bytes; a value that is not read to its end is refused.
//!
//! **Not here.** What the fields are: see `state`.

/// What is wrong with a value; the key is added by the caller.
pub(crate) type ReadResult<T> = Result<T, &'static str>;

/// Builds a value.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// A value of this version.
    pub(crate) fn new(version: u8) -> Self {
        Self(vec![version])
    }

    pub(crate) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut this = self.number(bytes.len() as u64);
        this.0.extend_from_slice(bytes);
        this
    }

    /// A list: its length, then each item as `write` writes it.
    pub(crate) fn list<T>(self, items: &[T], write: impl Fn(Self, &T) -> Self) -> Self {
        let this = self.number(items.len() as u64);
        items.iter().fold(this, write)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a value.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A value that must be of this version.
    pub(crate) fn new(value: &'a [u8], version: u8) -> ReadResult<Self> {
        match value.split_first() {
            None => Err("it is empty"),
            Some((&found, rest)) if found == version => Ok(Self(rest)),
            Some(_) => Err("it has an unknown version"),
        }
    }

    pub(crate) fn byte(&mut self) -> ReadResult<u8> {
        let (&byte, rest) = self.0.split_first().ok_or("it is cut off")?;
        self.0 = rest;
        Ok(byte)
    }

    pub(crate) fn number(&mut self) -> ReadResult<u64> {
        let (number, rest) = self.0.split_first_chunk().ok_or("it is cut off")?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*number))
    }

    pub(crate) fn bytes(&mut self) -> ReadResult<&'a [u8]> {
        let len = usize::try_from(self.number()?).map_err(|_| "it is cut off")?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or("it is cut off")?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn string(&mut self) -> ReadResult<String> {
        let text =
            std::str::from_utf8(self.bytes()?).map_err(|_| "it has text that is not UTF-8")?;
        Ok(text.to_string())
    }

    /// A list of items that take at least one byte each.
    pub(crate) fn list<T>(
        &mut self,
        read: impl Fn(&mut Self) -> ReadResult<T>,
    ) -> ReadResult<Vec<T>> {
        let len = self.number()?;
        if len > self.0.len() as u64 {
            return Err("it is cut off");
        }
        (0..len).map(|_| read(self)).collect()
    }

    /// Refuses bytes that nobody has read.
    pub(crate) fn finish(self) -> ReadResult<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err("it is longer than expected")
        }
    }
}
