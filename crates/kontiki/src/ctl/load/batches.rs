//! From a stream of pairs to batches that are written by several workers at once.
//!
//! **Invariants.** A key always goes to the same worker, and a worker writes its batches one after
//! the other: when a key occurs twice in a file, its last value stays. A batch has each key once.
//! Every line that came in is counted in the tally, whatever became of it. Memory is bounded: each
//! worker has one batch in hand, one that waits, and one that fills.
//!
//! **Not here.** Retries: the [`Sink`] does its own.

use super::lines::Pair;
use super::report::{Failure, Span, Tally};
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
    fn write(
        &self,
        pairs: Vec<(Bytes, Bytes)>,
    ) -> impl Future<Output = Result<(), NotWritten>> + Send;
}

/// Why pairs may not have been written, with the reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// Some of the pairs are such that they are never taken; others may be fine.
    Refused(String),
    /// The cluster can't be reached, or takes nothing at all.
    Unavailable(String),
}

/// How much is written at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most pairs in a batch.
    pub batch_pairs: usize,
    /// The most bytes of keys and values in a batch; only a pair that is larger by itself exceeds it.
    pub batch_bytes: usize,
    /// Batches in flight.
    pub workers: usize,
}

/// A key with the last value of it that came, and the lines that were about it.
struct Entry {
    key: Bytes,
    value: Bytes,
    span: Span,
    /// Of the keys and values of all these lines.
    bytes: usize,
}

/// Pairs with different keys, in the order in which the keys came.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    places: HashMap<Bytes, usize>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, line: u64, Pair { key, value }: Pair) {
        let (span, bytes) = (Span::line(line), size(&key, &value));
        self.bytes += bytes;
        if let Some(&place) = self.places.get(&key) {
            let entry = &mut self.entries[place];
            entry.value = value;
            entry.span = entry.span.and(span);
            entry.bytes += bytes;
            return;
        }
        self.places.insert(key.clone(), self.entries.len());
        self.entries.push(Entry {
            key,
            value,
            span,
            bytes,
        });
    }
}

fn size(key: &Bytes, value: &Bytes) -> usize {
    key.len() + value.len()
}

/// Spreads pairs over the workers. Used from a thread of its own, since it blocks when they are busy.
pub struct Spreader {
    limits: Limits,
    filling: Vec<Batch>,
    queues: Vec<mpsc::Sender<Vec<Entry>>>,
}

impl Spreader {
    /// Takes one pair, and hands on the batch that it would overfill. Blocks while the worker is
    /// behind.
    pub fn push(&mut self, line: u64, pair: Pair) {
        let mut hasher = DefaultHasher::new();
        pair.key.hash(&mut hasher);
        let worker = (hasher.finish() % self.queues.len() as u64) as usize;
        let batch = &self.filling[worker];
        let is_full = batch.entries.len() >= self.limits.batch_pairs
            || batch.bytes + size(&pair.key, &pair.value) > self.limits.batch_bytes;
        if is_full {
            self.hand_on(worker);
        }
        self.filling[worker].push(line, pair);
    }

    /// Hands on what is left, and ends the workers once they have written it.
    pub fn finish(mut self) {
        for worker in 0..self.queues.len() {
            self.hand_on(worker);
        }
    }

    fn hand_on(&mut self, worker: usize) {
        let batch = std::mem::take(&mut self.filling[worker]);
        if !batch.entries.is_empty() {
            // Only a worker that panicked takes nothing, and whoever joins it says so.
            let _ = self.queues[worker].blocking_send(batch.entries);
        }
    }
}

/// Starts the workers. They end when the spreader is finished or dropped.
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

async fn work<S: Sink>(mut batches: mpsc::Receiver<Vec<Entry>>, sink: S, tally: Arc<Tally>) {
    while let Some(batch) = batches.recv().await {
        write(batch, &sink, &tally).await;
    }
}

/// Writes a batch. One that is refused is halved again and again, until the pairs that are at fault
/// stand alone and all others are written.
async fn write<S: Sink>(batch: Vec<Entry>, sink: &S, tally: &Tally) {
    let mut parts = vec![&batch[..]];
    while let Some(part) = parts.pop() {
        let spans = part.iter().map(|entry| entry.span);
        let span = spans.reduce(Span::and).expect("no part is empty");
        if tally.is_hopeless() {
            tally.untried(span.pairs);
            continue;
        }
        let pair = |entry: &Entry| (entry.key.clone(), entry.value.clone());
        match sink.write(part.iter().map(pair).collect()).await {
            Ok(()) => {
                let bytes = part.iter().map(|entry| entry.bytes as u64).sum();
                tally.loaded(span.pairs, bytes);
            }
            Err(NotWritten::Refused(_)) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(NotWritten::Refused(error)) => tally.refused(Failure { span, error }),
            Err(NotWritten::Unavailable(error)) => tally.unavailable(Failure { span, error }),
        }
    }
}
