//! The read pool: a few threads for many reads, of which most are short and some are huge.
//!
//! **Why.** Run in the order of arrival, one scan of a gigabyte makes every short read behind it wait. Nobody
//! knows beforehand which read will be huge. So all run in *slices*, and how long a read has run already decides
//! how it competes: a multilevel feedback queue.
//!
//! # The parts
//!
//! - A [`Task`] is work that can be resumed: it runs for a slice, yields, and is run again. It never waits for
//!   anything but its turn, which is why it is a trait of its own and not a future: there is no waker that
//!   could be lost, and nothing to poll that is not ready. What it reads may block its thread.
//! - The *core* (`queue`) decides, without clocks or threads: a task starts at level 0; when the tasks of its
//!   [`TaskKey`] have run for 5 ms together it moves to level 1, after 100 ms to level 2. While several levels have
//!   tasks waiting, level 0 gets 80 % of the run time, and level 1 80 % of what it leaves; so short reads come
//!   first and long ones are never starved. `shares` says how.
//! - [`ThreadPool`] runs tasks on threads; [`DeterministicPool`] runs the same tasks over the same core on the
//!   caller's thread, in an order drawn from a seed.
//!
//! # When a slice ends
//!
//! When the task says so, having asked [`Slice::should_yield`] every few microseconds. To yield costs something
//! (an iterator has to be sought again), so a slice goes on for as long as nobody else would be run instead, and
//! the task stays at its level. If somebody would, it ends after [`Config::slice`]; if that one is of a better
//! level, after [`Config::slice_min`] already.
//!
//! # Bounds
//!
//! Tasks in the pool are bounded in number and in bytes, from the moment when they are spawned until they are
//! gone. Over a bound [`Handle::spawn`] hands the task back: [`SpawnError`]. It never blocks.
//!
//! # The end of a task
//!
//! Every task that was accepted either says that it is done, or is told why it will not be run any more
//! ([`Task::abandon`]): the pool was shut down, or the task panicked. Whoever waits for it can be answered there.
//!
//! # Not here
//!
//! Tasks that wait for something, priorities that are given from outside, and any word of keys and values.
//! Time is the clock's and not the processor's: a slice that waits for the disk holds a thread as well. A task
//! that does not ask whether to yield is not interrupted.

mod clock;
mod config;
mod deterministic;
mod error;
mod panic;
mod queue;
mod shared;
mod shares;
mod stats;
mod task;
mod threads;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{Config, LEVELS, Options};
pub use deterministic::{DeterministicPool, Step};
pub use error::{Error, Full, SpawnError};
pub use panic::{PanicPolicy, PanicReport, PanicVerdict};
pub use shared::Handle;
pub use stats::{LevelStats, Stats};
pub use task::{Abandoned, Progress, Slice, Task, TaskKey};
pub use threads::ThreadPool;
