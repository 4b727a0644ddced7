//! How reads look at the data: under a lease, in steps between which anything may happen, or after a
//! Peer has allowed it.
//!
//! **Invariants.** A store that stands still looks at nothing: what a reader there had begun goes on when
//! the store does, in no certain order with the Peers' rounds.

use crate::client::{Ask, Heard};
use crate::engines::SimKv;
use crate::keys::Keys;
use crate::planted::PlantedBug;
use crate::store::Life;
use crate::world::{Event, World};
use bytes::Bytes;
use engine::{Cf, KvEngine, KvIterator};
use node::{Attempt, Clock, Granted, PeerMessage, RegionSnapshot};
use raftstore::peer::Input;
use raftstore::{MonotonicTime, RequestContext, RequestError};
use std::sync::Arc;
use types::{Region, RequestId};

/// The longest time between two steps of a reader on a store that does not stand still.
pub(crate) const STEP_US_MAX: u64 = 300;

/// Every key of a group with its value, and the time by which some had expired, in seconds since the Unix
/// epoch; or what is wrong with one.
pub(crate) type Values = Result<(Vec<(usize, Option<u64>)>, u64), String>;

/// Keys with what is stored of them.
type Stored = Vec<(usize, Option<Bytes>)>;

/// A read under a lease that has looked and not checked yet.
#[derive(Debug)]
pub(crate) struct LeaseRead {
    pub(crate) store: usize,
    pub(crate) life: u64,
    pub(crate) request: RequestId,
    context: RequestContext,
    attempt: Attempt,
    seen: Values,
}

impl World {
    /// Begins a read under a lease. False if there is none.
    pub(crate) fn begin_lease_read(
        &mut self,
        store: usize,
        request: RequestId,
        group: usize,
        context: &RequestContext,
    ) -> bool {
        let life = self.stores[store].life_number;
        let Some(current) = &mut self.stores[store].life else {
            return false;
        };
        let Some(attempt) = current.delegates.begin(context) else {
            return false;
        };
        current.outstanding.insert(request);
        let region = Arc::clone(attempt.region());
        let seen = self.values(store, (request, group), region);
        let read = LeaseRead {
            store,
            life,
            request,
            context: context.clone(),
            attempt,
            seen,
        };
        let delay_us = self.rng.below(STEP_US_MAX);
        self.after(delay_us, Event::LeaseCheck(Box::new(read)));
        true
    }

    /// The last step of a read under a lease.
    pub(crate) fn check_lease(&mut self, read: Box<LeaseRead>) {
        let (store, request) = (read.store, read.request);
        if self.stores[store].life_number != read.life || self.stores[store].life.is_none() {
            return;
        }
        if let Some(until_us) = self.stands_still_until(store) {
            self.at(until_us, Event::LeaseCheck(read));
            return;
        }
        let granted = self.grant(&read);
        let number = store + 1;
        self.note(format_args!("s{number} checks {request}: {granted:?}"));
        let region_id = read.context.region_id;
        let Some(granted) = granted else {
            self.reads.lease_over += 1;
            let context = read.context;
            self.hand_in(store, region_id, request, Input::Read { request, context });
            return;
        };
        if granted.wants_renewal
            && let Some(current) = &self.stores[store].life
        {
            let renew = PeerMessage(Input::RenewLease);
            let _ = current.router.force_send(region_id.get(), renew);
            self.wake(store);
        }
        self.reads.under_lease += 1;
        self.has_seen(store, request, read.seen);
    }

    fn grant(&self, read: &LeaseRead) -> Option<Granted> {
        let current = self.stores[read.store].life.as_ref()?;
        match self.options.planted_bug {
            Some(PlantedBug::CachedClock) => read.attempt.finish(&current.cached_clock),
            Some(PlantedBug::LeaseFromAnswer) => {
                let heard = current.heard_leases.get(&read.context.region_id);
                let is_open = read.attempt.until() > MonotonicTime::default();
                let is_granted =
                    heard.is_some_and(|(_, until)| is_open && current.clock.now() < *until);
                is_granted.then_some(Granted {
                    wants_renewal: false,
                })
            }
            _ => read.attempt.finish(&current.clock),
        }
    }

    /// With [`PlantedBug::LeaseFromAnswer`] a lease counts from the moment at which readers hear of it.
    pub(crate) fn hear_of_leases(&mut self, store: usize) {
        if self.options.planted_bug != Some(PlantedBug::LeaseFromAnswer) {
            return;
        }
        let Some(current) = &mut self.stores[store].life else {
            return;
        };
        for region in current.regions().unwrap_or_default() {
            let context = RequestContext {
                region_id: region.id,
                epoch: region.epoch,
                ..RequestContext::default()
            };
            if let Some(attempt) = current.delegates.begin(&context) {
                let until = attempt.until();
                let heard = current.heard_leases.entry(region.id).or_default();
                if heard.0 != until {
                    *heard = (until, current.clock.now().after(current.lease));
                }
            }
        }
    }

    /// A Peer has allowed a read; its asker will look.
    pub(crate) fn look_later(&mut self, store: usize, request: RequestId, region: Arc<Region>) {
        let life = self.stores[store].life_number;
        let leads = |current: &Life| current.leads.contains(&region.id);
        match self.stores[store].life.as_ref().is_some_and(leads) {
            true => self.reads.by_leader += 1,
            false => self.reads.by_replica += 1,
        }
        let delay_us = self.rng.below(STEP_US_MAX);
        let look = Event::Look {
            store,
            life,
            request,
            region,
        };
        self.after(delay_us, look);
    }

    /// The asker of a read that was allowed looks at the data: at what the Region had then.
    pub(crate) fn look(
        &mut self,
        store: usize,
        life: u64,
        request: RequestId,
        region: Arc<Region>,
    ) {
        if self.stores[store].life_number != life || self.stores[store].life.is_none() {
            return;
        }
        if let Some(until_us) = self.stands_still_until(store) {
            let look = Event::Look {
                store,
                life,
                request,
                region,
            };
            self.at(until_us, look);
            return;
        }
        let Some(group) = self.clients.get(request).map(|call| call.group) else {
            return;
        };
        if !self.clients.keys().is_in(group, &region) {
            let current = vec![Region::clone(&region)];
            let error = RequestError::EpochNotMatch { current };
            self.answer(request, Heard::Refused(error));
            return;
        }
        let seen = self.values(store, (request, group), region);
        let Some(current) = &mut self.stores[store].life else {
            return;
        };
        let Some((context, departures)) = current.asked.remove(&request) else {
            // A planted bug: nobody was asked.
            return self.has_seen(store, request, seen);
        };
        // As `NodeHandle::read`: data of a replica has gone since the Peer was asked, or the leader has to
        // answer once more for what was seen.
        if current.delegates.departures() == departures {
            let is_enough = self.options.planted_bug == Some(PlantedBug::AskedOnce);
            if is_enough || !context.replica_read {
                return self.has_seen(store, request, seen);
            }
            current.seen.insert(request, seen);
        }
        let region_id = context.region_id;
        self.hand_in(store, region_id, request, Input::Read { request, context });
    }

    /// A Peer has answered a read that has looked. Returns what it has seen, for good if it was allowed.
    pub(crate) fn take_seen(&mut self, store: usize, request: RequestId) -> Option<Values> {
        let current = self.stores[store].life.as_mut()?;
        let seen = current.seen.remove(&request)?;
        current.asked.remove(&request);
        Some(seen)
    }

    pub(crate) fn has_seen(&mut self, store: usize, request: RequestId, seen: Values) {
        if let Some(current) = &mut self.stores[store].life {
            current.outstanding.remove(&request);
        }
        match seen {
            Ok((values, now_s)) => self.answer(request, Heard::Values(values, now_s)),
            Err(what) => self.violate(format_args!("{request} saw {what}")),
        }
    }

    /// Until when the store stands still, if it does.
    pub(crate) fn stands_still_until(&self, store: usize) -> Option<u64> {
        let until_us = self.stores[store].paused_until_us;
        (until_us > self.now_us).then_some(until_us)
    }

    fn values(
        &self,
        store: usize,
        (request, group): (RequestId, usize),
        region: Arc<Region>,
    ) -> Values {
        let current = self.stores[store].life.as_ref().ok_or("no store")?;
        let view = RegionSnapshot::<SimKv>::uncounted(region, current.kv.snapshot());
        let now_s = self.wall_ms(store) / 1000;
        let call = self.clients.get(request);
        let stored = match call.is_some_and(|call| call.ask == Ask::Scan) {
            true => self.scan(&view, group)?,
            false => self.get_all(&view, group)?,
        };
        let is_blind = self.options.planted_bug == Some(PlantedBug::ExpiredVisible);
        let now_s_believed = if is_blind { 0 } else { now_s };
        let value = |(key, stored): (usize, Option<Bytes>)| {
            let value = stored.map(|stored| Keys::decode_value(&stored, now_s_believed));
            Ok((key, value.transpose()?.flatten()))
        };
        let values: Result<_, String> = stored.into_iter().map(value).collect();
        Ok((values?, now_s))
    }

    fn get_all(&self, view: &RegionSnapshot<SimKv>, group: usize) -> Result<Stored, String> {
        let keys = self.clients.keys();
        let get = |key: usize| {
            let stored = view.get(Cf::Default, keys.key(key));
            Ok((key, stored.map_err(|error| error.to_string())?))
        };
        keys.of(group).map(get).collect()
    }

    fn scan(&self, view: &RegionSnapshot<SimKv>, group: usize) -> Result<Stored, String> {
        let failed = |error: engine::Error| error.to_string();
        let keys = self.clients.keys();
        let mut found: Stored = keys.of(group).map(|key| (key, None)).collect();
        let (start, end) = (keys.key(keys.of(group).start), keys.pair_end(group));
        let mut iter = view.iter(Cf::Default, start, &end).map_err(failed)?;
        let mut valid = iter.seek_to_first().map_err(failed)?;
        while valid {
            let key = iter.key();
            let number = keys.find(group, key);
            let number = number.ok_or_else(|| format!("a key that nobody wrote: {key:02x?}"))?;
            let stored = Bytes::copy_from_slice(iter.value());
            let place = &mut found[number - keys.of(group).start].1;
            if place.replace(stored).is_some() {
                return Err(format!("key {number} twice"));
            }
            valid = iter.next().map_err(failed)?;
        }
        Ok(found)
    }
}
