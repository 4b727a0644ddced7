//! Failpoints: places in the code at which a test makes the process crash, wait, or fail.
//!
//! **Why.** A crash, a slow disk or a lost message at one certain place is what a random fault hits once in a
//! thousand runs. A point has a name and an action for it is set while the process runs, or before.
//!
//! **Invariants.** Without the feature `failpoints` a point is nothing: [`at!`] leaves no code (it may
//! even stand in a `const fn`, which a test shows), and no action can be set. With it or without, a name that is not
//! in [`POINTS`] does not compile. Points are the process's: tests in one process must not set them beside
//! each other.
//!
//! **Not here.** Who may set actions (`server`). Points in the pure crates: they stand where the
//! effects are performed.

#[cfg(feature = "failpoints")]
mod built_in;
mod control;
mod points;
mod reference;

#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub use built_in::{reach, returned};
pub use control::{Control, Refused, Setting, VARIABLE, control, set_from_environment};
#[doc(hidden)]
pub use points::index_of;
pub use points::{Kind, POINTS, Point};
pub use reference::reference;

/// A point of this name, which must be one of [`POINTS`].
///
/// With a second argument, a closure of the action's argument (`Option<String>`), the action `return` makes the
/// function around it return what the closure does.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! at {
    ($name:literal) => {{
        const POINT: usize = $crate::index_of($name);
        $crate::reach(POINT);
    }};
    ($name:literal, $instead:expr) => {{
        const POINT: usize = $crate::index_of($name);
        if let Some(value) = $crate::returned(POINT).map($instead) {
            return value;
        }
    }};
}

/// A point of this name, which must be one of [`POINTS`]: in this build it is nothing.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! at {
    ($name:literal) => {{
        const _: usize = $crate::index_of($name);
    }};
    ($name:literal, $instead:expr) => {{
        const _: usize = $crate::index_of($name);
    }};
}

#[cfg(all(test, not(feature = "failpoints")))]
mod tests {
    /// Nothing that runs may be called in a constant: so there is nothing.
    const fn passes_points() -> u32 {
        crate::at!("node::log::written");
        crate::at!("server::raft::receive", |_| 1);
        2
    }

    #[test]
    fn without_the_feature_a_point_is_nothing_at_all() {
        const PASSED: u32 = passes_points();
        assert_eq!(PASSED, 2);
        assert!(crate::control().is_none());
        assert_eq!(size_of::<Option<crate::Control>>(), 0);
    }
}
