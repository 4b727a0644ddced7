//! The load under which nodes are killed: 64 writers, and a reader that looks for halves.
//!
//! **Invariants.** A writer uses no key twice, so that what a lost answer leaves open stays confined
//! to its own keys. Even numbers are single keys, odd ones groups in one request.

use bytes::Bytes;
use client::{Client, Error};
use e2e::TICK;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tikv_client::RawClient;
use tokio::task::JoinHandle;

/// Tasks that write at the same time.
pub const WRITERS: usize = 64;
/// Keys of one group.
pub const GROUP: usize = 8;
/// Writers that get nothing done in this time are stuck.
const PROGRESS_WITHIN: Duration = Duration::from_secs(30);

/// What one writer knows of its writes.
#[derive(Default)]
pub struct Written {
    /// The numbers of acknowledged writes; the others were answered with an error.
    pub acknowledged: Vec<u64>,
    /// How many were tried: the numbers below this.
    pub attempted: u64,
}

/// Writers that go on until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Written>>,
}

impl Load {
    /// Starts all of them, after the first write of the shared group.
    pub async fn start(client: &Client) -> Load {
        client.batch_put(&shared_group(0)).await.unwrap();
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let writers = (0..WRITERS).map(|writer| {
            let client = client.clone();
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(write(writer, client, stop, acknowledged))
        });
        let writers = writers.collect();
        Load {
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
            tokio::time::sleep(TICK).await;
        }
    }

    /// What each writer knows in the end.
    pub async fn stop(self) -> Vec<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Vec::with_capacity(WRITERS);
        for writer in self.writers {
            written.push(writer.await.unwrap());
        }
        written
    }
}

/// The key of an even number.
pub fn single_key(writer: usize, number: u64) -> String {
    format!("single/{writer:02}/{number:08}")
}

/// One of the keys of an odd number.
pub fn group_key(writer: usize, number: u64, member: usize) -> String {
    format!("group/{writer:02}/{number:08}/{member}")
}

/// The group that is written again and again, for readers.
fn shared_group(number: u64) -> Vec<(Bytes, Bytes)> {
    let pair = |member| (format!("shared/{member}").into(), number.to_string().into());
    (0..GROUP).map(pair).collect()
}

async fn write(
    writer: usize,
    client: Client,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Written {
    let mut written = Written::default();
    while !stop.load(Ordering::Relaxed) {
        let number = written.attempted;
        written.attempted += 1;
        let value = Bytes::from(number.to_string());
        let done = if number.is_multiple_of(2) {
            client
                .put(single_key(writer, number).as_bytes(), value)
                .await
        } else {
            let pair = |member| (group_key(writer, number, member).into(), value.clone());
            let pairs: Vec<(Bytes, Bytes)> = (0..GROUP).map(pair).collect();
            client.batch_put(&pairs).await
        };
        match done {
            Ok(()) => {
                written.acknowledged.push(number);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Undetermined { .. } | Error::Deadline { .. } | Error::NoMember { .. }) => {}
            Err(error) => panic!("writer {writer}: {error}"),
        }
        if writer == 0 {
            // Its fate does not matter, only that nobody ever reads a half of it.
            let _ = client.batch_put(&shared_group(number)).await;
        }
    }
    written
}

/// Reads the shared group all the time: its keys always agree.
///
/// With the official client, whose scan within a Region is one request: ours may take several, and
/// promises no more than that each is read at one moment.
pub struct Reader {
    stop: Arc<AtomicBool>,
    reads: JoinHandle<u64>,
}

impl Reader {
    /// Starts to read. The group must be there, for a scan of this client that finds less than it
    /// asked for begins again from the start of the key space.
    pub fn start(client: RawClient) -> Reader {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = tokio::spawn(read(client, Arc::clone(&stop)));
        Reader { stop, reads }
    }

    /// Ends, and fails if it has seen a half of the group.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let reads = self.reads.await.unwrap();
        assert!(reads > 0, "the reader has never seen the group");
    }
}

async fn read(client: RawClient, stop: Arc<AtomicBool>) -> u64 {
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let group = "shared/".to_owned().."shared0".to_owned();
        let Ok(pairs) = client.scan(group, GROUP as u32).await else {
            continue;
        };
        let agree = pairs.windows(2).all(|pair| pair[0].1 == pair[1].1);
        assert!(pairs.len() == GROUP && agree, "torn: {pairs:?}");
        reads += 1;
    }
    reads
}
