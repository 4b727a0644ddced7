//! Hosts the placement driver: feeds it, and performs its effects through the placement Region.
//!
//! The driver's state is the reserved Region; whoever leads that Region under a confirmed term is the
//! placement leader. On an election the host reads all of the state (a linearizable read, so the
//! leader has committed in its own term and sees every earlier write), and only then the driver serves.
//!
//! **Invariants.** A write of the driver is bound to the term it was elected in, so that a deposed
//! leader's late write is refused, never applied after its successor has loaded. A timestamp is
//! released only after leadership was confirmed at a moment after it was allocated.
//!
//! **Who retries.** The host, what only asks: the state and confirmations, until there is an answer or
//! leadership ends. The driver, what writes: only it knows what a failed write leaves behind.
//!
//! **Not here.** Decisions (`placement`). Known gap: a leader that can't use the state says so and
//! goes on leading, for there is no way yet to hand leadership over.

mod handle;
mod region;
#[cfg(test)]
mod tests;

use crate::meters::Meters;
use bytes::Bytes;
use engine::Cf;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use handle::{Answer, Call};
use placement::{
    ConfirmId, Effect, Input, Now, PersistFailed, Placement, RegionInstruction, WriteId,
};
use raftstore::{Command, Leadership, Mutation, RequestContext, RequestError};
use region::{Pairs, PlacementRegion};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, oneshot};
use types::{Peer, RegionId, RequestId};

pub(crate) use handle::{Inbox, PlacementObserver, channel};
pub use handle::{PlacementAnswer, PlacementHandle};

const TICK: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_millis(20);
/// Ticks between two looks at what there is to count.
const COUNT_TICKS: u32 = 10;

/// A piece of work that has ended.
enum Done {
    Loaded(u64, Result<Pairs, String>),
    Persisted(WriteId, Result<(), RequestError>),
    Confirmed(ConfirmId, Result<(), RequestError>),
}

pub(crate) struct Host<R> {
    region: R,
    placement: Placement,
    /// How to address the placement Region in the term in which this node leads it.
    leading: Option<RequestContext>,
    started: Instant,
    last_id: u64,
    waiting: HashMap<RequestId, oneshot::Sender<Answer>>,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    instructions: broadcast::Sender<RegionInstruction>,
    /// Why the state could not be read, as logged last.
    said: String,
    meters: Meters,
    /// Ticks since what there is to count was looked at.
    uncounted_ticks: u32,
}

impl<R: PlacementRegion> Host<R> {
    pub(crate) fn new(region: R, config: placement::Config, inbox: &Inbox, meters: Meters) -> Self {
        Self {
            region,
            placement: Placement::new(config),
            leading: None,
            started: Instant::now(),
            last_id: 0,
            waiting: HashMap::new(),
            jobs: FuturesUnordered::new(),
            instructions: inbox.instructions.clone(),
            said: String::new(),
            meters,
            uncounted_ticks: COUNT_TICKS,
        }
    }

    pub(crate) async fn run(mut self, mut inbox: Inbox) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                Some(leadership) = inbox.elections.recv() => self.leadership(&leadership),
                Some(done) = self.jobs.next() => self.done(done),
                call = inbox.calls.recv() => match call {
                    Some(call) => self.call(call),
                    None => return,
                },
                _ = ticks.tick() => {
                    self.step(Input::Tick);
                    self.count();
                }
            }
        }
    }

    /// Shows what there is to count, now and then.
    fn count(&mut self) {
        self.uncounted_ticks += 1;
        if self.uncounted_ticks >= COUNT_TICKS {
            self.uncounted_ticks = 0;
            *self.meters.placement.lock() = self.placement.stats(self.now());
        }
    }

    fn call(&mut self, call: Call) {
        self.last_id += 1;
        let id = RequestId(self.last_id);
        self.waiting.insert(id, call.answer);
        let request = call.request;
        self.step(Input::Request { id, request });
    }

    fn leadership(&mut self, leadership: &Leadership) {
        let term = leadership.term;
        let led = self.leading.take();
        if leadership.is_self {
            self.leading = Some(RequestContext {
                region_id: RegionId::PLACEMENT,
                epoch: leadership.epoch,
                peer: Peer::default(),
                term,
                replica_read: false,
            });
        }
        let led_term = led.map(|context| context.term);
        if leadership.is_self && led_term == Some(term) {
            // A term has one leader, and the driver knows; only the epoch is new.
            return;
        }
        if led_term.is_some() {
            self.step(Input::Deposed);
        }
        if leadership.is_self {
            self.step(Input::Elected { term });
            self.load(Duration::ZERO);
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Loaded(term, Ok(state)) => self.step(Input::Loaded { term, state }),
            Done::Loaded(term, Err(reason)) => self.load_failed(term, reason),
            Done::Persisted(write, result) => {
                let failed = |error: RequestError| PersistFailed {
                    reason: error.to_string(),
                };
                let result = result.map_err(failed);
                self.step(Input::Persisted { write, result });
            }
            Done::Confirmed(confirm, result) => match still_leads(&result) {
                Some(leads) => self.step(Input::Confirmed { confirm, leads }),
                None => self.confirm(confirm, RETRY),
            },
        }
    }

    fn load_failed(&mut self, term: u64, reason: String) {
        if self.leading.as_ref().is_some_and(|now| now.term == term) {
            if self.said != reason {
                tracing::warn!(term, reason, "the placement state can't be read yet");
                self.said = reason;
            }
            self.load(RETRY);
        }
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.placement.step(self.now(), input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Reply { id, result } => {
                    if let Some(sender) = self.waiting.remove(&id) {
                        // The asker may have gone.
                        let _ = sender.send(result);
                    }
                }
                Effect::Notice(notice) => tracing::warn!("{notice}"),
                // Nobody may listen, and it is said again.
                Effect::Instruct(told) => _ = self.instructions.send(told),
                Effect::Persist { write, puts } => self.persist(write, puts),
                Effect::Confirm { confirm } => self.confirm(confirm, Duration::ZERO),
            }
        }
    }

    /// Begins to read the state, after `wait`.
    fn load(&mut self, wait: Duration) {
        self.begin(|region, context| async move {
            pause(wait).await;
            Done::Loaded(context.term, region.read_all(context).await)
        });
    }

    /// Begins to find out, after `wait`, whether this node still leads.
    fn confirm(&mut self, confirm: ConfirmId, wait: Duration) {
        self.begin(|region, context| async move {
            pause(wait).await;
            Done::Confirmed(confirm, region.confirm(context).await)
        });
    }

    fn persist(&mut self, write: WriteId, puts: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let command = Command::Write(puts.into_iter().map(mutation).collect());
        self.begin(|region, context| async move {
            Done::Persisted(write, region.write(context, command).await)
        });
    }

    /// Begins a job in the term in which this node leads. Without one nobody waits for it.
    fn begin<J>(&mut self, job: impl FnOnce(R, RequestContext) -> J)
    where
        J: Future<Output = Done> + Send + 'static,
    {
        if let Some(context) = self.leading.clone() {
            self.jobs.push(Box::pin(job(self.region.clone(), context)));
        }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            monotonic_ms: self.started.elapsed().as_millis() as u64,
            wall_ms: wall.map_or(0, |wall| wall.as_millis() as u64),
        }
    }
}

/// Whether this node still led; `None` if the question found no answer.
fn still_leads(result: &Result<(), RequestError>) -> Option<bool> {
    match result {
        Ok(()) => Some(true),
        Err(
            RequestError::NotLeader { .. }
            | RequestError::StaleCommand
            | RequestError::RegionNotFound { .. },
        ) => Some(false),
        Err(_) => None,
    }
}

fn mutation((key, value): (Vec<u8>, Option<Vec<u8>>)) -> Mutation {
    let (cf, key) = (Cf::Default, Bytes::from(key));
    match value {
        Some(value) => Mutation::Put {
            cf,
            key,
            value: value.into(),
        },
        None => Mutation::Delete { cf, key },
    }
}

/// A timer would round no wait at all up to a millisecond.
async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}
