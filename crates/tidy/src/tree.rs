//! The files of the workspace, as the rules see them.
//!
//! **Invariants.** The order is fixed. What git would ignore (`target`, hidden folders other than
//! `.ci`) is not visited, nor are symbolic links.
//!
//! **Not here.** Any rule.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Endings of files that are read as text.
const TEXT: &[&str] = &[
    "rs", "toml", "md", "proto", "sh", "yml", "yaml", "json", "txt", "py", "go",
];

/// One text file of the workspace.
#[derive(Debug)]
pub struct File {
    /// Relative to the workspace, with `/` between the parts.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl File {
    /// The crate that the file belongs to, and its path inside it.
    pub fn in_crate(&self) -> Option<(&str, &str)> {
        self.path.strip_prefix("crates/")?.split_once('/')
    }

    /// Whether it is Rust source.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// The workspace's root: where cargo runs this crate, and else where it was built. Clones that share a
/// target folder share what was built.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    let here = here.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = here.ancestors().nth(2);
    root.expect("the crate stands two folders below the root")
        .to_owned()
}

/// Every text file below `root`.
///
/// # Errors
/// When a folder or file can't be read, with its path.
pub fn files(root: &Path) -> io::Result<Vec<File>> {
    let mut found = Vec::new();
    visit(root, root, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn visit(root: &Path, folder: &Path, found: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| named(folder, &error))? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let skipped = name == "target" || (name.starts_with('.') && name != ".ci");
            if !skipped {
                visit(root, &path, found)?;
            }
        } else if kind.is_file() && is_text(&path, &name) {
            let bytes = fs::read(&path).map_err(|error| named(&path, &error))?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            found.push(File {
                path: relative.to_string_lossy().replace('\\', "/"),
                text: String::from_utf8_lossy(&bytes).into_owned(),
            });
        }
    }
    Ok(())
}

fn is_text(path: &Path, name: &str) -> bool {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().into_owned());
    ending.is_some_and(|ending| TEXT.contains(&ending.as_str()))
        || matches!(name, "Makefile" | "run" | "LICENSE")
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
