//! The official client at work: it fills a cluster, then reads and writes at an even pace for as long as the
//! cluster's life goes on.
//!
//! **Invariants.** Each key has one value, made from it, so that whoever knows a key can tell what it holds. The
//! first operation that fails ends the task, and is kept.

use bench::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tikv_client::{BoundRange, Key, KvPair, RawClient};
use tokio::task::JoinSet;

/// Between two operations of a task, once the cluster is filled.
const PACE: Duration = Duration::from_millis(25);
const KEPT_VALUE_BYTES: usize = 256;
/// Pairs of one scan: below the client's limit of an answer, 4 MiB.
const PAGE_BYTES: usize = 2 << 20;

/// The tasks of one client.
pub struct Load {
    client: RawClient,
    clients: usize,
    filled: u64,
    value_bytes: usize,
    shared: Arc<Shared>,
    tasks: JoinSet<u64>,
}

#[derive(Default)]
struct Shared {
    operations: AtomicU64,
    ends: AtomicBool,
    failed: parking_lot::Mutex<Option<tikv_client::Error>>,
}

impl Shared {
    /// Counts an operation, or keeps why it failed.
    fn note<T>(&self, done: tikv_client::Result<T>) -> Option<T> {
        self.operations.fetch_add(1, Ordering::Relaxed);
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                self.failed.lock().get_or_insert(error);
                None
            }
        }
    }
}

impl Load {
    /// So many tasks that share a client.
    pub fn new(client: RawClient, clients: usize) -> Self {
        Self {
            client,
            clients,
            filled: 0,
            value_bytes: 0,
            shared: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.shared.operations.load(Ordering::Relaxed)
    }

    /// Whether an operation has failed.
    pub fn failed(&self) -> Result<()> {
        match self.shared.failed.lock().take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Writes so many pairs as fast as the tasks can.
    pub async fn fill(&mut self, pairs: u64, value_bytes: usize) -> Result<()> {
        (self.filled, self.value_bytes) = (pairs, value_bytes);
        let next = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..self.clients {
            let (client, shared, next) = (self.client.clone(), self.shared.clone(), next.clone());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= pairs {
                        return;
                    }
                    let key = filled_key(number);
                    let put = client.put(key.clone(), value(&key, value_bytes)).await;
                    if shared.note(put).is_none() {
                        return;
                    }
                }
            });
        }
        tasks.join_all().await;
        self.failed()
    }

    /// From now on each task writes a pair of its own and reads one of the earlier ones, in turn.
    pub fn go_on(&mut self) {
        for task in 0..self.clients {
            let (client, shared) = (self.client.clone(), self.shared.clone());
            let (filled, value_bytes) = (self.filled, self.value_bytes);
            self.tasks.spawn(async move {
                let mut written = 0;
                while !shared.ends.load(Ordering::Relaxed) {
                    let key = kept_key(task, written);
                    let put = client.put(key.clone(), value(&key, KEPT_VALUE_BYTES)).await;
                    if shared.note(put).is_none() {
                        break;
                    }
                    written += 1;
                    tokio::time::sleep(PACE).await;
                    let key = filled_key(scatter(written * 64 + task as u64) % filled);
                    let got = client.get(key.clone()).await;
                    let Some(got) = shared.note(got) else { break };
                    // It may be deleted by now, but never be something else.
                    let is_right = got.is_none_or(|got| got == value(&key, value_bytes));
                    assert!(is_right, "{key} has another value than was written");
                    tokio::time::sleep(PACE).await;
                }
                written
            });
        }
    }

    /// Reads all that it was filled with. Returns how many pairs that were.
    pub async fn check_filled(&self) -> Result<u64> {
        let page = (PAGE_BYTES / self.value_bytes.max(1)) as u32;
        let start = "fill/".to_owned();
        let seen = self.scan(start, "fill0", page, self.value_bytes).await?;
        match seen == self.filled {
            true => Ok(seen),
            false => Err(Error::Lost {
                seen,
                written: self.filled,
            }),
        }
    }

    /// Deletes all that it was filled with.
    pub async fn delete_filled(&self) -> Result<()> {
        for part in 0..=0xff_u8 {
            let start = format!("fill/{part:02x}");
            let end = part
                .checked_add(1)
                .map_or("fill0".to_owned(), |next| format!("fill/{next:02x}"));
            self.client.delete_range(start..end).await?;
        }
        Ok(())
    }

    /// Ends the tasks, and reads all that they wrote. Returns how many pairs that were.
    pub async fn stop(&mut self) -> Result<u64> {
        self.shared.ends.store(true, Ordering::Relaxed);
        let written = std::mem::take(&mut self.tasks)
            .join_all()
            .await
            .iter()
            .sum();
        self.failed()?;
        let page = (PAGE_BYTES / KEPT_VALUE_BYTES) as u32;
        let seen = self
            .scan("kept/".to_owned(), "kept0", page, KEPT_VALUE_BYTES)
            .await?;
        match seen == written {
            true => Ok(seen),
            false => Err(Error::Lost { seen, written }),
        }
    }

    async fn scan(&self, start: String, end: &str, page: u32, value_bytes: usize) -> Result<u64> {
        let (mut start, end) = (Key::from(start), Key::from(end.to_owned()));
        let mut seen = 0;
        loop {
            let range = BoundRange::from(start.clone()..end.clone());
            let mut pairs = self.client.scan(range, page).await?;
            // Behind the last Region the client begins anew, with the first one.
            pairs.retain(|KvPair(key, _)| *key >= start && *key < end);
            for KvPair(key, found) in &pairs {
                let key = String::from_utf8_lossy(key.into()).into_owned();
                assert!(
                    *found == value(&key, value_bytes),
                    "{key} has another value than was written"
                );
            }
            seen += pairs.len() as u64;
            let Some(KvPair(last, _)) = pairs.last() else {
                return Ok(seen);
            };
            let last: &[u8] = last.into();
            start = Key::from([last, &[0]].concat());
        }
    }
}

/// Spread over the key space, so that all Regions grow at once.
fn filled_key(number: u64) -> String {
    format!("fill/{:016x}", number.reverse_bits())
}

fn kept_key(task: usize, number: u64) -> String {
    format!("kept/{task:03}/{number:08}")
}

/// Some other number for each number.
fn scatter(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

fn value(key: &str, bytes: usize) -> Vec<u8> {
    let mut value = key.as_bytes().repeat(bytes / key.len() + 1);
    value.truncate(bytes);
    value
}
