//! From a stream of pairs to batches that are written by several workers at once.
//!
//! **Invariants.** A key always goes to the same worker, and a worker writes its batches one after
//! the other: when a key occurs twice in a file, its last value stays. A batch has each key once.
//! Memory is bounded: each worker has one batch in hand, one that waits, and one that fills.
//!
//! **Not here.** Retries: the [`Sink`] does its own.

use super::lines::Pair;
use super::report::{Failure, Tally};
use bytes::Bytes;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Where pairs are written to.
pub trait Sink: Clone + Send + Sync + 'static {
    /// Writes all pairs, or says why it may not have. Each key occurs once.
    fn write(&self, pairs: Vec<(Bytes, Bytes)>) -> impl Future<Output = Result<(), String>> + Send;
}

/// How much is written at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most pairs in a batch.
    pub batch_pairs: usize,
    /// The bytes after which a batch is written.
    pub batch_bytes: usize,
    /// Batches in flight.
    pub workers: usize,
}

/// Pairs with different keys, in the order in which the keys came.
#[derive(Default)]
struct Batch {
    pairs: Vec<(Bytes, Bytes)>,
    places: HashMap<Bytes, usize>,
    bytes: usize,
    first_line: u64,
    last_line: u64,
    /// Lines in it, more than pairs when keys repeat.
    lines: u64,
}

impl Batch {
    fn push(&mut self, line: u64, pair: Pair) {
        if self.lines == 0 {
            self.first_line = line;
        }
        self.last_line = line;
        self.lines += 1;
        self.bytes += pair.key.len() + pair.value.len();
        match self.places.get(&pair.key) {
            Some(place) => self.pairs[*place].1 = pair.value,
            None => {
                self.places.insert(pair.key.clone(), self.pairs.len());
                self.pairs.push((pair.key, pair.value));
            }
        }
    }
}

/// Spreads pairs over the workers. Used from a thread of its own, since it blocks when they are busy.
pub struct Spreader {
    limits: Limits,
    filling: Vec<Batch>,
    queues: Vec<mpsc::Sender<Batch>>,
}

/// All workers have given up; there is no use in reading on.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp;

impl Spreader {
    /// Takes one pair, and hands a batch on when it is full. Blocks while the worker is behind.
    pub fn push(&mut self, line: u64, pair: Pair) -> Result<(), GivenUp> {
        let mut hasher = DefaultHasher::new();
        pair.key.hash(&mut hasher);
        let worker = (hasher.finish() % self.queues.len() as u64) as usize;
        let batch = &mut self.filling[worker];
        batch.push(line, pair);
        if batch.pairs.len() >= self.limits.batch_pairs || batch.bytes >= self.limits.batch_bytes {
            let full = std::mem::take(batch);
            self.queues[worker]
                .blocking_send(full)
                .map_err(|_| GivenUp)?;
        }
        Ok(())
    }

    /// Hands on what is left, and ends the workers once they have written it.
    pub fn finish(self) -> Result<(), GivenUp> {
        for (batch, queue) in self.filling.into_iter().zip(self.queues) {
            if batch.lines > 0 {
                queue.blocking_send(batch).map_err(|_| GivenUp)?;
            }
        }
        Ok(())
    }
}

/// Starts the workers. They end when the spreader is finished or dropped, or when `tally` says that
/// too much has failed.
pub fn start<S: Sink>(limits: Limits, sink: &S, tally: &Arc<Tally>) -> (Spreader, JoinSet<()>) {
    assert!(
        limits.workers > 0 && limits.batch_pairs > 0,
        "nothing would ever be written"
    );
    let mut workers = JoinSet::new();
    let mut queues = Vec::with_capacity(limits.workers);
    for _ in 0..limits.workers {
        let (queue, batches) = mpsc::channel(1);
        queues.push(queue);
        workers.spawn(work(batches, sink.clone(), tally.clone()));
    }
    let filling = queues.iter().map(|_| Batch::default()).collect();
    (
        Spreader {
            limits,
            filling,
            queues,
        },
        workers,
    )
}

async fn work<S: Sink>(mut batches: mpsc::Receiver<Batch>, sink: S, tally: Arc<Tally>) {
    while let Some(batch) = batches.recv().await {
        let (lines, bytes) = (batch.lines, batch.bytes as u64);
        let (first_line, last_line) = (batch.first_line, batch.last_line);
        match sink.write(batch.pairs).await {
            Ok(()) => tally.loaded(lines, bytes),
            Err(error) => tally.failed(Failure {
                first_line,
                last_line,
                pairs: lines,
                error,
            }),
        }
        if tally.is_hopeless() {
            return;
        }
    }
}
