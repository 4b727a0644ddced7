//! What can be tuned, all of it while the system runs.
//!
//! **Invariant.** A [`Config`] that is in force passed [`Config::check`].

use crate::error::Error;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Sizes and bounds of one batch system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Pollers of normal priority; at least one.
    pub pool_size: usize,
    /// Pollers of low priority; zero sends low-priority FSMs to the normal pool.
    pub low_pool_size: usize,
    /// The most FSMs in one round; at least one.
    pub max_batch_size: usize,
    /// The most messages that one FSM handles in one round; at least one.
    pub messages_per_round: usize,
    /// An FSM busy for so long in one poller's batch is hot, and every second hot one moves on.
    pub reschedule_duration: Duration,
    /// Messages that may wait in one mailbox; at least one.
    pub mailbox_capacity: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pool_size: 2,
            low_pool_size: 0,
            max_batch_size: 256,
            messages_per_round: 64,
            reschedule_duration: Duration::from_secs(5),
            mailbox_capacity: 40_960,
        }
    }
}

impl Config {
    /// Refuses values that make no sense.
    pub fn check(&self) -> Result<(), Error> {
        let positive = [
            (self.pool_size, "pool_size must be at least 1"),
            (self.max_batch_size, "max_batch_size must be at least 1"),
            (
                self.messages_per_round,
                "messages_per_round must be at least 1",
            ),
            (self.mailbox_capacity, "mailbox_capacity must be at least 1"),
        ];
        match positive.into_iter().find(|(value, _)| *value == 0) {
            Some((_, reason)) => Err(Error::Config(reason)),
            None => Ok(()),
        }
    }
}

/// The config in force, readable without a lock. Fields change one by one: a poller may see half of
/// a change for one round, which is harmless since no two fields depend on each other.
pub(crate) struct Tunables {
    pool_size: AtomicUsize,
    low_pool_size: AtomicUsize,
    max_batch_size: AtomicUsize,
    messages_per_round: AtomicUsize,
    reschedule_ns: AtomicU64,
    mailbox_capacity: AtomicUsize,
}

impl Tunables {
    pub(crate) fn new(config: &Config) -> Self {
        let tunables = Self {
            pool_size: AtomicUsize::new(0),
            low_pool_size: AtomicUsize::new(0),
            max_batch_size: AtomicUsize::new(0),
            messages_per_round: AtomicUsize::new(0),
            reschedule_ns: AtomicU64::new(0),
            mailbox_capacity: AtomicUsize::new(0),
        };
        tunables.store(config);
        tunables
    }

    pub(crate) fn store(&self, config: &Config) {
        let reschedule_ns =
            u64::try_from(config.reschedule_duration.as_nanos()).unwrap_or(u64::MAX);
        self.pool_size.store(config.pool_size, Ordering::Relaxed);
        self.low_pool_size
            .store(config.low_pool_size, Ordering::Relaxed);
        self.max_batch_size
            .store(config.max_batch_size, Ordering::Relaxed);
        self.messages_per_round
            .store(config.messages_per_round, Ordering::Relaxed);
        self.reschedule_ns.store(reschedule_ns, Ordering::Relaxed);
        self.mailbox_capacity
            .store(config.mailbox_capacity, Ordering::Relaxed);
    }

    pub(crate) fn load(&self) -> Config {
        Config {
            pool_size: self.pool_size.load(Ordering::Relaxed),
            low_pool_size: self.low_pool_size.load(Ordering::Relaxed),
            max_batch_size: self.max_batch_size.load(Ordering::Relaxed),
            messages_per_round: self.messages_per_round.load(Ordering::Relaxed),
            reschedule_duration: Duration::from_nanos(self.reschedule_ns.load(Ordering::Relaxed)),
            mailbox_capacity: self.mailbox_capacity(),
        }
    }

    pub(crate) fn mailbox_capacity(&self) -> usize {
        self.mailbox_capacity.load(Ordering::Relaxed)
    }
}
