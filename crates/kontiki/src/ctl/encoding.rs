//! Keys and values as text: on the command line, in files, and on the terminal.
//!
//! **Why.** Keys and values are bytes; a terminal is not. What `ctl` prints can be pasted into its
//! next command.
//!
//! **Invariants.** For every encoding but `plain`, decoding what was encoded gives the same bytes.
//! Encoded text has no control character, so a TAB or a line's end still separates fields.
//!
//! **Not here.** JSON's own escapes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// Text as it is, with `\xNN`, `\n`, `\r`, `\t` and `\\` for what is not printable.
    Escaped,
    /// The bytes as they are.
    Plain,
    /// Two hexadecimal digits a byte.
    Hex,
    /// Base 64 with the standard alphabet.
    Base64,
}

impl Encoding {
    /// Writes bytes as text. `plain` replaces what is not UTF-8.
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Escaped => escape(bytes),
            Encoding::Plain => String::from_utf8_lossy(bytes).into_owned(),
            Encoding::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Encoding::Base64 => BASE64_STANDARD.encode(bytes),
        }
    }

    /// Reads bytes from text.
    ///
    /// # Errors
    /// A sentence about what is malformed.
    pub fn decode(self, text: &[u8]) -> Result<Bytes, String> {
        match self {
            Encoding::Escaped => unescape(text),
            Encoding::Plain => Ok(Bytes::copy_from_slice(text)),
            Encoding::Hex => decode_hex(text),
            Encoding::Base64 => BASE64_STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|error| format!("not base64: {error}")),
        }
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() => push_bytes(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => out.push(c),
            }
        }
        push_bytes(&mut out, chunk.invalid());
    }
    out
}

fn push_bytes(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push_str(&format!("\\x{byte:02x}"));
    }
}

fn unescape(text: &[u8]) -> Result<Bytes, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if *first != b'\\' {
            out.push(*first);
            rest = after;
            continue;
        }
        rest = match after {
            [b'x', high, low, left @ ..] => {
                out.push(hex_byte(*high, *low).ok_or("`\\x` needs two hexadecimal digits")?);
                left
            }
            [code, left @ ..] => {
                out.push(match code {
                    b'\\' => b'\\',
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => {
                        return Err(
                            "an unknown escape: \\xNN, \\n, \\r, \\t and \\\\ are known".into()
                        );
                    }
                });
                left
            }
            [] => return Err("ends with a single `\\`".into()),
        };
    }
    Ok(Bytes::from(out))
}

fn decode_hex(text: &[u8]) -> Result<Bytes, String> {
    if !text.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".into());
    }
    text.chunks_exact(2)
        .map(|pair| hex_byte(pair[0], pair[1]))
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
        .ok_or_else(|| "not hexadecimal".into())
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |c: u8| char::from(c).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [Encoding; 3] = [Encoding::Escaped, Encoding::Hex, Encoding::Base64];

    #[test]
    fn fuzz_text() {
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "text")
            .seed("a\\x41\\n\\\\")
            .seed("00ff")
            .seed("aGVsbG8=")
            .run(|input| {
                EVERY.map(|encoding| {
                    let decoded = encoding.decode(input);
                    if let Ok(bytes) = &decoded {
                        let again = encoding.decode(encoding.encode(bytes).as_bytes());
                        assert_eq!(again.as_ref(), Ok(bytes));
                    }
                    decoded.map(|bytes| bytes.len())
                })
            });
    }

    #[test]
    fn what_is_encoded_is_decoded_to_the_same_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [
            b"".as_slice(),
            b"a\\b\tc\n",
            "zażółć\u{85}".as_bytes(),
            b"\\x41",
            &all,
        ] {
            for encoding in EVERY {
                let text = encoding.encode(bytes);
                assert!(!text.contains(char::is_control), "{text:?}");
                assert_eq!(
                    encoding.decode(text.as_bytes()).unwrap(),
                    bytes,
                    "{encoding:?}"
                );
            }
        }
    }

    #[test]
    fn escapes_are_readable() {
        assert_eq!(
            Encoding::Escaped.encode("a\0é\t\\".as_bytes()),
            "a\\x00é\\t\\\\"
        );
        assert_eq!(Encoding::Hex.encode(b"\x01\xff"), "01ff");
        assert_eq!(
            Encoding::Hex.decode(b"01FF").unwrap(),
            b"\x01\xff".as_slice()
        );
    }

    #[test]
    fn malformed_text_is_refused() {
        for bad in ["\\", "\\q", "\\x4", "\\xzz"] {
            assert!(Encoding::Escaped.decode(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in ["1", "zz", "é"] {
            assert!(Encoding::Hex.decode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Encoding::Base64.decode(b"a").is_err());
    }
}
