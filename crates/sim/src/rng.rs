//! The one source of randomness: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
//!
//! **Why forks.** Network, faults and workload draw from generators of their own, so that one more
//! draw in one of them does not change the others.
//!
//! **Not here.** Any entropy that is not the seed's.

/// A generator. Probabilities are in parts per million, so that no floating point is involved.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

/// One in parts per million.
pub(crate) const ALWAYS_PPM: u64 = 1_000_000;

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator that goes its own way from here.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, ppm: u64) -> bool {
        self.below(ALWAYS_PPM) < ppm
    }

    /// One of `items`, of which there is at least one.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_forks_differ() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        let (mut fork_a, mut fork_b) = (a.fork(), b.fork());
        for _ in 0..100 {
            assert_eq!(a.next(), b.next());
            assert_eq!(fork_a.next(), fork_b.next());
            assert_ne!(a.next(), fork_a.next());
            b.next();
            fork_b.next();
        }
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut rng = Rng::new(1);
        let drawn: Vec<_> = (0..1000).map(|_| rng.between(3, 5)).collect();
        assert!((3..=5).all(|value| drawn.contains(&value)));
        assert!(drawn.iter().all(|value| (3..=5).contains(value)));
        assert!((0..1000).all(|_| !rng.chance(0) && rng.chance(ALWAYS_PPM)));
    }
}
