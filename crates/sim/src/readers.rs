//! How reads look at the data: under a lease, in steps between which anything may happen, or after a
//! Peer has allowed it.
//!
//! **Invariants.** A store that stands still looks at nothing: what a reader there had begun goes on when
//! the store does, in no certain order with the Peers' rounds.

use crate::client::Heard;
use crate::faults::PlantedBug;
use crate::keys::Keys;
use crate::store::Life;
use crate::world::{Event, World};
use engine::{Cf, KvEngine, KvSnapshot};
use node::{Attempt, Clock, Granted, PeerMessage};
use raftstore::peer::Input;
use raftstore::{MonotonicTime, RequestContext, RequestError};
use std::sync::Arc;
use types::{Region, RequestId, Space};

/// The longest time between two steps of a reader on a store that does not stand still.
const STEP_US_MAX: u64 = 300;

/// Every key of a group with its value, or what is wrong with one.
type Values = Result<Vec<(usize, Option<u64>)>, String>;

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
        (group, region): (usize, &Region),
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
        let seen = self.values(store, group, region);
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
        let seen = self.values(store, group, &region);
        if let Some(context) = self.lost_its_data(store, request) {
            let region_id = context.region_id;
            return self.hand_in(store, region_id, request, Input::Read { request, context });
        }
        self.has_seen(store, request, seen);
    }

    /// What to ask again with, if data of a replica has gone since the Peer was asked: see
    /// `node::ReadDelegates`.
    fn lost_its_data(&mut self, store: usize, request: RequestId) -> Option<RequestContext> {
        let current = self.stores[store].life.as_mut()?;
        let (context, departures) = current.asked.remove(&request)?;
        (current.delegates.departures() != departures).then_some(context)
    }

    fn has_seen(&mut self, store: usize, request: RequestId, seen: Values) {
        if let Some(current) = &mut self.stores[store].life {
            current.outstanding.remove(&request);
        }
        match seen {
            Ok(values) => self.answer(request, Heard::Values(values)),
            Err(what) => self.violate(format_args!("{request} saw {what}")),
        }
    }

    /// Until when the store stands still, if it does.
    pub(crate) fn stands_still_until(&self, store: usize) -> Option<u64> {
        let until_us = self.stores[store].paused_until_us;
        (until_us > self.now_us).then_some(until_us)
    }

    fn values(&self, store: usize, group: usize, region: &Region) -> Values {
        let current = self.stores[store].life.as_ref().ok_or("no store")?;
        let snapshot = current.kv.snapshot();
        let keys = self.clients.keys();
        let space = Space::of(region.id);
        keys.of(group)
            .map(|key| {
                let stored = snapshot
                    .get(Cf::Default, &space.key(keys.key(key)))
                    .map_err(|error| error.to_string())?;
                let value = stored.as_ref().map(Keys::decode_value).transpose()?;
                Ok((key, value))
            })
            .collect()
    }
}
