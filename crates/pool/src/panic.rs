//! What happens when a task panics.
//!
//! **Why a policy.** Whether a panic may cost one answer or must end the process, only the owner can say.
//!
//! **Invariant.** A panic never takes a worker down, and whoever waits for the task is told.
//!
//! **Not here.** Running the task once more: what it holds may be half changed.

use crate::task::TaskKey;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is known of a panic.
#[derive(Clone, Debug)]
pub struct PanicReport {
    /// Whose task it was.
    pub key: TaskKey,
    /// The panic's message.
    pub message: String,
}

/// What to do about a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicVerdict {
    /// End the process at once, without unwinding.
    Abort,
    /// Abandon the task.
    Abandon,
}

/// The owner's choice for all panics of a pool.
#[derive(Clone, Default)]
pub enum PanicPolicy {
    /// Print whose it was and end the process.
    #[default]
    Abort,
    /// Abandon the task.
    AbandonTask,
    /// Report to the owner, who decides. It runs on the worker and must not block.
    Ask(Arc<dyn Fn(&PanicReport) -> PanicVerdict + Send + Sync>),
}

impl PanicPolicy {
    /// Runs `f`, which is a task's own code. `None` if it panicked and the task is to be abandoned.
    pub(crate) fn guard<R>(&self, key: TaskKey, f: impl FnOnce() -> R) -> Option<R> {
        let payload = match catch_unwind(AssertUnwindSafe(f)) {
            Ok(value) => return Some(value),
            Err(payload) => payload,
        };
        let report = PanicReport {
            key,
            message: describe(payload.as_ref()),
        };
        let verdict = match self {
            PanicPolicy::Abort => PanicVerdict::Abort,
            PanicPolicy::AbandonTask => PanicVerdict::Abandon,
            PanicPolicy::Ask(ask) => ask(&report),
        };
        match verdict {
            PanicVerdict::Abandon => None,
            PanicVerdict::Abort => {
                eprintln!(
                    "pool: panic in a task of {:?}: {}; aborting",
                    report.key, report.message
                );
                std::process::abort()
            }
        }
    }
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
