//! What the operating system says of this process, under the names that Prometheus's clients share.
//!
//! **Not here.** Systems other than Linux: what can't be read is left out.

use crate::desc::Desc;
use crate::page::{Collect, Page};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

static CPU: Desc = Desc::counter(
    "process_cpu_seconds_total",
    "Processor time of the process, in seconds.",
);
static RESIDENT: Desc = Desc::gauge(
    "process_resident_memory_bytes",
    "Memory of the process that is in use, in bytes.",
);
static FILES: Desc = Desc::gauge("process_open_fds", "Open files and sockets.");
static FILES_MAX: Desc = Desc::gauge(
    "process_max_fds",
    "The most files and sockets that may be open.",
);
static THREADS: Desc = Desc::gauge("process_threads", "Threads of the process.");
static START: Desc = Desc::gauge(
    "process_start_time_seconds",
    "When the process started, in seconds since the Unix epoch.",
);

/// Its families.
pub static PROCESS: &[&Desc] = &[&CPU, &RESIDENT, &FILES, &FILES_MAX, &THREADS, &START];

/// Clock ticks in a second in what the kernel shows of processes; the same on all its platforms.
const TICKS_PER_S: f64 = 100.0;

/// This process.
#[derive(Debug)]
pub struct Process {
    start_s: u64,
}

impl Process {
    /// To be made when the process starts: that is what it says of its start.
    pub fn begin() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            start_s: since.map_or(0, |since| since.as_secs()),
        }
    }
}

impl Collect for Process {
    fn collect(&self, page: &mut Page) {
        page.gauge(&START, &[], self.start_s);
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name before it is in parentheses, and may have spaces.
        let fields: Vec<&str> = match stat.rsplit_once(") ") {
            Some((_, rest)) => rest.split(' ').collect(),
            None => return,
        };
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        if let (Some(user), Some(system)) = (number(11), number(12)) {
            page.seconds(&CPU, &[], (user + system) as f64 / TICKS_PER_S);
        }
        if let Some(threads) = number(17) {
            page.gauge(&THREADS, &[], threads);
        }
        if let Some(bytes) = status_kib("VmRSS:") {
            page.gauge(&RESIDENT, &[], bytes << 10);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            page.gauge(&FILES, &[], open.count() as u64);
        }
        if let Some(most) = files_max(Path::new("/proc/self/limits")) {
            page.gauge(&FILES_MAX, &[], most);
        }
    }
}

fn status_kib(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn files_max(limits: &Path) -> Option<u64> {
    let limits = fs::read_to_string(limits).ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_shows_all_of_its_families() {
        let mut page = Page::default();
        Process::begin().collect(&mut page);
        let mut expected: Vec<_> = PROCESS.iter().map(|desc| desc.name).collect();
        expected.sort_unstable();
        assert_eq!(page.families().collect::<Vec<_>>(), expected);
        for desc in PROCESS {
            assert_eq!(desc.check(), Ok(()));
        }
        let text = page.render();
        let threads = text
            .lines()
            .find(|line| line.starts_with("process_threads "));
        assert_ne!(threads, Some("process_threads 0"));
    }
}
