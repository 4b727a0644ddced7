//! What a node finds out for whoever looks for a fault: lines of its logs, and how its machine is and does.
//!
//! **Why threads of its own.** These questions are asked when something hangs, and read files of many gigabytes. So
//! each runs on a thread of its own, at most [`PLACES`] at a time and at a pace that leaves the disk to the store.
//!
//! **Invariants.** Whoever stops listening ends the work, and so does one who listens and takes nothing for long. What is
//! found and not yet taken is bounded.
//!
//! **Not here.** The wire (`service::diagnostics`, `status::diagnosis`).

mod machine;
mod proc;

pub(crate) use machine::{Item, Topic};

use logs::{Files, Found, Query, Search};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Questions at a time, of each of the two ways to ask.
const PLACES: usize = 2;
/// What a search reads in a second.
const BYTES_PER_S: u64 = 64 << 20;
/// Lines that are handed over together, as TiKV does.
const BATCH_LINES: usize = 256;
/// Batches that wait to be taken.
const BATCHES_WAITING: usize = 2;
/// Who takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// Why a question is not answered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Others are being answered.
    #[error("{PLACES} such requests are under way: try again later")]
    Busy,
    /// The operating system refuses a thread.
    #[error("no thread could be started")]
    NoThread,
}

/// The threads of one way to ask. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Diagnosis {
    taken: Arc<AtomicUsize>,
}

/// A place among those that are answered.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Diagnosis {
    /// Looks for lines; they come in batches, the oldest first.
    pub(crate) fn search(
        &self,
        files: Files,
        query: Query,
    ) -> Result<mpsc::Receiver<Vec<Found>>, Refused> {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
        self.spawn(move || search(Search::new(&files, query), &sender))?;
        Ok(receiver)
    }

    /// Looks at the machine, which takes a second if its load is asked for.
    pub(crate) fn machine(
        &self,
        topics: Vec<Topic>,
    ) -> Result<oneshot::Receiver<Vec<Item>>, Refused> {
        let (sender, receiver) = oneshot::channel();
        self.spawn(move || {
            let items = topics.into_iter().flat_map(machine::look).collect();
            // Who asked may have left.
            let _ = sender.send(items);
        })?;
        Ok(receiver)
    }

    fn spawn(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Refused> {
        let taken = |taken: usize| (taken < PLACES).then_some(taken + 1);
        let place = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, taken);
        place.map_err(|_| Refused::Busy)?;
        let place = Place(Arc::clone(&self.taken));
        let thread = thread::Builder::new().name("diagnosis".to_owned());
        let started = thread.spawn(move || {
            work();
            drop(place);
        });
        started.map(drop).map_err(|_| Refused::NoThread)
    }
}

fn search(mut search: Search, sender: &mpsc::Sender<Vec<Found>>) {
    let mut found = Vec::new();
    while !sender.is_closed() {
        let begun = Instant::now();
        let read = match search.step(&mut found) {
            Ok(0) => break,
            Ok(read) => read as u64,
            Err(error) => {
                tracing::warn!(%error, "a log file can't be read");
                continue;
            }
        };
        if !hand_over(&mut found, BATCH_LINES, sender) {
            return;
        }
        let earliest = Duration::from_nanos(read.saturating_mul(1_000_000_000) / BYTES_PER_S);
        thread::sleep(earliest.saturating_sub(begun.elapsed()));
    }
    hand_over(&mut found, 1, sender);
}

/// Hands over what was found, in batches, as long as there are so many lines. False: nobody takes them.
fn hand_over(found: &mut Vec<Found>, least: usize, sender: &mpsc::Sender<Vec<Found>>) -> bool {
    let mut rest = std::mem::take(found);
    while rest.len() >= least {
        let later = rest.split_off(rest.len().min(BATCH_LINES));
        if !send(rest, sender) {
            return false;
        }
        rest = later;
    }
    *found = rest;
    true
}

fn send(mut batch: Vec<Found>, sender: &mpsc::Sender<Vec<Found>>) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match sender.try_send(batch) {
            Ok(()) => return true,
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
            Err(mpsc::error::TrySendError::Full(_)) if Instant::now() > deadline => return false,
            Err(mpsc::error::TrySendError::Full(back)) => batch = back,
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A log of so many lines, the times of which count milliseconds from the epoch.
    fn write_log(path: &Path, lines: usize) {
        let line = |number: usize| {
            let (second, ms) = (number / 1_000, number % 1_000);
            format!(
                "[1970/01/01 00:00:{second:02}.{ms:03} +00:00] [INFO] [a.rs:1] [\"line {number}\"]\n"
            )
        };
        std::fs::write(path, (0..lines).map(line).collect::<String>()).unwrap();
    }

    fn all() -> Query {
        Query::new((0, i64::MAX), Vec::new(), &[]).unwrap()
    }

    #[tokio::test]
    async fn lines_come_in_batches_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        write_log(&path, 5_000);
        let mut found = Diagnosis::default()
            .search(Files::of(&path), all())
            .unwrap();
        let mut lines = Vec::new();
        while let Some(batch) = found.recv().await {
            assert!(!batch.is_empty() && batch.len() <= BATCH_LINES);
            lines.extend(batch.into_iter().map(|found| found.time_ms));
        }
        assert_eq!(lines, (0..5_000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn so_many_at_a_time_and_who_leaves_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        write_log(&path, 5_000);
        let diagnosis = Diagnosis::default();
        let search = || diagnosis.search(Files::of(&path), all());
        let waiting: Vec<_> = (0..PLACES).map(|_| search().unwrap()).collect();
        assert_eq!(search().unwrap_err(), Refused::Busy);
        assert_eq!(
            diagnosis.machine(vec![Topic::Hardware]).unwrap_err(),
            Refused::Busy
        );
        drop(waiting);
        while search().is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_machine_is_looked_at_in_all_respects() {
        let asked = Diagnosis::default().machine(Topic::ALL.to_vec()).unwrap();
        let items = asked.await.unwrap();
        for (kind, name, key) in [
            ("cpu", "cpu", "cpu-logical-cores"),
            ("memory", "memory", "capacity"),
            ("cpu", "load", "load1"),
            ("cpu", "usage", "idle"),
            ("memory", "virtual", "used-percent"),
            ("system", "sysctl", "kernel.osrelease"),
        ] {
            let mut found = items
                .iter()
                .filter(|item| (item.kind, &*item.name) == (kind, name));
            let has = |item: &Item| {
                item.pairs
                    .iter()
                    .any(|(found, value)| found == key && !value.is_empty())
            };
            assert!(found.any(has), "{kind} {name} {key} in {items:?}");
        }
    }
}
