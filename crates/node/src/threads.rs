//! What a node's threads have in common: who goes first, and what a panic of one means.
//!
//! **Who goes first.** A thread that takes what it has to do in short steps asks for short turns
//! ([`ask_for_short_turns`]): pollers, and the service's. One that is at large work for as long as there is any gives
//! way to all others ([`give_way`]): the read pool's.
//!
//! **Large work rests** ([`rest_if_due`]). A thread that is woken where another one works may have to wait for the kernel's next
//! tick, 4 ms, though it is preferred: that it used a little more than its share some time ago is enough. Only what works can
//! shorten this, by offering its processor. A sleep of some microseconds is no offer: on a virtual machine, where a timer
//! takes longer to set than that, it is over before Linux looks for somebody else.
//!
//! **Not here.** The panic policy of pollers: the batch system has it.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long large work goes on before others are let in. Where nobody waits a rest costs less than 1 µs.
const WORKS_FOR: Duration = Duration::from_micros(50);

thread_local! {
    /// Since when the calling thread works without a rest, if it does large work.
    static WORKS_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

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
pub fn ask_for_short_turns() {
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
pub fn ask_for_short_turns() {}

/// The calling thread has just waited, and begins to work now.
pub fn begin_work() {
    WORKS_SINCE.set(Some(Instant::now()));
}

/// In the midst of large work: lets others have the processor for a moment, if that was long ago. Threads that have
/// never begun ([`begin_work`]) go on, those of a simulation for example.
pub fn rest_if_due() {
    if is_rest_due(Instant::now()) {
        std::thread::yield_now();
        begin_work();
    }
}

fn is_rest_due(now: Instant) -> bool {
    let since = WORKS_SINCE.get();
    since.is_some_and(|since| now.saturating_duration_since(since) >= WORKS_FOR)
}

/// What the calling thread has had of a processor; of two such times the difference is what it had between them. Costs a
/// call of the kernel, some 0.2 µs.
pub fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is one to write a time to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The calling thread gets a third of what others get of a processor that both want, for good.
///
/// **Why.** Reads of many rows wait for no other thread, so they take whatever there is; a write that needs five threads, one
/// after the other, each for some microseconds, would be late at each of them.
pub fn give_way() {
    const NICE: libc::c_int = 5;
    // SAFETY: they read and set a number of the calling thread; to be nicer is allowed to everybody.
    unsafe {
        let nice = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, nice + NICE);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn who_works_for_long_rests_and_who_has_not_begun_does_not() {
        let later = Instant::now() + 2 * WORKS_FOR;
        assert!(!is_rest_due(later));
        begin_work();
        assert!(!is_rest_due(WORKS_SINCE.get().unwrap()));
        assert!(is_rest_due(later));
        let (begun, until) = (WORKS_SINCE.get(), Instant::now() + Duration::from_secs(5));
        while WORKS_SINCE.get() == begun {
            assert!(Instant::now() < until, "it never rests");
            rest_if_due();
        }
    }

    #[test]
    fn work_is_counted_for_the_thread_that_does_it() {
        let work = || {
            let (had, until) = (processor_time(), Instant::now() + Duration::from_secs(5));
            while processor_time() - had < Duration::from_millis(20) {
                assert!(Instant::now() < until, "work is not counted");
            }
        };
        let had = processor_time();
        std::thread::spawn(work).join().unwrap();
        let waited = processor_time() - had;
        assert!(waited < Duration::from_millis(10), "{waited:?}");
    }

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
