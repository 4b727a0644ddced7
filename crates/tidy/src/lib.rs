//! The rules of the house that a compiler does not know, as tests: which crate may use which, how
//! long a file and a function may be, what a pure crate must not call.
//!
//! **Why.** A rule that only stands in a document is broken by the next change in a hurry. Each rule
//! here is a function from text to [`Violation`]s, so that it is proved on planted bad text beside
//! it, and then held against the tree by `tests/tree.rs`.
//!
//! **Invariants.** A rule reads text only: no compiler, no network, no clock. A violation says what
//! to do about it.
//!
//! **Not here.** What clippy can say (see the `clippy.toml` of each pure crate), formatting, and
//! licences or advisories (`deny.toml`).

pub mod files;
pub mod floors;
pub mod functions;
pub mod purity;
mod source;
pub mod tree;

use std::fmt;

/// A broken rule, at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file, relative to the workspace.
    pub file: String,
    /// The line, from 1; zero when the whole file is meant.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

impl Violation {
    /// A violation of the file as a whole.
    pub(crate) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self::at(file, 0, message)
    }

    /// A violation at a line, counted from 1.
    pub(crate) fn at(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            message: message.into(),
        }
    }
}
