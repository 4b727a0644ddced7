//! Cells that many threads write, one for each of a few groups of threads.
//!
//! **Why.** Where two processors add to one number in turns, each waits for the other's cache. With a cell a
//! thread they don't; the reader adds them up.
//!
//! **Not here.** A cell for each thread that there will ever be: threads share the stripes evenly.

use crate::{Counter, Histogram, Observed};
use std::sync::atomic::{AtomicUsize, Ordering};

const STRIPES: usize = 8;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

/// Two cache lines, since processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe<T>(T);

/// A cell for each group of threads.
#[derive(Debug)]
pub struct Striped<T>(Box<[Stripe<T>]>);

impl<T> Striped<T> {
    /// What `make` makes, for each.
    pub fn new(make: impl Fn() -> T) -> Self {
        Self((0..STRIPES).map(|_| Stripe(make())).collect())
    }

    /// The one of this thread's group.
    pub fn mine(&self) -> &T {
        // A thread that is ending has none of its own any more.
        &self.0[MINE.try_with(|mine| *mine).unwrap_or(0)].0
    }

    fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|stripe| &stripe.0)
    }
}

impl Striped<Counter> {
    /// What all threads counted.
    pub fn get(&self) -> u64 {
        self.all().map(Counter::get).sum()
    }
}

impl Striped<Histogram> {
    /// What all threads observed.
    pub fn read(&self) -> Observed {
        let mut all = self.all().map(Histogram::read);
        let mut sum = all.next().expect("there is a stripe at least");
        all.for_each(|observed| sum.add(&observed));
        sum
    }
}

impl Default for Striped<Counter> {
    fn default() -> Self {
        Self::new(Counter::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_thread_did_is_in_the_sum() {
        let (counter, times) = (Striped::default(), Striped::new(Histogram::latencies));
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    counter.mine().add(3);
                    times.mine().observe(5);
                });
            }
        });
        assert_eq!(counter.get(), 6 * STRIPES as u64);
        assert_eq!(times.read().count(), 2 * STRIPES as u64);
    }
}
