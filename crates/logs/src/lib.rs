//! The logs of the process: how events become lines, where the lines go, and how they are found again.
//!
//! **The way of an event.** `tracing` hands it to a [`Layer`], which makes a line of it, in TiDB's unified log
//! format or as JSON, and puts the line into the buffer of a [`Sink`]; a thread of the sink's own writes the buffer
//! to a file, which it rotates, or to the standard error stream. Lines of the slow log (target [`slow::TARGET`]) go to a
//! sink of their own if one is wanted. [`Search`] reads the files again.
//!
//! **Why a crate.** Whoever logs keys and values needs [`redact`], and whoever takes times [`mod@slow`]: rooms on every floor.
//!
//! **Invariants.** Logging never waits for a disk and never fails: a line for which there is no room is dropped and
//! counted, and what was dropped is said in the log as soon as it takes lines again. A key or value that a client
//! sent reaches a log through [`redact`] only.
//!
//! **Not here.** Which configuration items there are, and what is worth a line.

mod civil;
mod file;
mod layer;
mod line;
mod parse;
mod process;
mod redact;
mod search;
mod sink;
pub mod slow;

pub use file::{FileOptions, LogFile};
pub use layer::Layer;
pub use line::Format;
pub use parse::{Entry, Level, parse};
pub use process::{FAMILIES, Logging, Lost, Options, SetError, files, flush, set_filter, start};
pub use redact::{Redacted, Redaction, redact, set_redaction};
pub use search::{Files, Found, PatternError, Query, Search};
pub use sink::Sink;
#[doc(hidden)]
pub use tracing;
