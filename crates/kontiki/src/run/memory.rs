//! What memory the machine gives this process, and what the process has of it.
//!
//! **How.** A thread looks ten times in a second at what is resident and at what RocksDB's cache and memtables may
//! still grow by, and tells the node's budget. When that says so, the allocator gives back what was freed: otherwise
//! it keeps it for a second, and that counts as used.
//!
//! **Invariants.** The thread ends with its [`MemoryWatch`]. Who can't read how much memory the machine has goes
//! without a limit that nobody has set.
//!
//! **Not here.** What follows when memory is short (`node::MemoryBudget`).

use crate::error::{Error, Result};
use engine_rocks::RocksTuner;
use node::{MemoryBudget, Seen};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(100);
/// Of the machine's memory, a process has three quarters if nothing else is configured: TiKV's default.
const SHARE: (u64, u64) = (3, 4);

/// What a process may have if nothing is configured, in bytes.
pub fn default_limit_bytes() -> u64 {
    let machine = machine_bytes().unwrap_or(u64::MAX);
    machine / SHARE.1 * SHARE.0
}

/// The memory of the machine, or of the group of processes that this one is in, if that is less.
fn machine_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| total_bytes(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| {
        let limit = fs::read_to_string(path).ok()?;
        limit.trim().parse::<u64>().ok()
    });
    limits.chain(machine).min()
}

/// What `/proc/meminfo` says.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// The files with limits of the groups in `/proc/self/cgroup`, of either version, and of the groups that they are in.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let within = |group: &Path| Path::new(root).join(group).join(name);
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(within));
    }
    files
}

/// Tells a node's budget what the process has, as long as it lives.
pub struct MemoryWatch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// # Errors
    /// The operating system refuses the thread.
    pub fn start(budget: MemoryBudget, engine: RocksTuner) -> Result<Self> {
        let (stop, stopped) = channel::<()>();
        let watch = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                look(&budget, &engine);
            }
        };
        let thread = std::thread::Builder::new().name("memory".to_owned());
        let thread = thread.spawn(watch).map_err(Error::io("starting threads"))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to lose.
            let _ = thread.join();
        }
    }
}

fn look(budget: &MemoryBudget, engine: &RocksTuner) {
    let Some(resident) = resident_bytes() else {
        return;
    };
    let unfilled = engine.unfilled_bytes();
    if budget.observe(Seen { resident, unfilled }) {
        give_back();
        if let Some(resident) = resident_bytes() {
            budget.observe(Seen { resident, unfilled });
        }
    }
}

/// What of this process is resident, in bytes.
fn resident_bytes() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: it asks for a number.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.checked_mul(usize::try_from(page_bytes).ok()?)
}

/// The allocator gives the system all that was freed.
fn give_back() {
    let all_arenas = c"arena.4096.purge";
    // SAFETY: a command that takes no value and returns none.
    unsafe {
        tikv_jemalloc_sys::mallctl(
            all_arenas.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_the_memory_that_it_says() {
        let text = "MemTotal:       24683896 kB\nMemFree:        15000000 kB\n";
        assert_eq!(total_bytes(text), Some(24_683_896 << 10));
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
        assert!(machine_bytes().unwrap() > 0);
        assert!(default_limit_bytes() < machine_bytes().unwrap());
    }

    #[test]
    fn a_limit_may_be_that_of_a_group_or_of_one_around_it() {
        let second = limit_files("0::/a/b\n");
        let expected = [
            "/sys/fs/cgroup/a/b/memory.max",
            "/sys/fs/cgroup/a/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(second, expected.map(PathBuf::from));
        let first = limit_files("5:cpu,cpuacct:/x\n4:memory:/\n");
        let expected = ["/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        assert_eq!(first, expected.map(PathBuf::from));
        assert!(limit_files("nonsense\n\n1:").is_empty());
    }

    #[test]
    fn what_is_freed_goes_back_when_it_shall() {
        let pieces: Vec<_> = (0..16 << 10).map(|_| vec![1_u8; 4 << 10]).collect();
        let full = resident_bytes().unwrap();
        drop(pieces);
        give_back();
        let after = resident_bytes().unwrap();
        assert!(after + (32 << 20) < full, "{full} {after}");
    }
}
