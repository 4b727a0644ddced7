//! What the host decides, without time, threads or waiting: which jobs the driver's effects come to in
//! the term in which this node leads, and what to make of how they end.
//!
//! **Why apart.** The simulation runs the same decisions over its own Regions, clocks and faults.
//!
//! **Invariants.** A job carries the term in which it was begun, so that what comes of it later counts
//! in that term only. A leader whose state could not be read asks for it again, and for nothing else.
//!
//! **Who retries.** The host, what only asks: the state and confirmations, until there is an answer or
//! leadership ends. The driver, what writes: only it knows what a failed write leaves behind.

use super::region::Pairs;
use bytes::Bytes;
use engine::Cf;
use placement::{
    ConfirmId, Error, Notice, Now, PersistFailed, Placement, RegionInstruction, Request, Response,
    WriteId,
};
use raftstore::{Command, Leadership, Mutation, RequestContext, RequestError};
use std::time::Duration;
use types::{Peer, RegionId, RequestId};

/// Until what found no answer is asked for again.
const RETRY: Duration = Duration::from_millis(20);

/// The placement driver and who it is on this node.
#[derive(Debug)]
pub struct Core {
    placement: Placement,
    /// How to address the placement Region in the term in which this node leads it.
    leading: Option<RequestContext>,
    /// Why the state could not be read, as said last.
    said: String,
}

/// What happens to the host.
#[derive(Debug)]
pub enum Input {
    /// The placement Region's replica here has heard of a leader.
    Leadership(Leadership),
    /// Somebody asks. Answered by one [`Effect::Reply`].
    Request {
        /// By which it is answered.
        id: RequestId,
        /// What.
        request: Request,
    },
    /// A job has ended.
    Done(Done),
    /// Time has passed: about every 50 ms.
    Tick,
}

/// What the host has to do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Begin a job. It may take long, and others run beside it.
    Begin {
        /// How to address the placement Region.
        context: RequestContext,
        /// Wait so long before.
        after: Duration,
        /// What to do.
        job: Job,
    },
    /// Answer a request; whoever asked may have gone.
    Reply {
        /// Which.
        id: RequestId,
        /// The answer.
        result: Result<Response, Error>,
    },
    /// Tell whoever leads a Region. It may be lost, and is said again.
    Instruct(RegionInstruction),
    /// Tell the operators.
    Notice(Notice),
    /// The state can't be read yet.
    Unread {
        /// In this term.
        term: u64,
        /// For this reason.
        reason: String,
    },
}

/// Work on the placement Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Read all of it, as a linearizable read.
    Load,
    /// Find out whether this node leads in the context's term at a moment from now on.
    Confirm(ConfirmId),
    /// Replicate and apply a command, in the context's term only.
    Persist(WriteId, Command),
}

/// How a job has ended.
#[derive(Debug)]
pub enum Done {
    /// [`Job::Load`], in this term.
    Loaded(u64, Result<Pairs, String>),
    /// [`Job::Confirm`].
    Confirmed(ConfirmId, Result<(), RequestError>),
    /// [`Job::Persist`].
    Persisted(WriteId, Result<(), RequestError>),
}

impl Core {
    /// A node that does not lead yet.
    pub fn new(config: placement::Config) -> Self {
        Self {
            placement: Placement::new(config),
            leading: None,
            said: String::new(),
        }
    }

    /// The driver.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Takes one input and appends what the host has to do to `effects`, in order.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Leadership(leadership) => self.leadership(now, &leadership, effects),
            Input::Request { id, request } => {
                self.drive(now, placement::Input::Request { id, request }, effects);
            }
            Input::Done(done) => self.done(now, done, effects),
            Input::Tick => self.drive(now, placement::Input::Tick, effects),
        }
    }

    fn leadership(&mut self, now: Now, leadership: &Leadership, effects: &mut Vec<Effect>) {
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
            self.drive(now, placement::Input::Deposed, effects);
        }
        if leadership.is_self {
            self.drive(now, placement::Input::Elected { term }, effects);
            self.begin(Job::Load, Duration::ZERO, effects);
        }
    }

    fn done(&mut self, now: Now, done: Done, effects: &mut Vec<Effect>) {
        match done {
            Done::Loaded(term, Ok(state)) => {
                self.drive(now, placement::Input::Loaded { term, state }, effects);
            }
            Done::Loaded(term, Err(reason)) => self.load_failed(term, reason, effects),
            Done::Persisted(write, result) => {
                let failed = |error: RequestError| PersistFailed {
                    reason: error.to_string(),
                };
                let result = result.map_err(failed);
                self.drive(now, placement::Input::Persisted { write, result }, effects);
            }
            Done::Confirmed(confirm, result) => match still_leads(&result) {
                Some(leads) => {
                    self.drive(now, placement::Input::Confirmed { confirm, leads }, effects);
                }
                None => self.begin(Job::Confirm(confirm), RETRY, effects),
            },
        }
    }

    fn load_failed(&mut self, term: u64, reason: String, effects: &mut Vec<Effect>) {
        if self.leading.as_ref().is_some_and(|now| now.term == term) {
            if self.said != reason {
                self.said.clone_from(&reason);
                effects.push(Effect::Unread { term, reason });
            }
            self.begin(Job::Load, RETRY, effects);
        }
    }

    fn drive(&mut self, now: Now, input: placement::Input, effects: &mut Vec<Effect>) {
        let mut driven = Vec::new();
        self.placement.step(now, input, &mut driven);
        for effect in driven {
            match effect {
                placement::Effect::Reply { id, result } => {
                    effects.push(Effect::Reply { id, result });
                }
                placement::Effect::Notice(notice) => effects.push(Effect::Notice(notice)),
                placement::Effect::Instruct(told) => effects.push(Effect::Instruct(told)),
                placement::Effect::Persist { write, puts } => {
                    let command = Command::Write(puts.into_iter().map(mutation).collect());
                    self.begin(Job::Persist(write, command), Duration::ZERO, effects);
                }
                placement::Effect::Confirm { confirm } => {
                    self.begin(Job::Confirm(confirm), Duration::ZERO, effects);
                }
            }
        }
    }

    /// Begins a job in the term in which this node leads. Without one nobody waits for it.
    fn begin(&self, job: Job, after: Duration, effects: &mut Vec<Effect>) {
        if let Some(context) = self.leading.clone() {
            effects.push(Effect::Begin {
                context,
                after,
                job,
            });
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
