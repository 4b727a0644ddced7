//! What the placement driver keeps of a Region, in bytes as they were asked for, pinned: a cluster has a
//! million of them.
//!
//! **How.** The allocator counts for each thread, and a test has a thread of its own: what a driver held
//! is what its drop gives back.

#[path = "common/fleet.rs"]
mod fleet;

use fleet::{Fleet, Plan};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Of three Peers, with boundaries of eight bytes, after its first report.
const REGION_BYTES: usize = 560;
const REGIONS: u64 = 4_000;

struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

fn count(change: impl FnOnce(usize) -> usize) {
    // A thread that ends has nobody to count for.
    let _ = HELD.try_with(|held| held.set(change(held.get())));
}

// SAFETY: hands every call to the system's allocator unchanged; the counter is of no concern to it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|held| held.wrapping_add(layout.size()));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(|held| held.wrapping_sub(layout.size()));
        // SAFETY: as above; the block came from `alloc`, hence from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is given back with `held`.
fn bytes_of<T>(held: T) -> usize {
    let before = HELD.get();
    drop(held);
    before.wrapping_sub(HELD.get())
}

#[test]
fn a_region_costs_few_bytes() {
    let held = |regions| {
        let plan = Plan {
            regions,
            ..Plan::default()
        };
        // The first Regions are in its configuration, too.
        let listed = bytes_of(fleet::first_regions(&plan));
        bytes_of(Fleet::new(&plan).placement) - listed
    };
    let bytes = (held(REGIONS) - held(1)) / (REGIONS as usize - 1);
    assert!(
        (REGION_BYTES - REGION_BYTES / 16..=REGION_BYTES).contains(&bytes),
        "a Region costs {bytes} bytes, and {REGION_BYTES} are pinned"
    );
}
