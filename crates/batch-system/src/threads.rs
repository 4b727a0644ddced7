//! The driver for production: pollers on threads of the operating system.
//!
//! **How a poller ends.** Each poller has a number; one whose number is not below the pool's size puts its
//! FSMs back into the run queue after the round and leaves. At shutdown each poller finishes its round and
//! gives its FSMs away.
//!
//! **Invariant.** While the system runs, the normal pool has at least one poller.

use crate::builder::System;
use crate::config::Config;
use crate::error::Error;
use crate::fsm::{Fsm, Priority};
use crate::handler::Handler;
use crate::poller::Poller;
use crate::router::Router;
use crate::shared::{Remains, Shared, Task};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// What a poller thread leaves behind: the FSMs it held.
type Poll<N, C> = JoinHandle<Vec<Task<N, C>>>;
/// Starts a poller: its pool, its number, its thread's name.
type Start<N, C> = Box<dyn FnMut(Priority, usize, String) -> std::io::Result<Poll<N, C>> + Send>;

/// A batch system on threads. Clones are the same system; when the last one is dropped the system is shut
/// down.
pub struct ThreadDriver<N: Fsm, C: Fsm> {
    inner: Arc<Inner<N, C>>,
}

impl<N: Fsm, C: Fsm> Clone for ThreadDriver<N, C> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<N: Fsm, C: Fsm> {
    name: String,
    shared: Arc<Shared<N, C>>,
    pollers: Mutex<Pollers<N, C>>,
}

struct Pollers<N: Fsm, C: Fsm> {
    start: Start<N, C>,
    normal: Vec<Poll<N, C>>,
    low: Vec<Poll<N, C>>,
}

impl<N: Fsm, C: Fsm> ThreadDriver<N, C> {
    /// Starts the pollers of `system`, named `name-0` and so on. `make_handler` makes one handler for
    /// each poller, now and whenever a pool grows.
    pub fn spawn<H: Handler<N, C> + 'static>(
        name: &str,
        system: System<N, C>,
        make_handler: impl FnMut(Priority) -> H + Send + 'static,
    ) -> Result<Self, Error> {
        Self::spawn_prepared(name, system, || {}, make_handler)
    }

    /// The same; each poller does `prepare` first, on its thread.
    pub fn spawn_prepared<H: Handler<N, C> + 'static>(
        name: &str,
        system: System<N, C>,
        prepare: fn(),
        mut make_handler: impl FnMut(Priority) -> H + Send + 'static,
    ) -> Result<Self, Error> {
        let shared = system.shared;
        let for_pollers = Arc::clone(&shared);
        let start: Start<N, C> = Box::new(move |priority, number, name| {
            let poller = Poller::new(Arc::clone(&for_pollers), priority, make_handler(priority));
            std::thread::Builder::new().name(name).spawn(move || {
                prepare();
                run_or_abort(poller, number)
            })
        });
        let pollers = Mutex::new(Pollers {
            start,
            normal: Vec::new(),
            low: Vec::new(),
        });
        let driver = Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                shared,
                pollers,
            }),
        };
        driver.set_config(&driver.inner.shared.config())?;
        Ok(driver)
    }

    /// A handle for those who send.
    pub fn router(&self) -> Router<N, C> {
        Router::new(Arc::clone(&self.inner.shared))
    }

    /// Changes any part of the config while the system runs. Returns when the pools have their new
    /// size; pollers that leave finish their round first. Must not be called from a handler: it may wait for
    /// that handler's own poller.
    pub fn set_config(&self, config: &Config) -> Result<(), Error> {
        config.check()?;
        let inner = &self.inner;
        let mut pollers = inner.pollers.lock();
        if inner.shared.is_stopped() {
            return Err(Error::Stopped);
        }
        inner.shared.tunables.store(config);
        inner.shared.normal_lane.set_pollers(config.pool_size);
        inner.shared.low_lane.set_pollers(config.low_pool_size);
        if config.low_pool_size > 0 {
            inner.shared.low_lane.reopen();
        }
        inner.shrink(&mut pollers, config);
        inner.grow(&mut pollers, config)
    }

    /// Changes the size of the normal pool; at least one.
    pub fn resize(&self, pool_size: usize) -> Result<(), Error> {
        self.set_config(&Config {
            pool_size,
            ..self.inner.shared.config()
        })
    }

    /// Ends the system: new messages are refused, each poller finishes its round, every message left goes
    /// to the dead letters, and the FSMs are handed over. A second call finds nothing.
    ///
    /// Must not be called from a handler, which panics: it waits for the pollers.
    pub fn shutdown(&self) -> Remains<N, C> {
        self.inner.shutdown()
    }
}

impl<N: Fsm, C: Fsm> Inner<N, C> {
    fn grow(&self, pollers: &mut Pollers<N, C>, config: &Config) -> Result<(), Error> {
        let Pollers { start, normal, low } = pollers;
        while normal.len() < config.pool_size {
            let name = format!("{}-{}", self.name, normal.len());
            normal.push(start(Priority::Normal, normal.len(), name).map_err(Error::Spawn)?);
        }
        while low.len() < config.low_pool_size {
            let name = format!("{}-low-{}", self.name, low.len());
            low.push(start(Priority::Low, low.len(), name).map_err(Error::Spawn)?);
        }
        Ok(())
    }

    fn shrink(&self, pollers: &mut Pollers<N, C>, config: &Config) {
        if config.low_pool_size == 0 {
            for task in self.shared.low_lane.close() {
                self.shared.schedule(task);
            }
        }
        self.shared.normal_lane.interrupt();
        self.shared.low_lane.interrupt();
        let Pollers { normal, low, .. } = pollers;
        let leaving = normal.drain(config.pool_size.min(normal.len())..);
        for poller in leaving.chain(low.drain(config.low_pool_size.min(low.len())..)) {
            join(poller);
        }
    }

    fn shutdown(&self) -> Remains<N, C> {
        let mut remains = Remains::default();
        let mut pollers = self.pollers.lock();
        if self.shared.is_stopped() {
            return remains;
        }
        assert!(
            !pollers.contain_this_thread(),
            "a poller can't wait for its own end"
        );
        self.shared.stop(&mut remains);
        let Pollers { normal, low, .. } = &mut *pollers;
        for poller in normal.drain(..).chain(low.drain(..)) {
            for task in join(poller) {
                remains.add(task);
            }
        }
        self.shared.empty(&mut remains);
        remains
    }
}

impl<N: Fsm, C: Fsm> Pollers<N, C> {
    fn contain_this_thread(&self) -> bool {
        let this = std::thread::current().id();
        self.normal
            .iter()
            .chain(&self.low)
            .any(|poller| poller.thread().id() == this)
    }
}

impl<N: Fsm, C: Fsm> Drop for Inner<N, C> {
    fn drop(&mut self) {
        if self.pollers.lock().contain_this_thread() {
            // A handler owned the last clone. The pollers leave by themselves, this one included.
            self.shared.stop(&mut Remains::default());
        } else {
            self.shutdown();
        }
    }
}

fn join<N: Fsm, C: Fsm>(poller: Poll<N, C>) -> Vec<Task<N, C>> {
    poller
        .join()
        .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// Panics of the owner's code are caught in the round. One that comes through here is a fault of the
/// runtime itself, or of an owner's callback; going on with a poller less would be a silent hang.
fn run_or_abort<N: Fsm, C: Fsm, H: Handler<N, C>>(
    poller: Poller<N, C, H>,
    number: usize,
) -> Vec<Task<N, C>> {
    let life = AssertUnwindSafe(move || run(poller, number));
    catch_unwind(life).unwrap_or_else(|_| {
        eprintln!("batch system: a poller has panicked outside of a handler; aborting");
        std::process::abort()
    })
}

/// A poller's life.
fn run<N: Fsm, C: Fsm, H: Handler<N, C>>(
    mut poller: Poller<N, C, H>,
    number: usize,
) -> Vec<Task<N, C>> {
    let shared = Arc::clone(&poller.shared);
    let priority = poller.priority;
    let lane = shared.lane(priority);
    shared.enter_poller();
    loop {
        // Read before the reasons to leave: an interruption in between ends the wait at once.
        let generation = if poller.held() == 0 {
            lane.generation()
        } else {
            0
        };
        if shared.is_stopped() {
            return poller.give_away();
        }
        let config = shared.config();
        let pool_size = if priority == Priority::Low {
            config.low_pool_size
        } else {
            config.pool_size
        };
        if number >= pool_size {
            poller.disband();
            poller.set_brisk(false);
            return Vec::new();
        }
        poller.fetch(generation);
        if poller.held() > 0 {
            poller.round();
            poller.gather();
            poller.give_way();
        }
    }
}
