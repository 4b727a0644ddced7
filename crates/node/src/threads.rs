//! What the node's own threads have in common.
//!
//! **Not here.** The panic policy of pollers: the batch system has it.

/// Held by a thread without which the store can't go on: its panic ends the process.
pub(crate) struct EndsWithProcess;

impl Drop for EndsWithProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// The calling thread, which works for a short time whenever it is woken, asks the scheduler not to wait for others to
/// use theirs up.
///
/// **Why.** A write goes from thread to thread. On processors that are busy with large reads, each of them would
/// wait for up to three milliseconds, Linux's slice, at each hand-over.
///
/// Takes effect from Linux 6.12 on; where it can't be had all works as well, only later.
#[cfg(target_os = "linux")]
pub(crate) fn ask_for_short_turns() {
    const SLICE_NS: u64 = 100_000;
    // SAFETY: it reads a number of the calling thread.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let wanted = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        // Of a thread without a deadline it is the slice.
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the structure has the size that it says, and is only read; it changes nothing but when the thread runs.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &wanted, 0) };
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn ask_for_short_turns() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_asks_keeps_its_priority() {
        let nice = || {
            // SAFETY: it reads a number of the calling thread.
            unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
        };
        let seen = std::thread::spawn(move || {
            // SAFETY: of this thread only.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 3) };
            ask_for_short_turns();
            nice()
        });
        assert_eq!(seen.join().unwrap(), 3);
    }
}
