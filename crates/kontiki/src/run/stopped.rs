//! [`Stopped`]: the data folder of a node that is stopped.
//!
//! **Invariants.** While it lives, no node starts in the folder. Only [`Stopped::open_kv`] opens something for
//! writing.
//!
//! **Not here.** What is looked at, and what is written (`ctl::local`).

use super::data_dir::DataDir;
use super::engines::{self, Logs};
use crate::config::Config;
use crate::error::Result;
use engine_rocks::RocksKv;
use std::path::Path;

/// A folder that is locked.
pub struct Stopped {
    config: Config,
    data_dir: DataDir,
}

impl Stopped {
    /// Locks the folder that the configuration names.
    ///
    /// # Errors
    /// It is no node's, or its node runs.
    pub fn lock(config: Config) -> Result<Self> {
        let data_dir = DataDir::lock_stopped(&config.storage.data_dir)?;
        Ok(Self { config, data_dir })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.data_dir.path()
    }

    /// Opens the data for reading only.
    ///
    /// # Errors
    /// It is damaged, or can't be read.
    pub fn read_kv(&self) -> Result<RocksKv> {
        engines::read_kv(&self.config, &self.data_dir)
    }

    /// Looks for damage in the data that a start passes over.
    ///
    /// # Errors
    /// There is some, or it can't be read.
    pub fn check_kv(&self) -> Result<()> {
        engines::check_kv(&self.data_dir)
    }

    /// Opens the data.
    ///
    /// # Errors
    /// It is damaged, or can't be read or written.
    pub fn open_kv(&self) -> Result<RocksKv> {
        engines::open_kv(&self.config, &self.data_dir)
    }

    /// Verifies the Raft logs, and opens them for reading only.
    ///
    /// # Errors
    /// They are damaged, or can't be read.
    pub fn read_logs(&self) -> Result<Logs> {
        engines::read_logs(&self.config, &self.data_dir)
    }
}
