//! The part of a leader that schedules: it hears of Regions, keeps operators going, and lets checkers
//! and schedulers begin new ones.
//!
//! **When.** A Region is checked when it reports. Schedulers run when time passes. What a leader has to do
//! is the answer to its report; what begins between two reports is told at once, by
//! [`Effect::Instruct`](crate::Effect::Instruct).
//!
//! **Invariants.** Nothing is balanced before most Regions have reported to this leader. Nothing of this is
//! persisted but the settings and the list of schedulers.
//!
//! **Not here.** Requests of operators: `control`.

use crate::check;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::Result;
use crate::health::Health;
use crate::ids::{Ids, PeerIds};
use crate::instruct::RegionInstruction;
use crate::message::Now;
use crate::observed::Observed;
use crate::operator::Operator;
use crate::operators::Operators;
use crate::rng::Rng;
use crate::schedule::{self, Groups, Means, evict_slow_store};
use crate::schedulers::{self, SchedulerName, SchedulerView, Turns};
use crate::settings::Settings;
use crate::state::Durable;
use std::collections::BTreeSet;
use types::{RegionId, StoreId};

/// The most operators that a scheduler begins in one turn.
const BURST: usize = 32;
/// How often operators are looked at that nobody reports on.
const UPKEEP_MS: u64 = 1_000;

/// What is known at one moment, and ids.
pub(crate) struct Known<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a Config,
    pub(crate) state: &'a Durable,
    pub(crate) observed: &'a Observed,
    pub(crate) ids: &'a mut Ids,
}

impl<'a> Known<'a> {
    pub(crate) fn health<'b>(&self, settings: &'b Settings) -> Health<'b>
    where
        'a: 'b,
    {
        Health {
            now: self.now,
            settings,
            state: self.state,
            observed: self.observed,
        }
    }

    pub(crate) fn peer_ids(&mut self) -> PeerIds<'_> {
        PeerIds {
            limit: self.state.id_limit,
            ids: self.ids,
        }
    }
}

/// All that scheduling remembers.
#[derive(Debug)]
pub(crate) struct Scheduling {
    pub(crate) settings: Settings,
    pub(crate) operators: Operators,
    pub(crate) groups: Groups,
    turns: Turns,
    rng: Rng,
    /// Stores that are to lead nothing.
    evicted: BTreeSet<StoreId>,
    next_upkeep_ms: u64,
    /// What leaders have to be told.
    outbox: Vec<RegionInstruction>,
}

impl Scheduling {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            operators: Operators::default(),
            groups: Groups::default(),
            turns: Turns::default(),
            rng: Rng::new(seed),
            evicted: BTreeSet::new(),
            next_upkeep_ms: 0,
            outbox: Vec::new(),
        }
    }

    /// A Region has reported. Returns what its leader has to do.
    pub(crate) fn heard(
        &mut self,
        known: &mut Known<'_>,
        id: RegionId,
    ) -> Option<RegionInstruction> {
        let seen = known.observed.region(id)?;
        let health = known.health(&self.settings);
        self.operators.heard(&health, seen);
        if self.operators.get(id).is_none() {
            let cluster = Cluster {
                health,
                config: known.config,
                operators: &self.operators,
                evicted: &self.evicted,
            };
            let found = check::propose(&cluster, &mut known.peer_ids(), seen);
            if !found.is_empty() {
                // Over a limit: the Region reports again.
                let _ = self.operators.begin(&health, found);
            }
        }
        self.operators.instruction(&health, seen)
    }

    /// Time has passed. Returns whether it is time to look after what nobody reports on.
    pub(crate) fn tick(&mut self, known: &mut Known<'_>) -> bool {
        let now_ms = known.now.monotonic_ms;
        let is_upkeep = now_ms >= self.next_upkeep_ms;
        if is_upkeep {
            self.next_upkeep_ms = now_ms + UPKEEP_MS;
            self.upkeep(known);
        }
        if known
            .observed
            .is_prepared(known.now, known.state.routes.len())
        {
            for name in names(known.state) {
                self.run(known, name);
            }
        }
        is_upkeep
    }

    fn upkeep(&mut self, known: &Known<'_>) {
        let health = known.health(&self.settings);
        self.operators.expire(&health);
        let names = names(known.state);
        let asked = names.iter().filter_map(|name| match name {
            SchedulerName::EvictLeader(store) => Some(*store),
            _ => None,
        });
        let mut evicted: BTreeSet<StoreId> = asked.collect();
        if names.contains(&SchedulerName::EvictSlowStore) {
            evicted.extend(evict_slow_store::slow(&health));
        }
        self.evicted = evicted;
        self.turns.keep(&names);
    }

    /// A scheduler's turn, if it is.
    fn run(&mut self, known: &mut Known<'_>, name: SchedulerName) {
        let now_ms = known.now.monotonic_ms;
        if !self.turns.is_due(name, now_ms) {
            return;
        }
        let mut begun = 0;
        while begun < BURST && self.propose_once(known, name) {
            begun += 1;
        }
        self.turns.ran(name, now_ms, begun > 0, &self.settings);
    }

    fn propose_once(&mut self, known: &mut Known<'_>, name: SchedulerName) -> bool {
        if !self
            .operators
            .allows(&self.settings, schedule::kind(name), 1)
        {
            return false;
        }
        let cluster = Cluster {
            health: known.health(&self.settings),
            config: known.config,
            operators: &self.operators,
            evicted: &self.evicted,
        };
        let mut means = Means {
            rng: &mut self.rng,
            ids: known.peer_ids(),
        };
        let found = schedule::propose(name, &cluster, &mut means);
        found.is_some_and(|operator| self.begin(known, vec![operator]).is_ok())
    }

    /// Begins operators that belong together, and has their leaders told.
    pub(crate) fn begin(&mut self, known: &Known<'_>, operators: Vec<Operator>) -> Result<()> {
        let ids: Vec<RegionId> = operators
            .iter()
            .map(|operator| operator.region_id)
            .collect();
        let health = known.health(&self.settings);
        self.operators.begin(&health, operators)?;
        let seen = ids.into_iter().filter_map(|id| known.observed.region(id));
        let told = seen.filter_map(|seen| self.operators.instruction(&health, seen));
        self.outbox.extend(told);
        Ok(())
    }

    /// Decides with all that is known.
    pub(crate) fn with_cluster<T>(
        &mut self,
        known: &mut Known<'_>,
        decide: impl FnOnce(&Cluster<'_>, &mut PeerIds<'_>, &mut Groups) -> T,
    ) -> T {
        let cluster = Cluster {
            health: known.health(&self.settings),
            config: known.config,
            operators: &self.operators,
            evicted: &self.evicted,
        };
        decide(&cluster, &mut known.peer_ids(), &mut self.groups)
    }

    /// What leaders have to be told, since this was asked last.
    pub(crate) fn take_outbox(&mut self) -> impl Iterator<Item = RegionInstruction> {
        std::mem::take(&mut self.outbox).into_iter()
    }

    /// The schedulers that run.
    pub(crate) fn schedulers(&self, state: &Durable, now: Now) -> Vec<SchedulerView> {
        let names = names(state).into_iter();
        names
            .map(|name| self.turns.view(name, now.monotonic_ms))
            .collect()
    }

    /// A scheduler does not run for so long.
    pub(crate) fn pause(&mut self, name: SchedulerName, now: Now, pause_ms: u64) {
        self.turns.pause(name, now.monotonic_ms, pause_ms);
    }
}

/// The schedulers that run.
pub(crate) fn names(state: &Durable) -> Vec<SchedulerName> {
    match &state.schedulers {
        Some(names) => names.to_vec(),
        None => schedulers::DEFAULT.to_vec(),
    }
}
