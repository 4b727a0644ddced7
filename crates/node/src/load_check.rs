//! The thread that looks, each second, at what this store is asked for and how slow it is: it has Regions cut
//! that were asked for too much for long enough, and tells the placement driver if the store turns slow.
//!
//! **Why a thread of its own.** A size is found by passing over a Region, which may take seconds: neither
//! kind of split waits for the other.
//!
//! **Invariants.** Only what is led here is cut, and only at a key of its own. A split that comes to nothing
//! is thought of again when the Region has been asked for too much for as long once more.
//!
//! **Not here.** When and where to cut (`raftstore::op::load_split`), and doing it ([`NodeHandle::split`]).

use crate::growth::Growth;
use crate::handle::NodeHandle;
use crate::split_check::cut;
use crate::tuned::Tuned;
use engine::KvEngine;
use raftstore::op::load_split::{LoadLimits, LoadSplits};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use types::RegionId;

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is too much, to be changed while the thread runs.
pub(crate) type LoadTuning = Tuned<LoadLimits>;

/// The running thread.
pub(crate) struct LoadChecker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl LoadChecker {
    pub(crate) fn start<K: KvEngine>(
        handle: NodeHandle<K>,
        growth: Growth,
        limits: LoadTuning,
        runtime: tokio::runtime::Handle,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("load-check".to_owned())
            .spawn(move || run(&handle, &growth, &limits, &runtime, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn run<K: KvEngine>(
    handle: &NodeHandle<K>,
    growth: &Growth,
    tuning: &LoadTuning,
    runtime: &tokio::runtime::Handle,
    stopped: &Receiver<()>,
) {
    let mut splits = LoadSplits::new(tuning.get());
    let mut looked = Instant::now();
    while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let limits = tuning.get();
        splits.set_limits(limits);
        let length = looked.elapsed();
        looked = Instant::now();
        let inner = &*handle.inner;
        if let Some(stats) = inner.slowness.look(inner.clock.now()) {
            tracing::warn!(score = stats.slow_score, "writing the Raft log takes long");
            inner.link.store_heartbeat(stats);
        }
        let exceeding = inner.traffic.look(&limits, length);
        for (region, key) in splits.look(length, exceeding) {
            look_after(handle, growth, region, key, runtime);
        }
    }
}

fn look_after<K: KvEngine>(
    handle: &NodeHandle<K>,
    growth: &Growth,
    region_id: RegionId,
    key: Vec<u8>,
    runtime: &tokio::runtime::Handle,
) {
    if handle.check_leads(region_id).is_err() {
        return;
    }
    let Ok(region) = handle.shape(region_id) else {
        return;
    };
    // It may have been cut for its size meanwhile, and lost the part with the key.
    if region.range.contains(&key) && key != region.range.start {
        let (handle, growth) = (handle.clone(), growth.clone());
        runtime.spawn(async move { cut(&handle, &growth, &region, vec![key], "load").await });
    }
}
