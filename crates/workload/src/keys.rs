//! Which key comes next, and what its value is.
//!
//! **Invariants.** A key is the decimal number of its index, padded with zeros to the key size: keys
//! sort as their indices do, and all have the same length. Values are incompressible.
//!
//! **Not here.** The choice between operations (`run`).

use crate::rng::{Rng, mix};
use crate::spec::Spec;
use crate::zipfian::Zipfian;
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often each key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Each key equally often.
    Uniform,
    /// A few keys most of the time, with this skew (strictly between 0 and 1). The hot keys are
    /// spread over the key space, as in YCSB's scrambled variant; two ranks may fall on one key.
    Zipfian(f64),
    /// One key after the other, from the first, all clients together.
    Sequential,
}

#[derive(Clone)]
enum Chooser {
    Uniform,
    Zipfian(Arc<Zipfian>),
    Sequential(Arc<AtomicU64>),
}

/// The keys of a workload. Clones share the position of a sequential run.
#[derive(Clone)]
pub struct KeySource {
    keys: u64,
    width: usize,
    chooser: Chooser,
}

impl KeySource {
    /// The source that a checked [`Spec`] describes.
    pub fn new(spec: &Spec) -> Self {
        let chooser = match spec.distribution {
            Distribution::Uniform => Chooser::Uniform,
            Distribution::Zipfian(theta) => {
                Chooser::Zipfian(Arc::new(Zipfian::new(spec.keys, theta)))
            }
            Distribution::Sequential => Chooser::Sequential(Arc::default()),
        };
        Self {
            keys: spec.keys,
            width: spec.key_size_bytes,
            chooser,
        }
    }

    /// The key after the last, as the distribution will have it.
    pub fn next(&self, rng: &mut Rng) -> Bytes {
        let index = match &self.chooser {
            Chooser::Uniform => rng.below(self.keys),
            Chooser::Zipfian(zipfian) => mix(zipfian.draw(rng)) % self.keys,
            Chooser::Sequential(next) => next.fetch_add(1, Ordering::Relaxed) % self.keys,
        };
        self.key(index)
    }

    /// The key with this index.
    pub fn key(&self, index: u64) -> Bytes {
        assert!(index < self.keys, "index {index} of {} keys", self.keys);
        Bytes::from(format!("{index:0width$}", width = self.width))
    }
}

/// Random bytes, made once, out of which values are cut without a copy.
#[derive(Clone)]
pub struct ValueSource {
    pool: Bytes,
    size: usize,
}

/// Room for values to differ in.
const POOL_SLACK_BYTES: usize = 1 << 20;

impl ValueSource {
    /// A source of values of `size` bytes.
    pub fn new(seed: u64, size: usize) -> Self {
        let mut rng = Rng::new(seed, u64::MAX);
        let words = (size + POOL_SLACK_BYTES).div_ceil(8);
        let pool: Vec<u8> = (0..words)
            .flat_map(|_| rng.next_u64().to_le_bytes())
            .collect();
        Self {
            pool: Bytes::from(pool),
            size,
        }
    }

    /// A value.
    pub fn next(&self, rng: &mut Rng) -> Bytes {
        let start = rng.below((self.pool.len() - self.size + 1) as u64) as usize;
        self.pool.slice(start..start + self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(distribution: Distribution, keys: u64) -> KeySource {
        KeySource::new(&Spec {
            distribution,
            keys,
            key_size_bytes: 6,
            ..Spec::default()
        })
    }

    #[test]
    fn keys_have_one_length_and_sort_as_their_indices() {
        let keys = source(Distribution::Uniform, 2_000);
        let all: Vec<Bytes> = (0..2_000).map(|index| keys.key(index)).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(all.iter().all(|key| key.len() == 6));
    }

    #[test]
    fn a_sequential_run_visits_every_key_once_whoever_asks() {
        let keys = source(Distribution::Sequential, 50);
        let other = keys.clone();
        let mut rng = Rng::new(0, 0);
        let mut seen: Vec<Bytes> = (0..25)
            .flat_map(|_| [keys.next(&mut rng), other.next(&mut rng)])
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 50);
    }

    #[test]
    fn hot_keys_of_a_zipfian_run_are_not_neighbours() {
        let keys = source(Distribution::Zipfian(0.99), 100_000);
        let mut rng = Rng::new(9, 0);
        let mut counts = std::collections::HashMap::new();
        for _ in 0..50_000 {
            *counts.entry(keys.next(&mut rng)).or_insert(0u32) += 1;
        }
        let mut hot: Vec<(u32, Bytes)> = counts.into_iter().map(|(key, n)| (n, key)).collect();
        hot.sort();
        let index = |at: usize| -> i64 {
            let key = &hot[hot.len() - 1 - at].1;
            std::str::from_utf8(key).unwrap().parse().unwrap()
        };
        assert!(
            hot.last().unwrap().0 > 2_000,
            "the hottest key has about 8 % of the draws"
        );
        assert!((index(0) - index(1)).abs() > 1 && (index(1) - index(2)).abs() > 1);
    }

    #[test]
    fn values_have_the_size_asked_for_and_differ() {
        let values = ValueSource::new(1, 128);
        let mut rng = Rng::new(1, 0);
        let (a, b) = (values.next(&mut rng), values.next(&mut rng));
        assert_eq!((a.len(), b.len()), (128, 128));
        assert_ne!(a, b);
        assert!(ValueSource::new(1, 0).next(&mut rng).is_empty());
    }
}
