//! The placement hosts: the production host's decisions, with their jobs done by the simulated store's
//! own Peers, readers and leases.
//!
//! **Invariants.** A host lives as long as its store's process. It does nothing while the store stands
//! still; what it had begun goes on afterwards, in no certain order with the Peers' rounds.
//!
//! **Not here.** Who asks (`askers`), and the reports of Regions and stores (`reports`).

use crate::planted::PlantedBug;
use crate::readers::STEP_US_MAX;
use crate::rng::Rng;
use crate::world::{Event, World};
use engine::{Cf, KvEngine, KvIterator, KvSnapshot};
use node::placement_host::host_core::{Core, Done, Effect, Input, Job};
use node::{Attempt, PeerMessage};
use placement::{Bootstrap, Config, Error, Now, Response, Store};
use raftstore::bootstrap::first_regions;
use raftstore::peer;
use raftstore::{Command, Leadership, Mutation, Reply, RequestContext, RequestError};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use types::{Region, RegionId, RequestId, Space};

/// How often a host hears that time has passed.
const TICK_US: u64 = 50_000;
/// The requests that hosts make of Peers have higher ids than all others.
const FIRST_JOB: u64 = 1 << 41;
/// Where the driver keeps the bounds of what it gives out.
const TSO_LIMIT_KEY: &[u8] = b"t";
const ID_LIMIT_KEY: &[u8] = b"i";
/// Written once, at the beginning.
const CLUSTER_KEY: &[u8] = b"c";

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Who waits for an answer of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A client: its call, and how high timestamps were when it asked.
    Client { call: u64, floor: u64 },
    /// A store in one of its lives, with a report of a Region.
    Reporter { store: usize, life: u64 },
    /// A store in one of its lives, which registers.
    Newcomer { store: usize, life: u64 },
    /// Nobody cares.
    Nobody,
}

/// A job of a host on its way: in which life, and how the Region is addressed.
#[derive(Clone, Debug)]
pub(crate) struct HostJob {
    pub(crate) store: usize,
    pub(crate) life: u64,
    context: RequestContext,
    job: Job,
}

/// The step that a host's job comes to next.
#[derive(Debug)]
pub(crate) enum HostStep {
    Begin(HostJob),
    /// It has looked under a lease, and sees whether that still stands.
    Check(HostJob, Attempt, Pairs),
    /// The Peer has allowed the look; data had gone so often when it was asked.
    Look(HostJob, u64),
}

impl HostStep {
    fn job(&self) -> &HostJob {
        match self {
            Self::Begin(job) | Self::Check(job, ..) | Self::Look(job, _) => job,
        }
    }
}

/// How far ahead a host has its bounds persisted: little, so that they end all the time, or as much as in
/// production, so that a leader that was deposed has something left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    tso_window_ms: u64,
    id_step: u64,
}

impl Windows {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        Self {
            tso_window_ms: rng.pick(&[60, 3_000]),
            id_step: rng.pick(&[5, 1_000]),
        }
    }
}

/// A store's placement host.
pub(crate) struct Host {
    pub(crate) core: Core,
    /// Who waits for answers.
    pub(crate) askers: BTreeMap<RequestId, Asker>,
    /// Jobs that the Peer was asked for, and how often data had gone by then.
    jobs: BTreeMap<RequestId, (HostJob, u64)>,
    /// What it has yet to hear of who leads, in order.
    elections: VecDeque<Leadership>,
    /// Whether the store has registered in this life.
    pub(crate) is_registered: bool,
}

impl Host {
    pub(crate) fn new(identified: &node::Identified, windows: Windows) -> Self {
        let member = |member: &node::Member| Store {
            id: member.store_id,
            address: member.address.clone(),
            ..Store::default()
        };
        let members = &identified.members;
        let beginning = Bootstrap {
            cluster_id: identified.identity.cluster_id,
            stores: members.iter().map(member).collect(),
            regions: first_regions(members.len(), identified.identity.api_version),
        };
        let config = Config {
            tso_window_ms: windows.tso_window_ms,
            id_step: windows.id_step,
            ..Config::new(beginning)
        };
        Self {
            core: Core::new(config),
            askers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            elections: VecDeque::new(),
            is_registered: false,
        }
    }
}

impl Host {
    /// There is news for it.
    pub(crate) fn hears_of_leader(&mut self, leadership: Leadership) {
        self.elections.push_back(leadership);
    }
}

/// Whether a host has asked this of a Peer.
pub(crate) fn is_job(request: RequestId) -> bool {
    request.get() > FIRST_JOB
}

impl World {
    pub(crate) fn host_tick(&mut self, store: usize, life: u64) {
        if self.stores[store].life_number != life || self.stores[store].life.is_none() {
            return;
        }
        if let Some(until_us) = self.stands_still_until(store) {
            return self.at(until_us, Event::HostTick { store, life });
        }
        self.step_host(store, Input::Tick);
        self.after(TICK_US, Event::HostTick { store, life });
    }

    pub(crate) fn host_election(&mut self, store: usize, life: u64) {
        if self.stores[store].life_number != life {
            return;
        }
        if let Some(until_us) = self.stands_still_until(store) {
            return self.at(until_us, Event::HostElection { store, life });
        }
        let news = match &mut self.stores[store].life {
            Some(current) => current.host.elections.pop_front(),
            None => return,
        };
        if let Some(leadership) = news {
            self.step_host(store, Input::Leadership(leadership));
        }
    }

    /// Gives a store's host an input, and begins what comes of it.
    pub(crate) fn step_host(&mut self, store: usize, input: Input) {
        let now = Now {
            monotonic_ms: self.now_us / 1000,
            wall_ms: self.wall_ms(store),
        };
        let Some(current) = &mut self.stores[store].life else {
            return;
        };
        let mut effects = Vec::new();
        current.step_host(now, input, &mut effects);
        for effect in effects {
            self.perform(store, effect);
        }
        let outbox = match &self.stores[store].life {
            Some(current) => current.outbox.lock().take(),
            None => return,
        };
        self.take_out(store, outbox);
    }

    fn perform(&mut self, store: usize, effect: Effect) {
        let number = store + 1;
        match effect {
            Effect::Begin {
                context,
                after,
                job,
            } => self.begin_job(store, context, after, job),
            Effect::Reply { id, result } => {
                self.note(format_args!("s{number} placement answers {id}: {result:?}"));
                let asker = match &mut self.stores[store].life {
                    Some(current) => current.host.askers.remove(&id),
                    None => return,
                };
                match asker {
                    Some(asker) => self.host_answers(store, asker, result),
                    None => self.violate(format_args!(
                        "the host of store {number} answered {id}, which is answered or was never asked"
                    )),
                }
            }
            Effect::Instruct(told) => self.instruct_from(store, told),
            Effect::Notice(notice) => {
                self.note(format_args!("s{number} placement: {notice}"));
                if let placement::Notice::Unable(error) = notice {
                    self.violate(format_args!("placement can't go on: {error}"));
                }
            }
            Effect::Unread { term, reason } => {
                self.note(format_args!("s{number} placement t{term}: {reason}"));
            }
        }
    }

    fn host_answers(&mut self, store: usize, asker: Asker, result: Result<Response, Error>) {
        match asker {
            Asker::Client { call, floor } => {
                let checked = match &result {
                    Ok(Response::Timestamps { last, count }) => {
                        self.oracle.timestamps(*last, *count, floor)
                    }
                    Ok(Response::Id(id)) => self.oracle.id(*id),
                    _ => Ok(()),
                };
                self.check(checked);
                self.answer_placement_call(call, result);
            }
            Asker::Reporter {
                store: reporter,
                life,
            } => {
                if let Ok(Response::Instruction(told)) = result {
                    self.instruct(store, (reporter, life), *told);
                }
            }
            Asker::Newcomer {
                store: newcomer,
                life,
            } => {
                let newcomer = &mut self.stores[newcomer];
                if newcomer.life_number == life
                    && let Some(current) = &mut newcomer.life
                {
                    current.host.is_registered |= result.is_ok();
                }
            }
            Asker::Nobody => {}
        }
    }

    fn begin_job(&mut self, store: usize, context: RequestContext, after: Duration, job: Job) {
        let life = self.stores[store].life_number;
        let begun = match (self.options.planted_bug, job) {
            (Some(PlantedBug::UnconfirmedTimestamp), Job::Confirm(confirm)) => {
                return self.step_host(store, Input::Done(Done::Confirmed(confirm, Ok(()))));
            }
            (bug, Job::Persist(write, Command::Write(mut puts))) => {
                if !puts.iter().any(|put| is_put_of(put, CLUSTER_KEY)) {
                    puts.retain(|put| !is_forgotten(bug, put));
                }
                Job::Persist(write, Command::Write(puts))
            }
            (_, job) => job,
        };
        let job = HostJob {
            store,
            life,
            context,
            job: begun,
        };
        let delay_us = after.as_micros() as u64 + self.rng.below(STEP_US_MAX);
        self.after(delay_us, Event::Host(Box::new(HostStep::Begin(job))));
    }

    /// The next step of a job.
    pub(crate) fn host_step(&mut self, step: Box<HostStep>) {
        let (store, life) = (step.job().store, step.job().life);
        if self.stores[store].life_number != life || self.stores[store].life.is_none() {
            return;
        }
        if let Some(until_us) = self.stands_still_until(store) {
            return self.at(until_us, Event::Host(step));
        }
        match *step {
            HostStep::Begin(job) => self.try_job(job),
            HostStep::Check(job, attempt, seen) => self.check_job(job, &attempt, seen),
            HostStep::Look(job, departures) => self.look_for_job(job, departures),
        }
    }

    fn try_job(&mut self, job: HostJob) {
        let Some(current) = &self.stores[job.store].life else {
            return;
        };
        if !matches!(job.job, Job::Persist(..))
            && let Some(attempt) = current.delegates.begin(&job.context)
        {
            let seen = current.placement_pairs();
            let delay_us = self.rng.below(STEP_US_MAX);
            let check = HostStep::Check(job, attempt, seen);
            return self.after(delay_us, Event::Host(Box::new(check)));
        }
        self.ask_peer(job);
    }

    fn check_job(&mut self, job: HostJob, attempt: &Attempt, seen: Pairs) {
        let Some(current) = &self.stores[job.store].life else {
            return;
        };
        let Some(granted) = attempt.finish(&current.clock) else {
            return self.ask_peer(job);
        };
        if granted.wants_renewal {
            let renew = PeerMessage(peer::Input::RenewLease);
            let region = RegionId::PLACEMENT.get();
            let _ = current.router.force_send(region, renew);
            self.wake(job.store);
        }
        self.finish_job(job, Ok(seen));
    }

    fn look_for_job(&mut self, job: HostJob, departures: u64) {
        let Some(current) = &self.stores[job.store].life else {
            return;
        };
        let seen = current.placement_pairs();
        match current.delegates.departures() == departures {
            true => self.finish_job(job, Ok(seen)),
            false => self.ask_peer(job),
        }
    }

    fn ask_peer(&mut self, job: HostJob) {
        let request = RequestId(FIRST_JOB + self.clients.number_request().get());
        let (store, context) = (job.store, job.context.clone());
        let input = match &job.job {
            Job::Persist(_, command) => peer::Input::Propose {
                request,
                context,
                command: command.clone(),
            },
            Job::Load | Job::Confirm(_) => peer::Input::Read { request, context },
        };
        let Some(current) = &mut self.stores[store].life else {
            return;
        };
        let departures = current.delegates.departures();
        current.host.jobs.insert(request, (job, departures));
        self.hand_in_unbounded(store, RegionId::PLACEMENT, request, input);
    }

    /// A Peer has answered a host.
    pub(crate) fn job_answered(
        &mut self,
        store: usize,
        request: RequestId,
        result: Result<Reply, RequestError>,
    ) {
        let Some(current) = &mut self.stores[store].life else {
            return;
        };
        let Some((job, departures)) = current.host.jobs.remove(&request) else {
            return;
        };
        match result {
            Ok(Reply::ReadReady(region)) if !is_meant(&region, &job.context) => {
                let current = vec![Region::clone(&region)];
                self.finish_job(job, Err(RequestError::EpochNotMatch { current }));
            }
            Ok(Reply::ReadReady(_)) => {
                let delay_us = self.rng.below(STEP_US_MAX);
                let look = HostStep::Look(job, departures);
                self.after(delay_us, Event::Host(Box::new(look)));
            }
            Ok(Reply::Command(_)) => self.finish_job(job, Ok(Pairs::new())),
            Ok(Reply::Checked(_)) => unreachable!("a host compares no replicas"),
            Err(error) => self.finish_job(job, Err(error)),
        }
    }

    fn finish_job(&mut self, job: HostJob, result: Result<Pairs, RequestError>) {
        let done = match job.job {
            Job::Load => {
                let state = result.map_err(|error| error.to_string());
                Done::Loaded(job.context.term, state)
            }
            Job::Confirm(confirm) => Done::Confirmed(confirm, result.map(drop)),
            Job::Persist(write, _) => Done::Persisted(write, result.map(drop)),
        };
        self.step_host(job.store, Input::Done(done));
    }
}

/// Whether a bound is not persisted, as a planted bug has it.
fn is_forgotten(bug: Option<PlantedBug>, put: &Mutation) -> bool {
    match bug {
        Some(PlantedBug::TimestampWindow) => is_put_of(put, TSO_LIMIT_KEY),
        Some(PlantedBug::IdWindow) => is_put_of(put, ID_LIMIT_KEY),
        _ => false,
    }
}

fn is_put_of(mutation: &Mutation, wanted: &[u8]) -> bool {
    matches!(mutation, Mutation::Put { key, .. } if key == wanted)
}

fn is_meant(region: &Region, context: &RequestContext) -> bool {
    region.epoch.version == context.epoch.version
}

impl crate::store::Life {
    fn step_host(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        let core = &mut self.host.core;
        let outbox = &self.outbox;
        crate::store::caught(outbox, || {
            core.step(now, input, effects);
            core.placement().check_invariants();
        });
    }

    /// What the placement Region holds here.
    fn placement_pairs(&self) -> Pairs {
        let space = Space::Placement;
        let (lower, upper) = (space.key(&[]), space.end_key(&[]));
        let snapshot = self.kv.snapshot();
        let mut pairs = Pairs::new();
        let mut iter = snapshot
            .iter(Cf::Default, &lower, &upper)
            .expect("memory is read");
        let mut valid = iter.seek_to_first().expect("memory is read");
        while valid {
            // Without the space's prefix.
            pairs.push((iter.key()[1..].to_vec(), iter.value().to_vec()));
            valid = iter.next().expect("memory is read");
        }
        pairs
    }
}
