//! Inputs that broke a decoder once, kept as text: hexadecimal, with comments behind `#`.
//!
//! **Why text.** A review can read what it was and why it is kept.
//!
//! **Not here.** Which target a file belongs to: its folder says it.

use std::fs;
use std::path::Path;

/// The inputs in `folder`, by file name; none if there is no such folder.
///
/// # Panics
/// A file is not what [`to_hex`] writes.
pub(crate) fn load(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        from_hex(&text).unwrap_or_else(|| panic!("not a corpus file: {path:?}"))
    };
    paths.iter().map(read).collect()
}

/// The bytes in a corpus file's text.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    let digits: Vec<u8> = lines
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect()
}

/// Text that [`from_hex`] reads.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_comments_count_for_nothing() {
        let bytes = [0, 1, 0xab, 0xff];
        let text = format!("# what it was\n{}\n 0c # more\n", to_hex(&bytes));
        assert_eq!(from_hex(&text), Some(vec![0, 1, 0xab, 0xff, 0x0c]));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("xy"), None);
    }
}
