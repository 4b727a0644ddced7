//! What a store tells placement about its machine: the disk, and when it started.
//!
//! **Why the last figures.** Adding up the files of a large folder, or asking a slow disk, takes long. So
//! a report takes what was measured last, and starts the next measurement beside it.
//!
//! **Invariants.** A store that may have only a part of its disk says so, and its data is what fills that part.
//!
//! **Not here.** Figures about Regions and requests: the node has them.

use placement::StoreStats;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The disk below one data folder; clones are the same.
#[derive(Clone, Debug)]
pub struct StoreUsage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// The most that the store may have; zero for all of its disk.
    capacity_bytes: u64,
    start_time_s: u64,
    last: Mutex<Disk>,
    is_measuring: AtomicBool,
}

/// What can't be read stays zero: a report without the size of the disk is better than none.
#[derive(Clone, Copy, Debug, Default)]
struct Disk {
    capacity_bytes: u64,
    available_bytes: u64,
    used_bytes: u64,
}

impl StoreUsage {
    /// Measures this data folder, on a disk of which the store may have so much (zero: all); the store starts now. Blocks.
    pub fn measure(path: &Path, capacity_bytes: u64) -> Self {
        let shared = Shared {
            path: path.to_owned(),
            capacity_bytes,
            start_time_s: unix_seconds(),
            last: Mutex::new(Disk::measure(path, capacity_bytes)),
            is_measuring: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Adds to a report what the node does not know. Does not block, and is called in a runtime.
    pub fn complete(&self, stats: StoreStats) -> StoreStats {
        // Before it is measured again: what this report says must not depend on who is quicker.
        let last = *self.shared.lock();
        if !self.shared.is_measuring.swap(true, Ordering::AcqRel) {
            let shared = Arc::clone(&self.shared);
            tokio::task::spawn_blocking(move || shared.measure_again());
        }
        StoreStats {
            capacity_bytes: last.capacity_bytes,
            available_bytes: last.available_bytes,
            used_bytes: last.used_bytes,
            start_time_s: self.shared.start_time_s,
            ..stats
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measure_again(&self) {
        let disk = Disk::measure(&self.path, self.capacity_bytes);
        *self.lock() = disk;
        self.is_measuring.store(false, Ordering::Release);
    }
}

impl Disk {
    fn measure(path: &Path, part_bytes: u64) -> Self {
        let whole = Self {
            capacity_bytes: fs2::total_space(path).unwrap_or(0),
            available_bytes: fs2::available_space(path).unwrap_or(0),
            used_bytes: size_of_files(path).unwrap_or(0),
        };
        whole.part(part_bytes)
    }

    /// What the store may have of it.
    fn part(self, part_bytes: u64) -> Self {
        if part_bytes == 0 || part_bytes > self.capacity_bytes {
            return self;
        }
        let left = part_bytes.saturating_sub(self.used_bytes);
        Self {
            capacity_bytes: part_bytes,
            available_bytes: self.available_bytes.min(left),
            ..self
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

    #[tokio::test]
    async fn a_report_is_completed_and_the_node_s_own_figures_stay() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), [0; 1_000]).unwrap();
        fs::write(folder.path().join("c"), [0; 24]).unwrap();
        let stats = StoreStats {
            region_count: 7,
            ..StoreStats::default()
        };
        let complete = StoreUsage::measure(folder.path(), 0).complete(stats);
        assert_eq!((complete.used_bytes, complete.region_count), (1_024, 7));
        assert!(
            complete.capacity_bytes >= complete.available_bytes && complete.available_bytes > 0
        );
        assert!(complete.start_time_s > 0);
    }

    #[tokio::test]
    async fn each_report_starts_the_measurement_for_a_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let usage = StoreUsage::measure(folder.path(), 0);
        fs::write(folder.path().join("a"), [0; 100]).unwrap();
        assert_eq!(usage.complete(StoreStats::default()).used_bytes, 0);
        while usage.complete(StoreStats::default()).used_bytes != 100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_leaves_zeros() {
        let usage = StoreUsage::measure(Path::new("nowhere"), 0);
        let complete = usage.complete(StoreStats::default());
        assert_eq!((complete.used_bytes, complete.capacity_bytes), (0, 0));
    }

    #[test]
    fn a_store_that_may_have_a_part_of_its_disk_has_what_its_data_leaves_of_it() {
        let disk = Disk {
            capacity_bytes: 1_000,
            available_bytes: 500,
            used_bytes: 100,
        };
        let left = |part| {
            (
                disk.part(part).capacity_bytes,
                disk.part(part).available_bytes,
            )
        };
        assert_eq!(left(0), (1_000, 500));
        assert_eq!(left(2_000), (1_000, 500));
        assert_eq!(left(900), (900, 500));
        assert_eq!(left(300), (300, 200));
        assert_eq!(left(50), (50, 0));
    }
}
