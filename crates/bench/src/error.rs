//! What can go wrong in a comparison; all of it ends the run with its message.

use std::time::Duration;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// etcd is not installed.
    #[error("no etcd at {0}: install it (Debian: apt-get install etcd-server) or give --etcd PATH")]
    NoEtcd(std::path::PathBuf),
    /// A server process could not be driven.
    #[error(transparent)]
    Process(#[from] e2e::Error),
    /// A server does not answer.
    #[error("{store} does not serve after {after:?}; its last answer: {last}")]
    NotServing {
        /// Which one.
        store: &'static str,
        /// The time it was given.
        after: Duration,
        /// What it answered last.
        last: String,
    },
    /// The workload can't be run.
    #[error(transparent)]
    Workload(#[from] workload::SpecError),
    /// The official client of TiKV.
    #[error("tikv-client: {0}")]
    Tikv(#[source] Box<tikv_client::Error>),
    /// Our own client.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The load program ended early.
    #[error("the load on {store} gave no report, but this: {output}")]
    NoReport {
        /// The store it was put on.
        store: &'static str,
        /// All that it wrote.
        output: String,
    },
    /// The load program is not there.
    #[error("no load program at {0}: `make bench` builds it, or give --go-load PATH")]
    NoLoad(std::path::PathBuf),
    /// The echo server.
    #[error("the echo server")]
    Echo(#[from] tonic::transport::Error),
    /// A cluster does not come to where it should.
    #[error("not in time: {what}; now it has {now}")]
    NotWithin {
        /// Where to.
        what: &'static str,
        /// How it stands instead.
        now: String,
    },
    /// Placement's Regions leave a gap, or overlap.
    #[error("the Regions do not tile the key space")]
    NotTiled,
    /// Nobody takes placement's settings, or knows a store.
    #[error("placement does not answer")]
    Unsettled,
    /// What was acknowledged is not all there.
    #[error("{written} pairs were written, {seen} are there")]
    Lost {
        /// Found.
        seen: u64,
        /// Acknowledged.
        written: u64,
    },
    /// A file or folder could not be used.
    #[error("can't use {}", path.display())]
    Io {
        /// Its path.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<tikv_client::Error> for Error {
    fn from(error: tikv_client::Error) -> Self {
        Error::Tikv(Box::new(error))
    }
}
