//! Distributions: how many observations were up to which bound.
//!
//! **Cost.** An observation is a search among at most twenty bounds and two additions. It allocates nothing.
//!
//! **Invariants.** The number of observations is the sum of the buckets, so that a page never shows more in
//! a bucket than in all. The sum may be a moment behind them.

use crate::switch::Stopwatch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most bounds of a histogram.
const BOUNDS_MAX: usize = 20;

/// In what a histogram counts, and how the page shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Kept in nanoseconds, shown in seconds.
    Seconds,
    /// Kept and shown as it is: a number of things.
    One,
}

/// The bounds of a histogram.
#[derive(Debug)]
pub struct Buckets {
    /// The greatest value of each bucket but the last, ascending.
    bounds: &'static [u64],
    unit: Unit,
}

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// For times from what a read in memory takes to what an operator would notice.
pub static LATENCIES: Buckets = Buckets {
    bounds: &[
        10 * US,
        50 * US,
        100 * US,
        200 * US,
        500 * US,
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
    ],
    unit: Unit::Seconds,
};

/// For numbers of things that are handled together.
pub static SIZES: Buckets = Buckets {
    bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024],
    unit: Unit::One,
};

/// A distribution that threads write.
#[derive(Debug)]
pub struct Histogram {
    buckets: &'static Buckets,
    counts: [AtomicU64; BOUNDS_MAX + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// Without an observation.
    pub const fn new(buckets: &'static Buckets) -> Self {
        Self {
            buckets,
            counts: [const { AtomicU64::new(0) }; BOUNDS_MAX + 1],
            sum: AtomicU64::new(0),
        }
    }

    /// Of times.
    pub const fn latencies() -> Self {
        Self::new(&LATENCIES)
    }

    /// Counts an observation, in the histogram's unit.
    pub fn observe(&self, value: u64) {
        self.counts[self.bucket(value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts an observation, where no other thread writes this histogram.
    pub fn observe_alone(&self, value: u64) {
        let add = |cell: &AtomicU64, n: u64| {
            let sum = cell.load(Ordering::Relaxed).wrapping_add(n);
            cell.store(sum, Ordering::Relaxed);
        };
        add(&self.counts[self.bucket(value)], 1);
        add(&self.sum, value);
    }

    /// Counts a time.
    pub fn observe_time(&self, time: Duration) {
        self.observe(nanoseconds(time));
    }

    /// Counts the time since the stopwatch was started, if metrics were on then.
    pub fn observe_since(&self, stopwatch: &Stopwatch) {
        if let Some(time) = stopwatch.elapsed() {
            self.observe_time(time);
        }
    }

    fn bucket(&self, value: u64) -> usize {
        self.buckets.bounds.partition_point(|bound| *bound < value)
    }

    /// What was observed until now.
    pub fn read(&self) -> Observed {
        let counts = &self.counts[..=self.buckets.bounds.len()];
        Observed {
            buckets: self.buckets,
            counts: counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// A time as histograms keep it.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a histogram has observed.
#[derive(Clone, Debug)]
pub struct Observed {
    buckets: &'static Buckets,
    counts: Vec<u64>,
    sum: u64,
}

impl Observed {
    /// Nothing, of histograms with these bounds.
    pub fn none(buckets: &'static Buckets) -> Self {
        Self {
            buckets,
            counts: vec![0; buckets.bounds.len() + 1],
            sum: 0,
        }
    }

    /// Adds what another histogram with the same bounds has observed.
    pub fn add(&mut self, other: &Observed) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, in the histogram's unit.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The bounds as the page shows them, with how many were up to each.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (String, u64)> {
        let mut up_to = 0;
        let bounds = self.buckets.bounds.iter();
        let shown = bounds.map(|bound| self.shown(*bound));
        let all = shown.chain(std::iter::once("+Inf".to_owned()));
        all.zip(&self.counts).map(move |(bound, count)| {
            up_to += count;
            (bound, up_to)
        })
    }

    /// The sum as the page shows it.
    pub(crate) fn shown_sum(&self) -> String {
        self.shown(self.sum)
    }

    fn shown(&self, value: u64) -> String {
        match self.buckets.unit {
            Unit::Seconds => (value as f64 / S as f64).to_string(),
            Unit::One => value.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_the_first_bucket_that_it_fits_into() {
        let histogram = Histogram::new(&SIZES);
        for value in [0, 1, 2, 3, 1_024, 1_025, 5_000] {
            histogram.observe(value);
        }
        histogram.observe_alone(4);
        let observed = histogram.read();
        let shown: Vec<_> = observed.cumulative().collect();
        assert_eq!(shown[0], ("1".to_owned(), 2));
        assert_eq!(shown[1], ("2".to_owned(), 3));
        assert_eq!(shown[2], ("4".to_owned(), 5));
        assert_eq!(shown[10], ("1024".to_owned(), 6));
        assert_eq!(shown[11], ("+Inf".to_owned(), 8));
        assert_eq!((observed.count(), observed.sum()), (8, 7_059));
    }

    #[test]
    fn times_are_shown_in_seconds() {
        let histogram = Histogram::latencies();
        histogram.observe_time(Duration::from_millis(1_500));
        let observed = histogram.read();
        let shown: Vec<_> = observed.cumulative().collect();
        assert_eq!(shown[0], ("0.00001".to_owned(), 0));
        assert_eq!(shown[15], ("2".to_owned(), 1));
        assert_eq!(observed.shown_sum(), "1.5");
    }

    #[test]
    fn what_two_have_observed_is_added() {
        let (one, other) = (Histogram::new(&SIZES), Histogram::new(&SIZES));
        one.observe(1);
        other.observe(3);
        let mut sum = Observed::none(&SIZES);
        sum.add(&one.read());
        sum.add(&other.read());
        assert_eq!((sum.count(), sum.sum()), (2, 4));
    }

    #[test]
    fn bounds_ascend_and_fit() {
        for buckets in [&LATENCIES, &SIZES] {
            assert!(buckets.bounds.is_sorted() && buckets.bounds.len() <= BOUNDS_MAX);
        }
    }
}
