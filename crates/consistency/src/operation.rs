//! What a client did to one key and saw of it.
//!
//! **Invariants.** Stamps are unique and grow with the order of events. An operation that was
//! refused has no place here: a refusal promises that it had no effect, so a value that shows up
//! nevertheless is one that nobody wrote.
//!
//! **Not here.** Which key it is.

/// What an operation did to one key. Values are unique numbers; `None` is "no value".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sets the key.
    Put(u64),
    /// Sets the key to a value that ceases to exist.
    PutUntil {
        /// The value.
        value: u64,
        /// When, in seconds since the Unix epoch.
        expires_at_s: u64,
    },
    /// Removes the key.
    Delete,
    /// Saw this.
    Get(Option<u64>),
    /// Sets the key to `new` if it is `expected`.
    Swap {
        /// What must be there.
        expected: Option<u64>,
        /// What is there afterwards.
        new: u64,
        /// Whether it succeeded and what was there before; `None` if no answer came.
        answer: Option<(bool, Option<u64>)>,
    },
}

impl Action {
    /// What it is called in a report.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::PutUntil { .. } => "put with a time to live",
            Self::Delete => "delete",
            Self::Get(_) => "get",
            Self::Swap { .. } => "compare-and-swap",
        }
    }
}

/// One operation on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What was done.
    pub action: Action,
    /// When it was asked for, as a stamp.
    pub invoked: u64,
    /// When its answer came; `None`: perhaps it happened, at any time since, perhaps never.
    pub completed: Option<u64>,
    /// What the clock showed that decided what has expired, in seconds since the Unix epoch.
    pub now_s: u64,
}
