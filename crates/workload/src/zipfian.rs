//! Zipfian ranks: rank `i` of `n` is drawn with a probability proportional to `1 / (i + 1)^theta`.
//!
//! The algorithm is that of Gray et al., "Quickly generating billion-record synthetic databases"
//! (SIGMOD 1994), the one that YCSB made the custom: constant time a draw after one pass over the
//! ranks to sum the harmonic series.
//!
//! **Invariants.** A drawn rank is always below `n`.
//!
//! **Not here.** Which key a rank stands for (`keys`): neighbours in rank should not be neighbours
//! in the key space.

use crate::rng::Rng;

/// A distribution over the ranks `0..n`, rank 0 being the most frequent.
#[derive(Clone, Debug)]
pub struct Zipfian {
    ranks: u64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipfian {
    /// YCSB's skew.
    pub const THETA: f64 = 0.99;

    /// For `ranks` ranks, at least one, with a skew strictly between 0 and 1. Takes time in
    /// proportion to `ranks`.
    pub fn new(ranks: u64, theta: f64) -> Self {
        assert!(ranks > 0, "a distribution needs a rank to draw");
        assert!(
            theta > 0.0 && theta < 1.0,
            "the algorithm holds for skews between 0 and 1 only"
        );
        let zeta = harmonic(ranks, theta);
        let zeta_two = harmonic(ranks.min(2), theta);
        let eta = (1.0 - (2.0 / ranks as f64).powf(1.0 - theta)) / (1.0 - zeta_two / zeta);
        Self {
            ranks,
            theta,
            alpha: 1.0 / (1.0 - theta),
            zeta,
            eta,
        }
    }

    /// Draws a rank.
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        let uniform = rng.unit();
        let scaled = uniform * self.zeta;
        // The two most frequent ranks are exact; the rest follows the approximated inverse.
        if scaled < 1.0 || self.ranks == 1 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(self.theta) || self.ranks == 2 {
            return 1;
        }
        let rank = self.ranks as f64 * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.ranks - 1)
    }
}

fn harmonic(ranks: u64, theta: f64) -> f64 {
    (1..=ranks)
        .map(|rank| 1.0 / (rank as f64).powf(theta))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_ranks_appear_as_often_as_the_law_says() {
        let (ranks, draws) = (1_000u64, 200_000u32);
        let zipfian = Zipfian::new(ranks, Zipfian::THETA);
        let mut rng = Rng::new(11, 0);
        let mut seen = vec![0u32; ranks as usize];
        for _ in 0..draws {
            seen[zipfian.draw(&mut rng) as usize] += 1;
        }
        let total = harmonic(ranks, Zipfian::THETA);
        for rank in [0usize, 1] {
            let expected = f64::from(draws) / ((rank + 1) as f64).powf(Zipfian::THETA) / total;
            let ratio = f64::from(seen[rank]) / expected;
            assert!(
                (0.95..1.05).contains(&ratio),
                "rank {rank}: {} for {expected}",
                seen[rank]
            );
        }
        let head: u32 = seen[..100].iter().sum();
        let expected = f64::from(draws) * harmonic(100, Zipfian::THETA) / total;
        let ratio = f64::from(head) / expected;
        assert!(
            (0.95..1.05).contains(&ratio),
            "the first hundred: {head} for {expected}"
        );
    }

    #[test]
    fn a_rank_is_never_out_of_range_however_few_there_are() {
        let mut rng = Rng::new(5, 0);
        for ranks in 1..6 {
            let zipfian = Zipfian::new(ranks, 0.5);
            let mut seen = vec![false; ranks as usize];
            for _ in 0..5_000 {
                seen[zipfian.draw(&mut rng) as usize] = true;
            }
            assert!(seen.iter().all(|&seen| seen), "{ranks} ranks: {seen:?}");
        }
    }
}
