//! Where a write spends its time, from the moment it is handed in to its answer.
//!
//! | stage | ends when |
//! |---|---|
//! | `queue` | its Peer has taken it up |
//! | `replicate` | its entry is committed and handed to the applier |
//! | `apply` | its effect is written |
//! | `all` | the same, from the beginning |
//!
//! **Why samples.** A write passes three threads; a note of when it passed each would have to travel with
//! it. One in sixteen leaves its times in a slot that all of them find by its id.
//!
//! **Invariants.** A slot belongs to the last request that took it; whoever finds another one's id there
//! leaves it alone. With thousands of writes in flight a time may now and then be lost, or, where two
//! requests take a slot at the same moment, be another's.
//!
//! **The slow log.** A write of these that takes too long is logged with its times.
//!
//! **Not here.** What the log's own write and sync take: the engines say so.

use super::journey::plain;
use logs::slow;
use metrics::{ByLabel, Histogram, is_on};
use raftstore::MonotonicTime;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use types::{RegionId, RequestId};

/// One request in so many is timed.
const SAMPLE: u64 = 16;
const SLOTS: u64 = 1_024;

metrics::label! {"stage":
    /// What a write waits for.
    pub(crate) enum Stage {
        /// Its Peer.
        Queue = "queue",
        /// A quorum.
        Replicate = "replicate",
        /// Its applier.
        Apply = "apply",
        /// All of it.
        All = "all",
    }
}

#[derive(Debug, Default)]
struct Slot {
    id: AtomicU64,
    region: AtomicU64,
    begun_ns: AtomicU64,
    passed_ns: AtomicU64,
    /// What the stages before the last one took.
    queue_ns: AtomicU64,
    replicate_ns: AtomicU64,
}

impl Slot {
    /// Its write is over, and so long its last stage took.
    fn end(&self, request: RequestId, all_ns: u64, apply_ns: u64) {
        let all = Duration::from_nanos(all_ns);
        if slow::is_slow(all) {
            let ms = |ns: u64| slow::ms(Duration::from_nanos(ns));
            logs::slow!(
                region = self.region.load(Ordering::Relaxed),
                request = plain(request),
                took_ms = slow::ms(all),
                queue_ms = ms(self.queue_ns.load(Ordering::Relaxed)),
                replicate_ms = ms(self.replicate_ns.load(Ordering::Relaxed)),
                apply_ms = ms(apply_ns),
                "a write"
            );
        }
    }
}

/// The writes that are timed.
pub(crate) struct Waterfall {
    slots: Box<[Slot]>,
    times: ByLabel<Stage, Histogram>,
}

impl Default for Waterfall {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            times: ByLabel::new(Histogram::latencies),
        }
    }
}

impl Waterfall {
    /// The slot of a request that is timed.
    fn slot(&self, request: RequestId) -> Option<&Slot> {
        let id = request.get();
        let is_timed = id.is_multiple_of(SAMPLE) && is_on();
        is_timed.then(|| &self.slots[(id / SAMPLE % SLOTS) as usize])
    }

    /// A request is handed in. The clock is read only if it is timed.
    pub(crate) fn begin(
        &self,
        request: RequestId,
        region: RegionId,
        now: impl FnOnce() -> MonotonicTime,
    ) {
        if let Some(slot) = self.slot(request) {
            let now_ns = now().0;
            slot.region.store(region.get(), Ordering::Relaxed);
            slot.begun_ns.store(now_ns, Ordering::Relaxed);
            slot.passed_ns.store(now_ns, Ordering::Relaxed);
            slot.id.store(request.get(), Ordering::Release);
        }
    }

    /// A request has come through a stage.
    pub(crate) fn pass(
        &self,
        request: RequestId,
        stage: Stage,
        now: impl FnOnce() -> MonotonicTime,
    ) {
        let Some(slot) = self.slot(request) else {
            return;
        };
        if slot.id.load(Ordering::Acquire) != request.get() {
            return;
        }
        let now_ns = now().0;
        let passed_ns = slot.passed_ns.swap(now_ns, Ordering::Relaxed);
        let observe = |stage, since_ns: u64| {
            self.times
                .of(stage)
                .observe(now_ns.saturating_sub(since_ns));
        };
        observe(stage, passed_ns);
        let took_ns = now_ns.saturating_sub(passed_ns);
        match stage {
            Stage::Queue => slot.queue_ns.store(took_ns, Ordering::Relaxed),
            Stage::Replicate => slot.replicate_ns.store(took_ns, Ordering::Relaxed),
            Stage::Apply => {
                slot.id.store(0, Ordering::Relaxed);
                let begun_ns = slot.begun_ns.load(Ordering::Relaxed);
                observe(Stage::All, begun_ns);
                slot.end(request, now_ns.saturating_sub(begun_ns), took_ns);
            }
            Stage::All => {}
        }
    }

    /// What was observed.
    pub(crate) fn times(&self) -> &ByLabel<Stage, Histogram> {
        &self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionId = RegionId(2);

    #[test]
    fn one_write_in_sixteen_leaves_its_times() {
        let waterfall = Waterfall::default();
        let at = |ns| move || MonotonicTime(ns);
        for id in 1..=32 {
            let request = RequestId(id);
            waterfall.begin(request, REGION, at(100));
            waterfall.pass(request, Stage::Queue, at(110));
            waterfall.pass(request, Stage::Replicate, at(130));
            waterfall.pass(request, Stage::Apply, at(170));
            // It is over.
            waterfall.pass(request, Stage::Apply, at(999));
        }
        let seen = |stage| {
            let observed = waterfall.times().of(stage).read();
            (observed.count(), observed.sum())
        };
        assert_eq!(seen(Stage::Queue), (2, 20));
        assert_eq!(seen(Stage::Replicate), (2, 40));
        assert_eq!(seen(Stage::Apply), (2, 80));
        assert_eq!(seen(Stage::All), (2, 140));
    }

    #[test]
    fn a_slot_that_another_has_taken_is_left_alone() {
        let waterfall = Waterfall::default();
        let later = RequestId(SAMPLE * SLOTS + SAMPLE);
        waterfall.begin(RequestId(SAMPLE), REGION, || MonotonicTime(1));
        waterfall.begin(later, REGION, || MonotonicTime(2));
        waterfall.pass(RequestId(SAMPLE), Stage::Queue, || unreachable!());
        waterfall.pass(later, Stage::Queue, || MonotonicTime(5));
        assert_eq!(waterfall.times().of(Stage::Queue).read().sum(), 3);
    }
}
