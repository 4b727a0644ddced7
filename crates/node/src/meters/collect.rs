//! Gathers what a node shows, when somebody asks.
//!
//! **Invariants.** Nothing here waits for a poller or the disk: every number is read where it stands.

use super::families::*;
use super::{Meters, ReadPath};
use crate::fsm::ApplyRouter;
use crate::growth::Growth;
use crate::handle::NodeHandle;
use crate::ports::Ports;
use batch_system::{Fsm, Rescheduled, Router};
use engine::{KvEngine, RaftLog};
use metrics::{Collect, Label, Page};
use std::sync::Arc;

/// What of a node is only looked at.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) appliers: ApplyRouter,
    pub(crate) growth: Growth,
    pub(crate) log: Arc<dyn Collect>,
}

/// The Raft log, whichever engine it is.
struct Log<L>(L);

impl<L: RaftLog> Collect for Log<L> {
    fn collect(&self, page: &mut Page) {
        self.0.collect(page);
    }
}

impl Watched {
    /// Of a node with these ports and this log.
    pub(crate) fn of<L: RaftLog>(ports: &Ports, log: L) -> Self {
        Self {
            appliers: ports.appliers.clone(),
            growth: ports.growth.clone(),
            log: Arc::new(Log(log)),
        }
    }
}

impl<K: KvEngine> Collect for NodeHandle<K> {
    fn collect(&self, page: &mut Page) {
        let inner = &*self.inner;
        actors(page, "peer", &inner.peers);
        actors(page, "apply", &inner.watched.appliers);
        self.collect_raft(page);
        self.collect_memory(page);
        self.collect_flow(page);
        self.collect_snapshots(page);
        inner.engine.collect(page);
        inner.watched.log.collect(page);
        collect_reads(&inner.meters, page);
        collect_placement(&inner.meters, page);
    }
}

impl<K: KvEngine> NodeHandle<K> {
    fn collect_raft(&self, page: &mut Page) {
        let inner = &*self.inner;
        let cells = &inner.meters;
        page.gauge(&REGIONS, &[], inner.peers.load().fsms as u64);
        page.gauge(&LEADERS, &[], inner.leaders.led() as u64);
        page.gauge(&ASLEEP, &[], cells.asleep.get());
        page.gauge(&SLOW_SCORE, &[], inner.slowness.score());
        page.gauge(&DISK_FULL, &[], inner.room.is_full().into());
        for (desc, counter) in [
            (&PROPOSALS, &cells.proposals),
            (&APPENDED, &cells.appended),
            (&APPENDED_BYTES, &cells.appended_bytes),
            (&COMMITTED, &cells.committed),
            (&APPLIED, &cells.applied),
            (&ANSWERED, &cells.answered),
        ] {
            page.counter(desc, &[], counter.get());
        }
        for (role, counter) in cells.leaderships.iter() {
            page.counter(&LEADERSHIPS, &[role.value()], counter.get());
        }
        for (stage, times) in cells.waterfall.times().iter() {
            page.histogram(&STAGES, &[stage.value()], &times.read());
        }
        for (desc, counters) in [(&SENT, &cells.sent), (&RECEIVED, &cells.received)] {
            for (kind, counter) in counters.iter() {
                page.counter(desc, &[kind.value()], counter.get());
            }
        }
        for (reason, counter) in cells.lost.iter() {
            page.counter(&LOST, &[reason.value()], counter.get());
        }
    }

    fn collect_memory(&self, page: &mut Page) {
        let (memory, writes_max) = (&self.inner.memory, self.inner.write_bytes_max);
        let parts = memory.parts();
        for (component, part, limit) in [
            ("mailboxes", &parts.mailboxes, parts.mailboxes.limit_bytes()),
            ("pending-writes", &parts.writes, writes_max),
            (
                "unapplied-entries",
                &parts.unapplied,
                parts.unapplied.limit_bytes(),
            ),
            (
                "entry-cache",
                &parts.entry_cache,
                parts.entry_cache.limit_bytes(),
            ),
            ("answers", &parts.answers, parts.answers.limit_bytes()),
        ] {
            page.gauge(&MEMORY, &[component], part.used_bytes() as u64);
            page.gauge(&MEMORY_LIMIT, &[component], limit as u64);
        }
        page.gauge(&MEMORY_USAGE_LIMIT, &[], memory.limit_bytes() as u64);
        page.gauge(&MEMORY_BASE, &[], memory.base_bytes() as u64);
        page.gauge(&MEMORY_FREE, &[], memory.free_bytes() as u64);
        let (admitted, refused) = memory.waited();
        page.counter(&MEMORY_WAITS, &["admitted"], admitted);
        page.counter(&MEMORY_WAITS, &["refused"], refused);
    }

    fn collect_flow(&self, page: &mut Page) {
        let (flow, quotas) = (&self.inner.flow, &self.inner.quotas);
        let rate = flow.rate();
        page.gauge(&FLOW_PACED, &[], u64::from(rate.is_some()));
        page.gauge(&FLOW_RATE, &[], rate.unwrap_or(0));
        let (admitted, refused) = flow.waited();
        page.counter(&FLOW_WAITS, &["admitted"], admitted);
        page.counter(&FLOW_WAITS, &["refused"], refused);
        let (writes, reads) = quotas.delayed();
        page.counter(&QUOTA_DELAYS, &["write"], writes);
        page.counter(&QUOTA_DELAYS, &["read"], reads);
    }

    fn collect_snapshots(&self, page: &mut Page) {
        let (sending, receiving) = self.inner.snapshots.active();
        page.gauge(&SNAPSHOTS_ACTIVE, &["out"], sending as u64);
        page.gauge(&SNAPSHOTS_ACTIVE, &["in"], receiving as u64);
        let cells = &self.inner.meters.snapshots;
        page.counter(&SNAPSHOTS_SENT, &["ok"], cells.sent.get());
        page.counter(&SNAPSHOTS_SENT, &["failed"], cells.send_failed.get());
        page.counter(&SNAPSHOTS_SENT_BYTES, &[], cells.sent_bytes.get());
        page.counter(&SNAPSHOTS_RECEIVED, &[], cells.received.get());
        page.counter(&SNAPSHOTS_RECEIVED_BYTES, &[], cells.received_bytes.get());
        page.histogram(&SNAPSHOT_INSTALL, &[], &cells.installs.read());
    }
}

fn actors<N: Fsm, C: Fsm>(page: &mut Page, system: &str, router: &Router<N, C>) {
    let (load, stats) = (router.load(), router.system_stats());
    let config = router.config();
    let pollers = config.pool_size + config.low_pool_size;
    page.gauge(&ACTORS, &[system], load.fsms as u64);
    page.gauge(&READY, &[system], load.ready as u64);
    page.gauge(&POLLERS, &[system], pollers as u64);
    page.histogram(&BATCH, &[system], &stats.batch);
    page.histogram(&ROUND, &[system], &stats.round);
    page.histogram(&END, &[system], &stats.end);
    page.counter(&HANDLED, &[system], stats.messages);
    page.counter(&REFUSED, &[system], stats.refused);
    for reason in Rescheduled::ALL {
        let count = stats.rescheduled[reason.position()];
        page.counter(&RESCHEDULED, &[system, reason.value()], count);
    }
}

fn collect_reads(cells: &Meters, page: &mut Page) {
    for (path, counter) in cells.reads.iter() {
        page.counter(&READS, &[path.value()], counter.get());
    }
    for (path, waits) in cells.read_waits.iter() {
        if path != ReadPath::Lease {
            page.histogram(&READ_WAIT, &[path.value()], &waits.read());
        }
    }
}

fn collect_placement(cells: &Meters, page: &mut Page) {
    let stats = cells.placement.lock().clone();
    page.gauge(&PLACEMENT_LEADS, &[], stats.is_some().into());
    let Some(stats) = stats else {
        return;
    };
    for (state, stores) in &stats.stores {
        page.gauge(&PLACEMENT_STORES, &[state], *stores);
    }
    page.gauge(&PLACEMENT_REGIONS, &[], stats.regions);
    for (kind, operators) in &stats.running {
        page.gauge(&PLACEMENT_RUNNING, &[kind], *operators);
    }
    for ((kind, result), operators) in &stats.ended {
        page.counter(&PLACEMENT_ENDED, &[kind, result], *operators);
    }
    page.counter(&PLACEMENT_HEARTBEATS, &["store"], stats.store_heartbeats);
    page.counter(&PLACEMENT_HEARTBEATS, &["region"], stats.region_heartbeats);
}
