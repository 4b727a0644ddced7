//! The batch system: an actor runtime that multiplexes many FSMs over a few pollers.
//!
//! **Why.** A store hosts thousands of Raft groups. Each is an actor, an *FSM*: state that one thread at a
//! time touches, driven by messages. A thread or a task for each would do its own log write and its own sync
//! for each; here, a *poller* collects the FSMs that have something to do, handles their messages, and then
//! performs the effects of the whole *batch* at once.
//!
//! # The parts
//!
//! - A *mailbox* is the FSM's queue and its place of rest. Its state is one of three. *Idle*: nothing waits,
//!   the mailbox owns the FSM. *Notified*: a sender, the run queue or a poller owns it. *Dropped*: it is gone.
//!   The sender whose message turns idle into notified takes the `Box` out and schedules it.
//! - The [`Router`] finds mailboxes by their address. Beside the many normal FSMs there is one *control*
//!   FSM, which an owner uses to create, remove and watch the others.
//! - A *poller* runs rounds with the owner's [`Handler`]: `begin`, the control FSM if it is ready, each normal
//!   FSM, `end`. It never waits for a batch to fill: it takes what is ready, and sleeps when nothing is.
//! - [`ThreadDriver`] runs pollers on threads; [`DeterministicDriver`] runs the same FSMs, handlers and
//!   router on the caller's thread, in an order drawn from a seed.
//!
//! # When and why an FSM is released
//!
//! After `end`, if its inbox was emptied. Not before `end`, because effects are performed there and fed back to
//! the FSM. It is released so that it costs nothing while it is idle and *any* poller can take it up at the
//! next message. Between the emptying of the inbox and the release, a message may slip in: its sender saw the
//! state notified and scheduled nothing. So the release looks at the queue again, under the lock that senders
//! take, and if there is something the poller keeps the FSM. Without this check the message would wait for
//! the next one to wake the FSM: the lost wake-up. `tests/model.rs` checks the hand-over with loom.
//!
//! Messages that arrive while the FSM handles others are handled in the same round, unless it was done so soon that
//! looking for them would cost their sender more than they do. An FSM whose inbox was not
//! emptied is kept, behind all others that the poller has; one to which something came after its inbox was
//! emptied is kept before them, like a newcomer. One that has stopped, or whose mailbox was closed, accepts
//! nothing new, answers what it accepted, and is then *removed*.
//!
//! # When and why an FSM is rescheduled
//!
//! A kept FSM never passes through the run queue, so a poller that happened to collect several busy ones would
//! keep them for ever while another poller sleeps. One that has been in a poller's batch for
//! [`Config::reschedule_duration`] is *hot*, and hot FSMs move on to the tail of the run queue, where another
//! poller can take them. Five seconds are enough for lasting loads without moving every passing one. If
//! another poller is idle meanwhile, there is no reason to wait: an FSM with a backlog is then hot after the
//! time that a wake-up costs.
//!
//! # Why only every second one
//!
//! If all moved, the next poller to fetch could collect them all again, and nothing would have been spread; and
//! this poller would have given all its work away. Half of them halves the imbalance, each time; and a lone hot FSM
//! stays, since moving it gains nothing.
//!
//! FSMs are also rescheduled when their [`Priority`] is not their poller's, and when a poller leaves because
//! the pool shrinks.
//!
//! # When batches are large
//!
//! Batching shares what a round costs; spreading uses the processors. While a poller's rounds are shorter than
//! a wake-up of another, it takes all that is ready and nobody is woken. When they are longer, it takes a share
//! and others are called. A round with a backlog lasts a small multiple of what its `end` costs, and while others
//! wait an FSM gets no more messages than fit into that time, so that batches are full where `end` is a synced
//! write, and newcomers are served at once where it is nothing.
//!
//! # Bounds
//!
//! A mailbox holds [`Config::mailbox_capacity`] messages, and all messages that say how large they are share a
//! [`ByteBudget`]. Over a bound, [`Router::send`] hands the message back: it never blocks, so FSMs may send to each
//! other (a sender that is no poller first gives way to those who are). Every message that was accepted is
//! handled, or handed to the owner as a [`DeadLetter`].
//!
//! # Not here
//!
//! Timers, requests and answers, supervision trees, and any word of what FSMs are for. An FSM whose handler
//! neither pops its messages nor comes to an end is run again and again.

mod batch;
mod budget;
mod builder;
mod clock;
mod config;
mod deterministic;
mod directory;
mod error;
mod fsm;
mod handler;
mod inbox;
mod mailbox;
mod meters;
mod panic;
mod poller;
mod router;
mod run_queue;
mod shared;
mod stats;
mod sync;
mod threads;

pub use batch::Batch;
pub use budget::ByteBudget;
pub use builder::{Builder, System};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::Config;
pub use deterministic::{DeterministicDriver, Ran};
pub use error::{Error, RegisterError, SendError};
pub use fsm::{Address, Fsm, Message, Priority};
pub use handler::{Handler, RoundInfo};
pub use inbox::Inbox;
pub use meters::{Rescheduled, SystemStats};
pub use panic::{PanicPlace, PanicPolicy, PanicReport, PanicVerdict};
pub use router::{Actors, Load, Router};
pub use shared::{DeadLetter, Remains};
pub use stats::FsmStats;
pub use threads::ThreadDriver;
