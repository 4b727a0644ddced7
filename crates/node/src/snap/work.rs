//! The work on snapshots as tasks, and the threads that do it.
//!
//! **Why two threads.** An installation takes seconds; to pin a view takes none, and a leader's
//! follower waits for it.
//!
//! **Invariants.** A panic on one of the threads ends the process, as one of a poller does. Tasks of
//! one kind are done in the order in which they came.
//!
//! **Not here.** The work itself ([`Snapshots::perform`]).

use super::service::Snapshots;
use crate::ports::Ports;
use crate::threads::EndsWithProcess;
use engine::KvEngine;
use raftstore::{GenerateSnapshot, InstallSnapshot, RaftMessage, SnapshotKey};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How often garbage is looked for.
const GARBAGE_EVERY: Duration = Duration::from_secs(60);

/// Something to do with a snapshot.
#[derive(Debug)]
pub enum SnapTask {
    /// Pin a view.
    Generate(GenerateSnapshot),
    /// Send one that was pinned.
    Send(Box<RaftMessage>),
    /// Install one that was received.
    Install(Box<InstallSnapshot>),
    /// Remove one that was received.
    Drop(SnapshotKey),
}

/// Takes tasks. It never blocks: pollers call it.
pub trait SnapWork: Send + Sync + 'static {
    /// Has a task done soon.
    fn submit(&self, task: SnapTask);
}

/// Where tasks go; none ends the thread.
#[derive(Clone)]
pub(crate) struct SnapSenders {
    quick: Sender<Option<SnapTask>>,
    installs: Sender<Option<SnapTask>>,
}

/// Where tasks come from.
pub(crate) struct SnapReceivers([Receiver<Option<SnapTask>>; 2]);

impl SnapSenders {
    pub(crate) fn channel() -> (Self, SnapReceivers) {
        let ((quick, to_quick), (installs, to_installs)) = (channel(), channel());
        let receivers = SnapReceivers([to_quick, to_installs]);
        (Self { quick, installs }, receivers)
    }
}

impl SnapWork for SnapSenders {
    fn submit(&self, task: SnapTask) {
        let sender = match &task {
            SnapTask::Install(_) => &self.installs,
            SnapTask::Generate(_) | SnapTask::Send(_) | SnapTask::Drop(_) => &self.quick,
        };
        // A store that stops does no more of it.
        let _ = sender.send(Some(task));
    }
}

/// The threads.
pub(crate) struct SnapThreads {
    senders: SnapSenders,
    threads: Vec<JoinHandle<()>>,
    is_stopping: Arc<AtomicBool>,
}

impl SnapThreads {
    pub(crate) fn start<K: KvEngine>(
        snapshots: &Snapshots<K>,
        senders: SnapSenders,
        receivers: SnapReceivers,
        ports: &Ports,
    ) -> io::Result<Self> {
        let mut started = Self {
            senders,
            threads: Vec::new(),
            is_stopping: Arc::default(),
        };
        for (name, tasks) in ["snap", "snap-install"].into_iter().zip(receivers.0) {
            let worker = Worker {
                snapshots: snapshots.clone(),
                ports: ports.clone(),
                tasks,
                is_stopping: Arc::clone(&started.is_stopping),
            };
            let thread = Builder::new().name(name.to_owned());
            started.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(started)
    }

    /// Ready after the tasks at hand; those that wait are not begun.
    pub(crate) fn stop(mut self) {
        self.end();
        for thread in self.threads.drain(..) {
            thread.join().expect("a panic would have ended the process");
        }
    }

    fn end(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        for sender in [&self.senders.quick, &self.senders.installs] {
            let _ = sender.send(None);
        }
    }
}

impl Drop for SnapThreads {
    fn drop(&mut self) {
        self.end();
    }
}

struct Worker<K: KvEngine> {
    snapshots: Snapshots<K>,
    ports: Ports,
    tasks: Receiver<Option<SnapTask>>,
    is_stopping: Arc<AtomicBool>,
}

impl<K: KvEngine> Worker<K> {
    fn run(self) {
        let _guard = EndsWithProcess;
        loop {
            match self.tasks.recv_timeout(GARBAGE_EVERY) {
                _ if self.is_stopping.load(Ordering::Relaxed) => return,
                Ok(Some(task)) => self.snapshots.perform(task, &self.ports),
                Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.snapshots.collect_garbage(),
            }
        }
    }
}
