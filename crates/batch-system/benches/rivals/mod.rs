//! The same actors on three runtimes: ours, a tokio task each, a thread each.
//!
//! Each is found by its address, through our router or through a concurrent map; each handles the same
//! messages with the same code.

#![allow(dead_code, reason = "the memory benchmark uses a part")]

use batch_system::{
    Batch, Builder, Config, Fsm, Handler, Inbox, Message, RoundInfo, Router, SendError,
    ThreadDriver,
};
use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{JoinHandle, Thread};

/// Pollers, or tokio workers.
pub const WORKERS: usize = 2;

/// Counts down and wakes the one who waits.
pub struct Latch {
    left: AtomicU64,
    waiter: Thread,
}

impl Latch {
    pub fn new(count: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(count),
            waiter: std::thread::current(),
        })
    }

    pub fn count_down(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiter.unpark();
        }
    }

    pub fn wait(&self) {
        while self.left.load(Ordering::Acquire) > 0 {
            std::thread::park();
        }
    }
}

/// What actors are told.
pub enum Msg {
    /// So many steps of work.
    Loop(usize),
    /// All before is handled.
    Done(Arc<Latch>),
    /// Pass it on to the other one, so many times.
    Ping {
        other: u64,
        own: u64,
        left: u64,
        done: Arc<Latch>,
    },
}

impl Message for Msg {}

/// An actor's state.
pub struct Work {
    result: usize,
}

impl Work {
    pub fn new() -> Self {
        Self { result: 1 }
    }

    /// Handles a message; `send` is the runtime's.
    fn handle(&mut self, message: Msg, send: impl Fn(u64, Msg)) {
        match message {
            Msg::Loop(count) => {
                for _ in 0..count {
                    // Two dependent operations, one a division: some nanoseconds a step.
                    self.result = self.result.wrapping_mul(count) % (count + 1);
                }
                std::hint::black_box(self.result);
            }
            Msg::Done(latch) => latch.count_down(),
            Msg::Ping { left: 0, done, .. } => done.count_down(),
            Msg::Ping {
                other,
                own,
                left,
                done,
            } => {
                send(
                    other,
                    Msg::Ping {
                        other: own,
                        own: other,
                        left: left - 1,
                        done,
                    },
                );
            }
        }
    }
}

/// A runtime under test.
pub trait Actors: Sync {
    const NAME: &'static str;
    /// Starts it with actors 0 to `count`, excluded.
    fn start(count: u64) -> Self;
    /// False if the actor's queue is full.
    fn send(&self, address: u64, message: Msg) -> bool;
}

impl Fsm for Work {
    type Message = Msg;

    fn is_stopped(&self) -> bool {
        false
    }
}

struct Runner(Router<Work, Work>);

impl Handler<Work, Work> for Runner {
    fn begin(&mut self, _: RoundInfo) {}

    fn handle_control(&mut self, _: &mut Work, inbox: &mut Inbox<'_, Msg>) {
        while inbox.pop().is_some() {}
    }

    fn handle_normal(&mut self, fsm: &mut Work, inbox: &mut Inbox<'_, Msg>) {
        while let Some(message) = inbox.pop() {
            fsm.handle(message, |to, message| {
                self.0.send(to, message).expect("room for one message")
            });
        }
    }

    fn end(&mut self, _: &mut Batch<'_, Work>) {}
}

/// Ours.
pub struct Ours {
    router: Router<Work, Work>,
    _driver: ThreadDriver<Work, Work>,
}

impl Actors for Ours {
    const NAME: &'static str = "batch-system";

    fn start(count: u64) -> Self {
        let config = Config {
            pool_size: WORKERS,
            mailbox_capacity: CAPACITY,
            ..Config::default()
        };
        let system = Builder::new(config, Box::new(Work::new()))
            .build()
            .expect("a valid config");
        let router = system.router();
        for address in 0..count {
            router
                .register(address, Box::new(Work::new()))
                .expect("a free address");
        }
        let to_handlers = router.clone();
        let driver = ThreadDriver::spawn("bench", system, move |_| Runner(to_handlers.clone()));
        Self {
            router,
            _driver: driver.expect("threads"),
        }
    }

    fn send(&self, address: u64, message: Msg) -> bool {
        match self.router.send(address, message) {
            Ok(()) => true,
            Err(SendError::Full(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Messages that may wait in one queue, where it is bounded.
const CAPACITY: usize = 40_960;

/// A tokio task each, with an unbounded queue, which is tokio's fastest.
pub struct Tokio {
    senders: Arc<DashMap<u64, tokio::sync::mpsc::UnboundedSender<Msg>>>,
    _runtime: tokio::runtime::Runtime,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .build()
        .expect("a runtime")
}

impl Actors for Tokio {
    const NAME: &'static str = "tokio";

    fn start(count: u64) -> Self {
        let runtime = runtime();
        let senders = Arc::new(DashMap::new());
        for address in 0..count {
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
            senders.insert(address, sender);
            let others = Arc::downgrade(&senders);
            runtime.spawn(async move {
                let mut work = Work::new();
                while let Some(message) = receiver.recv().await {
                    work.handle(message, |to, message| deliver(&others, to, message));
                }
            });
        }
        Self {
            senders,
            _runtime: runtime,
        }
    }

    fn send(&self, address: u64, message: Msg) -> bool {
        self.senders
            .get(&address)
            .expect("registered")
            .send(message)
            .is_ok()
    }
}

fn deliver(
    others: &std::sync::Weak<DashMap<u64, tokio::sync::mpsc::UnboundedSender<Msg>>>,
    to: u64,
    message: Msg,
) {
    if let Some(others) = others.upgrade() {
        let _ = others.get(&to).expect("registered").send(message);
    }
}

/// A tokio task each, with a bounded queue: for the workload whose sender never waits.
pub struct TokioBounded {
    senders: DashMap<u64, tokio::sync::mpsc::Sender<Msg>>,
    _runtime: tokio::runtime::Runtime,
}

impl Actors for TokioBounded {
    const NAME: &'static str = "tokio";

    fn start(count: u64) -> Self {
        let runtime = runtime();
        let senders = DashMap::new();
        for address in 0..count {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(CAPACITY);
            senders.insert(address, sender);
            runtime.spawn(async move {
                let mut work = Work::new();
                while let Some(message) = receiver.recv().await {
                    work.handle(message, |_, _| {
                        unreachable!("no ping-pong with bounded queues")
                    });
                }
            });
        }
        Self {
            senders,
            _runtime: runtime,
        }
    }

    fn send(&self, address: u64, message: Msg) -> bool {
        self.senders
            .get(&address)
            .expect("registered")
            .try_send(message)
            .is_ok()
    }
}

/// The sending side of a thread's queue.
enum Queue {
    Unbounded(mpsc::Sender<Msg>),
    Bounded(mpsc::SyncSender<Msg>),
}

impl Queue {
    fn send(&self, message: Msg) -> bool {
        match self {
            Queue::Unbounded(sender) => sender.send(message).is_ok(),
            Queue::Bounded(sender) => sender.try_send(message).is_ok(),
        }
    }
}

/// A thread each, with an unbounded queue.
pub struct Threads {
    senders: Arc<DashMap<u64, Queue>>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    fn with(count: u64, queue: impl Fn() -> (Queue, mpsc::Receiver<Msg>)) -> Self {
        let senders = Arc::new(DashMap::<u64, Queue>::new());
        let mut threads = Vec::new();
        for address in 0..count {
            let (sender, receiver) = queue();
            senders.insert(address, sender);
            let others = Arc::downgrade(&senders);
            threads.push(std::thread::spawn(move || {
                let mut work = Work::new();
                while let Ok(message) = receiver.recv() {
                    work.handle(message, |to, message| {
                        if let Some(others) = others.upgrade() {
                            others.get(&to).expect("registered").send(message);
                        }
                    });
                }
            }));
        }
        Self { senders, threads }
    }
}

impl Actors for Threads {
    const NAME: &'static str = "threads";

    fn start(count: u64) -> Self {
        Self::with(count, || {
            let (sender, receiver) = mpsc::channel();
            (Queue::Unbounded(sender), receiver)
        })
    }

    fn send(&self, address: u64, message: Msg) -> bool {
        self.senders
            .get(&address)
            .expect("registered")
            .send(message)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.senders.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A thread each, with a bounded queue: for the workload whose sender never waits.
pub struct ThreadsBounded(Threads);

impl Actors for ThreadsBounded {
    const NAME: &'static str = "threads";

    fn start(count: u64) -> Self {
        Self(Threads::with(count, || {
            let (sender, receiver) = mpsc::sync_channel(CAPACITY);
            (Queue::Bounded(sender), receiver)
        }))
    }

    fn send(&self, address: u64, message: Msg) -> bool {
        self.0.send(address, message)
    }
}
