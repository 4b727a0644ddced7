//! The status server: what a node is and does, for operators and their tools, on a port of its own.
//!
//! **Why a port of its own.** It answers from the first moment of a start to the last of a stop, when
//! the node's own port does not serve, and who may reach it is another question.
//!
//! | route | answer |
//! |---|---|
//! | `GET /` | the same for people, with links |
//! | `GET /status` | version, name, ids (null until the data directory is read), address, uptime |
//! | `GET /ready` | 200 while the node serves, otherwise 503; with the stage, and with `?verbose` those before |
//! | `GET /config` | the configuration in force |
//! | `GET /config/items` | each item with its default, and whether it can be changed online |
//! | `POST /config` | changes items, by their dotted keys: all or none; `?persist=false` until the next start |
//! | `GET /metrics` | what is counted, for Prometheus |
//! | `GET /debug/actors?limit=` | the actors that stand out: slowest, longest queues, busiest, rescheduled |
//! | `GET /region/{id}` | a Region as this store knows it |
//! | `POST /compact` | drops what was removed from the files of a range: `compact` |
//! | `/debug/pprof/...` | profiles of processor time: `profile` |
//! | `/log-level`, `/config/reload`, `/pause_grpc` and so on | single changes: `control` |
//! | `/console/...` | the web page for the whole cluster: `console` |
//! | `/fail` | failpoints, in builds that have them (`fail`) |
//! | `GET /diagnosis/...` | logs, machine, clock: see `diagnosis` |
//!
//! **Invariants.** It has threads of its own. Connections are bounded, each answer has to be taken within a while,
//! and no answer waits for a Peer. What looks at the node, or changes it, runs on a thread that may wait. A browser
//! can't be made to change anything by a page from elsewhere (`guard`).
//!
//! **Not here.** Accepting connections (`serve`), TLS, and who may ask.

mod compact;
mod configuration;
mod console;
mod control;
mod diagnosis;
mod fail;
mod guard;
mod inspect;
mod page;
mod profile;
mod routes;
mod runtime;
mod serve;
#[cfg(test)]
mod tests;

pub use configuration::{Configuration, Fault, Refused};
pub use inspect::Inspect;
pub use profile::HeapProfiler;
pub use runtime::StatusServer;

use crate::meters::{BUILD, STAGE};
use crate::{Gate, VERSION};
use axum::http::StatusCode;
use metrics::{Collect, Page, Process};
use node::Identity;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Where a node is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The data directory is locked and the key-value engine opened.
    OpeningData,
    /// The cluster is asked whether this store is new to it, if its directory is, or joins it.
    AskingMembers,
    /// The Raft logs are opened, and moved from the other engine if they are there.
    OpeningLogs,
    /// The replicas are read and the threads started.
    StartingNode,
    /// Requests are answered.
    Serving,
    /// They still are, while other stores take over what is led here.
    HandingOver,
    /// Requests under way end.
    Draining,
    /// The threads end, and what they wrote is synced.
    Stopping,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Stage; 8] = [
        Stage::OpeningData,
        Stage::AskingMembers,
        Stage::OpeningLogs,
        Stage::StartingNode,
        Stage::Serving,
        Stage::HandingOver,
        Stage::Draining,
        Stage::Stopping,
    ];

    /// Its name, as `/ready` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::OpeningData => "opening the data",
            Stage::AskingMembers => "asking the other members",
            Stage::OpeningLogs => "opening the Raft logs",
            Stage::StartingNode => "starting the node",
            Stage::Serving => "serving",
            Stage::HandingOver => "handing leaders over",
            Stage::Draining => "ending requests",
            Stage::Stopping => "stopping",
        }
    }
}

/// What is shown of a node; clones show the same.
#[derive(Clone)]
pub struct NodeStatus {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    address: String,
    config: Arc<dyn Configuration>,
    since: Instant,
    current: Mutex<Current>,
    /// Held while the node is asked, so that one that was let go of is asked no more.
    attached: Mutex<Attached>,
    process: Process,
    /// How the last life of the node ended, if that was a panic.
    last_panic: OnceLock<String>,
    /// Whom the console may ask.
    stores: console::Stores,
    heap: OnceLock<Arc<dyn HeapProfiler>>,
}

/// What changes.
struct Current {
    stage: Stage,
    entered: Instant,
    /// Of the stage: of what, so many of so many.
    progress: Option<(&'static str, u64, u64)>,
    /// The stages before, and how long they took.
    passed: Vec<(Stage, Duration)>,
    identity: Option<Identity>,
}

/// What is there while the node runs.
#[derive(Default)]
pub struct Attached {
    /// Whoever counts something.
    pub collectors: Vec<Arc<dyn Collect>>,
    /// Who shows Regions and actors.
    pub inspect: Option<Arc<dyn Inspect>>,
    /// What holds clients off.
    pub gate: Option<Gate>,
}

impl NodeStatus {
    /// Of the node with this name and address, which begins its start now.
    pub fn new(name: String, address: String, config: Arc<dyn Configuration>) -> Self {
        let since = Instant::now();
        let current = Current {
            stage: Stage::OpeningData,
            entered: since,
            progress: None,
            passed: Vec::new(),
            identity: None,
        };
        let shared = Shared {
            name,
            address,
            config,
            since,
            current: Mutex::new(current),
            attached: Mutex::default(),
            process: Process::begin(),
            last_panic: OnceLock::new(),
            stores: console::Stores::default(),
            heap: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The node has come to this stage. Returns the one before, and how long it took.
    pub fn enter(&self, stage: Stage) -> (Stage, Duration) {
        let mut current = self.shared.current.lock();
        let before = (current.stage, current.entered.elapsed());
        if before.0 != stage {
            current.passed.push(before);
            current.stage = stage;
            current.entered = Instant::now();
            current.progress = None;
        }
        before
    }

    /// So many of these are done in this stage, of so many. Threads tell it in any order: the most counts.
    pub fn progress(&self, what: &'static str, done: u64, total: u64) {
        let mut current = self.shared.current.lock();
        let before = match current.progress {
            Some((of, before, _)) if of == what => before,
            _ => 0,
        };
        current.progress = Some((what, done.max(before), total));
    }

    /// The last life of the node ended in a panic. The first one told counts.
    pub fn tell_of_panic(&self, text: String) {
        let _ = self.shared.last_panic.set(text);
    }

    /// The allocator can tell where memory was asked for. The first one told counts.
    pub fn profile_heap(&self, heap: Arc<dyn HeapProfiler>) {
        let _ = self.shared.heap.set(heap);
    }

    fn heap(&self) -> Option<Arc<dyn HeapProfiler>> {
        self.shared.heap.get().cloned()
    }

    /// The directory has said whose it is.
    pub fn identify(&self, identity: &Identity) {
        self.shared.current.lock().identity = Some(identity.clone());
    }

    /// The node runs: this is to be shown of it.
    pub fn attach(&self, node: Attached) {
        *self.shared.attached.lock() = node;
    }

    /// Lets go of the node. What is said of the process stays.
    pub fn detach(&self) {
        let node = std::mem::take(&mut *self.shared.attached.lock());
        drop(node);
    }

    /// What holds clients off; none while the node does not run.
    fn gate(&self) -> Option<Gate> {
        self.shared.attached.lock().gate.clone()
    }

    /// Where others dial the node.
    fn address(&self) -> &str {
        &self.shared.address
    }

    fn stage(&self) -> Stage {
        self.shared.current.lock().stage
    }

    fn metrics(&self) -> String {
        let mut page = Page::default();
        let stage = self.stage();
        page.gauge(&BUILD, &[VERSION], 1);
        for one in Stage::ALL {
            page.gauge(&STAGE, &[one.name()], u64::from(one == stage));
        }
        self.shared.process.collect(&mut page);
        logs::Lost.collect(&mut page);
        for collector in &self.shared.attached.lock().collectors {
            collector.collect(&mut page);
        }
        page.render()
    }

    /// The node, for what takes long; none while it does not run.
    fn node(&self) -> Option<Arc<dyn Inspect>> {
        self.shared.attached.lock().inspect.clone()
    }

    /// What is to be found out with the node; none while it does not run.
    fn with_node<T>(&self, find: impl FnOnce(&dyn Inspect) -> T) -> Option<T> {
        let attached = self.shared.attached.lock();
        attached.inspect.as_deref().map(find)
    }

    fn status(&self) -> Value {
        let shared = &self.shared;
        let current = shared.current.lock();
        let identity = current.identity.as_ref();
        json!({
            "version": VERSION,
            "name": shared.name,
            "store_id": identity.map(|identity| identity.store_id.get()),
            "cluster_id": identity.map(|identity| identity.cluster_id.get()),
            "address": shared.address,
            "uptime_s": shared.since.elapsed().as_secs(),
            "last_panic": shared.last_panic.get(),
        })
    }

    fn ready(&self, is_verbose: bool) -> (StatusCode, Value) {
        let current = self.shared.current.lock();
        let code = match current.stage {
            Stage::Serving => StatusCode::OK,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut body = json!({ "stage": current.stage.name() });
        if is_verbose {
            let ms = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let passed = current.passed.iter();
            let passed =
                passed.map(|(stage, took)| json!({ "stage": stage.name(), "ms": ms(*took) }));
            body["passed"] = passed.collect();
            body["ms"] = ms(current.entered.elapsed()).into();
            body["progress"] = current.progress.map_or(
                Value::Null,
                |(of, done, total)| json!({ "of": of, "done": done, "total": total }),
            );
        }
        (code, body)
    }
}
