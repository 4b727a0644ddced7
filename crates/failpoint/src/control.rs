//! Setting what points do.
//!
//! **Actions** are those of the `fail` crate: `[P%][N*]TASK[(ARGUMENT)]`, with a chance in percent and
//! a number of times, chained by `->`, of which the first that applies is done. Tasks: `off`, `return`, `sleep`,
//! `delay`, `panic`, `print`, `pause`, `yield`; and one of ours, `crash`.
//!
//! **Invariants.** A name that no point has is refused, and so is `return` for a point that has nothing to
//! return: the `fail` crate would take both. In a build without points there is no [`Control`].

use crate::points::Point;
use std::ffi::OsStr;
use thiserror::Error;

/// The environment variable with actions from the start on: `NAME=ACTIONS;NAME=ACTIONS`.
pub const VARIABLE: &str = "KONTIKI_FAILPOINTS";

/// Why actions were not set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The build has no points.
    #[error("this program was built without failpoints (cargo's feature `failpoints`)")]
    NotBuiltIn,
    /// There is no such point.
    #[error("there is no failpoint {0:?}: docs/failpoints.md lists them")]
    Unknown(String),
    /// They make no sense, or not for this point.
    #[error("failpoint {name}: {reason}")]
    Actions {
        /// The point.
        name: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The environment variable is no list of points.
    #[error("{variable} is NAME=ACTIONS;NAME=ACTIONS, and has no {0:?}", variable = VARIABLE)]
    Variable(String),
}

/// A point, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The point.
    pub point: Point,
    /// As they were set; empty for none.
    pub actions: String,
    /// How often the process has come there.
    pub hits: u64,
}

/// The points of this process.
#[derive(Clone, Copy, Debug)]
pub struct Control(
    #[cfg(feature = "failpoints")] (),
    #[cfg(not(feature = "failpoints"))] std::convert::Infallible,
);

/// The points of this process, if it was built with any.
#[cfg(feature = "failpoints")]
pub fn control() -> Option<Control> {
    Some(Control(()))
}

/// The points of this process, if it was built with any.
#[cfg(not(feature = "failpoints"))]
pub fn control() -> Option<Control> {
    None
}

/// Sets what [`VARIABLE`] asks for, if it is there.
///
/// # Errors
/// It can't be set; what stands before the first mistake is.
pub fn set_from_environment() -> Result<(), Refused> {
    match std::env::var_os(VARIABLE) {
        Some(wanted) if !wanted.is_empty() => set_all(&wanted),
        _ => Ok(()),
    }
}

fn set_all(wanted: &OsStr) -> Result<(), Refused> {
    let control = control().ok_or(Refused::NotBuiltIn)?;
    let wanted = wanted.to_string_lossy();
    let parts = wanted.split(';').map(str::trim);
    for part in parts.filter(|part| !part.is_empty()) {
        let pair = part.split_once('=');
        let (name, actions) = pair.ok_or_else(|| Refused::Variable(part.to_owned()))?;
        control.set(name.trim(), actions)?;
    }
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
impl Control {
    /// All points.
    pub fn list(&self) -> Vec<Setting> {
        match self.0 {}
    }

    /// Has a point do this from now on.
    ///
    /// # Errors
    /// There is no such point, or it can't do that.
    pub fn set(&self, _name: &str, _actions: &str) -> Result<(), Refused> {
        match self.0 {}
    }

    /// Has a point do nothing any more; whoever waits there goes on.
    ///
    /// # Errors
    /// There is no such point.
    pub fn remove(&self, _name: &str) -> Result<(), Refused> {
        match self.0 {}
    }
}

#[cfg(feature = "failpoints")]
mod built_in {
    use super::{Control, Refused, Setting};
    use crate::built_in::{CRASH, arm, hits};
    use crate::points::POINTS;
    use std::collections::BTreeMap;

    impl Control {
        /// All points.
        pub fn list(&self) -> Vec<Setting> {
            let set: BTreeMap<String, String> = fail::list().into_iter().collect();
            let points = POINTS.iter().enumerate();
            let setting = points.map(|(position, point)| Setting {
                point: *point,
                actions: set
                    .get(point.name)
                    .map_or("", String::as_str)
                    .replace(&crash(), "crash"),
                hits: hits(position),
            });
            setting.collect()
        }

        /// Has a point do this from now on.
        ///
        /// # Errors
        /// There is no such point, or it can't do that.
        pub fn set(&self, name: &str, actions: &str) -> Result<(), Refused> {
            let position = find(name)?;
            let refused = |reason: String| Refused::Actions {
                name: name.to_owned(),
                reason,
            };
            let mut translated = Vec::new();
            for action in actions.trim().split("->") {
                let (head, task) = head_and_task(action.trim());
                match task {
                    "crash" => translated.push(head.to_owned() + &crash()),
                    "return" if POINTS[position].returns.is_none() => {
                        return Err(refused("it has nothing to return".to_owned()));
                    }
                    _ => translated.push(action.trim().to_owned()),
                }
            }
            fail::cfg(name, &translated.join("->")).map_err(refused)?;
            arm(position, true);
            Ok(())
        }

        /// Has a point do nothing any more; whoever waits there goes on.
        ///
        /// # Errors
        /// There is no such point.
        pub fn remove(&self, name: &str) -> Result<(), Refused> {
            arm(find(name)?, false);
            fail::remove(name);
            Ok(())
        }
    }

    fn find(name: &str) -> Result<usize, Refused> {
        let found = POINTS.iter().position(|point| point.name == name);
        found.ok_or_else(|| Refused::Unknown(name.to_owned()))
    }

    /// Chance and times, and the name of the task.
    fn head_and_task(action: &str) -> (&str, &str) {
        let before_argument = action.split('(').next().unwrap_or_default();
        let task_at = before_argument.rfind(['%', '*']).map_or(0, |at| at + 1);
        (&action[..task_at], &before_argument[task_at..])
    }

    /// The action that `fail` knows for it.
    fn crash() -> String {
        format!("return({CRASH})")
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::*;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Points are the process's.
    static ALONE: Mutex<()> = Mutex::new(());

    fn alone() -> (MutexGuard<'static, ()>, Control) {
        let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        (guard, control().unwrap())
    }

    fn received() -> &'static str {
        crate::at!("server::raft::receive", |argument| match argument {
            Some(_) => "with an argument",
            None => "without",
        });
        "none"
    }

    fn setting(control: &Control, name: &str) -> Setting {
        let mut all = control.list().into_iter();
        all.find(|setting| setting.point.name == name).unwrap()
    }

    #[test]
    fn a_point_does_what_it_is_set_to_and_counts_who_comes() {
        let (_alone, control) = alone();
        let name = "server::raft::receive";
        let before = setting(&control, name).hits;
        assert_eq!(received(), "none");
        control.set(name, "1*return->1*return(x)").unwrap();
        assert_eq!(
            [received(), received(), received()],
            ["without", "with an argument", "none"]
        );
        assert_eq!(setting(&control, name).actions, "1*return->1*return(x)");
        control.remove(name).unwrap();
        assert_eq!(setting(&control, name).actions, "");
        assert_eq!(setting(&control, name).hits, before + 4);
    }

    #[test]
    fn an_unknown_name_and_what_a_point_can_not_do_are_refused() {
        let (_alone, control) = alone();
        let unknown = control.set("node::log::writen", "panic");
        assert_eq!(
            unknown,
            Err(Refused::Unknown("node::log::writen".to_owned()))
        );
        assert!(control.remove("nobody").is_err());
        for actions in ["return", "5%3*return(7)", "explode", "sleep", "panic(", ""] {
            let refused = control.set("node::log::written", actions);
            assert!(matches!(refused, Err(Refused::Actions { .. })), "{actions}");
        }
        assert_eq!(setting(&control, "node::log::written").actions, "");
    }

    #[test]
    fn a_crash_is_shown_as_it_was_set() {
        let (_alone, control) = alone();
        let name = "node::log::before_write";
        control.set(name, "3*off->10%1*crash").unwrap();
        assert_eq!(setting(&control, name).actions, "3*off->10%1*crash");
        control.remove(name).unwrap();
    }

    #[test]
    fn the_variable_sets_several_points_and_names_what_it_can_not_read() {
        let (_alone, control) = alone();
        let names = ["node::log::before_write", "node::log::written"];
        set_all(OsStr::new(
            "node::log::before_write = 1*off; node::log::written=2*off;",
        ))
        .unwrap();
        let actions = names.map(|name| setting(&control, name).actions);
        assert_eq!(actions, ["1*off", "2*off"]);
        for name in names {
            control.remove(name).unwrap();
        }
        let wrong = set_all(OsStr::new("node::log::written"));
        assert_eq!(
            wrong,
            Err(Refused::Variable("node::log::written".to_owned()))
        );
    }
}
