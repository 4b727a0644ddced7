//! A leader's work: it answers questions from the visible state and turns changes into writes.
//!
//! **Invariants.** Each request has one [`Ticket`] while it waits, in exactly one place: held until
//! the cluster is bootstrapped, waiting for an id or timestamp, or behind a write. A ticket is
//! consumed by the answer, so there is exactly one.
//!
//! **Not here.** Gaining and losing leadership: `placement`.

use crate::config::Config;
use crate::control::{Control, Desk};
use crate::error::Result;
use crate::health::Health;
use crate::heartbeat::{RegionHeartbeat, StoreStats};
use crate::ids::{Ids, Served};
use crate::ledger::{Answer, Ledger};
use crate::message::{ConfirmId, Effect, Notice, Now, Request, Response, WriteId};
use crate::observed::Observed;
use crate::remnants::Remnants;
use crate::routes::check_shape;
use crate::scheduling::{Known, Scheduling};
use crate::state::{Change, Durable};
use crate::stats::{PlacementStats, count_stores};
use crate::stores::StoreState;
use crate::tso::Tso;
use crate::view::View;
use crate::{Error, PersistFailed, keyspaces, safepoint, service, stores};
use std::collections::VecDeque;
use std::sync::Arc;
use types::{KeyRange, Region, RegionId, RequestId};

/// A request that has no answer yet. It can't be copied: whoever answers consumes it.
#[derive(Debug)]
pub(crate) struct Ticket {
    id: RequestId,
    size_bytes: usize,
}

/// What one step may use.
pub(crate) struct Step<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a Config,
    /// The last number used for a write or confirmation.
    pub(crate) last_number: &'a mut u64,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Step<'_> {
    pub(crate) fn next_number(&mut self) -> u64 {
        *self.last_number += 1;
        *self.last_number
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.effects.push(Effect::Notice(notice));
    }

    pub(crate) fn reply(&mut self, id: RequestId, result: Result<Response>) {
        self.effects.push(Effect::Reply { id, result });
    }
}

/// The state of a leader.
#[derive(Debug)]
pub(crate) struct Leader {
    ledger: Ledger,
    ids: Ids,
    tso: Tso,
    observed: Observed,
    remnants: Remnants,
    scheduling: Scheduling,
    /// Requests that came before the cluster was bootstrapped.
    held: VecDeque<(Ticket, Request)>,
    /// Sum of the sizes of all tickets.
    pending_bytes: usize,
}

impl Leader {
    /// Takes over what is persisted, and begins the first write: a window of timestamps, and the
    /// cluster itself if there is none.
    pub(crate) fn new(persisted: Durable, step: &mut Step<'_>) -> Self {
        let next_id = persisted
            .id_limit
            .max(step.config.bootstrap.first_free_id());
        let tso = Tso::new(step.config.tso_window_ms, persisted.tso_limit_ms, step.now);
        let settings = step.config.settings.with(&persisted.overrides);
        let settings = settings.expect("what is persisted was checked");
        // Another seed for each leader, so that none draws what an unlucky one has drawn.
        let seed = step.config.bootstrap.cluster_id.get() ^ next_id;
        let mut leader = Self {
            scheduling: Scheduling::new(settings, seed),
            ledger: Ledger::new(persisted),
            ids: Ids::new(next_id),
            tso,
            observed: Observed::new(step.now),
            remnants: Remnants::default(),
            held: VecDeque::new(),
            pending_bytes: 0,
        };
        leader.submit_first(step.config);
        leader.pump(step);
        leader
    }

    fn submit_first(&mut self, config: &Config) {
        let limit_ms = self.tso.next_limit(self.ledger.staged().tso_limit_ms);
        let mut changes: Vec<Change> = limit_ms.map(Change::TsoLimit).into_iter().collect();
        if !self.is_bootstrapped() {
            changes.extend(config.bootstrap.changes());
        }
        if !changes.is_empty() {
            self.ledger.submit(changes, None);
        }
    }

    /// What is persisted for certain.
    pub(crate) fn persisted_state(&self) -> &Durable {
        self.ledger.visible()
    }

    fn is_bootstrapped(&self) -> bool {
        self.ledger.visible().cluster_id.is_some()
    }

    /// A request arrives.
    pub(crate) fn request(&mut self, id: RequestId, request: Request, step: &mut Step<'_>) {
        let size_bytes = request.size_bytes();
        let pending_bytes = self.pending_bytes;
        if pending_bytes + size_bytes > step.config.pending_bytes_max {
            return step.reply(id, Err(Error::Busy { pending_bytes }));
        }
        self.pending_bytes += size_bytes;
        let ticket = Ticket { id, size_bytes };
        if self.is_bootstrapped() {
            self.handle(ticket, request, step);
        } else {
            self.held.push_back((ticket, request));
        }
        self.pump(step);
    }

    /// A write ended.
    pub(crate) fn persisted(
        &mut self,
        write: WriteId,
        result: std::result::Result<(), PersistFailed>,
        step: &mut Step<'_>,
    ) {
        match result {
            Ok(()) => {
                let Some((changes, answers)) = self.ledger.persisted(write) else {
                    return;
                };
                for change in &changes {
                    self.visible_now(change, step);
                }
                self.answer_all(answers, step);
            }
            Err(failed) => {
                let Some(tickets) = self.ledger.failed(write) else {
                    return;
                };
                for id in self.observed.keep_regions_of(self.ledger.visible()) {
                    self.scheduling.operators.region_gone(step.now, id);
                }
                let error = failed.into();
                self.refuse_all(tickets, &error, step);
                self.refuse_stuck(&error, step);
            }
        }
        while self.is_bootstrapped()
            && let Some((ticket, request)) = self.held.pop_front()
        {
            self.handle(ticket, request, step);
        }
        self.pump(step);
    }

    /// A change has become visible: what follows from it.
    fn visible_now(&mut self, change: &Change, step: &Step<'_>) {
        match change {
            Change::RemoveRegion(id) => {
                self.observed.forget_region(*id);
                self.scheduling.operators.region_gone(step.now, *id);
            }
            Change::RemoveStore(id) => self.observed.forget_store(*id),
            Change::Settings(overrides) => {
                let settings = step.config.settings.with(overrides);
                self.scheduling.settings = settings.expect("what is persisted was checked");
            }
            _ => {}
        }
    }

    /// The host knows whether this node still led after timestamps were taken.
    pub(crate) fn confirmed(&mut self, confirm: ConfirmId, leads: bool, step: &mut Step<'_>) {
        let answers = self.tso.confirmed(confirm);
        if leads {
            self.answer_all(answers, step);
        } else {
            let tickets = answers.into_iter().map(|(ticket, _)| ticket);
            self.refuse_all(tickets, &Error::NOT_LEADER, step);
        }
        self.pump(step);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, step: &mut Step<'_>) {
        if !self.is_bootstrapped() && self.ledger.is_idle() {
            self.submit_first(step.config);
        }
        if self.is_bootstrapped() {
            self.schedule(step);
        }
        self.pump(step);
    }

    fn schedule(&mut self, step: &Step<'_>) {
        let mut known = Known {
            now: step.now,
            config: step.config,
            state: self.ledger.visible(),
            observed: &self.observed,
            ids: &mut self.ids,
        };
        if self.scheduling.tick(&mut known) {
            let members = self.observed.placement_stores(step.config);
            let buried = service::plan_bury(self.ledger.staged(), members.as_deref());
            if !buried.is_empty() {
                self.ledger.submit(buried, None);
            }
        }
    }

    /// Answers all requests: leadership is over.
    pub(crate) fn retire(mut self, step: &mut Step<'_>) {
        let mut tickets = self.ledger.give_up();
        tickets.extend(self.held.drain(..).map(|(ticket, _)| ticket));
        tickets.extend(self.ids.give_up());
        tickets.extend(self.tso.give_up_waiting());
        tickets.extend(self.tso.give_up_confirming());
        self.refuse_all(tickets, &Error::NOT_LEADER, step);
        assert_eq!(self.pending_bytes, 0, "a request was not answered");
    }

    /// Refuses the requests that a failed write would have helped: without it they would wait for
    /// another one, and another.
    fn refuse_stuck(&mut self, error: &Error, step: &mut Step<'_>) {
        let held = std::mem::take(&mut self.held).into_iter();
        let held = held.map(|(ticket, _)| ticket);
        let mut tickets: Vec<Ticket> = held.chain(self.ids.give_up()).collect();
        if self.tso.is_stuck(self.ledger.visible().tso_limit_ms) {
            tickets.extend(self.tso.give_up_waiting());
        }
        self.refuse_all(tickets, error, step);
    }

    /// Does what can be done now: ids, timestamps, then the next write.
    fn pump(&mut self, step: &mut Step<'_>) {
        while let Some(served) = self.ids.serve(self.ledger.visible().id_limit) {
            match served {
                Served::Id(ticket, id) => self.answer(ticket, Ok(Response::Id(id)), step),
                Served::Again(ticket, request) => self.handle(ticket, request, step),
            }
        }
        let told = self.scheduling.take_outbox();
        step.effects.extend(told.map(Effect::Instruct));
        let staged_limit = self.ledger.staged().id_limit;
        if let Some(limit) = self.ids.wants_limit(staged_limit, step.config.id_step) {
            self.ledger.submit(vec![Change::IdLimit(limit)], None);
        }
        self.pump_timestamps(step);
        let answers = self.ledger.flush(step);
        self.answer_all(answers, step);
    }

    fn pump_timestamps(&mut self, step: &mut Step<'_>) {
        self.tso.take(self.ledger.visible().tso_limit_ms, step);
        if self.tso.is_exhausted() {
            let tickets: Vec<Ticket> = self.tso.give_up_waiting().collect();
            self.refuse_all(tickets, &Error::TimestampsExhausted, step);
        }
        if let Some(limit_ms) = self.tso.wants_limit(self.ledger.staged().tso_limit_ms) {
            self.ledger.submit(vec![Change::TsoLimit(limit_ms)], None);
        }
    }

    fn answer(&mut self, ticket: Ticket, result: Result<Response>, step: &mut Step<'_>) {
        self.pending_bytes -= ticket.size_bytes;
        step.reply(ticket.id, result);
    }

    fn answer_all(&mut self, answers: Vec<Answer>, step: &mut Step<'_>) {
        for (ticket, response) in answers {
            self.answer(ticket, Ok(response), step);
        }
    }

    fn refuse_all(
        &mut self,
        tickets: impl IntoIterator<Item = Ticket>,
        error: &Error,
        step: &mut Step<'_>,
    ) {
        for ticket in tickets {
            self.answer(ticket, Err(error.clone()), step);
        }
    }

    /// Lets a request wait for what it needs, or answers it.
    fn handle(&mut self, ticket: Ticket, request: Request, step: &mut Step<'_>) {
        match self.plan(request, step) {
            Ok(Planned::Id) => self.ids.wait(ticket),
            Ok(Planned::Ids(count, request)) => self.ids.wait_for(ticket, count, request),
            Ok(Planned::Timestamps(count)) => self.tso.wait(ticket, count),
            Ok(Planned::Change(changes, response)) => {
                self.ledger.submit(changes, Some((ticket, response)))
            }
            Ok(Planned::Answer(response)) => self.answer(ticket, Ok(response), step),
            Err(error) => self.answer(ticket, Err(error), step),
        }
    }

    /// What a request comes to: questions see the visible state, changes the staged one.
    fn plan(&mut self, request: Request, step: &Step<'_>) -> Result<Planned> {
        let staged = self.ledger.staged();
        let settings = &self.scheduling.settings;
        let view = View::new(step, self.ledger.visible(), &self.observed, settings);
        let response = match request {
            Request::AllocId => return Ok(Planned::Id),
            Request::Tso { count } => {
                return Tso::check(count).map(|()| Planned::Timestamps(count));
            }
            Request::PutStore(store) => {
                return stores::plan_put(staged, self.ids.first_free(), step.now, store).map(done);
            }
            Request::UpdateGcSafePoint { safe_point } => {
                return Ok(safepoint::plan(staged, safe_point));
            }
            Request::RegionHeartbeat(heartbeat) => {
                return self.region_heartbeat(&heartbeat, step);
            }
            Request::SplitDone(parts) => return self.split_done(&parts, step.now),
            Request::Control(control) => return self.control(*control, step),
            Request::StoreHeartbeat(stats) => return self.store_heartbeat(step.now, stats),
            Request::GetMembers => view.members(),
            Request::GetStore { store_id } => view.store(store_id)?,
            Request::GetAllStores => view.stores(),
            Request::GetRegion { key } => view.region(|routes| {
                let known = routes.by_key(&key);
                known.or_else(|| self.remnants.by_key(&key))
            }),
            Request::GetPrevRegion { key } => view.region(|routes| routes.previous(&key)),
            Request::GetRegionById { region_id } => view.region(|routes| routes.by_id(region_id)),
            Request::ScanRegions { start, end, limit } => view.scan(KeyRange { start, end }, limit),
            Request::GetGcSafePoint => view.safe_point(),
            Request::LoadKeyspace { name } => Response::Keyspace(keyspaces::load(&name)?),
            Request::GetAllKeyspaces => Response::Keyspaces(keyspaces::all()),
            Request::IsBootstrapped => Response::Done,
        };
        Ok(Planned::Answer(response))
    }

    fn control(&mut self, control: Control, step: &Step<'_>) -> Result<Planned> {
        let desk = Desk {
            known: Known {
                now: step.now,
                config: step.config,
                state: self.ledger.visible(),
                observed: &self.observed,
                ids: &mut self.ids,
            },
            staged: self.ledger.staged(),
            scheduling: &mut self.scheduling,
        };
        desk.plan(control)
    }

    fn region_heartbeat(
        &mut self,
        heartbeat: &RegionHeartbeat,
        step: &Step<'_>,
    ) -> Result<Planned> {
        let id = heartbeat.region.id;
        if id == RegionId::PLACEMENT {
            return self.own_heartbeat(heartbeat, step);
        }
        let staged = self.ledger.staged();
        let changes = staged.routes.plan(&heartbeat.region)?;
        self.observed.check_region(staged, heartbeat)?;
        let visible = &self.ledger.visible().routes;
        self.remnants
            .note(visible, &staged.routes, &heartbeat.region, &changes);
        let new = changes.iter().find_map(|change| match change {
            Change::Region(region) => Some(region),
            _ => None,
        });
        if let Some(region) = new.or_else(|| staged.routes.by_id(id)) {
            let settings = &self.scheduling.settings;
            self.observed
                .record_region(step.now, settings, heartbeat, region.clone());
        }
        Ok(Planned::Change(changes, self.heard(id, step)))
    }

    /// Until the parts of a split report they count as led from where the whole was: there they ask for votes.
    fn split_done(&mut self, parts: &[Region], now: Now) -> Result<Planned> {
        let changes = self.ledger.staged().routes.plan_split(parts)?;
        let kept = parts.last().and_then(|kept| self.observed.region(kept.id));
        let store = kept.map(|seen| seen.leader().store_id);
        for change in &changes {
            let Change::Region(part) = change else {
                continue;
            };
            let leader = store.and_then(|store| part.peer_on(store));
            let Some(leader) = leader.filter(|_| self.observed.region(part.id).is_none()) else {
                continue;
            };
            let guess = RegionHeartbeat {
                region: Region::clone(part),
                leader: leader.id,
                ..RegionHeartbeat::default()
            };
            let settings = &self.scheduling.settings;
            self.observed
                .record_region(now, settings, &guess, part.clone());
        }
        Ok(Planned::Change(changes, Response::Done))
    }

    /// The placement Region itself reports. It is not in the clients' key space, so it is not routed to,
    /// and its shape is not persisted: whoever leads it knows it.
    fn own_heartbeat(&mut self, heartbeat: &RegionHeartbeat, step: &Step<'_>) -> Result<Planned> {
        check_shape(&heartbeat.region)?;
        self.observed
            .check_region(self.ledger.staged(), heartbeat)?;
        let before = self.observed.region(heartbeat.region.id);
        let same = before.filter(|before| *before.region == heartbeat.region);
        let shape = same.map(|same| same.region.clone());
        let shape = shape.unwrap_or_else(|| Arc::new(heartbeat.region.clone()));
        let settings = &self.scheduling.settings;
        self.observed
            .record_region(step.now, settings, heartbeat, shape);
        Ok(Planned::Answer(self.heard(heartbeat.region.id, step)))
    }

    /// A Region has reported: the answer.
    fn heard(&mut self, id: RegionId, step: &Step<'_>) -> Response {
        let mut known = Known {
            now: step.now,
            config: step.config,
            state: self.ledger.visible(),
            observed: &self.observed,
            ids: &mut self.ids,
        };
        match self.scheduling.heard(&mut known, id) {
            Some(instruction) => Response::Instruction(Box::new(instruction)),
            None => Response::Done,
        }
    }

    fn store_heartbeat(&mut self, now: Now, stats: StoreStats) -> Result<Planned> {
        let store = self.ledger.visible().stores.get(stats.store_id)?;
        if store.state == StoreState::Tombstone {
            return Err(Error::StoreTombstone(store.id));
        }
        if !store.is_registered() {
            return Err(store.invalid("it has not registered"));
        }
        let settings = &self.scheduling.settings;
        self.observed.record_store(now, settings, stats);
        Ok(Planned::Answer(Response::Done))
    }

    /// What there is to count.
    pub(crate) fn stats(&self, now: Now) -> PlacementStats {
        let health = Health {
            now,
            settings: &self.scheduling.settings,
            state: self.ledger.visible(),
            observed: &self.observed,
        };
        let (store_heartbeats, region_heartbeats, regions) = self.observed.counts();
        let mut stats = PlacementStats {
            stores: count_stores(&health),
            regions,
            store_heartbeats,
            region_heartbeats,
            ..PlacementStats::default()
        };
        self.scheduling.operators.count(&mut stats);
        stats
    }

    /// Checks all invariants, expensively.
    pub(crate) fn check_invariants(&self) {
        self.ledger.check_invariants();
        self.observed.check_invariants();
        self.scheduling.operators.check_invariants(&self.observed);
        let held = self.held.iter().map(|(ticket, _)| ticket);
        let waiting = held.chain(self.ids.pending()).chain(self.tso.pending());
        let tickets = waiting.chain(self.ledger.pending());
        let pending_bytes: usize = tickets.map(|ticket| ticket.size_bytes).sum();
        assert_eq!(
            pending_bytes, self.pending_bytes,
            "pending bytes are not those of the tickets"
        );
    }
}

/// What a request comes to.
pub(crate) enum Planned {
    /// It waits for an id.
    Id,
    /// It waits until there are so many ids, and is looked at again.
    Ids(u64, Request),
    /// It waits for so many timestamps.
    Timestamps(u32),
    /// The answer, after these changes (there may be none) and all before them are persisted.
    Change(Vec<Change>, Response),
    /// The answer, at once.
    Answer(Response),
}

fn done(change: Option<Change>) -> Planned {
    Planned::Change(change.into_iter().collect(), Response::Done)
}
