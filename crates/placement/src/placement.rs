//! Gaining and losing leadership; everything else is a leader's work.
//!
//! **Invariants.**
//! - Terms never go back, and nobody is elected twice in one. A later election begins anew from the
//!   state that comes after it: all requests of before are answered first.
//! - Between an election and its state requests are held, for a bounded time.
//! - A state is taken in once for each election: another may have been read before this leader's
//!   writes.
//! - Windows that this node has used are in every later state. One without them is older than what
//!   was promised, and refused.
//!
//! **Not here.** The election: it is the placement Region's own.

use crate::Error;
use crate::config::Config;
use crate::error::Result;
use crate::leader::{Leader, Step};
use crate::loading::Loading;
use crate::message::{Effect, Input, Notice, Now, Request};
use crate::state::Durable;
use crate::stats::PlacementStats;
use types::RequestId;

/// The placement driver of one node.
#[derive(Debug)]
pub struct Placement {
    config: Config,
    term: u64,
    /// The last number used for a write or confirmation.
    last_number: u64,
    /// What was persisted, for certain, when this node last led.
    used: Used,
    role: Role,
}

/// Windows that were given out from.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    id_limit: u64,
    tso_limit_ms: u64,
}

#[derive(Debug)]
enum Role {
    /// Somebody else leads, or nobody.
    Follower,
    /// This node was elected, and its host reads the state.
    Loading(Loading),
    /// This node leads.
    Leader(Box<Leader>),
    /// This node was elected, but can't read the state. It answers everybody why.
    Unable(Error),
}

impl Placement {
    /// A node that does not lead yet.
    ///
    /// # Panics
    ///
    /// If the cluster's beginning makes no sense: a zero cluster id, Regions that overlap.
    pub fn new(config: Config) -> Self {
        config.check();
        Self {
            config,
            term: 0,
            last_number: 0,
            used: Used::default(),
            role: Role::Follower,
        }
    }

    /// Takes one input and appends what the host has to do to `effects`, in order.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        let Self {
            config,
            last_number,
            used,
            ..
        } = self;
        let mut step = Step {
            now,
            config,
            last_number,
            effects,
        };
        match (input, &mut self.role) {
            (Input::Elected { term }, role) => {
                assert!(
                    term > self.term,
                    "elected in term {term} after term {}",
                    self.term
                );
                self.term = term;
                retire(role, used, &mut step);
                *role = Role::Loading(Loading::default());
            }
            (Input::Loaded { term, state }, Role::Loading(loading)) if term == self.term => {
                let held = loading.take();
                self.role = loaded(&state, used, &mut step);
                for (id, request) in held {
                    handle(&mut self.role, id, request, &mut step);
                }
            }
            (Input::Deposed, role) => retire(role, used, &mut step),
            (Input::Request { id, request }, role) => handle(role, id, request, &mut step),
            (Input::Persisted { write, result }, Role::Leader(leader)) => {
                leader.persisted(write, result, &mut step);
            }
            (Input::Confirmed { confirm, leads }, Role::Leader(leader)) => {
                leader.confirmed(confirm, leads, &mut step);
            }
            (Input::Tick, Role::Loading(loading)) => loading.tick(&mut step),
            (Input::Tick, Role::Leader(leader)) => leader.tick(&mut step),
            (
                Input::Loaded { .. }
                | Input::Persisted { .. }
                | Input::Confirmed { .. }
                | Input::Tick,
                _,
            ) => {}
        }
    }

    /// Whether this node leads and can read the state.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// What there is to count, if this node leads and can read the state.
    pub fn stats(&self, now: Now) -> Option<PlacementStats> {
        match &self.role {
            Role::Leader(leader) => Some(leader.stats(now)),
            Role::Follower | Role::Loading(_) | Role::Unable(_) => None,
        }
    }

    /// Checks all invariants. It takes time and memory in proportion to the state: for tests.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub fn check_invariants(&self) {
        match &self.role {
            Role::Leader(leader) => leader.check_invariants(),
            Role::Loading(loading) => loading.check_invariants(),
            Role::Follower | Role::Unable(_) => {}
        }
    }
}

fn handle(role: &mut Role, id: RequestId, request: Request, step: &mut Step<'_>) {
    match role {
        Role::Follower => step.reply(id, Err(Error::NOT_LEADER)),
        Role::Loading(loading) => loading.hold(id, request, step),
        Role::Unable(error) => step.reply(id, Err(error.clone())),
        Role::Leader(leader) => leader.request(id, request, step),
    }
}

fn retire(role: &mut Role, used: &mut Used, step: &mut Step<'_>) {
    match std::mem::replace(role, Role::Follower) {
        Role::Leader(leader) => {
            let persisted = leader.persisted_state();
            used.id_limit = used.id_limit.max(persisted.id_limit);
            used.tso_limit_ms = used.tso_limit_ms.max(persisted.tso_limit_ms);
            leader.retire(step);
        }
        Role::Loading(mut loading) => {
            for (id, _) in loading.take() {
                step.reply(id, Err(Error::NOT_LEADER));
            }
        }
        Role::Follower | Role::Unable(_) => {}
    }
}

fn loaded(state: &[(Vec<u8>, Vec<u8>)], used: &Used, step: &mut Step<'_>) -> Role {
    match load(state, used, step.config) {
        Ok(persisted) => Role::Leader(Box::new(Leader::new(persisted, step))),
        Err(error) => {
            step.notice(Notice::Unable(error.clone()));
            Role::Unable(error)
        }
    }
}

/// The persisted state, if it is complete, of this cluster and not older than it can be.
fn load(state: &[(Vec<u8>, Vec<u8>)], used: &Used, config: &Config) -> Result<Durable> {
    let persisted = Durable::load(state)?;
    let unusable = |key: &str, reason: &str| {
        Err(Error::StateUnusable {
            key: key.to_string(),
            reason: reason.to_string(),
        })
    };
    let expected = config.bootstrap.cluster_id;
    match persisted.cluster_id {
        Some(found) if found != expected => Err(Error::ForeignCluster { expected, found }),
        None if !state.is_empty() => unusable("c", "there is a state, but no cluster in it"),
        _ if persisted.id_limit < used.id_limit => {
            unusable("i", "it is older than what this node has persisted")
        }
        _ if persisted.tso_limit_ms < used.tso_limit_ms => {
            unusable("t", "it is older than what this node has persisted")
        }
        _ => Ok(persisted),
    }
}
