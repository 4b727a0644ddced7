//! The lives of stores: their start, their ticks and rounds, what a round brought out, their end.
//!
//! **Invariants.** What a store has sent before it died has left; what it would have sent after that
//! has not. A store dies when it panics, when its power is cut, or with its sync; dying of anything
//! else than a planned fault is a violation.

use crate::checker::{replicas, tiling};
use crate::engines::{Cut, KV};
use crate::faults::FaultKind;
use crate::hosts::Asker;
use crate::planted::PlantedBug;
use crate::ports::Outbox;
use crate::readers::STEP_US_MAX;
use crate::store::{Installs, LifeOptions, MAILBOX_BYTES_MAX};
use crate::world::{Event, World};
use engine::{Cf, KvEngine};
use node::StoreMessage;
use placement::Request;
use raftstore::state::decode_apply_state;
use raftstore::store::Input;
use types::{RegionId, keys};

/// How often a round that installs a snapshot is cut short, where writes are.
const CUT_INSTALLATION_PPM: u64 = 300_000;

/// A source that a snapshot has taken in.
const TAKEN_IN: &str = "taken in by a snapshot";
/// How often a tick comes with a look for snapshots that nobody has asked for in time.
const GARBAGE_PPM: u64 = 30_000;

/// How often a tick comes with a sync of the key-value engine.
const SYNC_PPM: u64 = 300_000;

/// A round takes so long at least, and so long at most.
const ROUND_US: (u64, u64) = (5, 150);
/// So many times as long on a store that is slow.
const SLOW: u64 = 60;

impl World {
    pub(crate) fn start(&mut self, store: usize) {
        if self.stores[store].life.is_some() {
            return;
        }
        let bug = self.options.planted_bug.filter(|bug| bug.is_in(store));
        let options = LifeOptions::draw(self.rng.next(), bug, &mut self.rng);
        let cut = self.cut_at_start();
        let started = self.stores[store].start(options, |control| {
            if let Some(cut) = cut {
                control.arm(cut);
            }
        });
        let life = self.stores[store].life_number;
        self.note(format_args!("s{} begins life {life}", store + 1));
        match started {
            Ok(()) => {
                let life_begun = self.stores[store].life.as_ref();
                if life_begun.is_some_and(|current| current.resumed > 0) {
                    self.count("installation cut short");
                }
                let tick_us = self.rng.below(self.stores[store].tick_us);
                self.after(tick_us, Event::Tick { store, life });
                self.after(tick_us, Event::HostTick { store, life });
            }
            Err((_, outbox)) if outbox.lock().is_power_cut => {
                self.count("power cut at start");
                self.lose_power(store);
            }
            Err((error, _)) => {
                let number = store + 1;
                self.violate(format_args!("store {number} does not start: {error}"));
            }
        }
    }

    fn cut_at_start(&mut self) -> Option<Cut> {
        let may = !self.is_healed && self.plan.has(FaultKind::CutInWrite);
        (may && self.fault_rng.chance(300_000)).then(|| Cut {
            writes_left: self.fault_rng.below(4),
            after_write: self.fault_rng.chance(500_000),
        })
    }

    fn cut_in_installation(&mut self) -> Option<Cut> {
        let may = !self.is_healed && self.plan.has(FaultKind::CutInWrite);
        (may && self.fault_rng.chance(CUT_INSTALLATION_PPM)).then(|| Cut {
            writes_left: self.fault_rng.below(5),
            after_write: self.fault_rng.chance(500_000),
        })
    }

    pub(crate) fn tick(&mut self, store: usize, life: u64) {
        let now_us = self.now_us;
        let stores = &mut self.stores[store];
        if stores.life_number != life {
            return;
        }
        let Some(current) = &mut stores.life else {
            return;
        };
        if stores.paused_until_us <= now_us || stores.ticks_pile_up {
            // A store too busy for a tick gets the next one.
            let _ = current.router.send_control(StoreMessage(Input::Tick));
        }
        if self.rng.chance(GARBAGE_PPM) {
            current.snapshots.collect_garbage();
        }
        if self.rng.chance(SYNC_PPM) {
            current.sync_kv();
            let outbox = current.outbox.lock().take();
            self.take_out(store, outbox);
        }
        if self.stores[store].life.is_none() {
            return;
        }
        self.hurry_merges(store);
        let stores = &mut self.stores[store];
        let tick_us = stores.tick_us;
        self.after(tick_us, Event::Tick { store, life });
        self.wake(store);
    }

    /// Has a round run soon, unless one will anyway.
    pub(crate) fn wake(&mut self, store: usize) {
        let life = self.stores[store].life_number;
        if let Some(current) = &mut self.stores[store].life
            && !current.is_scheduled
        {
            current.is_scheduled = true;
            let slowness = match self.stores[store].slow_until_us > self.now_us {
                true => SLOW,
                false => 1,
            };
            let delay_us = self.rng.between(ROUND_US.0, ROUND_US.1) * slowness;
            self.after(delay_us, Event::Round { store, life });
        }
    }

    pub(crate) fn round(&mut self, store: usize, life: u64) {
        let paused_until_us = self.stores[store].paused_until_us;
        if self.stores[store].life_number != life {
            return;
        }
        let first = self.rng.below(3);
        let installs = Installs {
            wait: self.stores[store].installs_wait_until_us > self.now_us,
            cut: self.cut_in_installation(),
        };
        let Some(current) = &mut self.stores[store].life else {
            return;
        };
        if paused_until_us > self.now_us {
            self.at(paused_until_us, Event::Round { store, life });
            return;
        }
        current.is_scheduled = false;
        current.cached_clock = current.clock.stopped();
        let worked = current.run_round(first, installs);
        self.hear_of_leases(store);
        let Some(current) = &mut self.stores[store].life else {
            return;
        };
        let bytes = current.router.load().bytes_used;
        let outbox = current.outbox.lock().take();
        self.take_out(store, outbox);
        if bytes > 2 * MAILBOX_BYTES_MAX {
            let number = store + 1;
            self.violate(format_args!(
                "{bytes} bytes wait in mailboxes of store {number}"
            ));
        }
        if worked {
            self.wake(store);
        }
    }

    pub(crate) fn take_out(&mut self, store: usize, outbox: Outbox) {
        let number = store + 1;
        for written in &outbox.writes {
            self.note(format_args!("s{number} {written}"));
        }
        for leadership in &outbox.leaderships {
            self.learn_leader(store, leadership);
        }
        for message in outbox.sent {
            self.send(store, message);
        }
        for heartbeat in outbox.heartbeats {
            if !heartbeat.quarantined_peers.is_empty() {
                let (region, peers) = (heartbeat.region.id, &heartbeat.quarantined_peers);
                self.violate(format_args!(
                    "r{region} has quarantined replicas: {peers:?}"
                ));
            }
            self.operator.learn(heartbeat.clone());
            self.report_region(store, heartbeat);
        }
        for parts in outbox.splits {
            self.report_to_leader(store, Asker::Nobody, Request::SplitDone(parts));
        }
        if let Some(stats) = outbox.stats {
            self.report_store(store, stats);
        }
        if outbox.has_stalled {
            self.count("full disk");
            let outage_us = self.outage_us();
            self.stores[store].paused_until_us = self.now_us + outage_us;
        }
        for snapshot in outbox.snapshots {
            self.send_snapshot(store, snapshot);
        }
        self.snapshots += outbox.installed;
        for _ in 0..outbox.taken_in {
            self.operator.count(TAKEN_IN);
        }
        for answer in outbox.answers {
            self.answered(store, answer);
        }
        match (outbox.panic, outbox.is_power_cut, outbox.has_sync_failed) {
            (_, true, _) => {
                self.count("power cut in a write");
                self.lose_power(store);
            }
            (Some(_), false, true) => {
                self.count("stopped after a failed sync");
                self.lose_power(store);
            }
            (Some(panic), false, false) => {
                self.violate(format_args!("store {number} panicked: {panic}"));
            }
            (None, false, true) => {
                self.violate(format_args!("store {number} went on after a failed sync"));
            }
            (None, false, false) if outbox.writes.iter().any(|it| it.engine == KV) => {
                let checked = self.check_applied(store);
                self.check(checked);
            }
            (None, false, false) => {}
        }
    }

    fn learn_leader(&mut self, store: usize, leadership: &raftstore::Leadership) {
        let (region, term) = (leadership.region_id, leadership.term);
        let leader = leadership.leader.map(|peer| peer.store_id.get());
        self.note(format_args!(
            "s{} r{region} term {term} leader {leader:?}",
            store + 1
        ));
        let unique = self.raft.leadership(leadership);
        self.check(unique);
        let Some(current) = &mut self.stores[store].life else {
            return;
        };
        match leadership.is_self {
            true => current.leads.insert(region),
            false => current.leads.remove(&region),
        };
        let monotonic = current.progress.term(region, term);
        if region == RegionId::PLACEMENT {
            current.host.hears_of_leader(leadership.clone());
            let life = self.stores[store].life_number;
            let delay_us = self.rng.below(STEP_US_MAX);
            self.after(delay_us, Event::HostElection { store, life });
        }
        self.check(monotonic);
    }

    fn check_applied(&mut self, store: usize) -> Result<(), String> {
        let Some(current) = &mut self.stores[store].life else {
            return Ok(());
        };
        let failed = |error: engine::Error| format!("reading what was applied: {error}");
        let mut news = Vec::new();
        let regions = current.regions()?;
        tiling::check_apart(&regions)?;
        let is_here = |id: RegionId| regions.iter().any(|region| region.id == id);
        current.progress.forget_removed(is_here);
        for region in &regions {
            let mark = keys::snapshot_mark_key(region.id);
            if current.kv.get(Cf::Raft, &mark).map_err(failed)?.is_some() {
                // Its data is neither the old nor the new.
                continue;
            }
            let key = keys::apply_state_key(region.id);
            let record = current.kv.get(Cf::Raft, &key).map_err(failed)?;
            let record = record.ok_or("an apply state is gone")?;
            let state = decode_apply_state(record).map_err(|error| error.to_string())?;
            if current.progress.applied(region.id, state.applied_index)? {
                let contents = replicas::contents(&current.kv, region).map_err(failed)?;
                news.push((region.id, state.applied_index, contents));
            }
        }
        // Snapshots carry what is damaged on one store to others.
        if self.options.planted_bug == Some(PlantedBug::DamagedData) {
            return Ok(());
        }
        for (region, index, contents) in news {
            self.note(format_args!(
                "s{} r{region} applied {index}: {contents:016x}",
                store + 1
            ));
            self.replicas.observe(region, index, contents)?;
        }
        Ok(())
    }

    /// The process ends; its disk keeps everything.
    pub(crate) fn kill(&mut self, store: usize) {
        self.note(format_args!("s{} is gone", store + 1));
        let stores = &mut self.stores[store];
        stores.end_life();
        stores.paused_until_us = self.now_us;
        stores.disk.fail_syncs(false);
        stores.disk.set_full(false);
        let outage_us = match self.is_healed {
            true => 1_000,
            false => self.outage_us(),
        };
        self.after(outage_us, Event::Start { store });
    }

    /// How long a store is away.
    fn outage_us(&mut self) -> u64 {
        let max = self.options.faults.outage_us_max.max(1_000);
        self.fault_rng.between(1_000, max)
    }

    /// The machine ends; its disk loses a suffix of what was not synced.
    pub(crate) fn lose_power(&mut self, store: usize) {
        self.kill(store);
        let mut lost = 0;
        let rng = &mut self.fault_rng;
        self.stores[store].disk.crash(&mut |unsynced| {
            let kept = match rng.below(4) {
                0 => 0,
                1 => unsynced,
                _ => rng.between(0, unsynced as u64) as usize,
            };
            lost += unsynced - kept;
            kept
        });
        if lost > 0 {
            *self.faults.entry("unsynced write lost").or_default() += lost as u64;
        }
        self.note(format_args!("s{} lost {lost} writes", store + 1));
    }
}
