//! Pairs from lines of text: TSV (key TAB value) or JSON (`{"key": ..., "value": ...}`).
//!
//! **Invariants.** A bad line never hides another: it is reported with its number, and reading goes
//! on. Memory is bounded by [`LINE_BYTES_MAX`], whatever the file.
//!
//! **Not here.** Limits of keys and values: those are the server's, and it says which pair broke
//! them.

use crate::ctl::encoding::Encoding;
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use std::io::{self, BufRead, Read};

/// The longest line that is read: a value as large as a Raft entry, in hexadecimal, and its key.
pub const LINE_BYTES_MAX: usize = 18 << 20;

/// How a line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A key, a TAB, and a value that may have TABs itself.
    Tsv,
    /// A JSON object with `key` and `value`, both strings.
    Json,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key, not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// What one line was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// The pair, or what is wrong with the line.
    pub pair: Result<Pair, String>,
}

/// Reads lines one by one. Empty ones are skipped.
pub struct Lines<R> {
    reader: R,
    format: Format,
    encoding: Encoding,
    number: u64,
    bytes_read: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Reads `reader` in this format, with keys and values in this encoding.
    pub fn new(reader: R, format: Format, encoding: Encoding) -> Self {
        Self {
            reader,
            format,
            encoding,
            number: 0,
            bytes_read: 0,
            buffer: Vec::new(),
        }
    }

    /// The number of the last line that was read; 0 before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How much of the source has been read, in bytes.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The next line that is not empty; none at the end.
    ///
    /// # Errors
    /// When the source can't be read any further.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.buffer.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = self
                .reader
                .by_ref()
                .take(limit)
                .read_until(b'\n', &mut self.buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes_read += read as u64;
            let too_long = read as u64 == limit && self.buffer.last() != Some(&b'\n');
            if too_long {
                self.bytes_read += skip_line(&mut self.reader)?;
                let pair = Err(format!("longer than {} MiB", LINE_BYTES_MAX >> 20));
                return Ok(Some(Line {
                    number: self.number,
                    pair,
                }));
            }
            let line = without_end(&self.buffer);
            if line.is_empty() {
                continue;
            }
            let pair = parse(line, self.format, self.encoding);
            return Ok(Some(Line {
                number: self.number,
                pair,
            }));
        }
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok(skipped);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(available.len(), |at| at + 1);
        reader.consume(used);
        skipped += used as u64;
        if end.is_some() {
            return Ok(skipped);
        }
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
}

fn parse(line: &[u8], format: Format, encoding: Encoding) -> Result<Pair, String> {
    let (key, value) = match format {
        Format::Tsv => {
            let tab = line.iter().position(|byte| *byte == b'\t');
            let tab = tab.ok_or("no TAB between a key and a value")?;
            decode(&line[..tab], &line[tab + 1..], encoding)?
        }
        Format::Json => {
            let record: Record<'_> = serde_json::from_slice(line)
                .map_err(|error| format!("not a pair in JSON: {error}"))?;
            decode(record.key.as_bytes(), record.value.as_bytes(), encoding)?
        }
    };
    if key.is_empty() {
        return Err("the key is empty".into());
    }
    Ok(Pair { key, value })
}

fn decode(key: &[u8], value: &[u8], encoding: Encoding) -> Result<(Bytes, Bytes), String> {
    let key = encoding
        .decode(key)
        .map_err(|error| format!("key: {error}"))?;
    let value = encoding
        .decode(value)
        .map_err(|error| format!("value: {error}"))?;
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (u64, Result<(String, String), String>);

    fn read(text: &[u8], format: Format, encoding: Encoding) -> Vec<Read> {
        let mut lines = Lines::new(text, format, encoding);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let text = |bytes: &Bytes| Encoding::Escaped.encode(bytes);
            found.push((
                line.number,
                line.pair.map(|pair| (text(&pair.key), text(&pair.value))),
            ));
        }
        assert_eq!(lines.bytes_read(), text.len() as u64);
        found
    }

    fn pair(key: &str, value: &str) -> Result<(String, String), String> {
        Ok((key.to_owned(), value.to_owned()))
    }

    #[test]
    fn tsv_is_split_at_the_first_tab_and_values_may_be_empty() {
        let found = read(b"a\t1\t2\r\n\nb\t\nc\t3", Format::Tsv, Encoding::Plain);
        assert_eq!(
            found,
            [
                (1, pair("a", "1\\t2")),
                (3, pair("b", "")),
                (4, pair("c", "3"))
            ]
        );
    }

    #[test]
    fn json_lines_are_read_whatever_else_they_have() {
        let text = br#"{"value":"1\t2","key":"a","more":[1]}
{"key":"b\u0000","value":""}"#;
        let found = read(text, Format::Json, Encoding::Plain);
        assert_eq!(found, [(1, pair("a", "1\\t2")), (2, pair("b\\x00", ""))]);
    }

    #[test]
    fn encodings_apply_to_keys_and_values() {
        assert_eq!(
            read(b"61\tff", Format::Tsv, Encoding::Hex),
            [(1, pair("a", "\\xff"))]
        );
        assert_eq!(
            read(b"YQ==\t/w==", Format::Tsv, Encoding::Base64),
            [(1, pair("a", "\\xff"))]
        );
        assert_eq!(
            read(b"a\\t\t\\xff", Format::Tsv, Encoding::Escaped),
            [(1, pair("a\\t", "\\xff"))]
        );
        let json = br#"{"key":"61","value":"ff"}"#;
        assert_eq!(
            read(json, Format::Json, Encoding::Hex),
            [(1, pair("a", "\\xff"))]
        );
    }

    #[test]
    fn bad_lines_are_numbered_and_do_not_stop_the_rest() {
        let found = read(b"a\t1\nno tab\n\t2\nb\t3\n", Format::Tsv, Encoding::Plain);
        assert_eq!(found[0], (1, pair("a", "1")));
        assert!(found[1].1.as_ref().unwrap_err().contains("no TAB"));
        assert!(found[2].1.as_ref().unwrap_err().contains("key is empty"));
        assert_eq!(found[3], (4, pair("b", "3")));
        let found = read(
            b"{\"key\":1}\n[]\nx\n{\"key\":\"a\"}",
            Format::Json,
            Encoding::Plain,
        );
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|(_, pair)| pair.is_err()));
        let found = read(b"6\t00\n61\tzz\n", Format::Tsv, Encoding::Hex);
        assert!(found[0].1.as_ref().unwrap_err().starts_with("key: "));
        assert!(found[1].1.as_ref().unwrap_err().starts_with("value: "));
    }

    #[test]
    fn a_line_without_an_end_in_sight_is_skipped_in_bounded_memory() {
        let mut text = vec![b'x'; 2 * LINE_BYTES_MAX];
        text.extend_from_slice(b"\na\t1\n");
        let mut lines = Lines::new(text.as_slice(), Format::Tsv, Encoding::Plain);
        let first = lines.next().unwrap().unwrap();
        assert!(first.pair.unwrap_err().contains("longer than"));
        assert!(lines.buffer.capacity() <= 2 * LINE_BYTES_MAX);
        let second = lines.next().unwrap().unwrap();
        assert_eq!((second.number, second.pair.is_ok()), (2, true));
        assert_eq!(lines.bytes_read(), text.len() as u64);
    }
}
