//! Where processor time goes: samples of all threads, by a timer that runs while they do.
//!
//! **Invariants.** One at a time: the timer is the process's. It stops early when nobody waits for the profile.
//!
//! **Not here.** Sampling itself (`pprof`).

use super::stacks::Stacks;
use pprof::{Frames, ProfilerGuardBuilder};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Unwinding a stack that stands in one of these can hang: it takes their locks.
const NEVER_IN: &[&str] = &["libc", "libgcc", "pthread", "vdso"];
/// How often it is looked whether somebody still waits.
const LOOK: Duration = Duration::from_millis(50);
const NS: u64 = 1_000_000_000;

/// Why there is no profile.
pub(super) enum Error {
    /// Another one is being taken.
    Busy,
    /// The system refuses, in words.
    Failed(String),
}

/// Held by whoever waits for a profile, and what tells whether it is held.
pub(super) fn attention() -> (Arc<()>, Weak<()>) {
    let here = Arc::new(());
    let there = Arc::downgrade(&here);
    (here, there)
}

/// Takes samples for so long. Blocks.
///
/// # Errors
/// See [`Error`].
pub(super) fn take(span: Duration, frequency: u32, attention: &Weak<()>) -> Result<Stacks, Error> {
    let failed = |error: pprof::Error| Error::Failed(error.to_string());
    let builder = ProfilerGuardBuilder::default();
    let builder = builder.frequency(frequency as i32).blocklist(NEVER_IN);
    let guard = builder.build().map_err(|error| match error {
        pprof::Error::Running => Error::Busy,
        other => failed(other),
    })?;
    let since = Instant::now();
    while since.elapsed() < span && attention.strong_count() > 0 {
        sleep(LOOK.min(span.saturating_sub(since.elapsed())));
    }
    let took = since.elapsed();
    let report = guard.report().build().map_err(failed)?;
    let period = NS / u64::from(frequency);
    let mut stacks = BTreeMap::new();
    for (frames, count) in &report.data {
        let count = u64::try_from(*count).unwrap_or_default();
        *stacks.entry(functions(frames)).or_default() += count * period;
    }
    Ok(Stacks {
        kind: ("cpu", "nanoseconds"),
        duration_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        period,
        stacks,
    })
}

/// The thread's name, and its functions from the outermost in.
fn functions(frames: &Frames) -> Vec<String> {
    // Threads of one kind are one: "raft-0" and "raft-1" do the same.
    let thread = frames.thread_name_or_id();
    let thread = thread.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    let outward = frames.frames.iter().rev();
    let names = outward.flat_map(|frame| frame.iter().rev().map(|symbol| symbol.name()));
    std::iter::once(format!("[{thread}]"))
        .chain(names)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[inline(never)]
    fn a_busy_function(stop: &AtomicBool) -> u64 {
        let mut sum = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        sum
    }

    /// Threads that a failed test has begun end with it.
    struct StopAtEnd<'a>(&'a AtomicBool);

    impl Drop for StopAtEnd<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_busy_function_is_seen_by_name_one_profile_at_a_time_and_none_for_nobody() {
        const LONG: Duration = Duration::from_secs(3600);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            scope.spawn(|| a_busy_function(&stop));
            let (here, there) = attention();
            let first = scope.spawn(move || {
                loop {
                    match take(LONG, 99, &there) {
                        Ok(stacks) => return stacks,
                        // Whoever waits below for this one to begin.
                        Err(Error::Busy) => {}
                        Err(Error::Failed(error)) => panic!("{error}"),
                    }
                }
            });
            let (_here, there) = attention();
            while !matches!(take(Duration::ZERO, 99, &there), Err(Error::Busy)) {}
            sleep(Duration::from_secs(1));
            drop(here);
            let stacks = first.join().unwrap();
            let folded = stacks.folded();
            assert!(folded.contains("a_busy_function"), "{folded}");
            assert!(stacks.total() > NS / 100, "{}", stacks.total());
        });
    }
}
