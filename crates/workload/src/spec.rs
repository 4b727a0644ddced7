//! What to run: a workload as data, checked before anything is started.

use crate::keys::Distribution;
use crate::rng::Rng;
use crate::target::Operation;
use serde::Serialize;
use std::time::Duration;

/// Shares of the operations, as weights: `Mix { put: 1, get: 9, scan: 0 }` reads nine times in ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mix {
    /// Weight of puts.
    pub put: u32,
    /// Weight of gets.
    pub get: u32,
    /// Weight of scans.
    pub scan: u32,
}

impl Mix {
    /// Puts only.
    pub const PUT: Mix = Mix {
        put: 1,
        get: 0,
        scan: 0,
    };
    /// Gets only.
    pub const GET: Mix = Mix {
        put: 0,
        get: 1,
        scan: 0,
    };
    /// Scans only.
    pub const SCAN: Mix = Mix {
        put: 0,
        get: 0,
        scan: 1,
    };

    fn total(self) -> u64 {
        u64::from(self.put) + u64::from(self.get) + u64::from(self.scan)
    }

    /// Draws the next operation. At least one weight must not be zero.
    pub(crate) fn draw(self, rng: &mut Rng) -> Operation {
        let at = rng.below(self.total());
        if at < u64::from(self.put) {
            Operation::Put
        } else if at < u64::from(self.put) + u64::from(self.get) {
            Operation::Get
        } else {
            Operation::Scan
        }
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// No operation begins after this much measured time.
    After(Duration),
    /// After this many measured operations, all clients together.
    Count(u64),
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spec {
    /// The shares of the operations.
    pub mix: Mix,
    /// Tasks that ask at the same time, each waiting for its answer; at least one.
    pub clients: usize,
    /// Number of different keys; at least one.
    pub keys: u64,
    /// Length of each key; enough for the digits of `keys - 1`.
    pub key_size_bytes: usize,
    /// Length of each value.
    pub value_size_bytes: usize,
    /// How often each key is asked for.
    pub distribution: Distribution,
    /// Pairs that a scan asks for; at least one if there are scans.
    pub scan_limit: u32,
    /// When the run ends.
    pub stop: Stop,
    /// Time before the measurement during which the same load runs, uncounted.
    pub warm_up: Duration,
    /// Puts every key once before the warm-up, so that gets find something.
    pub preload: bool,
    /// Fixes keys, values and the order of operations of every client.
    pub seed: u64,
}

impl Default for Spec {
    /// Puts of 128 bytes by 64 clients over 100,000 keys for ten seconds.
    fn default() -> Self {
        Self {
            mix: Mix::PUT,
            clients: 64,
            keys: 100_000,
            key_size_bytes: 16,
            value_size_bytes: 128,
            distribution: Distribution::Uniform,
            scan_limit: 100,
            stop: Stop::After(Duration::from_secs(10)),
            warm_up: Duration::from_secs(2),
            preload: false,
            seed: 1,
        }
    }
}

/// Why a workload can't be run. The caller must change it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// All weights are zero.
    #[error("the mix holds no operation: give at least one of put, get, scan a weight")]
    EmptyMix,
    /// A number that must be at least one is zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// The keys could not all be told apart.
    #[error("{keys} keys do not fit into {key_size_bytes} digits: make the keys longer")]
    KeyTooShort {
        /// The number of keys asked for.
        keys: u64,
        /// The length asked for.
        key_size_bytes: usize,
    },
    /// The distribution is not defined for this skew.
    #[error("a zipfian skew must lie strictly between 0 and 1, and {0} does not")]
    Skew(f64),
    /// There is nothing to send to.
    #[error("a run needs at least one target")]
    NoTarget,
}

impl Spec {
    /// Whether it can be run.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.mix.total() == 0 {
            return Err(SpecError::EmptyMix);
        }
        let numbers = [
            ("the number of clients", self.clients as u64),
            ("the number of keys", self.keys),
            ("the key size", self.key_size_bytes as u64),
        ];
        if let Some((name, _)) = numbers.iter().find(|(_, number)| *number == 0) {
            return Err(SpecError::Zero(name));
        }
        if self.mix.scan > 0 && self.scan_limit == 0 {
            return Err(SpecError::Zero("the scan limit"));
        }
        if self.stop == Stop::Count(0) || self.stop == Stop::After(Duration::ZERO) {
            return Err(SpecError::Zero("the duration or the count"));
        }
        let digits = (self.keys - 1)
            .checked_ilog10()
            .map_or(1, |log| log as usize + 1);
        if digits > self.key_size_bytes {
            let (keys, key_size_bytes) = (self.keys, self.key_size_bytes);
            return Err(SpecError::KeyTooShort {
                keys,
                key_size_bytes,
            });
        }
        match self.distribution {
            Distribution::Zipfian(theta) if !(theta > 0.0 && theta < 1.0) => {
                Err(SpecError::Skew(theta))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_that_cannot_run_is_refused_with_its_reason() {
        let ok = Spec::default();
        assert_eq!(ok.check(), Ok(()));
        let refused = |change: fn(&mut Spec)| {
            let mut spec = ok.clone();
            change(&mut spec);
            spec.check().unwrap_err()
        };
        assert_eq!(refused(|s| s.mix.put = 0), SpecError::EmptyMix);
        assert_eq!(
            refused(|s| s.clients = 0),
            SpecError::Zero("the number of clients")
        );
        assert_eq!(
            refused(|s| s.keys = 0),
            SpecError::Zero("the number of keys")
        );
        assert_eq!(
            refused(|s| s.stop = Stop::Count(0)),
            SpecError::Zero("the duration or the count")
        );
        assert_eq!(
            refused(|s| (s.mix, s.scan_limit) = (Mix::SCAN, 0)),
            SpecError::Zero("the scan limit")
        );
        assert_eq!(
            refused(|s| s.distribution = Distribution::Zipfian(1.0)),
            SpecError::Skew(1.0)
        );
        assert!(matches!(
            refused(|s| s.distribution = Distribution::Zipfian(f64::NAN)),
            SpecError::Skew(_)
        ));
    }

    #[test]
    fn keys_must_be_long_enough_for_their_number_and_no_longer() {
        let with = |keys, key_size_bytes| {
            Spec {
                keys,
                key_size_bytes,
                ..Spec::default()
            }
            .check()
        };
        assert_eq!(with(1, 1), Ok(()));
        assert_eq!(with(1_000, 3), Ok(()));
        assert_eq!(
            with(1_001, 3),
            Err(SpecError::KeyTooShort {
                keys: 1_001,
                key_size_bytes: 3
            })
        );
    }

    #[test]
    fn operations_are_drawn_in_the_proportion_of_their_weights() {
        let mix = Mix {
            put: 1,
            get: 2,
            scan: 1,
        };
        let mut rng = Rng::new(3, 0);
        let mut seen = [0u32; 3];
        for _ in 0..40_000 {
            seen[mix.draw(&mut rng) as usize] += 1;
        }
        let [put, get, scan] = seen;
        assert!(
            (9_500..10_500).contains(&put) && (9_500..10_500).contains(&scan),
            "{seen:?}"
        );
        assert!((19_500..20_500).contains(&get), "{seen:?}");
    }
}
