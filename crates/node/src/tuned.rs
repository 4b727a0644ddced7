//! Values that are changed while the node runs, for those who look at them now and then.
//!
//! **Not here.** Those who look at each message: they have atomics of their own, or are told.

use parking_lot::RwLock;
use std::sync::Arc;

/// A value that can be replaced. Clones are the same.
#[derive(Debug, Default)]
pub struct Tuned<T>(Arc<RwLock<T>>);

impl<T> Clone for Tuned<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Tuned<T> {
    /// Begins with this value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }

    /// The value now.
    pub(crate) fn get(&self) -> T {
        self.0.read().clone()
    }

    /// Replaces it.
    pub(crate) fn set(&self, value: T) {
        *self.0.write() = value;
    }
}
