//! What the node's face to the network counts, and the list of all families that a node shows.
//!
//! **Why here.** Each crate knows its own families; the status server, which shows all of them, is the first
//! place that sees all.
//!
//! **Invariants.** Labels are methods and kinds of errors, never who asked for what.
//!
//! **Not here.** What is counted below (`node::meters`, `engine::meter`).

mod errors;
mod methods;
mod reference;
#[cfg(test)]
mod watchers;

pub(crate) use errors::{ErrorKind, kind_of_region_error};
pub(crate) use methods::Method;
pub use reference::reference;

use metrics::{ByLabel, Collect, Counter, Desc, Histogram, Label, Page, Stopwatch, Striped, is_on};
use std::sync::Arc;

static TIMES: Desc = Desc::histogram(
    "kontiki_grpc_request_seconds",
    "How long requests took from their decoding to their answer; those of BatchCommands are counted like single ones. Of streams of placement: until they began.",
)
.by(&["method"]);
static ERRORS: Desc = Desc::counter(
    "kontiki_grpc_errors_total",
    "Requests that were answered with an error.",
)
.by(&["method", "kind"]);
static STREAMS: Desc = Desc::counter(
    "kontiki_grpc_streams_total",
    "Streams that were begun, of clients and of other stores.",
)
.by(&["method"]);
pub(crate) static TRANSPORT_STORES: Desc = Desc::gauge(
    "kontiki_transport_stores",
    "Other stores that this one sends to, by whether they are reached.",
)
.by(&["state"]);
pub(crate) static TRANSPORT_MESSAGES: Desc = Desc::gauge(
    "kontiki_transport_queued_messages",
    "Messages that wait to be sent to other stores.",
);
pub(crate) static TRANSPORT_BYTES: Desc = Desc::gauge(
    "kontiki_transport_queued_bytes",
    "Bytes of messages that wait to be sent to other stores.",
);
pub(crate) static BUILD: Desc = Desc::gauge(
    "kontiki_build_info",
    "1; the label says which version this is.",
)
.by(&["version"]);
pub(crate) static STAGE: Desc = Desc::gauge(
    "kontiki_stage",
    "1 for the stage of its life that the node is in, 0 for the others.",
)
.by(&["stage"]);

/// The families of this crate.
pub static FAMILIES: &[&Desc] = &[
    &TIMES,
    &ERRORS,
    &STREAMS,
    &TRANSPORT_STORES,
    &TRANSPORT_MESSAGES,
    &TRANSPORT_BYTES,
    &BUILD,
    &STAGE,
];

/// Everything that a node with the engines of production shows, by what it is about.
pub const CATALOGUE: &[(&str, &[&Desc])] = &[
    ("The network", FAMILIES),
    ("Traces", crate::traces::FAMILIES),
    ("Raft, reads, memory, snapshots, placement", node::FAMILIES),
    ("Engines", engine::meter::ENGINES),
    ("RocksDB", engine::meter::ROCKSDB),
    ("Logs", logs::FAMILIES),
    ("The process", metrics::PROCESS),
];

metrics::label! {"method":
    /// A stream.
    pub(crate) enum StreamKind {
        /// Commands of a client.
        BatchCommands = "BatchCommands",
        /// Raft messages, one by one.
        Raft = "Raft",
        /// Raft messages.
        BatchRaft = "BatchRaft",
        /// A snapshot.
        Snapshot = "Snapshot",
    }
}

/// What of a method is counted.
struct MethodCells {
    times: Striped<Histogram>,
    errors: ByLabel<ErrorKind, Counter>,
}

struct Cells {
    methods: ByLabel<Method, MethodCells>,
    streams: ByLabel<StreamKind, Counter>,
}

/// What the services of a node count. Clones are the same.
#[derive(Clone)]
pub struct ServiceMeters(Arc<Cells>);

impl Default for ServiceMeters {
    fn default() -> Self {
        Self(Arc::new(Cells {
            methods: ByLabel::new(|| MethodCells {
                times: Striped::new(Histogram::latencies),
                errors: ByLabel::default(),
            }),
            streams: ByLabel::default(),
        }))
    }
}

impl ServiceMeters {
    /// A request has its answer.
    pub(crate) fn answered(&self, method: Method, since: &Stopwatch, error: Option<ErrorKind>) {
        let cells = self.0.methods.of(method);
        cells.times.mine().observe_since(since);
        if let Some(kind) = error
            && is_on()
        {
            cells.errors.of(kind).add(1);
        }
    }

    /// A stream has begun.
    pub(crate) fn streams(&self, kind: StreamKind) {
        self.0.streams.of(kind).add(1);
    }
}

impl Collect for ServiceMeters {
    fn collect(&self, page: &mut Page) {
        for (method, cells) in self.0.methods.iter() {
            page.histogram(&TIMES, &[method.value()], &cells.times.read());
            for (kind, errors) in cells.errors.iter() {
                if kind.is_of(method) {
                    page.counter(&ERRORS, &[method.value(), kind.value()], errors.get());
                }
            }
        }
        for (kind, streams) in self.0.streams.iter() {
            page.counter(&STREAMS, &[kind.value()], streams.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_keeps_to_the_conventions_and_has_a_name_of_its_own() {
        let all = CATALOGUE.iter().flat_map(|(_, families)| *families);
        let mut names: Vec<_> = all.clone().map(|desc| desc.name).collect();
        for desc in all {
            assert_eq!(desc.check(), Ok(()));
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_request_is_counted_with_its_time_and_its_error() {
        let meters = ServiceMeters::default();
        let since = Stopwatch::start();
        meters.answered(Method::RawGet, &since, None);
        meters.answered(Method::RawGet, &since, Some(ErrorKind::NotLeader));
        meters.streams(StreamKind::BatchCommands);
        let mut page = Page::default();
        meters.collect(&mut page);
        let text = page.render();
        for line in [
            "kontiki_grpc_request_seconds_count{method=\"RawGet\"} 2\n",
            "kontiki_grpc_errors_total{method=\"RawGet\",kind=\"not-leader\"} 1\n",
            "kontiki_grpc_errors_total{method=\"RawPut\",kind=\"not-leader\"} 0\n",
            "kontiki_grpc_streams_total{method=\"BatchCommands\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
