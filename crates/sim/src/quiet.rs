//! Panics of simulated stores: caught and reported as violations, not printed.
//!
//! **Why a hook.** The batch system hands over a panic's message only; the place in the code is known
//! to the hook alone, and printing every store that stops as it should would bury what matters.
//!
//! **Invariant.** Threads that run no simulation panic as before.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// While one of these lives, this thread's panics are not printed.
pub(crate) struct Quiet;

impl Quiet {
    pub(crate) fn new() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| match DEPTH.get() {
                0 => before(info),
                _ => PLACE.set(info.location().map(ToString::to_string)),
            }));
        });
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Where this thread panicked last.
pub(crate) fn last_place() -> String {
    PLACE
        .take()
        .unwrap_or_else(|| "an unknown place".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_quiet_panic_is_known() {
        let quiet = Quiet::new();
        assert!(panic::catch_unwind(|| panic!("as planned")).is_err());
        drop(quiet);
        assert!(last_place().contains("quiet.rs"));
    }
}
