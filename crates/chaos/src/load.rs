//! The load: clients that go where they are sent, and others that only ever ask one node.
//!
//! **Two kinds.** A *guided* client is the project's own: it finds leaders, and leaves a node that does not answer.
//! It does not send a write again whose answer is lost, for that could take effect twice. A *stubborn* client
//! asks one node, whether that leads, has just been deposed, is cut off, stopped or gone, and takes what
//! it says: this is how stale reads would be seen.
//!
//! **Invariants.** A client has one request under way. It never stops but when it is told to.
//!
//! **Not here.** What the answers must agree with (`verdict`).

use crate::layout::{Key, SLOTS};
use crate::recorder::{Answer, Ask, Recorder};
use crate::stubborn::{Habit, Stubborn};
use bytes::Bytes;
use client::{Client, Error};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use workload::Rng;

/// The longest pause of a client between two requests.
const THINK_MS_MAX: u64 = 20;
/// So many of a hundred requests are of these kinds; the others are puts.
const GETS: u64 = 45;
const SCANS: u64 = 4;
const SWAPS: u64 = 16;
const DELETES: u64 = 4;

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts them: each with a number of its own, and its random numbers from the seed.
    pub fn start(
        recorder: &Arc<Recorder>,
        guided: Vec<Client>,
        stubborn: Vec<Stubborn>,
        seed: u64,
    ) -> Load {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        let askers = guided.into_iter().map(Asker::Guided);
        let askers = askers.chain(
            stubborn
                .into_iter()
                .map(|one| Asker::Stubborn(Box::new(one))),
        );
        for (number, asker) in (1..).zip(askers) {
            let worker = Worker {
                name: asker.name(number),
                recorder: Arc::clone(recorder),
                // Stream 0 and those behind it are the schedule's.
                rng: Rng::new(seed, u64::MAX - number),
                seen: BTreeMap::new(),
            };
            tasks.spawn(worker.work(asker, Arc::clone(&stop)));
        }
        Load { stop, tasks }
    }

    /// Waits until each has the answer to its last request.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

enum Asker {
    Guided(Client),
    Stubborn(Box<Stubborn>),
}

impl Asker {
    fn name(&self, number: u64) -> String {
        match self {
            Self::Guided(_) => format!("client {number}"),
            Self::Stubborn(stubborn) => format!("client {number} of n{}", stubborn.node() + 1),
        }
    }

    fn only_reads(&self) -> bool {
        matches!(self, Self::Stubborn(stubborn) if stubborn.habit() == Habit::OnlyReads)
    }

    async fn ask(&mut self, key: Key, ask: Ask) -> Answer {
        match self {
            Self::Guided(client) => guided(client, key, ask).await,
            Self::Stubborn(stubborn) => stubborn.ask(key, ask).await,
        }
    }
}

struct Worker {
    name: String,
    recorder: Arc<Recorder>,
    rng: Rng,
    /// What it last saw or wrote, by key.
    seen: BTreeMap<Key, Option<u64>>,
}

impl Worker {
    async fn work(mut self, mut asker: Asker, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let slot = self.rng.below(SLOTS as u64) as usize;
            let key = self.recorder.key(slot);
            self.seen
                .retain(|seen, _| seen.slot != slot || *seen == key);
            let drawn = match asker.only_reads() {
                true => Some(Ask::Get),
                false => self.draw(key),
            };
            match drawn {
                Some(ask) => {
                    let invoked = self.recorder.stamp();
                    let answer = asker.ask(key, ask).await;
                    self.learn(key, ask, answer);
                    let done = (invoked, answer);
                    self.recorder.note(&self.name, key, ask, done);
                }
                None => self.scan(&asker, key).await,
            }
            let think = Duration::from_millis(self.rng.below(THINK_MS_MAX));
            tokio::time::sleep(think).await;
        }
    }

    /// What to ask next about a key; none is a scan.
    fn draw(&mut self, key: Key) -> Option<Ask> {
        let new = self.recorder.fresh_value();
        let draw = self.rng.below(100);
        Some(match draw {
            _ if draw < GETS => Ask::Get,
            _ if draw < GETS + SCANS => return None,
            _ if draw < GETS + SCANS + SWAPS => Ask::Swap {
                expected: self.seen.get(&key).copied().flatten(),
                new,
            },
            _ if draw < GETS + SCANS + SWAPS + DELETES => Ask::Delete,
            _ => Ask::Put(new),
        })
    }

    fn learn(&mut self, key: Key, ask: Ask, answer: Answer) {
        let now = match (ask, answer) {
            (Ask::Put(value), Answer::Written) => Some(value),
            (Ask::Delete, Answer::Written) => None,
            (Ask::Swap { new, .. }, Answer::Swapped(true, _)) => Some(new),
            (_, Answer::Swapped(false, found) | Answer::Found(found)) => found,
            (_, _) => return,
        };
        self.seen.insert(key, now);
    }

    /// Reads a key and the one before it in its slot by a scan. Stubborn clients read the key.
    async fn scan(&mut self, asker: &Asker, key: Key) {
        let Asker::Guided(client) = asker else {
            return;
        };
        let (before, behind) = (key.generation - 1, key.generation + 1);
        let at = |generation| Key { generation, ..key }.bytes();
        let invoked = self.recorder.stamp();
        let found = client.scan(&at(before), &at(behind), 10).await;
        for generation in before.max(1)..behind {
            let key = Key { generation, ..key };
            let answer = match &found {
                Ok(pairs) => {
                    let pair = pairs.iter().find(|(found, _)| *found == key.bytes());
                    Answer::Found(pair.map(|(_, value)| number(value)))
                }
                Err(_) => Answer::Unknown,
            };
            let done = (invoked, answer);
            self.recorder.note(&self.name, key, Ask::Get, done);
        }
    }
}

/// A value as it is written.
pub fn text(value: u64) -> Bytes {
    value.to_string().into()
}

/// The value that this is; one that nobody writes, if it is no number.
pub fn number(text: &[u8]) -> u64 {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

async fn guided(client: &Client, key: Key, ask: Ask) -> Answer {
    let key = key.bytes();
    let answer = match ask {
        Ask::Get => {
            let found = client.get(&key).await;
            found.map(|found| Answer::Found(found.map(|value| number(&value))))
        }
        Ask::Put(value) => client
            .put(&key, text(value))
            .await
            .map(|()| Answer::Written),
        Ask::Delete => client.delete(&key).await.map(|()| Answer::Written),
        Ask::Swap { expected, new } => {
            let swap = client.compare_and_swap(&key, expected.map(text), text(new));
            swap.await.map(|swap| {
                let previous = swap.previous.map(|value| number(&value));
                Answer::Swapped(swap.swapped, previous)
            })
        }
    };
    answer.unwrap_or_else(|error| fate(&error))
}

/// What an error promises about the request.
fn fate(error: &Error) -> Answer {
    match error {
        Error::NoMember { .. }
        | Error::Deadline { .. }
        | Error::Refused { .. }
        | Error::Invalid(_)
        | Error::TooLarge { .. }
        | Error::DiskFull { .. } => Answer::Refused,
        Error::Undetermined { .. }
        | Error::ForeignMember { .. }
        | Error::NoKeyspace(_)
        | Error::Protocol(_) => Answer::Unknown,
    }
}
