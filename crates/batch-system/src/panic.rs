//! What happens when the code of an owner panics inside a round.
//!
//! **Why a policy.** An FSM that panicked may hold broken state. Whether to lose this one actor, the
//! whole process, or nothing at all only its owner can say; the runtime says who it was.
//!
//! **Invariant.** A panic never takes a poller down, and never leaves a message unaccounted for: what
//! a removed FSM had not handled goes to the dead letters.

use crate::fsm::Address;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Where in a round the panic happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicPlace {
    /// In the handling of this normal FSM.
    Normal(Address),
    /// In the handling of the control FSM.
    Control,
    /// In the handler's `begin` or `end`, which concern a whole batch: the verdict applies to every
    /// normal FSM of the batch.
    Batch,
}

/// What is known of a panic.
#[derive(Clone, Debug)]
pub struct PanicReport {
    /// Whose panic it was.
    pub place: PanicPlace,
    /// The panic's message.
    pub message: String,
}

/// What to do about a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicVerdict {
    /// End the process at once, without unwinding.
    Abort,
    /// Remove the FSM; its messages become dead letters.
    Remove,
    /// Go on with the FSM as it is.
    Keep,
}

/// The owner's choice for all panics of a system.
#[derive(Clone, Default)]
pub enum PanicPolicy {
    /// Print the place and end the process: for systems whose state must not be trusted after a
    /// panic.
    #[default]
    Abort,
    /// Remove the FSM.
    RemoveFsm,
    /// Report to the owner, who decides. It runs on the poller and must not block.
    Ask(Arc<dyn Fn(&PanicReport) -> PanicVerdict + Send + Sync>),
}

impl PanicPolicy {
    /// Runs `f`. `None` if it went well or is to be ignored; `Some` if the FSM must go.
    pub(crate) fn guard(&self, place: PanicPlace, f: impl FnOnce()) -> Option<MustGo> {
        let payload = catch_unwind(AssertUnwindSafe(f)).err()?;
        let report = PanicReport {
            place,
            message: describe(payload.as_ref()),
        };
        let verdict = match self {
            PanicPolicy::Abort => PanicVerdict::Abort,
            PanicPolicy::RemoveFsm => PanicVerdict::Remove,
            PanicPolicy::Ask(ask) => ask(&report),
        };
        match verdict {
            PanicVerdict::Abort => {
                eprintln!(
                    "batch system: panic in {:?}: {}; aborting",
                    report.place, report.message
                );
                std::process::abort()
            }
            PanicVerdict::Remove => Some(MustGo),
            PanicVerdict::Keep => None,
        }
    }
}

/// The verdict that an FSM is removed.
#[derive(Debug)]
pub(crate) struct MustGo;

/// Drops what may belong to a broken FSM; a second panic in its destructor is of no more interest.
pub(crate) fn drop_quietly<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(move || drop(value)));
}

fn describe(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}
