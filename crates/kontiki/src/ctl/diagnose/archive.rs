//! An archive of small files: ustar, in gzip.
//!
//! **Why our own.** What is needed of the format is a header of 512 bytes before each file.
//!
//! **Not here.** Reading, folders, links, and names of more than 100 bytes.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};

const BLOCK: usize = 512;
const NAME_BYTES_MAX: usize = 100;

/// Writes an archive of files, each with its name and content; their times are this one, in seconds since the Unix epoch.
///
/// # Errors
/// It can't be written, or a name is too long.
pub fn write(to: impl Write, mtime_s: u64, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let mut out = GzEncoder::new(to, Compression::default());
    for (name, content) in files {
        out.write_all(&header(name, content.len(), mtime_s)?)?;
        out.write_all(content)?;
        out.write_all(&vec![
            0;
            content.len().next_multiple_of(BLOCK) - content.len()
        ])?;
    }
    out.write_all(&[0; 2 * BLOCK])?;
    out.finish()?.flush()
}

fn header(name: &str, bytes: usize, mtime_s: u64) -> io::Result<[u8; BLOCK]> {
    if name.len() > NAME_BYTES_MAX {
        return Err(io::Error::other(format!("the name {name} is too long")));
    }
    let mut header = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{bytes:011o}\0"));
    put(136, &format!("{mtime_s:011o}\0"));
    put(156, "0");
    put(257, "ustar\x0000");
    // The sum is taken with spaces in its own place.
    put(148, "        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn tar_reads_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        let long = "x".repeat(BLOCK).into_bytes();
        let files = [
            ("d/a.json".to_owned(), b"{}".to_vec()),
            ("d/empty".to_owned(), Vec::new()),
            ("d/block".to_owned(), long.clone()),
        ];
        write(std::fs::File::create(&path).unwrap(), 1_544_854_811, &files).unwrap();
        let tar = Command::new("tar")
            .arg("xzf")
            .arg(&path)
            .current_dir(folder.path())
            .output();
        let tar = tar.unwrap();
        assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
        for (name, content) in files {
            assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), content);
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_refused() {
        let files = [("x".repeat(101), Vec::new())];
        assert!(write(Vec::new(), 0, &files).is_err());
    }
}
