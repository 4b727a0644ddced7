//! What a node counts and times, and the page that Prometheus reads.
//!
//! **Why our own.** Several nodes live in one process (the playground, tests), so nothing may be kept in a
//! registry of the process; and what is counted millions of times a second must cost an addition, not a
//! look-up of labels. So whoever counts owns its cells, and whoever is asked for the page collects them.
//!
//! **The parts.**
//! - Cells: [`Counter`], [`Gauge`], [`Histogram`]; [`Striped`] spreads one over the threads that write it.
//!   A cell that one thread alone writes is written without a locked instruction (`…_alone`).
//! - [`Label`]: the values of a label are the cases of an enum, so that there can't be too many.
//!   [`ByLabel`] has a cell for each.
//! - [`Desc`]: a family's name, kind, labels and help, as a constant. `docs/metrics.md` is made of them.
//! - [`Page`]: what was collected, in Prometheus's text format. [`Collect`] writes to it.
//! - [`is_on`]: one switch for the whole process, so that the cost of all this can be measured.
//!
//! **Invariants.** A counter never decreases. No label's value is an id or a key.
//!
//! **Not here.** Which families there are: each crate has its own.

mod cell;
mod desc;
mod histogram;
mod label;
mod page;
mod process;
mod striped;
mod switch;

pub use cell::{Counter, Gauge};
pub use desc::{Desc, Kind};
pub use histogram::{Buckets, Histogram, LATENCIES, Observed, SIZES, Unit};
pub use label::{ByLabel, Label};
pub use page::{Collect, Page};
pub use process::{PROCESS, Process};
pub use striped::Striped;
pub use switch::{Stopwatch, is_on, switch};
