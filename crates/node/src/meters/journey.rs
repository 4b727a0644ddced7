//! When a request that somebody follows passed the stages of a write.
//!
//! **How it travels.** Whoever follows a request polls it [`within`] its [`Journey`]; the handle finds that where it
//! hands the request in, and marks the request's id. The handlers look at this one bit of the ids that pass through
//! them anyway, and note the time only where it is set. So a request that nobody follows costs a branch at each stage,
//! and `raftstore`, which carries ids, knows nothing of all this.
//!
//! **Invariants.** A point in time is noted once; the first counts. Points are in the order of [`Point`]. Who is
//! followed is in the table until its answer was taken, or its asker has gone.
//!
//! **Not here.** Which requests are followed, and what becomes of their times (`server::traces`). Other replicas:
//! nothing of this goes to them. Reads.

use crate::replies::IdHasher;
use parking_lot::Mutex;
use raftstore::MonotonicTime;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use types::{RegionId, RequestId};

/// The bit of an id that says that its request is followed.
const FOLLOWED: u64 = 1 << 63;

tokio::task_local! {
    static CURRENT: Arc<Journey>;
}

/// Where a write passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// It is handed to its Peer's mailbox.
    HandedIn,
    /// Its Peer has taken it up.
    TakenUp,
    /// The write of the log that has it begins.
    LogBegun,
    /// This write is synced.
    LogWritten,
    /// Its entry is committed and handed to the applier.
    Committed,
    /// Its effect is written.
    Applied,
}

/// The times of one request. Zero: it did not come so far.
#[derive(Debug, Default)]
pub struct Journey {
    region: AtomicU64,
    request: AtomicU64,
    times: [AtomicU64; 6],
    failed: OnceLock<&'static str>,
}

impl Journey {
    /// It passes a point.
    pub fn pass(&self, point: Point, now: MonotonicTime) {
        let time = &self.times[point as usize];
        let _ = time.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// When it passed a point, by the node's clock.
    pub fn at(&self, point: Point) -> Option<MonotonicTime> {
        let time_ns = self.times[point as usize].load(Ordering::Relaxed);
        (time_ns > 0).then_some(MonotonicTime(time_ns))
    }

    /// Its Region and its id within the node, if it was handed in.
    pub fn handed_in(&self) -> Option<(RegionId, RequestId)> {
        let request = self.request.load(Ordering::Relaxed);
        let region = RegionId(self.region.load(Ordering::Relaxed));
        (request > 0).then_some((region, RequestId(request)))
    }

    /// The kind of error that it is answered with.
    pub fn failed(&self) -> Option<&'static str> {
        self.failed.get().copied()
    }
}

/// Polls a part of a request within its journey.
pub fn within<T>(journey: &Arc<Journey>, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
    CURRENT.sync_scope(Arc::clone(journey), poll)
}

/// The request that is polled here, if it is followed, is answered with an error of this kind.
pub fn note_failure(kind: &'static str) {
    let _ = CURRENT.try_with(|journey| journey.failed.set(kind));
}

/// That of the request that is polled here.
pub(crate) fn current() -> Option<Arc<Journey>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// The id of a request that is followed.
pub(crate) fn mark(request: RequestId) -> RequestId {
    RequestId(request.get() | FOLLOWED)
}

/// The number of a request without the mark, as operators see it.
pub(crate) fn plain(request: RequestId) -> u64 {
    request.get() & !FOLLOWED
}

fn is_followed(request: RequestId) -> bool {
    request.get() & FOLLOWED != 0
}

/// The requests that are followed.
#[derive(Default)]
pub(crate) struct Journeys(Mutex<HashMap<u64, Arc<Journey>, BuildHasherDefault<IdHasher>>>);

impl Journeys {
    /// Follows a request with a marked id as long as the guard lives.
    pub(crate) fn follow(
        &self,
        request: RequestId,
        region: RegionId,
        journey: Arc<Journey>,
    ) -> Following<'_> {
        debug_assert!(is_followed(request));
        journey.region.store(region.get(), Ordering::Relaxed);
        journey.request.store(plain(request), Ordering::Relaxed);
        self.0.lock().insert(request.get(), journey);
        Following {
            journeys: self,
            request,
        }
    }

    /// A request passes a point. The clock is read only if it is followed.
    pub(crate) fn pass(
        &self,
        request: RequestId,
        point: Point,
        now: impl FnOnce() -> MonotonicTime,
    ) {
        if is_followed(request)
            && let Some(journey) = self.0.lock().get(&request.get())
        {
            journey.pass(point, now());
        }
    }
}

/// A request is followed until this is dropped.
pub(crate) struct Following<'a> {
    journeys: &'a Journeys,
    request: RequestId,
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.journeys.0.lock().remove(&self.request.get());
    }
}

/// Who is followed of the requests that a round of Peers has taken up, and where in the round their Peers are.
#[derive(Default)]
pub(crate) struct Appends(Vec<(usize, RequestId)>);

impl Appends {
    /// The Peer at this position has taken a request up.
    pub(crate) fn take(&mut self, position: usize, request: RequestId) {
        if is_followed(request) {
            self.0.push((position, request));
        }
    }

    /// A log write that has these Peers' entries comes to a point.
    pub(crate) fn pass(
        &self,
        (journeys, point): (&Journeys, Point),
        writes: &[(usize, u64)],
        now: impl Fn() -> MonotonicTime,
    ) {
        for (position, request) in &self.0 {
            // The others' were refused.
            if writes.iter().any(|(of, _)| of == position) {
                journeys.pass(*request, point, &now);
            }
        }
    }

    /// The round's first log write, which has all that it proposed, is over.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionId = RegionId(2);

    fn at(ns: u64) -> impl Fn() -> MonotonicTime {
        move || MonotonicTime(ns)
    }

    #[test]
    fn a_request_leaves_its_times_while_it_is_followed() {
        let (journeys, journey) = (Journeys::default(), Arc::new(Journey::default()));
        assert_eq!(journey.handed_in(), None);
        let id = mark(RequestId(5));
        let following = journeys.follow(id, REGION, Arc::clone(&journey));
        journeys.pass(id, Point::TakenUp, at(10));
        journeys.pass(id, Point::TakenUp, at(11));
        journeys.pass(mark(RequestId(6)), Point::Committed, || unreachable!());
        drop(following);
        journeys.pass(id, Point::Applied, || unreachable!());
        assert_eq!(journey.at(Point::TakenUp), Some(MonotonicTime(10)));
        assert_eq!(journey.at(Point::Committed), None);
        assert_eq!(journey.at(Point::Applied), None);
        assert_eq!(journey.handed_in(), Some((REGION, RequestId(5))));
        assert!(journeys.0.lock().is_empty());
    }

    #[test]
    fn the_log_is_written_for_those_whose_peers_have_something_in_it() {
        let (journeys, mut appends) = (Journeys::default(), Appends::default());
        let follow = |id: u64| {
            let journey = Arc::new(Journey::default());
            let following = journeys.follow(mark(RequestId(id)), REGION, Arc::clone(&journey));
            (journey, following)
        };
        let ((written, _first), (refused, _second)) = (follow(1), follow(2));
        appends.take(0, mark(RequestId(1)));
        appends.take(1, mark(RequestId(2)));
        appends.take(0, RequestId(3));
        assert_eq!(appends.0.len(), 2, "nobody follows the last one");
        let pass = |appends: &Appends, point, ns| {
            appends.pass((&journeys, point), &[(0, 7), (2, 1)], at(ns));
        };
        pass(&appends, Point::LogBegun, 20);
        appends.clear();
        pass(&appends, Point::LogWritten, 30);
        assert_eq!(written.at(Point::LogBegun), Some(MonotonicTime(20)));
        assert_eq!(written.at(Point::LogWritten), None);
        assert_eq!(refused.at(Point::LogBegun), None);
    }

    #[test]
    fn only_what_is_polled_within_a_journey_finds_it() {
        let journey = Arc::new(Journey::default());
        note_failure("nobody's");
        assert!(current().is_none());
        let polled = within(&journey, || {
            note_failure("not-leader");
            Poll::Ready(Arc::ptr_eq(&current().unwrap(), &journey))
        });
        assert_eq!(polled, Poll::Ready(true));
        assert!(current().is_none());
        assert_eq!(journey.failed(), Some("not-leader"));
    }
}
