//! Random numbers from a seed: SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number
//! generators*, 2014).
//!
//! **Invariant.** The same seed gives the same numbers, so that a run can be replayed.
//!
//! **Not here.** Anything that must not be guessed.

/// A generator.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of the items.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            return None;
        }
        items.get((self.next() % items.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_picked_and_the_same_seed_picks_the_same() {
        let picks = |seed| -> Vec<u8> {
            let mut rng = Rng::new(seed);
            (0..100).map(|_| *rng.pick(b"abc").unwrap()).collect()
        };
        assert_eq!(picks(7), picks(7));
        assert_ne!(picks(7), picks(8));
        assert!(b"abc".iter().all(|item| picks(7).contains(item)));
        assert_eq!(Rng::new(1).pick::<u8>(&[]), None);
    }
}
