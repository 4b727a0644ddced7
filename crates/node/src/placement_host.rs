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
//! **Not here.** Decisions (`host_core`, `placement`). Known gap: a leader that can't use the state says so
//! and goes on leading, for there is no way yet to hand leadership over.

mod handle;
pub mod host_core;
mod region;
#[cfg(test)]
mod tests;

use crate::meters::Meters;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use handle::{Answer, Call};
use host_core::{Core, Done, Effect, Input, Job};
use placement::{Now, RegionInstruction};
use raftstore::RequestContext;
use region::PlacementRegion;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, oneshot};
use types::RequestId;

pub(crate) use handle::{Inbox, PlacementObserver, channel};
pub use handle::{PlacementAnswer, PlacementHandle};

const TICK: Duration = Duration::from_millis(50);
/// Ticks between two looks at what there is to count.
const COUNT_TICKS: u32 = 10;

pub(crate) struct Host<R> {
    region: R,
    core: Core,
    started: Instant,
    last_id: u64,
    waiting: HashMap<RequestId, oneshot::Sender<Answer>>,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    instructions: broadcast::Sender<RegionInstruction>,
    meters: Meters,
    /// Ticks since what there is to count was looked at.
    uncounted_ticks: u32,
}

impl<R: PlacementRegion> Host<R> {
    pub(crate) fn new(region: R, config: placement::Config, inbox: &Inbox, meters: Meters) -> Self {
        Self {
            region,
            core: Core::new(config),
            started: Instant::now(),
            last_id: 0,
            waiting: HashMap::new(),
            jobs: FuturesUnordered::new(),
            instructions: inbox.instructions.clone(),
            meters,
            uncounted_ticks: COUNT_TICKS,
        }
    }

    pub(crate) async fn run(mut self, mut inbox: Inbox) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                Some(leadership) = inbox.elections.recv() => self.step(Input::Leadership(leadership)),
                Some(done) = self.jobs.next() => self.step(Input::Done(done)),
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
            *self.meters.placement.lock() = self.core.placement().stats(self.now());
        }
    }

    fn call(&mut self, call: Call) {
        self.last_id += 1;
        let id = RequestId(self.last_id);
        self.waiting.insert(id, call.answer);
        let request = call.request;
        self.step(Input::Request { id, request });
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.step(self.now(), input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Begin {
                    context,
                    after,
                    job,
                } => self.begin(context, after, job),
                Effect::Reply { id, result } => {
                    failpoint::at!("node::placement::answer");
                    if let Some(sender) = self.waiting.remove(&id) {
                        // The asker may have gone.
                        let _ = sender.send(result);
                    }
                }
                Effect::Instruct(told) => self.instruct(told),
                Effect::Notice(notice) => tracing::warn!("{notice}"),
                Effect::Unread { term, reason } => {
                    tracing::warn!(term, reason, "the placement state can't be read yet");
                }
            }
        }
    }

    fn instruct(&self, told: RegionInstruction) {
        failpoint::at!("node::placement::instruct", |_| ());
        // Nobody may listen, and it is said again.
        let _ = self.instructions.send(told);
    }

    fn begin(&mut self, context: RequestContext, after: Duration, job: Job) {
        let region = self.region.clone();
        self.jobs.push(Box::pin(async move {
            pause(after).await;
            let term = context.term;
            match job {
                Job::Load => Done::Loaded(term, region.read_all(context).await),
                Job::Confirm(confirm) => Done::Confirmed(confirm, region.confirm(context).await),
                Job::Persist(write, command) => {
                    failpoint::at!("node::placement::persist");
                    Done::Persisted(write, region.write(context, command).await)
                }
            }
        }));
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            monotonic_ms: self.started.elapsed().as_millis() as u64,
            wall_ms: wall.map_or(0, |wall| wall.as_millis() as u64),
        }
    }
}

/// A timer would round no wait at all up to a millisecond.
async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}
