//! The configuration of a node, as operators see and change it.
//!
//! **Not here.** Which items there are, and what a change does: whoever implements [`Configuration`] says so.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// A node's configuration.
pub trait Configuration: Send + Sync {
    /// What is in force, as a tree.
    fn show(&self) -> Value;

    /// Each item by its dotted key, with its value, its default, what it is, and whether it can be changed
    /// online.
    fn items(&self) -> Value;

    /// Changes items, by their dotted keys: all of them or none. What changed is durable before this returns,
    /// unless it is not to be remembered. May wait for threads and for the disk.
    ///
    /// # Errors
    /// Nothing has changed.
    fn change(&self, items: Map<String, Value>, is_remembered: bool) -> Result<Value, Refused>;

    /// Takes up what has changed in the configuration file since it was read: all of it or nothing. May wait
    /// likewise.
    ///
    /// # Errors
    /// Nothing has changed.
    fn reload(&self) -> Result<Value, Refused>;
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who has to act.
    pub fault: Fault,
    /// All that is wrong.
    pub problems: Vec<String>,
}

/// Who has to act on a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever asked: with these values it is refused again.
    Request,
    /// Nobody: the same may be fine later.
    NotNow,
    /// The operator of the machine.
    Machine,
}

impl Refused {
    /// The answer that says so.
    pub(super) fn answer(&self) -> (StatusCode, Value) {
        let code = match self.fault {
            Fault::Request => StatusCode::BAD_REQUEST,
            Fault::NotNow => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Machine => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let error = self.problems.join("; ");
        (code, json!({ "error": error, "problems": self.problems }))
    }
}

/// A tree that can't be changed.
impl Configuration for Value {
    fn show(&self) -> Value {
        self.clone()
    }

    fn items(&self) -> Value {
        Value::Array(Vec::new())
    }

    fn change(&self, _: Map<String, Value>, _: bool) -> Result<Value, Refused> {
        Err(Refused {
            fault: Fault::Request,
            problems: vec!["nothing can be changed online".to_owned()],
        })
    }

    fn reload(&self) -> Result<Value, Refused> {
        self.change(Map::new(), false)
    }
}
