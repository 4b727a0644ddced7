//! Traces: what single requests spend their time on, as spans for an OpenTelemetry collector.
//!
//! | span | from | to |
//! |---|---|---|
//! | `grpc` | the request's head is there | its answer is |
//! | `propose` | it is handed to its Peer | the write of the Raft log that has it begins |
//! | `append` | this begins | it is synced |
//! | `replicate` | the leader's own log has it | a quorum's has, and the applier is given it |
//! | `apply` | the applier is given it | its effect is written |
//!
//! The first is the parent of the others. A read has none but the first.
//!
//! **Which requests.** One that comes with a `traceparent` goes by that: its caller has decided. Of the others one in so
//! many is drawn. Commands of a BatchCommands stream are drawn one by one; what the stream itself came with says nothing
//! of a single command.
//!
//! **Invariants.** Without a collector's address there is nothing here, and a request costs a branch. No request waits for
//! a collector, and no more spans than configured wait for it: those that don't fit are counted and gone.
//!
//! **Not here.** Where the times are taken (`node::meters::journey`). Followers: messages between stores say nothing of
//! traces. `tracestate`, which is for who calls on.

mod export;
mod parent;
mod trace;

pub use export::Exporter;
pub(crate) use trace::Trace;

use crate::VERSION;
use crate::meters::Method;
use export::Queue;
use http::HeaderMap;
use metrics::{Collect, Counter, Desc, Page};
use opentelemetry::trace::TraceId;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use parent::Parent;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static SPANS: Desc = Desc::counter(
    "kontiki_trace_spans_total",
    "Spans of traces that a collector has taken, that were dropped since too many waited for it, or that it did not take.",
)
.by(&["result"]);

/// The families of traces.
pub static FAMILIES: &[&Desc] = &[&SPANS];

/// Where spans go, and how many.
#[derive(Clone, Debug)]
pub struct TracerOptions {
    /// The collector, as `http://host:port`.
    pub endpoint: String,
    /// One request in so many is traced. Zero: only those whose caller wants it.
    pub sample_one_in: u64,
    /// So many spans are sent together at the most.
    pub batch_size: usize,
    /// So many wait to be sent at the most.
    pub queue_size: usize,
    /// This node's name and its store's id.
    pub instance: (String, u64),
}

/// Decides which requests are traced. Clones are the same; the default traces none.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

/// What traces under way share.
struct Shared {
    sample_one_in: AtomicU64,
    ids: RandomIdGenerator,
    queue: Queue,
}

#[derive(Default)]
struct Cells {
    sent: Counter,
    dropped: Counter,
    failed: Counter,
}

/// Whether a request with this draw is one of so many.
fn is_drawn(draw: u64, one_in: u64) -> bool {
    one_in > 0 && draw.is_multiple_of(one_in)
}

impl Tracer {
    /// One whose spans are sent as long as the exporter runs.
    pub fn new(options: TracerOptions) -> (Self, Exporter) {
        let cells = Arc::new(Cells::default());
        let (queue, spans) = Queue::new(options.queue_size, Arc::clone(&cells));
        let shared = Shared {
            sample_one_in: AtomicU64::new(options.sample_one_in),
            ids: RandomIdGenerator::default(),
            queue,
        };
        let exporter = Exporter::new(options, spans, cells);
        (Self(Some(Arc::new(shared))), exporter)
    }

    /// Traces one request in so many from now on.
    pub fn set_sample_one_in(&self, one_in: u64) {
        if let Some(shared) = &self.0 {
            shared.sample_one_in.store(one_in, Ordering::Relaxed);
        }
    }

    /// A request for this method of `tikvpb.Tikv` begins.
    pub(crate) fn begin(&self, method: &str, headers: &HeaderMap) -> Option<Box<Trace>> {
        let shared = self.0.as_ref()?;
        let parent = Parent::of(headers);
        let is_wanted = match &parent {
            Some(parent) => parent.is_sampled,
            None => shared.draws(),
        };
        // Streams have none.
        let method = is_wanted.then(|| Method::of_store(method)).flatten()?;
        Some(Box::new(Trace::begin(shared, method, parent)))
    }

    /// A command of a stream begins. What it is for is asked only if it is traced.
    pub(crate) fn begin_command(
        &self,
        method: impl FnOnce() -> Option<Method>,
    ) -> Option<Box<Trace>> {
        let shared = self.0.as_ref()?;
        let method = shared.draws().then(method).flatten()?;
        Some(Box::new(Trace::begin(shared, method, None).in_stream()))
    }
}

impl Shared {
    fn draws(&self) -> bool {
        match self.sample_one_in.load(Ordering::Relaxed) {
            0 => false,
            one_in => {
                let draw = u64::from_be_bytes(self.ids.new_span_id().to_bytes());
                is_drawn(draw, one_in)
            }
        }
    }

    fn trace_id(&self, parent: Option<&Parent>) -> TraceId {
        parent.map_or_else(|| self.ids.new_trace_id(), |parent| parent.trace_id)
    }
}

impl Collect for Tracer {
    fn collect(&self, page: &mut Page) {
        let none = Cells::default();
        let cells = self.0.as_ref().map_or(&none, |shared| shared.queue.cells());
        for (result, counter) in [
            ("sent", &cells.sent),
            ("dropped", &cells.dropped),
            ("failed", &cells.failed),
        ] {
            page.counter(&SPANS, &[result], counter.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use export::Spans;
    use http::HeaderValue;

    /// One whose spans stay in a queue.
    fn queued(sample_one_in: u64, queue_size: usize) -> (Tracer, Spans) {
        let (queue, spans) = Queue::new(queue_size, Arc::default());
        let shared = Shared {
            sample_one_in: AtomicU64::new(sample_one_in),
            ids: RandomIdGenerator::default(),
            queue,
        };
        (Tracer(Some(Arc::new(shared))), spans)
    }

    fn with_parent(flags: &str) -> HeaderMap {
        let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        let value = HeaderValue::from_str(&text).unwrap();
        HeaderMap::from_iter([(parent::HEADER, value)])
    }

    #[test]
    fn one_in_so_many_is_drawn_and_none_of_none() {
        let drawn = |one_in| (0..1_000).filter(|draw| is_drawn(*draw, one_in)).count();
        assert_eq!([drawn(0), drawn(1), drawn(10)], [0, 1_000, 100]);
        let (tracer, _spans) = queued(4, 100_000);
        let begin = |_: &u32| tracer.begin("RawPut", &HeaderMap::new()).is_some();
        let drawn = (0..40_000).filter(begin).count();
        // About a hundred is one standard deviation.
        assert!((9_000..11_000).contains(&drawn), "{drawn} of 40000");
    }

    #[test]
    fn whoever_calls_decides_and_the_share_is_of_the_others() {
        let (all, _spans) = queued(1, 100);
        let (none, _spans) = queued(0, 100);
        let begins = |tracer: &Tracer, headers| tracer.begin("RawPut", &headers).is_some();
        assert!(begins(&none, with_parent("01")));
        assert!(!begins(&all, with_parent("00")));
        assert!(begins(&all, HeaderMap::new()));
        assert!(!begins(&none, HeaderMap::new()));
        assert!(!begins(&Tracer::default(), with_parent("01")));
        all.set_sample_one_in(0);
        assert!(!begins(&all, HeaderMap::new()));
    }

    #[test]
    fn a_stream_is_not_traced_and_its_commands_are_drawn() {
        let (tracer, _spans) = queued(1, 100);
        for stream in ["BatchCommands", "Raft", "nonsense"] {
            assert!(tracer.begin(stream, &with_parent("01")).is_none());
        }
        let begin = |method| tracer.begin_command(|| method).is_some();
        assert!(begin(Some(Method::RawGet)) && !begin(None));
        tracer.set_sample_one_in(0);
        assert!(tracer.begin_command(|| unreachable!()).is_none());
    }
}
