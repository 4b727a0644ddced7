//! What can go wrong with processes. All of it ends the test or the benchmark.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a process could not be driven.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be started.
    #[error("can't start {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A process should have ended and has not.
    #[error("{name} is still running after {after:?}")]
    StillRunning {
        /// Its name.
        name: String,
        /// The time it was given.
        after: Duration,
    },
    /// A process ended with another status than success.
    #[error("{name} ended with {status}; its output:\n{output}")]
    BadExit {
        /// Its name.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// All that it wrote.
        output: String,
    },
    /// The program under test has not been built.
    #[error(
        "no kontiki program at {tried:?}: build it first (cargo build -p kontiki, with the profile of the tests) or set KONTIKI_BIN"
    )]
    NoBinary {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// A cluster does not serve.
    #[error("the cluster does not serve after {after:?}; the last answer: {last}")]
    NotServing {
        /// The time it was given.
        after: Duration,
        /// What was heard last.
        last: String,
    },
    /// No port is free in the range for tests.
    #[error("no free port on 127.0.0.1")]
    NoPort,
    /// The kernel's accounting of a process has an unknown form.
    #[error("{} is not as proc(5) describes it", path.display())]
    Stat {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder could not be used.
    #[error("can't use {}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
