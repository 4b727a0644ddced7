//! Quotas of requests: the bytes that clients may write and read in a second.
//!
//! **Why.** What shares a machine with others, or must leave room for them, is kept to its part; beyond it requests
//! take longer, and none fails.
//!
//! **How.** A write takes its place in a lane and waits for those before it. What a read will see is not known when it
//! begins: it waits for what others have seen, and what it sees counts when it is seen.
//!
//! **Invariants.** Without a quota a request costs one atomic operation here. No request is held up for longer than the
//! longest delay, if there is one; more than the quota passes then.
//!
//! **Not here.** Work that no client has asked for (snapshots, compactions, the comparison of replicas): each has
//! a bound of its own. Refusing: a quota delays.

use super::lane::Lane;
use metrics::Counter;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What clients may do in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaOptions {
    /// Bytes that they may write; zero for as many as they like.
    pub write_bytes_per_s: u64,
    /// Bytes that they may read, likewise.
    pub read_bytes_per_s: u64,
    /// The longest that a request is held up; zero for as long as it takes.
    pub delay_max: Duration,
}

/// The quotas of one store. Clones are the same.
#[derive(Clone)]
pub struct Quotas(Arc<Shared>);

struct Shared {
    begun: Instant,
    writes: Quota,
    reads: Quota,
}

/// One of them.
struct Quota {
    /// Zero: no quota.
    bytes_per_s: AtomicU64,
    lane: Mutex<(Lane, Duration)>,
    delayed: Counter,
}

impl Quota {
    fn new() -> Self {
        Self {
            bytes_per_s: AtomicU64::new(0),
            lane: Mutex::new((Lane::default(), Duration::MAX)),
            delayed: Counter::new(),
        }
    }

    fn set(&self, bytes_per_s: u64, delay_max: Duration) {
        let delay_max = match delay_max.is_zero() {
            true => Duration::MAX,
            false => delay_max,
        };
        // What waits under the old quota does so to its end.
        *self.lane.lock() = (Lane::default(), delay_max);
        self.bytes_per_s.store(bytes_per_s, Ordering::Relaxed);
    }

    /// So many bytes; how long they have to wait.
    fn take(&self, bytes: u64, now: impl FnOnce() -> Duration) -> Duration {
        let bytes_per_s = self.bytes_per_s.load(Ordering::Relaxed);
        if bytes_per_s == 0 {
            return Duration::ZERO;
        }
        let now = now();
        let (bytes_per_s, taken) = (bytes_per_s as f64, &mut *self.lane.lock());
        let (lane, delay_max) = taken;
        let wait = lane.wait(bytes_per_s, now);
        lane.enter(bytes, bytes_per_s, now, *delay_max);
        wait
    }

    async fn wait(&self, wait: Duration) {
        if !wait.is_zero() {
            self.delayed.add(1);
            tokio::time::sleep(wait).await;
        }
    }
}

impl Quotas {
    /// These.
    pub fn new(options: QuotaOptions) -> Self {
        let quotas = Self(Arc::new(Shared {
            begun: Instant::now(),
            writes: Quota::new(),
            reads: Quota::new(),
        }));
        quotas.set_options(options);
        quotas
    }

    /// Goes by these from now on.
    pub fn set_options(&self, options: QuotaOptions) {
        let (shared, delay_max) = (&*self.0, options.delay_max);
        shared.writes.set(options.write_bytes_per_s, delay_max);
        shared.reads.set(options.read_bytes_per_s, delay_max);
    }

    /// Waits until a write of so many bytes may go on.
    pub(crate) async fn write(&self, bytes: usize) {
        let writes = &self.0.writes;
        let wait = writes.take(bytes as u64, || self.0.begun.elapsed());
        writes.wait(wait).await;
    }

    /// Waits until a read may begin.
    pub(crate) async fn read(&self) {
        let reads = &self.0.reads;
        let wait = reads.take(0, || self.0.begun.elapsed());
        reads.wait(wait).await;
    }

    /// A read has seen so many bytes.
    pub(crate) fn has_read(&self, bytes: u64) {
        self.0.reads.take(bytes, || self.0.begun.elapsed());
    }

    /// Requests that were delayed: writes, and reads.
    pub fn delayed(&self) -> (u64, u64) {
        let (writes, reads) = (&self.0.writes, &self.0.reads);
        (writes.delayed.get(), reads.delayed.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn quota(bytes_per_s: u64, delay_max: Duration) -> Quota {
        let quota = Quota::new();
        quota.set(bytes_per_s, delay_max);
        quota
    }

    #[test]
    fn without_a_quota_nobody_waits() {
        let quota = quota(0, SECOND);
        assert_eq!(quota.take(1 << 40, || SECOND), Duration::ZERO);
        assert_eq!(quota.take(1 << 40, || SECOND), Duration::ZERO);
    }

    #[test]
    fn each_waits_for_those_before_it_and_nobody_once_they_are_through() {
        let quota = quota(1_000, Duration::ZERO);
        assert_eq!(quota.take(2_000, || SECOND), Duration::ZERO);
        assert_eq!(quota.take(500, || SECOND), SECOND * 2);
        assert_eq!(quota.take(0, || SECOND * 2), SECOND * 3 / 2);
        assert_eq!(quota.take(1, || SECOND * 4), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_for_longer_than_the_longest_delay() {
        let quota = quota(1_000, SECOND / 2);
        assert_eq!(quota.take(u64::MAX, || SECOND), Duration::ZERO);
        assert_eq!(quota.take(u64::MAX, || SECOND), SECOND / 2);
        quota.set(0, SECOND / 2);
        assert_eq!(quota.take(1, || SECOND), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_waits_for_what_others_have_seen() {
        let quotas = Quotas::new(QuotaOptions {
            read_bytes_per_s: 1_000,
            ..QuotaOptions::default()
        });
        let since = tokio::time::Instant::now();
        quotas.read().await;
        quotas.write(1 << 30).await;
        assert_eq!(
            (since.elapsed(), quotas.delayed()),
            (Duration::ZERO, (0, 0))
        );
        quotas.has_read(3_600_000);
        quotas.read().await;
        assert!(since.elapsed() > SECOND * 3_500);
        assert_eq!(quotas.delayed(), (0, 1));
    }
}
