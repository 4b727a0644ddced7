//! Memory of a hundred thousand idle actors, each after one message, beside a tokio task each; and of a
//! thousand threads, each an actor.
//!
//! Heap bytes are counted by the allocator, as requested; for threads, whose stacks are not on the heap, the
//! resident size of the process is taken. The actor's own state is one word in all of them, and is
//! subtracted.

mod rivals;

use rivals::{Actors, Latch, Msg, Ours, Threads, Tokio, TokioBounded};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static HEAP: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call to the system's allocator unchanged; the counter is of no concern to it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HEAP.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above; the block came from `alloc`, hence from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    pages * 4096
}

/// Bytes for each actor, never messaged and after one message, by `measure`.
fn idle<A: Actors>(count: u64, measure: fn() -> usize) -> (usize, usize) {
    let state = size_of::<rivals::Work>();
    let each = |bytes: usize| (bytes / count as usize).saturating_sub(state);
    let before = measure();
    let actors = A::start(count);
    let silent = measure() - before;
    // In portions, so that what is measured is not the memory of a backlog.
    for first in (0..count).step_by(1_000) {
        let latch = Latch::new(count.min(first + 1_000) - first);
        for address in first..count.min(first + 1_000) {
            assert!(actors.send(address, Msg::Done(Arc::clone(&latch))));
        }
        latch.wait();
    }
    let messaged = measure() - before;
    (each(silent), each(messaged))
}

fn main() {
    let heap = || HEAP.load(Ordering::Relaxed);
    let rows = [
        ("batch-system", 100_000, idle::<Ours>(100_000, heap)),
        ("tokio, unbounded", 100_000, idle::<Tokio>(100_000, heap)),
        (
            "tokio, bounded",
            100_000,
            idle::<TokioBounded>(100_000, heap),
        ),
        (
            "threads (resident)",
            1_000,
            idle::<Threads>(1_000, resident_bytes),
        ),
    ];
    println!("\nbytes an idle actor, without its own state");
    println!(
        "{:<20} {:>8} {:>16} {:>18}",
        "runtime", "actors", "never messaged", "after one message"
    );
    for (name, count, (silent, messaged)) in rows {
        println!("{name:<20} {count:>8} {silent:>16} {messaged:>18}");
    }
}
