//! How much memory a thread asks for.
//!
//! **Why.** A decoder that believes a length in its input allocates what is not there. That breaks nothing
//! on a machine with room, so it has to be counted.
//!
//! **Not here.** What the allocator adds, and other threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a count for each thread. A test program that fuzzes declares it as its
/// `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    /// May be negative: what one thread allocates another may free.
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(change: i64) {
    // A thread that ends has nobody to count for.
    let held = HELD.try_with(|held| {
        held.set(held.get() + change);
        held.get()
    });
    if let Ok(held) = held {
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held)));
    }
}

// SAFETY: hands every call to the system's allocator unchanged; the counters are of no concern to it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above; the block came from `alloc`, hence from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

/// What `run` answers, and the most memory that it held at a time beyond what this thread held before.
/// Bytes; zero where [`Counting`] is not the allocator.
pub fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let answer = run();
    (answer, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

/// The bytes that this thread asked for and did not give back; less than none if it frees what others asked for.
pub fn held() -> i64 {
    HELD.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn the_peak_counts_what_was_given_back_and_not_what_was_held_before() {
        let none = held();
        let before = vec![0_u8; 1 << 20];
        assert_eq!(held() - none, 1 << 20);
        let (length, peak) = peak_of(|| {
            drop(vec![0_u8; 3_000]);
            vec![0_u8; 1_000].len()
        });
        assert_eq!(length, 1_000);
        assert!((3_000..4_000).contains(&peak), "{peak}");
        drop(before);
    }
}
