//! What the node's own threads have in common.
//!
//! **Not here.** Pollers: the batch system has its own threads and panic policy.

/// Held by a thread without which the store can't go on: its panic ends the process.
pub(crate) struct EndsWithProcess;

impl Drop for EndsWithProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
