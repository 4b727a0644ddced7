//! Attackers share processors with the node here, which they would not elsewhere: their thread prefers all others.
//!
//! **Why at each step, too.** Once the thread has a processor, it would keep it until the kernel's next tick, 4 ms, also from
//! whoever is preferred to it, but has used a little more than its share before.
//!
//! **Not here.** What attackers do.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Context;

/// The scheduler prefers all others to the calling thread.
pub fn prefer_others() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the structure is only read; it changes nothing but how willingly the scheduler runs this thread.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) };
    assert_eq!(done, 0, "attackers can't be made to give way");
}

/// Offers the processor before each step.
pub async fn at_each_step<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    let step = |cx: &mut Context<'_>| {
        std::thread::yield_now();
        work.as_mut().poll(cx)
    };
    poll_fn(step).await
}

/// Runs the tasks of a client's connections so.
#[derive(Clone)]
pub struct AtEachStep;

impl hyper::rt::Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for AtEachStep {
    fn execute(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(at_each_step(task));
    }
}
