//! The tuning of the log.
//!
//! **Why nothing is compressed.** A batch is compressed between its encoding and its sync, where every
//! Region of the round waits for it, and most of it is read from memory and soon deleted.
//!
//! **Not here.** Names of configuration items: the server maps them.

use raft_engine::{Config, ReadableSize, RecoveryMode};
use std::path::Path;

/// Sizes and threads. The defaults are those of TiKV 9, but for compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftLogOptions {
    /// A file is closed and the next one begun at this size. Bytes.
    pub file_bytes: u64,
    /// Space is reclaimed when the files take more than this. Bytes; at least `file_bytes`.
    pub purge_threshold_bytes: u64,
    /// Threads that verify and read the files at start.
    pub recovery_threads: usize,
    /// Batches larger than this are compressed; zero for never. Bytes.
    pub compression_threshold_bytes: u64,
    /// A small log takes little memory after so many purges without a write to it.
    pub idle_purges: u32,
}

impl Default for RaftLogOptions {
    fn default() -> Self {
        Self {
            file_bytes: 128 << 20,
            purge_threshold_bytes: 10 << 30,
            recovery_threads: 4,
            compression_threshold_bytes: 0,
            idle_purges: 3,
        }
    }
}

impl RaftLogOptions {
    fn file_bytes(&self) -> u64 {
        failpoint::at!("engine_raftlog::options::file_bytes", |bytes| {
            let bytes = bytes.and_then(|bytes| bytes.parse().ok());
            bytes.unwrap_or(self.file_bytes)
        });
        self.file_bytes
    }

    fn purge_threshold_bytes(&self) -> u64 {
        failpoint::at!("engine_raftlog::options::purge_threshold_bytes", |bytes| {
            let bytes = bytes.and_then(|bytes| bytes.parse().ok());
            bytes.unwrap_or(self.purge_threshold_bytes)
        });
        self.purge_threshold_bytes
    }

    pub(crate) fn config(&self, path: &Path) -> Config {
        Config {
            dir: path.to_string_lossy().into_owned(),
            // What a crash explains was cut before; raft-engine has nothing to tolerate.
            recovery_mode: RecoveryMode::AbsoluteConsistency,
            recovery_threads: self.recovery_threads.max(1),
            target_file_size: ReadableSize(self.file_bytes()),
            purge_threshold: ReadableSize(self.purge_threshold_bytes().max(self.file_bytes())),
            batch_compression_threshold: ReadableSize(self.compression_threshold_bytes),
            // A recycled file holds old records behind its end, where the verifier looks for new
            // ones; and our list of files could not name it.
            enable_log_recycle: false,
            ..Config::default()
        }
    }
}
