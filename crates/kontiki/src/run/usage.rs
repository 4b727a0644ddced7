//! What a store tells placement about its machine: the disk, and when it started.
//!
//! **Not here.** Figures about Regions and requests: the node has them.

use placement::StoreStats;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The disk below one data folder.
#[derive(Clone, Debug)]
pub struct StoreUsage {
    path: PathBuf,
    start_time_s: u64,
}

impl StoreUsage {
    /// Of this data folder; the store starts now.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            start_time_s: unix_seconds(),
        }
    }

    /// Adds to a report what the node does not know. What can't be read stays zero: a report without
    /// the size of the disk is better than none.
    pub fn complete(&self, stats: StoreStats) -> StoreStats {
        StoreStats {
            capacity_bytes: fs2::total_space(&self.path).unwrap_or(0),
            available_bytes: fs2::available_space(&self.path).unwrap_or(0),
            used_bytes: size_of_files(&self.path).unwrap_or(0),
            start_time_s: self.start_time_s,
            ..stats
        }
    }
}

/// Seconds since the Unix epoch.
pub fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The length of all files below a folder. A file that vanishes meanwhile counts nothing.
fn size_of_files(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let Ok(entry) = entry else { continue };
        let Ok(meta) = entry.metadata() else { continue };
        bytes += if meta.is_dir() {
            size_of_files(&entry.path()).unwrap_or(0)
        } else {
            meta.len()
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_completed_and_the_node_s_own_figures_stay() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), [0; 1_000]).unwrap();
        fs::write(folder.path().join("c"), [0; 24]).unwrap();
        let stats = StoreStats {
            region_count: 7,
            ..StoreStats::default()
        };
        let complete = StoreUsage::new(folder.path()).complete(stats);
        assert_eq!((complete.used_bytes, complete.region_count), (1_024, 7));
        assert!(
            complete.capacity_bytes >= complete.available_bytes && complete.available_bytes > 0
        );
        assert!(complete.start_time_s > 0);
    }

    #[test]
    fn a_folder_that_is_gone_leaves_zeros() {
        let complete = StoreUsage::new(Path::new("nowhere")).complete(StoreStats::default());
        assert_eq!((complete.used_bytes, complete.capacity_bytes), (0, 0));
    }
}
