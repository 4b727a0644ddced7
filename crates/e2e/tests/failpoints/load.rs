//! The load under which nodes crash: a few writers that know what was acknowledged.
//!
//! **Invariants.** No writer uses a key twice, so that what a lost answer leaves open stays confined to its
//! key. Pairs of keys are written in one request.

use bytes::Bytes;
use client::{Client, Error};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Tasks that write at the same time; each in a tenth of the keys.
pub const WRITERS: usize = 8;
/// Writers that get nothing done in this time are stuck.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);
/// Between two writes: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(3);
const PADDING_BYTES: usize = 512;

/// Writers that go on until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: JoinSet<Written>,
}

/// The number of a writer, and what it tried, without the half; true: acknowledged.
type Written = (usize, BTreeMap<String, bool>);

/// One of the two keys of a write.
pub fn key(writer: usize, number: u64, half: usize) -> String {
    format!("k{writer}/{number:08}/{half}")
}

fn value(key: &str) -> Bytes {
    format!("{key:.<PADDING_BYTES$}").into()
}

impl Load {
    /// Starts all of them.
    pub fn start(client: &Client) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let shared = (Arc::clone(&stop), Arc::clone(&acknowledged));
            writers.spawn(write(writer, client.clone(), shared));
        }
        Self {
            stop,
            acknowledged,
            writers,
        }
    }

    /// Waits until so many more writes have been acknowledged.
    pub async fn progress(&self, writes: u64) {
        let target = self.acknowledged.load(Ordering::Relaxed) + writes;
        let deadline = Instant::now() + PROGRESS_WITHIN;
        while self.acknowledged.load(Ordering::Relaxed) < target {
            assert!(Instant::now() < deadline, "the writers make no progress");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends, and fails if anything that was acknowledged is not there, or only half of a write is.
    pub async fn stop_and_verify(self, client: &Client) {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.writers.join_all().await;
        let mut acknowledged = 0;
        for (writer, numbers) in &written {
            let (start, end) = (format!("k{writer}/"), format!("k{writer}0"));
            let found = client.scan(start.as_bytes(), end.as_bytes(), usize::MAX);
            let found: BTreeMap<Bytes, Bytes> = found.await.unwrap().into_iter().collect();
            let mut lost = Vec::new();
            for (number, is_acknowledged) in numbers {
                let keys = [0, 1].map(|half| format!("{number}/{half}"));
                let is_there = |key: &String| found.get(key.as_bytes()) == Some(&value(key));
                let there = keys.iter().filter(|key| is_there(key)).count();
                assert!(there != 1, "half of {number} is there");
                if there == 0 && *is_acknowledged {
                    lost.push((number, client.get(keys[0].as_bytes()).await));
                }
                acknowledged += usize::from(*is_acknowledged);
            }
            let (all, seen) = (numbers.len(), found.len());
            assert!(
                lost.is_empty(),
                "{} of {all} lost, {seen} keys seen; by themselves: {lost:?}",
                lost.len()
            );
        }
        println!("{acknowledged} acknowledged writes are there");
        assert!(acknowledged > WRITERS, "there was hardly any load");
    }
}

async fn write(
    writer: usize,
    client: Client,
    (stop, acknowledged): (Arc<AtomicBool>, Arc<AtomicU64>),
) -> Written {
    let mut written = BTreeMap::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let keys = [0, 1].map(|half| key(writer, number, half));
        let pairs = keys.each_ref().map(|key| (key.clone().into(), value(key)));
        let done = client.batch_put(&pairs).await;
        let is_acknowledged = match done {
            Ok(()) => true,
            Err(Error::Undetermined { .. } | Error::Deadline { .. } | Error::NoMember { .. }) => {
                false
            }
            Err(error) => panic!("writer {writer}: {error}"),
        };
        acknowledged.fetch_add(u64::from(is_acknowledged), Ordering::Relaxed);
        written.insert(format!("k{writer}/{number:08}"), is_acknowledged);
        number += 1;
        tokio::time::sleep(PAUSE).await;
    }
    (writer, written)
}
