//! The builder: what a system consists of, before a driver runs it.

use crate::budget::ByteBudget;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Tunables};
use crate::directory::Directory;
use crate::error::Error;
use crate::fsm::Fsm;
use crate::mailbox::Mailbox;
use crate::meters::Meters;
use crate::panic::PanicPolicy;
use crate::router::Router;
use crate::run_queue::RunQueue;
use crate::shared::{DeadLetter, DeadLetters, Shared};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The parts of a batch system, for either driver.
pub struct Builder<N: Fsm, C: Fsm> {
    config: Config,
    control: Box<C>,
    budget: ByteBudget,
    clock: Arc<dyn Clock>,
    panic_policy: PanicPolicy,
    dead_letters: DeadLetters<N, C>,
}

impl<N: Fsm, C: Fsm> Builder<N, C> {
    /// A system with this control FSM, no bound in bytes, the machine's clock, panics that abort, and
    /// dead letters that are dropped.
    pub fn new(config: Config, control: Box<C>) -> Self {
        Self {
            config,
            control,
            budget: ByteBudget::new(usize::MAX),
            clock: Arc::new(SystemClock::default()),
            panic_policy: PanicPolicy::default(),
            dead_letters: Box::new(drop),
        }
    }

    /// The bound in bytes, which may be shared with other systems.
    pub fn budget(mut self, budget: ByteBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Where the time comes from.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What to do about panics.
    pub fn panic_policy(mut self, policy: PanicPolicy) -> Self {
        self.panic_policy = policy;
        self
    }

    /// Gets every message that was accepted and will never be handled: those left at shutdown, and
    /// those of an FSM removed after a panic. Runs on a poller or in the shutdown; must not block.
    pub fn dead_letters(
        mut self,
        callback: impl Fn(DeadLetter<N::Message, C::Message>) + Send + Sync + 'static,
    ) -> Self {
        self.dead_letters = Box::new(callback);
        self
    }

    /// Makes the system. FSMs can be registered and messages sent at once; they are handled when a
    /// driver is started with it.
    pub fn build(self) -> Result<System<N, C>, Error> {
        self.config.check()?;
        let shared = Shared {
            directory: Directory::new(),
            control: Mailbox::new(0, self.control),
            normal_lane: RunQueue::new(self.config.pool_size),
            low_lane: RunQueue::new(self.config.low_pool_size),
            tunables: Tunables::new(&self.config),
            budget: self.budget,
            clock: self.clock,
            panic_policy: self.panic_policy,
            dead_letters: self.dead_letters,
            stopped: AtomicBool::new(false),
            meters: Meters::default(),
        };
        if self.config.low_pool_size == 0 {
            shared.low_lane.close();
        }
        Ok(System {
            shared: Arc::new(shared),
        })
    }
}

/// A system that no driver runs yet.
pub struct System<N: Fsm, C: Fsm> {
    pub(crate) shared: Arc<Shared<N, C>>,
}

impl<N: Fsm, C: Fsm> System<N, C> {
    /// A handle for those who send.
    pub fn router(&self) -> Router<N, C> {
        Router::new(Arc::clone(&self.shared))
    }
}
