//! How much is read and written: of each Region that is led here, and of the store; and which keys, of
//! Regions that are read too much.
//!
//! **Who counts.** Whoever serves: a read on the thread that does it, a write when it is applied. What a
//! replica applies for a leader elsewhere, or reads as a follower, counts for the store only: a Region is
//! reported by its leader.
//!
//! **Cost.** Who counts takes the lock of one shard for the time of a few additions. A Region has an entry
//! from its first request on until a report has taken it and nothing has come for a while: an idle one costs
//! nothing. Keys are looked at only where there is too much.
//!
//! **Invariants.** What was counted is told once. Nothing is told of the time before this replica led.
//!
//! **Not here.** Where a Region is cut that is asked for too much (`raftstore::op::load_split`). How long a report speaks of (the Peer says it); that time on a thread includes waiting for the
//! disk, and stands for the CPU all the same.

use crate::replies::IdHasher;
use parking_lot::Mutex;
use raftstore::MonotonicTime;
use raftstore::op::load_split::{Load, LoadLimits, Sample, Span};
use raftstore::op::measure::Size;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Duration;
use types::RegionId;

const SHARDS: usize = 64;

/// The traffic of one store. Clones are the same.
#[derive(Clone, Default)]
pub struct Traffic(Arc<Shared>);

struct Shared {
    shards: [Mutex<Shard>; SHARDS],
    /// When the store has told its traffic.
    told_at: Mutex<MonotonicTime>,
}

#[derive(Default)]
struct Shard {
    /// Regions that are led here.
    regions: HashMap<RegionId, Flow, BuildHasherDefault<IdHasher>>,
    /// Not told yet, of all.
    store: Counts,
}

/// Of one Region.
#[derive(Default)]
struct Flow {
    /// Not told yet.
    untold: Counts,
    /// Since the last look.
    load: Load,
    /// While it is asked for too much.
    sample: Option<Box<Sample>>,
}

/// The first and the last of a request's keys, as Regions hold keys; an empty one is the end.
pub(crate) type Keys<'a> = (&'a [u8], &'a [u8]);

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) read: Size,
    pub(crate) written: Size,
    /// Requests that read.
    pub(crate) reads: u64,
    /// Requests that write.
    pub(crate) writes: u64,
    /// Time of threads that read.
    pub(crate) busy: Duration,
}

impl Counts {
    fn add(&mut self, more: &Counts) {
        self.read.add(more.read);
        self.written.add(more.written);
        self.reads += more.reads;
        self.writes += more.writes;
        self.busy += more.busy;
    }

    /// As reports say it.
    fn over(&self, interval: Duration) -> placement::Traffic {
        let busy_percent = self.busy.as_millis() * 100 / interval.as_millis().max(1);
        placement::Traffic {
            interval_s: interval.as_secs(),
            written_bytes: self.written.bytes,
            written_keys: self.written.keys,
            read_bytes: self.read.bytes,
            read_keys: self.read.keys,
            read_requests: self.reads,
            write_requests: self.writes,
            cpu_percent: u64::try_from(busy_percent).unwrap_or(u64::MAX),
        }
    }
}

impl Flow {
    fn add(&mut self, counts: &Counts) {
        self.untold.add(counts);
        self.load.requests += counts.reads;
        self.load.bytes += counts.read.bytes;
        self.load.busy += counts.busy;
    }

    /// What was drawn since the last look, if that was over a limit; from then on, reads are drawn.
    fn look(&mut self, id: RegionId, limits: &LoadLimits, length: Duration) -> Option<Vec<Span>> {
        if !limits.are_exceeded_by(&std::mem::take(&mut self.load), length) {
            self.sample = None;
            return None;
        }
        let sample = &mut self.sample;
        Some(
            sample
                .get_or_insert_with(|| Box::new(Sample::new(id.get())))
                .take(),
        )
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            told_at: Mutex::default(),
        }
    }
}

impl Traffic {
    fn shard(&self, region: RegionId) -> &Mutex<Shard> {
        &self.0.shards[region.get() as usize % SHARDS]
    }

    /// A replica here was read or written.
    pub(crate) fn count(&self, region: RegionId, counts: &Counts) {
        self.shard(region).lock().store.add(counts);
    }

    /// As [`Self::count`], where the replica was asked as its Region's leader: for these keys, if it was read.
    pub(crate) fn count_led(&self, region: RegionId, counts: &Counts, keys: Option<Keys<'_>>) {
        // Nobody reports the placement Region.
        if region == RegionId::PLACEMENT {
            return self.count(region, counts);
        }
        let mut shard = self.shard(region).lock();
        shard.store.add(counts);
        let flow = shard.regions.entry(region).or_default();
        flow.add(counts);
        if let (Some((first, last)), Some(sample)) = (keys, &mut flow.sample) {
            sample.offer(first, last);
        }
    }

    /// The Regions that were over a limit since the last look, which is so long ago; with what was drawn of
    /// their requests.
    pub(crate) fn look(&self, limits: &LoadLimits, length: Duration) -> Vec<(RegionId, Vec<Span>)> {
        let mut exceeding = Vec::new();
        for shard in &self.0.shards {
            let regions = &mut shard.lock().regions;
            regions.retain(|id, flow| {
                let was_asked = flow.load != Load::default();
                let drawn = flow.look(*id, limits, length);
                exceeding.extend(drawn.map(|drawn| (*id, drawn)));
                was_asked || flow.untold != Counts::default()
            });
            if regions.len() < regions.capacity() / 4 {
                regions.shrink_to_fit();
            }
        }
        exceeding
    }

    /// The Region is not led here any more.
    pub(crate) fn forget(&self, region: RegionId) {
        self.shard(region).lock().regions.remove(&region);
    }

    /// What its leader has to tell of a Region, for so long a time. For none it is kept.
    pub(crate) fn take_region(&self, region: RegionId, interval: Duration) -> placement::Traffic {
        if interval.is_zero() {
            return placement::Traffic::default();
        }
        let mut shard = self.shard(region).lock();
        let flow = shard.regions.get_mut(&region);
        let untold = flow.map(|flow| std::mem::take(&mut flow.untold));
        untold.unwrap_or_default().over(interval)
    }

    /// What the store has to tell. Less than a second after it was told last, nothing.
    pub(crate) fn take_store(&self, now: MonotonicTime) -> placement::Traffic {
        let mut told_at = self.0.told_at.lock();
        // Time counts from the first report on: what came before it is not much.
        let passed = match *told_at {
            MonotonicTime(0) => Duration::ZERO,
            told_at => Duration::from_secs(told_at.until(now).as_secs()),
        };
        *told_at = match *told_at {
            MonotonicTime(0) => now,
            told_at => told_at.after(passed),
        };
        if passed.is_zero() {
            return placement::Traffic::default();
        }
        let mut sum = Counts::default();
        for shard in &self.0.shards {
            sum.add(&std::mem::take(&mut shard.lock().store));
        }
        sum.over(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionId = RegionId::FIRST_DATA;
    const MINUTE: Duration = Duration::from_secs(60);

    fn read(bytes: u64) -> Counts {
        Counts {
            read: Size { bytes, keys: 1 },
            reads: 1,
            busy: Duration::from_secs(3),
            ..Counts::default()
        }
    }

    fn look(traffic: &Traffic) -> Vec<(RegionId, Vec<Span>)> {
        let limits = LoadLimits {
            qps: 10,
            cpu: Duration::MAX,
            ..LoadLimits::default()
        };
        traffic.look(&limits, Duration::from_secs(1))
    }

    fn entries(traffic: &Traffic) -> usize {
        let shards = traffic.0.shards.iter();
        shards.map(|shard| shard.lock().regions.len()).sum()
    }

    #[test]
    fn what_was_counted_is_told_once_and_an_idle_region_leaves_nothing_behind() {
        let traffic = Traffic::default();
        traffic.count_led(REGION, &read(10), None);
        traffic.count_led(REGION, &read(20), None);
        let nothing = placement::Traffic::default();
        assert_eq!(traffic.take_region(REGION, Duration::ZERO), nothing);
        let told = traffic.take_region(REGION, MINUTE);
        assert_eq!(
            (told.interval_s, told.read_bytes, told.read_keys),
            (60, 30, 2)
        );
        assert_eq!((told.read_requests, told.cpu_percent), (2, 10));
        let idle = placement::Traffic {
            interval_s: 60,
            ..nothing
        };
        assert_eq!(traffic.take_region(REGION, MINUTE), idle);
        look(&traffic);
        assert_eq!(entries(&traffic), 1);
        look(&traffic);
        assert_eq!(entries(&traffic), 0);
    }

    #[test]
    fn what_is_not_told_yet_outlives_looks() {
        let traffic = Traffic::default();
        traffic.count_led(REGION, &read(10), None);
        look(&traffic);
        look(&traffic);
        assert_eq!(traffic.take_region(REGION, MINUTE).read_bytes, 10);
    }

    #[test]
    fn what_a_follower_does_counts_for_the_store_only() {
        let traffic = Traffic::default();
        let at = |s: u64| MonotonicTime(s * 1_000_000_000);
        assert_eq!(traffic.take_store(at(1)), placement::Traffic::default());
        traffic.count(REGION, &read(10));
        traffic.count_led(RegionId::PLACEMENT, &read(5), None);
        assert_eq!(entries(&traffic), 0);
        let told = traffic.take_store(at(11));
        assert_eq!((told.interval_s, told.read_bytes), (10, 15));
        assert_eq!(traffic.take_store(at(11)).interval_s, 0);
        assert_eq!(traffic.take_store(at(21)).read_bytes, 0);
    }

    #[test]
    fn a_region_that_is_led_elsewhere_is_forgotten() {
        let traffic = Traffic::default();
        traffic.count_led(REGION, &read(10), None);
        traffic.forget(REGION);
        assert_eq!(traffic.take_region(REGION, MINUTE).read_bytes, 0);
    }

    #[test]
    fn writes_are_reported_and_are_no_reason_to_cut() {
        let traffic = Traffic::default();
        for _ in 0..100 {
            let written = Counts {
                written: Size { bytes: 1, keys: 1 },
                writes: 1,
                ..Counts::default()
            };
            traffic.count_led(REGION, &written, None);
        }
        assert!(look(&traffic).is_empty());
        assert_eq!(traffic.take_region(REGION, MINUTE).write_requests, 100);
    }

    #[test]
    fn keys_are_drawn_only_while_there_is_too_much() {
        let traffic = Traffic::default();
        let ask = |times| {
            for _ in 0..times {
                traffic.count_led(REGION, &read(1), Some((b"k", b"l")));
            }
        };
        ask(10);
        assert!(look(&traffic).is_empty());
        ask(11);
        assert_eq!(look(&traffic), [(REGION, vec![])], "from now on");
        ask(11);
        let seen = look(&traffic).pop().unwrap().1;
        assert_eq!((seen.len(), &seen[0].last[..]), (11, &b"l"[..]));
        ask(10);
        assert!(look(&traffic).is_empty());
        ask(11);
        assert_eq!(look(&traffic), [(REGION, vec![])], "nothing of before");
    }
}
