//! What the node has reported and nobody has sent yet.
//!
//! **Invariants.** At most one report of each Region, the latest. Only the stream that was opened last
//! gets anything. No report overtakes that of a split: of a part without the others, placement would have a
//! gap.

use placement::{RegionHeartbeat, StoreStats};
use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};
use types::{Region, RegionId};

/// Beyond so many splits the oldest are dropped: their parts report by themselves.
const SPLITS_MAX: usize = 1_024;

#[derive(Default)]
pub(super) struct Pending {
    /// Splits, oldest first.
    splits: VecDeque<Vec<Region>>,
    regions: BTreeMap<RegionId, RegionHeartbeat>,
    /// The latest report of the store.
    pub(super) store: Option<StoreStats>,
    reader: Option<Waker>,
    generation: u64,
}

impl Pending {
    /// Keeps a report; returns whom to wake.
    pub(super) fn put(&mut self, heartbeat: RegionHeartbeat) -> Option<Waker> {
        self.regions.insert(heartbeat.region.id, heartbeat);
        self.reader.take()
    }

    pub(super) fn put_split(&mut self, parts: Vec<Region>) {
        if self.splits.len() == SPLITS_MAX {
            self.splits.pop_front();
        }
        self.splits.push_back(parts);
    }

    /// The oldest split.
    pub(super) fn split(&self) -> Option<Vec<Region>> {
        self.splits.front().cloned()
    }

    /// The oldest split was told; returns whom to wake.
    pub(super) fn split_told(&mut self) -> Option<Waker> {
        self.splits.pop_front();
        self.reader.take()
    }

    /// The number of a new stream; older ones end.
    pub(super) fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        self.generation
    }

    /// The next report for the stream with this number.
    pub(super) fn poll(
        &mut self,
        generation: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<RegionHeartbeat>> {
        if generation != self.generation {
            return Poll::Ready(None);
        }
        if self.splits.is_empty()
            && let Some((_, heartbeat)) = self.regions.pop_first()
        {
            return Poll::Ready(Some(heartbeat));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker_ref;
    use types::Region;

    fn report(region: u64, term: u64) -> RegionHeartbeat {
        let region = Region {
            id: RegionId(region),
            ..Region::default()
        };
        RegionHeartbeat {
            region,
            term,
            ..RegionHeartbeat::default()
        }
    }

    #[test]
    fn only_the_latest_report_of_a_region_is_sent() {
        let mut pending = Pending::default();
        let mut cx = Context::from_waker(noop_waker_ref());
        let stream = pending.next_generation();
        for report in [report(3, 1), report(2, 1), report(3, 2)] {
            pending.put(report);
        }
        assert_eq!(
            pending.poll(stream, &mut cx),
            Poll::Ready(Some(report(2, 1)))
        );
        assert_eq!(
            pending.poll(stream, &mut cx),
            Poll::Ready(Some(report(3, 2)))
        );
        assert_eq!(pending.poll(stream, &mut cx), Poll::Pending);
        assert!(pending.put(report(2, 2)).is_some(), "the stream is woken");
    }

    #[test]
    fn nothing_is_reported_before_a_split_is_told() {
        let mut pending = Pending::default();
        let mut cx = Context::from_waker(noop_waker_ref());
        let stream = pending.next_generation();
        pending.put_split(vec![report(2, 1).region]);
        pending.put(report(2, 1));
        assert_eq!(pending.poll(stream, &mut cx), Poll::Pending);
        assert_eq!(pending.split(), Some(vec![report(2, 1).region]));
        assert!(pending.split_told().is_some(), "the stream is woken");
        assert_eq!(
            pending.poll(stream, &mut cx),
            Poll::Ready(Some(report(2, 1)))
        );
    }

    #[test]
    fn an_older_stream_ends_and_takes_nothing() {
        let mut pending = Pending::default();
        let mut cx = Context::from_waker(noop_waker_ref());
        let old = pending.next_generation();
        let new = pending.next_generation();
        pending.put(report(2, 1));
        assert_eq!(pending.poll(old, &mut cx), Poll::Ready(None));
        assert_eq!(pending.poll(new, &mut cx), Poll::Ready(Some(report(2, 1))));
    }
}
