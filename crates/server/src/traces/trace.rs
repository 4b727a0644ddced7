//! One request that is traced, from its beginning to its spans.
//!
//! **Time.** The machine's clock is read when it begins; all else is the distance from there by the clock that never goes
//! back, which the node's points in time are taken by. So the spans of a trace fit together whatever happens to the
//! machine's clock meanwhile.
//!
//! **Invariants.** A trace gives its spans once, when it is dropped: also a request whose client went away has some. A stage
//! that did not end ends with the request.
//!
//! **Not here.** Who is traced (`traces`), and what becomes of the spans (`export`).

use super::parent::Parent;
use super::{Shared, VERSION};
use crate::meters::Method;
use http::Response;
use metrics::Label;
use node::{Clock, Journey, Point, SystemClock};
use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, SpanData, SpanEvents};
use raftstore::MonotonicTime;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

/// The stages of a write: the span's name, and the points that it lies between.
const STAGES: [(&str, Point, Point); 4] = [
    ("propose", Point::HandedIn, Point::LogBegun),
    ("append", Point::LogBegun, Point::LogWritten),
    ("replicate", Point::LogWritten, Point::Committed),
    ("apply", Point::Committed, Point::Applied),
];

/// A request that is traced.
pub(crate) struct Trace {
    shared: Arc<Shared>,
    method: Method,
    is_in_stream: bool,
    trace_id: TraceId,
    parent: Option<SpanId>,
    begun: (SystemTime, MonotonicTime),
    journey: Arc<Journey>,
    outcome: Outcome,
}

/// How a request ended.
enum Outcome {
    /// Its client has gone.
    Abandoned,
    /// It has an answer, whatever that says.
    Answered,
    /// With a status of gRPC's that is not "ok".
    Status(String),
}

impl Trace {
    /// A request begins, as a part of this span of its caller's.
    pub(super) fn begin(shared: &Arc<Shared>, method: Method, parent: Option<Parent>) -> Self {
        Self {
            method,
            is_in_stream: false,
            trace_id: shared.trace_id(parent.as_ref()),
            parent: parent.map(|parent| parent.span_id),
            begun: (SystemTime::now(), SystemClock.now()),
            journey: Arc::default(),
            outcome: Outcome::Abandoned,
            shared: Arc::clone(shared),
        }
    }

    /// The same, of a command of a stream.
    pub(super) fn in_stream(mut self) -> Self {
        self.is_in_stream = true;
        self
    }

    /// Polls the request.
    pub(crate) fn poll<F: Future + ?Sized>(
        &self,
        request: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        node::within(&self.journey, || request.poll(cx))
    }

    /// Runs the request to its answer.
    pub(crate) async fn follow<F: Future>(mut self: Box<Self>, request: F) -> F::Output {
        let mut request = Box::pin(request);
        let answer = poll_fn(|cx| self.poll(request.as_mut(), cx)).await;
        self.outcome = Outcome::Answered;
        answer
    }

    /// The request has this response.
    pub(crate) fn answered<B>(mut self, response: &Response<B>) {
        let status = response.headers().get("grpc-status");
        let failed = status.filter(|status| *status != "0");
        self.outcome = match failed {
            Some(code) => Outcome::Status(String::from_utf8_lossy(code.as_bytes()).into_owned()),
            None => Outcome::Answered,
        };
    }

    /// What the clock of journeys shows, as a time of day; never before the beginning.
    fn wall(&self, time: MonotonicTime) -> SystemTime {
        let (wall, monotonic) = self.begun;
        wall + monotonic.until(time)
    }

    fn spans(&self, ended: MonotonicTime) -> Vec<SpanData> {
        let root = self.span("grpc", self.parent, self.begun.1, ended);
        let root_id = root.span_context.span_id();
        let root = SpanData {
            span_kind: SpanKind::Server,
            parent_span_is_remote: self.parent.is_some(),
            attributes: self.attributes(),
            status: self.status(),
            ..root
        };
        let mut spans = vec![root];
        for (name, from, to) in STAGES {
            let Some(begun) = self.journey.at(from) else {
                break;
            };
            let to = self.journey.at(to).unwrap_or(ended);
            let mut span = self.span(name, Some(root_id), begun, to);
            if from == Point::HandedIn
                && let Some(taken) = self.journey.at(Point::TakenUp)
            {
                let taken = Event::new("taken up", self.wall(taken), Vec::new(), 0);
                span.events.events.push(taken);
            }
            spans.push(span);
        }
        spans
    }

    fn span(
        &self,
        name: &'static str,
        parent: Option<SpanId>,
        from: MonotonicTime,
        to: MonotonicTime,
    ) -> SpanData {
        SpanData {
            span_context: SpanContext::new(
                self.trace_id,
                self.shared.ids.new_span_id(),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: self.wall(from),
            end_time: self.wall(to),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("kontiki")
                .with_version(VERSION)
                .build(),
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", "tikvpb.Tikv"),
            KeyValue::new("rpc.method", self.method.value()),
        ];
        if self.is_in_stream {
            attributes.push(KeyValue::new("kontiki.stream", "BatchCommands"));
        }
        if let Some((region, request)) = self.journey.handed_in() {
            let number = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("kontiki.region", number(region.get())));
            attributes.push(KeyValue::new("kontiki.request", number(request.get())));
        }
        attributes
    }

    fn status(&self) -> Status {
        match (&self.outcome, self.journey.failed()) {
            (Outcome::Abandoned, _) => Status::error("the client has gone"),
            (Outcome::Status(code), _) => Status::error(format!("gRPC status {code}")),
            (Outcome::Answered, Some(kind)) => Status::error(kind),
            (Outcome::Answered, None) => Status::Unset,
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let spans = self.spans(SystemClock.now());
        self.shared.queue.put(spans);
    }
}

#[cfg(test)]
mod tests {
    use super::super::export::{Queue, Spans};
    use super::*;
    use opentelemetry_sdk::trace::RandomIdGenerator;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    fn shared() -> (Arc<Shared>, Spans) {
        let (queue, spans) = Queue::new(100, Arc::default());
        let shared = Shared {
            sample_one_in: AtomicU64::new(0),
            ids: RandomIdGenerator::default(),
            queue,
        };
        (Arc::new(shared), spans)
    }

    /// The spans that have come.
    fn drain(spans: &mut Spans) -> Vec<SpanData> {
        std::iter::from_fn(|| spans.try_recv().ok()).collect()
    }

    fn names(spans: &[SpanData]) -> Vec<&str> {
        spans.iter().map(|span| &*span.name).collect()
    }

    const POINTS: [Point; 6] = [
        Point::HandedIn,
        Point::TakenUp,
        Point::LogBegun,
        Point::LogWritten,
        Point::Committed,
        Point::Applied,
    ];

    /// A millisecond from each of these points to the next.
    fn pass(trace: &Trace, points: &[Point]) {
        for (position, point) in points.iter().enumerate() {
            let after = Duration::from_millis(position as u64 + 1);
            trace.journey.pass(*point, trace.begun.1.after(after));
        }
    }

    #[test]
    fn a_write_that_was_applied_has_all_spans_one_after_the_other() {
        let (shared, _spans) = shared();
        let trace = Trace::begin(&shared, Method::RawPut, None);
        pass(&trace, &POINTS);
        let spans = trace.spans(trace.begun.1.after(Duration::from_millis(9)));
        assert_eq!(
            names(&spans),
            ["grpc", "propose", "append", "replicate", "apply"]
        );
        let [root, stages @ ..] = &spans[..] else {
            panic!("it has spans");
        };
        let ms = |time: SystemTime| time.duration_since(trace.begun.0).unwrap().as_millis();
        let times = |span: &SpanData| (ms(span.start_time), ms(span.end_time));
        assert_eq!(times(root), (0, 9));
        let expected = [(1, 3), (3, 4), (4, 5), (5, 6)];
        assert_eq!(stages.iter().map(times).collect::<Vec<_>>(), expected);
        assert_eq!(ms(stages[0].events[0].timestamp), 2);
        assert_eq!(root.parent_span_id, SpanId::INVALID);
        for stage in stages {
            assert_eq!(stage.parent_span_id, root.span_context.span_id());
            assert_eq!(stage.span_context.trace_id(), root.span_context.trace_id());
        }
    }

    #[test]
    fn a_write_that_is_refused_waited_for_its_peer_until_its_answer() {
        let (shared, mut queued) = shared();
        let trace = Box::new(Trace::begin(&shared, Method::RawPut, None));
        let journey = Arc::clone(&trace.journey);
        pass(&trace, &POINTS[..2]);
        let refused = async { node::note_failure("not-leader") };
        let mut followed = Box::pin(trace.follow(refused));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(followed.as_mut().poll(&mut cx).is_ready());
        let spans = drain(&mut queued);
        assert_eq!(names(&spans), ["grpc", "propose"]);
        assert_eq!(spans[0].end_time, spans[1].end_time);
        assert_eq!(spans[0].status, Status::error("not-leader"));
        assert_eq!(journey.failed(), Some("not-leader"));
    }

    #[test]
    fn a_request_that_is_a_part_of_its_callers_trace_says_so() {
        let (shared, mut queued) = shared();
        let parent = Parent {
            trace_id: TraceId::from(7),
            span_id: SpanId::from(8),
            is_sampled: true,
        };
        let trace = Box::new(Trace::begin(&shared, Method::RawGet, Some(parent)));
        trace.answered(&Response::new(()));
        let trace = Trace::begin(&shared, Method::RawGet, None);
        drop(trace.in_stream());
        let trace = Box::new(Trace::begin(&shared, Method::RawGet, None));
        let full = Response::builder().header("grpc-status", "8").body(());
        trace.answered(&full.unwrap());
        let spans = drain(&mut queued);
        assert_eq!(names(&spans), ["grpc", "grpc", "grpc"]);
        let [called, abandoned, refused] = &spans[..] else {
            panic!("each has one");
        };
        assert_eq!(called.span_context.trace_id(), TraceId::from(7));
        assert_eq!(called.parent_span_id, SpanId::from(8));
        assert!(called.parent_span_is_remote && !abandoned.parent_span_is_remote);
        assert_eq!(called.status, Status::Unset);
        assert_eq!(abandoned.status, Status::error("the client has gone"));
        assert_eq!(refused.status, Status::error("gRPC status 8"));
        let stream = KeyValue::new("kontiki.stream", "BatchCommands");
        assert!(abandoned.attributes.contains(&stream));
    }
}
