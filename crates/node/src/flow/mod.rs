//! Flow control: writes of clients wait while the engine is behind, before they are proposed.
//!
//! **How.** A thread looks at the engine's backlog ten times in a second and sets the pace ([`pace`]). A write takes
//! its bytes from it: at a pace each write has its moment, the next one after what those before it take. When that comes
//! is only known from one look at the engine to the next; one whose moment has not come in time is refused, and
//! leaves its place to others.
//!
//! **Large work that nobody waits for**, such as a snapshot that is installed, goes by the same looks: while the engine is
//! behind it pauses before each of its parts ([`FlowControl::after_others`]), which leaves it a trickle.
//!
//! **Invariants.** With an engine that keeps up, a write costs two atomic operations here and waits for nothing.
//! Nobody waits for longer than it was allowed to.
//!
//! **Not here.** What replicas on other stores have to catch up with: their logs wait for them. What placement
//! writes: it is little, and must not wait for clients.

mod lane;
mod pace;
mod quota;

pub use pace::FlowOptions;
pub use quota::{QuotaOptions, Quotas};

use crate::threads::EndsWithProcess;
use engine::KvEngine;
use lane::{Lane, Place};
use metrics::Counter;
use pace::{Flow, Pace};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(100);

/// The engine is too far behind for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFarBehind;

/// The flow of writes to one store. Clones are the same.
#[derive(Clone)]
pub struct FlowControl(Arc<Shared>);

struct Shared {
    begun: Instant,
    /// What was written since the thread has looked last. Bytes.
    written: AtomicU64,
    is_free: AtomicBool,
    turns: Mutex<Turns>,
    /// There is no pace any more.
    freed: Condvar,
    admitted: Counter,
    refused: Counter,
}

/// When whose turn is, at a pace.
struct Turns {
    pace: Pace,
    flow: Flow,
    lane: Lane,
}

impl Turns {
    /// A write enters; none if it may come at once.
    fn enter(&mut self, bytes: u64, now: Duration) -> Option<Place> {
        match self.flow {
            Flow::Free => None,
            Flow::Paced(rate) => Some(self.lane.enter(bytes, rate, now, Duration::MAX)),
        }
    }

    /// How long it waits for its moment, as things are now.
    fn wait(&mut self, place: Place, now: Duration) -> Duration {
        match self.flow {
            Flow::Free => Duration::ZERO,
            Flow::Paced(rate) => self.lane.wait_at(place, rate, now),
        }
    }
}

impl FlowControl {
    /// Of an engine that is not behind.
    pub fn new(options: FlowOptions) -> Self {
        Self(Arc::new(Shared {
            begun: Instant::now(),
            written: AtomicU64::new(0),
            is_free: AtomicBool::new(true),
            turns: Mutex::new(Turns {
                pace: Pace::new(options, Duration::ZERO),
                flow: Flow::Free,
                lane: Lane::default(),
            }),
            freed: Condvar::new(),
            admitted: Counter::new(),
            refused: Counter::new(),
        }))
    }

    /// Goes by these from the next look on.
    pub fn set_options(&self, options: FlowOptions) {
        self.0.turns.lock().pace.set_options(options);
    }

    /// Waits until a write of so many bytes may come.
    ///
    /// # Errors
    /// That would take too long.
    pub async fn admit(&self, bytes: usize, within: Duration) -> Result<(), TooFarBehind> {
        let shared = &*self.0;
        if !shared.is_free.load(Ordering::Relaxed) {
            let admitted = self.wait(bytes, within).await;
            let counter = match admitted {
                Ok(()) => &shared.admitted,
                Err(TooFarBehind) => &shared.refused,
            };
            counter.add(1);
            admitted?;
        }
        shared.written.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn wait(&self, bytes: usize, within: Duration) -> Result<(), TooFarBehind> {
        let (shared, bytes) = (&*self.0, bytes as u64);
        let begun = Instant::now();
        let entered = shared.turns.lock().enter(bytes, shared.begun.elapsed());
        let Some(place) = entered else {
            return Ok(());
        };
        loop {
            let wait = shared.turns.lock().wait(place, shared.begun.elapsed());
            if wait.is_zero() {
                return Ok(());
            }
            let left = within.saturating_sub(begun.elapsed());
            if left.is_zero() {
                shared.turns.lock().lane.leave(bytes);
                return Err(TooFarBehind);
            }
            // Until then the pace may have changed.
            tokio::time::sleep(wait.min(left).min(INTERVAL)).await;
        }
    }

    /// Before a part of large work that nobody waits for: waits until the engine is not behind, for `patience` at the most.
    /// Blocks the thread.
    pub(crate) fn after_others(&self, patience: Duration) {
        let shared = &*self.0;
        if !shared.is_free.load(Ordering::Relaxed) {
            let is_paced = |turns: &mut Turns| turns.flow != Flow::Free;
            let mut turns = shared.turns.lock();
            shared.freed.wait_while_for(&mut turns, is_paced, patience);
        }
    }

    /// The bytes a second that may be written now; none if there is no bound.
    pub fn rate(&self) -> Option<u64> {
        match self.0.turns.lock().flow {
            Flow::Free => None,
            Flow::Paced(rate) => Some(rate as u64),
        }
    }

    /// Writes that had to wait: that came through, and that were refused.
    pub fn waited(&self) -> (u64, u64) {
        (self.0.admitted.get(), self.0.refused.get())
    }

    /// Nobody looks any more: whoever waits goes on, so that a node that stops waits for no part of large work.
    fn let_go(&self) {
        self.set(&mut self.0.turns.lock(), Flow::Free);
    }

    fn set(&self, turns: &mut Turns, flow: Flow) {
        let is_free = flow == Flow::Free;
        turns.flow = flow;
        self.0.is_free.store(is_free, Ordering::Relaxed);
        if is_free {
            self.0.freed.notify_all();
        }
    }

    fn look<K: KvEngine>(&self, engine: &K) {
        let (shared, backlog) = (&*self.0, engine.backlog());
        let written = shared.written.swap(0, Ordering::Relaxed);
        let now = shared.begun.elapsed();
        let mut turns = shared.turns.lock();
        let flow = turns.pace.observe(&backlog, written, now);
        let (was_free, is_free) = (turns.flow == Flow::Free, flow == Flow::Free);
        self.set(&mut turns, flow);
        drop(turns);
        match (was_free, is_free) {
            (true, false) => {
                tracing::warn!(?backlog, "the engine is behind: writes are slowed down")
            }
            (false, true) => tracing::info!("the engine has caught up"),
            (_, _) => {}
        }
    }
}

/// The thread that looks at the engine.
pub(crate) struct FlowWatch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl FlowWatch {
    pub(crate) fn start<K: KvEngine>(flow: FlowControl, engine: K) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let watch = move || {
            let _guard = EndsWithProcess;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                flow.look(&engine);
            }
            flow.let_go();
        };
        let thread = std::thread::Builder::new().name("flow".to_owned());
        let thread = thread.spawn(watch)?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        let ended = self.thread.join();
        ended.expect("a panic would have ended the process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::mem::Disk;

    fn paced(rate: f64) -> FlowControl {
        let flow = FlowControl::new(FlowOptions::default());
        pace(&flow, Flow::Paced(rate));
        flow
    }

    fn pace(flow: &FlowControl, to: Flow) {
        flow.set(&mut flow.0.turns.lock(), to);
    }

    #[tokio::test]
    async fn an_engine_that_keeps_up_holds_nobody_up() {
        let flow = FlowControl::new(FlowOptions::default());
        flow.admit(1 << 30, Duration::ZERO).await.unwrap();
        assert_eq!(flow.waited(), (0, 0));
    }

    #[tokio::test]
    async fn at_a_pace_writes_come_one_after_the_other_and_who_has_waited_long_enough_is_refused() {
        let flow = paced(1_000_000.0);
        flow.admit(50_000, Duration::ZERO).await.unwrap();
        let since = Instant::now();
        flow.admit(1, Duration::from_secs(3_600)).await.unwrap();
        assert!(since.elapsed() > Duration::from_millis(40));
        flow.admit(1 << 40, Duration::from_secs(1)).await.unwrap();
        let refused = flow.admit(1, Duration::from_millis(20)).await;
        assert_eq!(refused, Err(TooFarBehind));
        assert_eq!((flow.waited(), flow.rate()), ((3, 1), Some(1_000_000)));
    }

    #[test]
    fn large_work_waits_while_the_engine_is_behind_and_not_for_ever() {
        let flow = paced(1.0);
        let since = Instant::now();
        flow.after_others(Duration::from_millis(20));
        assert!(since.elapsed() >= Duration::from_millis(20));
        let frees = std::thread::spawn({
            let flow = flow.clone();
            move || pace(&flow, Flow::Free)
        });
        flow.after_others(Duration::from_secs(3_600));
        frees.join().unwrap();
    }

    #[test]
    fn once_nobody_looks_any_more_nobody_waits() {
        let flow = paced(1.0);
        FlowWatch::start(flow.clone(), Disk::new().open_kv("kv").unwrap())
            .unwrap()
            .stop();
        flow.after_others(Duration::from_secs(3_600));
        assert_eq!(flow.rate(), None);
    }

    #[tokio::test]
    async fn whoever_waits_comes_as_soon_as_the_engine_has_caught_up() {
        let flow = paced(1.0);
        flow.admit(1 << 20, Duration::ZERO).await.unwrap();
        let waits = flow.admit(1, Duration::from_secs(3_600));
        let frees = async {
            tokio::task::yield_now().await;
            pace(&flow, Flow::Free);
        };
        let (admitted, ()) = tokio::join!(waits, frees);
        assert_eq!(admitted, Ok(()));
    }
}
