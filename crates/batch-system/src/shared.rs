//! What router, pollers and drivers share: the directory, the run queues, bounds and policies.
//!
//! **Why here.** Which lane an FSM goes to is decided in one place.
//!
//! **Invariant.** An FSM that was taken out of its mailbox is, at any time, in exactly one of: a
//! sender's stack on its way to `schedule`, a lane, a poller's batch.

use crate::budget::ByteBudget;
use crate::clock::Clock;
use crate::config::{Config, Tunables};
use crate::directory::Directory;
use crate::fsm::{Address, Fsm, Priority};
use crate::mailbox::{Left, Mailbox};
use crate::meters::Meters;
use crate::panic::PanicPolicy;
use crate::run_queue::RunQueue;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An FSM that is notified and waits for a poller.
pub(crate) enum Task<N: Fsm, C: Fsm> {
    Normal(Arc<Mailbox<N>>, Box<N>),
    Control(Box<C>),
}

/// A message that will never be handled, because its FSM was removed after a panic or the system was
/// shut down. Whoever waits for its answer has to be told.
#[derive(Debug, PartialEq, Eq)]
pub enum DeadLetter<N, C> {
    /// It was sent to the normal FSM of this address.
    Normal(Address, N),
    /// It was sent to the control FSM.
    Control(C),
}

/// The owner's callback for dead letters.
pub(crate) type DeadLetters<N, C> =
    Box<dyn Fn(DeadLetter<<N as Fsm>::Message, <C as Fsm>::Message>) + Send + Sync>;

/// All FSMs that a system had when it ended, for the owner to look at or to drop.
pub struct Remains<N, C> {
    /// The normal FSMs, by address.
    pub normals: Vec<(Address, Box<N>)>,
    /// The control FSM, unless a panic removed it.
    pub control: Option<Box<C>>,
}

impl<N, C> Default for Remains<N, C> {
    fn default() -> Self {
        Self {
            normals: Vec::new(),
            control: None,
        }
    }
}

pub(crate) struct Shared<N: Fsm, C: Fsm> {
    pub(crate) directory: Directory<N>,
    pub(crate) control: Mailbox<C>,
    pub(crate) normal_lane: RunQueue<Task<N, C>>,
    /// Closed while there is no poller of low priority.
    pub(crate) low_lane: RunQueue<Task<N, C>>,
    pub(crate) tunables: Tunables,
    pub(crate) budget: ByteBudget,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) panic_policy: PanicPolicy,
    pub(crate) dead_letters: DeadLetters<N, C>,
    pub(crate) stopped: AtomicBool,
    pub(crate) meters: Meters,
}

thread_local! {
    /// The system of which this thread is a poller; zero for all others.
    static ON_POLLER_OF: Cell<usize> = const { Cell::new(0) };
}

/// Lets other threads have the processor, unless this one is a poller.
pub(crate) fn give_way() {
    if ON_POLLER_OF.get() == 0 {
        std::thread::yield_now();
    }
}

impl<N: Fsm, C: Fsm> Shared<N, C> {
    pub(crate) fn lane(&self, priority: Priority) -> &RunQueue<Task<N, C>> {
        match priority {
            Priority::Normal => &self.normal_lane,
            Priority::Low => &self.low_lane,
        }
    }

    /// Puts a notified FSM into its lane. Once the system has stopped it is dropped: its messages
    /// stay in the mailbox, where the shutdown finds them.
    pub(crate) fn schedule(&self, task: Task<N, C>) {
        let priority = match &task {
            Task::Normal(_, fsm) => fsm.priority(),
            Task::Control(fsm) => fsm.priority(),
        };
        // A poller that pushes is the proof that one is getting on.
        let from_poller = ON_POLLER_OF.get() == self.identity();
        let now = || if from_poller { 0 } else { self.now_ns() };
        let refused = match priority {
            Priority::Low => match self.low_lane.push(task, now) {
                Ok(()) => return,
                Err(task) => self.normal_lane.push(task, now),
            },
            Priority::Normal => self.normal_lane.push(task, now),
        };
        drop(refused);
    }

    fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Marks this thread as one of the system's pollers.
    pub(crate) fn enter_poller(&self) {
        ON_POLLER_OF.set(self.identity());
    }

    /// The clock's time in nanoseconds: half a millennium fits.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now().as_nanos() as u64
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(crate) fn config(&self) -> Config {
        self.tunables.load()
    }

    /// Hands over what was left in a normal mailbox.
    pub(crate) fn bury(&self, address: Address, left: Left<N>) -> Option<Box<N>> {
        self.budget.release(left.bytes);
        for message in left.messages {
            (self.dead_letters)(DeadLetter::Normal(address, message));
        }
        left.fsm
    }

    /// Hands over what was left for the control FSM.
    pub(crate) fn bury_control(&self, left: Left<C>) -> Option<Box<C>> {
        self.budget.release(left.bytes);
        for message in left.messages {
            (self.dead_letters)(DeadLetter::Control(message));
        }
        left.fsm
    }

    /// First half of the end: nothing is accepted, nothing is scheduled. Gives the FSMs that waited.
    pub(crate) fn stop(&self, remains: &mut Remains<N, C>) {
        self.stopped.store(true, Ordering::SeqCst);
        for lane in [&self.low_lane, &self.normal_lane] {
            for task in lane.close() {
                remains.add(task);
            }
        }
    }

    /// Second half, when no poller runs any more: empties every mailbox.
    pub(crate) fn empty(&self, remains: &mut Remains<N, C>) {
        for mailbox in self.directory.all() {
            self.directory.remove(mailbox.address);
            if let Some(fsm) = self.bury(mailbox.address, mailbox.kill()) {
                remains.normals.push((mailbox.address, fsm));
            }
        }
        if let Some(fsm) = self.bury_control(self.control.kill()) {
            remains.control = Some(fsm);
        }
        remains
            .normals
            .sort_unstable_by_key(|(address, _)| *address);
    }
}

impl<N: Fsm, C: Fsm> Remains<N, C> {
    pub(crate) fn add(&mut self, task: Task<N, C>) {
        match task {
            Task::Normal(mailbox, fsm) => self.normals.push((mailbox.address, fsm)),
            Task::Control(fsm) => self.control = Some(fsm),
        }
    }
}
