//! The world: its clock, its events, and the phases of a run.
//!
//! Events happen in the order of their times; a draw from the seed decides between equal times.
//!
//! **Invariants.** Nothing here asks a real clock, starts a thread, or depends on addresses. After the
//! first violation nothing more happens.

use crate::askers::Askers;
use crate::checker::membership;
use crate::checker::raft::RaftChecker;
use crate::checker::replicas::ReplicaChecker;
use crate::client::{Ask, Clients, Heard};
use crate::clock::SimClock;
use crate::faults::Plan;
use crate::hosts::{Asker, HostStep};
use crate::keys::Keys;
use crate::network::Network;
use crate::operator::Operator;
use crate::options::{ActionKind, Options};
use crate::readers::LeaseRead;
use crate::report::{Reads, Report, Violation};
use crate::rng::Rng;
use crate::snapshots::Shipment;
use crate::store::{SimStore, TICK};
use crate::trace::{Listener, Trace};
use bytes::Bytes;
use consistency::{OracleChecker, Verdict};
use node::{Configured, DEFAULT_TOKEN, Members};
use placement::RegionInstruction;
use raftstore::RaftMessage;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use types::{ApiVersion, PeerId, Region, RegionId, RequestId};

/// Stores of a cluster. The first Regions are on the first three; the others begin empty.
const STORES: [usize; 2] = [4, 5];

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// One and a half of the longest election timeout.
const ASLEEP_US: u64 = 300_000;

/// What can happen. Stores are numbered by their position; `life` names the life that it is for.
#[derive(Debug)]
pub(crate) enum Event {
    Tick {
        store: usize,
        life: u64,
    },
    Round {
        store: usize,
        life: u64,
    },
    Deliver(Box<Envelope>),
    DeliverSnapshot(Box<Shipment>),
    Unreachable {
        store: usize,
        life: u64,
        region: RegionId,
        peer: PeerId,
    },
    Request {
        store: usize,
        request: RequestId,
        group: usize,
        ask: Ask,
        /// Whether any replica may answer.
        of_any: bool,
    },
    /// A read was allowed: its asker looks at the data now.
    Look {
        store: usize,
        life: u64,
        request: RequestId,
        region: Arc<Region>,
    },
    /// A read that has looked under a lease checks that it still stands.
    LeaseCheck(Box<LeaseRead>),
    Answer {
        request: RequestId,
        heard: Heard,
    },
    Timeout {
        request: RequestId,
    },
    Turn {
        client: usize,
    },
    /// The operator changes a Region.
    Operate,
    /// A store's placement host hears that time has passed.
    HostTick {
        store: usize,
        life: u64,
    },
    /// It hears who leads its Region: the first news that waits for it.
    HostElection {
        store: usize,
        life: u64,
    },
    /// A job that it has begun goes on.
    Host(Box<HostStep>),
    /// Somebody asks it.
    HostAsked {
        store: usize,
        asker: Asker,
        request: Box<placement::Request>,
    },
    AskerTurn {
        asker: usize,
    },
    AskerHears {
        call: u64,
        result: Box<Result<placement::Response, placement::Error>>,
    },
    AskerTimeout {
        call: u64,
    },
    /// The placement driver has a store do something.
    Instructed {
        store: usize,
        life: u64,
        told: Box<RegionInstruction>,
    },
    Fault,
    PowerCut {
        store: usize,
    },
    Heal {
        disturbance: u64,
    },
    Start {
        store: usize,
    },
}

/// A Raft message under way: its envelope, and Raft's own message as it travels.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) outside: RaftMessage,
    pub(crate) body: Bytes,
}

/// How far the last client of a group has come, once the faults are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    Write,
    Read,
    Done,
}

/// One run.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) plan: Plan,
    seed: u64,
    pub(crate) now_us: u64,
    events: BTreeMap<(u64, u64, u64), Event>,
    last_event: u64,
    order: Rng,
    pub(crate) rng: Rng,
    pub(crate) fault_rng: Rng,
    /// Of the events of faults: see [`World::fault`].
    pub(crate) event_rng: Rng,
    /// How many have come.
    pub(crate) fault_events: u64,
    pub(crate) stores: Vec<SimStore>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) operator: Operator,
    pub(crate) trace: Trace,
    pub(crate) raft: RaftChecker,
    pub(crate) replicas: ReplicaChecker,
    pub(crate) askers: Askers,
    pub(crate) oracle: OracleChecker,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) reads: Reads,
    pub(crate) is_healed: bool,
    /// Whether the placement driver moves and merges, in place of the operator.
    pub(crate) placement_rules: bool,
    /// That were installed.
    pub(crate) snapshots: u64,
    /// Followers that have said that they sleep.
    pub(crate) hibernations: u64,
    /// Until then clients pause.
    pub(crate) lull_until_us: u64,
    /// When a replica has sent one of Raft's messages last; the placement Region's, which never sleep,
    /// aside.
    pub(crate) last_raft_us: u64,
    /// Of each group; empty until the faults are over. Their clients come behind the others.
    pub(crate) closing: Vec<Closing>,
    violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, options: &Options, listener: Option<Listener>) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&options.faults, &mut rng);
        let api = rng.pick(&[ApiVersion::V1, ApiVersion::V2]);
        let placement_rules = rng.chance(500_000) && options.actions.contains(&ActionKind::Obey);
        let names = &NAMES[..rng.pick(&STORES)];
        let listed = (1..)
            .zip(names)
            .map(|(number, name)| format!("{name}=sim:{number}"));
        let listed = listed.collect::<Vec<_>>().join(",");
        let members = Members::parse(&listed).expect("a list of members");
        let mut clock = |name: &str| {
            let configured = Configured {
                name: name.to_owned(),
                members: members.clone(),
                api_version: api,
                token: DEFAULT_TOKEN.to_owned(),
            };
            let drift = rng.below(2 * plan.drift_ppm + 1);
            let tick_us =
                TICK.as_micros() as u64 * (1_000_000 + drift - plan.drift_ppm) / 1_000_000;
            let drift = rng.below(2 * plan.clock_drift_ppm + 1);
            let clock = SimClock::new(1_000_000 + drift - plan.clock_drift_ppm);
            SimStore::new(configured, clock, tick_us)
        };
        let stores: Vec<SimStore> = names.iter().map(|name| clock(name)).collect();
        Self {
            options: options.clone(),
            seed,
            now_us: 0,
            events: BTreeMap::new(),
            last_event: 0,
            order: rng.fork(),
            fault_rng: rng.fork(),
            event_rng: rng.fork(),
            fault_events: 0,
            network: Network::new(&plan, rng.fork()),
            clients: Clients::new(
                Keys::new(names.len(), api),
                options.clients + options.readers,
            ),
            operator: Operator::new(rng.fork()),
            stores,
            trace: Trace::new(options.trace_lines, listener),
            raft: RaftChecker::default(),
            replicas: ReplicaChecker::default(),
            askers: Askers::default(),
            oracle: OracleChecker::default(),
            faults: BTreeMap::new(),
            reads: Reads::default(),
            is_healed: false,
            placement_rules,
            snapshots: 0,
            hibernations: 0,
            lull_until_us: 0,
            last_raft_us: 0,
            closing: Vec::new(),
            violation: None,
            plan,
            rng,
        }
    }

    pub(crate) fn run(mut self) -> Report {
        self.begin();
        self.run_until(self.options.fault_phase_us, |_| false);
        self.heal();
        let healed_us = self.now_us;
        let bound_us = self.options.liveness_us_max;
        if !self.run_until(healed_us + bound_us, Self::is_served) {
            let closing = format!("{:?}", self.closing);
            self.violate(format_args!(
                "a healed cluster does not serve every Region within {bound_us} us: {closing}"
            ));
        }
        let recovery_us = self.now_us - healed_us;
        if !self.run_until(self.now_us + bound_us, Self::is_quiet) {
            let unrest = self.unrest();
            self.violate(format_args!("no rest within {bound_us} us: {unrest}"));
        }
        if !self.run_until(self.now_us + bound_us, Self::is_asleep) {
            self.violate(format_args!(
                "Regions at which nothing happens do not sleep within {bound_us} us"
            ));
        }
        self.clients.give_up_all(&mut self.rng);
        let (checked, undecided) = self.check_history();
        self.report(recovery_us, checked, undecided)
    }

    fn begin(&mut self) {
        for store in 0..self.stores.len() {
            let at = self.rng.below(50_000);
            self.after(at, Event::Start { store });
        }
        for client in 0..self.options.clients + self.options.readers {
            let at = self.rng.below(100_000);
            self.after(at, Event::Turn { client });
        }
        for asker in 0..self.options.askers {
            let at = self.rng.below(100_000);
            self.after(at, Event::AskerTurn { asker });
        }
        let at = self.rng.below(400_000);
        self.after(at, Event::Operate);
        let at = self.fault_rng.below(200_000);
        self.after(at, Event::Fault);
    }

    /// Runs until `done`, at most until the deadline. True if it is done, or nothing matters any more.
    fn run_until(&mut self, deadline_us: u64, done: fn(&Self) -> bool) -> bool {
        loop {
            if self.violation.is_some() || done(self) {
                return true;
            }
            match self.events.first_entry() {
                Some(first) if first.key().0 <= deadline_us => {
                    let ((at_us, ..), event) = first.remove_entry();
                    self.now_us = at_us;
                    for store in &self.stores {
                        store.clock.set(at_us);
                    }
                    self.handle(event);
                }
                _ => {
                    self.now_us = deadline_us;
                    return false;
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick { store, life } => self.tick(store, life),
            Event::Round { store, life } => self.round(store, life),
            Event::Deliver(envelope) => self.deliver(*envelope),
            Event::DeliverSnapshot(shipment) => self.deliver_snapshot(*shipment),
            Event::Unreachable {
                store,
                life,
                region,
                peer,
            } => self.unreachable(store, life, region, peer),
            Event::Request {
                store,
                request,
                group,
                ask,
                of_any,
            } => self.request(store, request, (group, ask, of_any)),
            Event::Look {
                store,
                life,
                request,
                region,
            } => self.look(store, life, request, region),
            Event::LeaseCheck(read) => self.check_lease(read),
            Event::Answer { request, heard } => self.hear(request, &heard),
            Event::Timeout { request } => self.time_out(request),
            Event::Turn { client } => self.turn(client),
            Event::Operate => self.operate(),
            Event::HostTick { store, life } => self.host_tick(store, life),
            Event::HostElection { store, life } => self.host_election(store, life),
            Event::Host(step) => self.host_step(step),
            Event::HostAsked {
                store,
                asker,
                request,
            } => self.host_asked(store, asker, request),
            Event::AskerTurn { asker } => self.asker_turn(asker),
            Event::AskerHears { call, result } => self.asker_hears(call, *result),
            Event::AskerTimeout { call } => self.asker_gives_up(call),
            Event::Instructed { store, life, told } => self.instructed(store, life, *told),
            Event::Fault => self.fault(),
            Event::PowerCut { store } => self.rolling_power_cut(store),
            Event::Heal { disturbance } => {
                self.network.heal(disturbance);
                self.note(format_args!("disturbance {disturbance} is over"));
            }
            Event::Start { store } => self.start(store),
        }
    }

    /// Has something happen later.
    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    pub(crate) fn at(&mut self, at_us: u64, event: Event) {
        self.last_event += 1;
        let place = (at_us, self.order.next(), self.last_event);
        self.events.insert(place, event);
    }

    pub(crate) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.trace.note(self.now_us, what);
    }

    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// A promise is broken. The first one counts.
    pub(crate) fn violate(&mut self, what: fmt::Arguments<'_>) {
        self.note(format_args!("violation: {what}"));
        if self.violation.is_none() {
            self.violation = Some(what.to_string());
        }
    }

    pub(crate) fn check(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.violate(format_args!("{what}"));
        }
    }

    fn is_served(&self) -> bool {
        self.closing.iter().all(|stage| *stage == Closing::Done)
    }

    /// Whether nothing was said for longer than any replica that is awake is silent, or waits.
    fn is_asleep(&self) -> bool {
        self.now_us - self.last_raft_us > ASLEEP_US && self.is_quiet()
    }

    fn is_quiet(&self) -> bool {
        self.unrest().is_empty()
    }

    /// What is still to come before all replicas are equal and everybody is answered.
    fn unrest(&self) -> String {
        let mut unrest = String::new();
        let mut lives = Vec::new();
        for (number, store) in self.stores.iter().enumerate() {
            let Some(life) = &store.life else {
                unrest += &format!("store {} is down; ", number + 1);
                continue;
            };
            if let Some(request) = life.outstanding.first() {
                let count = life.outstanding.len();
                unrest += &format!(
                    "store {} has not answered {count} requests, the first {request}; ",
                    number + 1
                );
            }
            let unapplied_bytes = life.memory.unapplied.used_bytes();
            if unapplied_bytes > 0 {
                unrest += &format!(
                    "store {} counts {unapplied_bytes} bytes as unapplied; ",
                    number + 1
                );
            }
            lives.push(life);
        }
        if unrest.is_empty()
            && let Err(what) = membership::check(&lives)
        {
            unrest = what;
        }
        unrest
    }

    /// Operations that were checked, by kind, and keys that were not decided.
    fn check_history(&mut self) -> (BTreeMap<&'static str, u64>, u64) {
        let (mut checked, mut undecided) = (BTreeMap::new(), 0);
        if self.violation.is_some() {
            return (checked, undecided);
        }
        let (timestamps, ids) = self.oracle.counts();
        checked.extend([("timestamp", timestamps), ("id", ids)]);
        let mut wrong = None;
        for (key, operations) in self.clients.history.keys().iter().enumerate() {
            for operation in operations {
                *checked.entry(operation.action.name()).or_default() += 1;
            }
            match consistency::check(operations) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Violated => wrong = wrong.or(Some(key)),
            }
        }
        if let Some(key) = wrong {
            for operation in self.clients.history.keys()[key].clone() {
                self.note(format_args!("key {key}: {operation:?}"));
            }
            self.violate(format_args!("key {key} is not linearizable"));
        }
        (checked, undecided)
    }

    fn report(
        mut self,
        recovery_us: u64,
        checked: BTreeMap<&'static str, u64>,
        undecided: u64,
    ) -> Report {
        let lives = self.stores.iter().filter_map(|store| store.life.as_ref());
        let merged: BTreeMap<_, _> = lives
            .filter_map(|life| life.merged().ok())
            .flatten()
            .collect();
        if !merged.is_empty() {
            let merges = merged.len() as u64;
            self.operator.changes.insert("merge", merges);
        }
        for store in &mut self.stores {
            store.end_life();
        }
        let mut acknowledged = self.clients.acknowledged;
        acknowledged.extend(self.askers.answered);
        let counts = &self.network.counts;
        let network = [
            ("message lost", counts.lost),
            ("message doubled", counts.doubled),
            ("message reordered", counts.reordered),
            ("message cut off", counts.cut),
        ];
        let mut faults = self.faults;
        faults.extend(network.into_iter().filter(|(_, count)| *count > 0));
        Report {
            seed: self.seed,
            trace_hash: self.trace.hash(),
            trace_events: self.trace.noted(),
            simulated_us: self.now_us,
            recovery_us,
            fault_events: self.fault_events,
            operator_turns: self.operator.turns,
            faults,
            changes: self.operator.changes,
            snapshots: self.snapshots,
            hibernations: self.hibernations,
            checked,
            acknowledged,
            reads: self.reads,
            refused: self.clients.refused,
            unknown: self.clients.unknown,
            undecided,
            violation: self.violation.map(|message| Violation {
                message,
                trace: self.trace.into_lines(),
            }),
        }
    }
}
