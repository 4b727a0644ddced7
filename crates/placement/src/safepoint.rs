//! The garbage collection safe point: the timestamp below which no version is read any more.
//!
//! **Invariant.** It only moves forward; a request to move it back is answered with what it is.
//!
//! **Not here.** Collecting garbage, and safe points of single services.

use crate::Response;
use crate::leader::Planned;
use crate::state::{Change, Durable};

/// What a request to move the safe point comes to.
pub(crate) fn plan(state: &Durable, safe_point: u64) -> Planned {
    if safe_point > state.safe_point {
        Planned::Change(
            vec![Change::SafePoint(safe_point)],
            Response::GcSafePoint(safe_point),
        )
    } else {
        Planned::Change(Vec::new(), Response::GcSafePoint(state.safe_point))
    }
}
