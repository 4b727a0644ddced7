//! What a point does in a build that has them.
//!
//! **Why `crash`.** A panic may be caught, or end one task; what tests of recovery need is a process that is
//! gone between one instruction and the next, as by `kill -9`.
//!
//! **Not here.** The actions themselves: the `fail` crate has them.

use crate::points::POINTS;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The argument of `return` that [`crate::Control`] makes of the action `crash`.
pub(crate) const CRASH: &str = "\u{1}crash";

static HITS: [AtomicU64; POINTS.len()] = [const { AtomicU64::new(0) }; POINTS.len()];
/// Whether there are actions for it: to ask `fail` takes a lock and a search.
static ARMED: [AtomicBool; POINTS.len()] = [const { AtomicBool::new(false) }; POINTS.len()];

/// The process has come to the point with this position.
pub fn reach(point: usize) {
    // `return` is refused for such a point.
    let _ = returned(point);
}

/// The same; the argument of `return`, if that is the action.
pub fn returned(point: usize) -> Option<Option<String>> {
    HITS[point].fetch_add(1, Ordering::Relaxed);
    if !ARMED[point].load(Ordering::Acquire) {
        return None;
    }
    let name = POINTS[point].name;
    let argument = fail::eval(name, |argument| argument)?;
    if argument.as_deref() == Some(CRASH) {
        eprintln!("failpoint {name}: crash");
        std::process::abort();
    }
    Some(argument)
}

/// From now on a point has actions, or none.
pub(crate) fn arm(point: usize, is_armed: bool) {
    ARMED[point].store(is_armed, Ordering::Release);
}

/// How often the process has come to a point.
pub(crate) fn hits(point: usize) -> u64 {
    HITS[point].load(Ordering::Relaxed)
}
