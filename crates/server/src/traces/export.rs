//! From finished traces to a collector, by OTLP over gRPC.
//!
//! **Nobody waits for a collector.** Requests put their spans into a bounded queue, or drop them; one task takes them out
//! in batches. A collector that is slow or away holds up this task alone; what does not fit into the queue meanwhile is
//! counted as dropped.
//!
//! **Invariants.** A trace's spans go into the queue all together or not at all. A batch that could not be sent in time
//! is given up and counted. The connection is made when there is something to send, and again after it is lost.
//!
//! **Not here.** TLS. What waits when the node stops is not sent any more.

use super::{Cells, TracerOptions, VERSION};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Endpoint;

/// A batch that is not full waits so long for more.
const FILLS_WITHIN: Duration = Duration::from_millis(500);
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);
/// For one attempt, and for all attempts of a batch.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// By this a collector is missed that went without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The end of the queue where spans come out.
pub(super) type Spans = mpsc::Receiver<SpanData>;

/// The end where they go in.
pub(super) struct Queue {
    sender: mpsc::Sender<SpanData>,
    cells: Arc<Cells>,
}

impl Queue {
    /// For so many spans.
    pub(super) fn new(spans_max: usize, cells: Arc<Cells>) -> (Self, Spans) {
        let (sender, spans) = mpsc::channel(spans_max);
        (Self { sender, cells }, spans)
    }

    /// The spans of a trace.
    pub(super) fn put(&self, spans: Vec<SpanData>) {
        match self.sender.try_reserve_many(spans.len()) {
            Ok(places) => places.zip(spans).for_each(|(place, span)| place.send(span)),
            Err(_full) => self.cells.dropped.add(spans.len() as u64),
        }
    }

    pub(super) fn cells(&self) -> &Cells {
        &self.cells
    }
}

/// Sends spans to a collector as long as it runs.
pub struct Exporter {
    options: TracerOptions,
    spans: Spans,
    cells: Arc<Cells>,
}

impl Exporter {
    pub(super) fn new(options: TracerOptions, spans: Spans, cells: Arc<Cells>) -> Self {
        Self {
            options,
            spans,
            cells,
        }
    }

    /// Sends what comes, until nobody traces any more.
    pub async fn run(mut self) {
        let endpoint = &self.options.endpoint;
        let exporter = match connect(&self.options) {
            Ok(exporter) => exporter,
            Err(problem) => {
                tracing::error!(endpoint, problem, "traces can't be sent: all are dropped");
                return;
            }
        };
        let mut is_away = false;
        while let Some(batch) = next_batch(&mut self.spans, self.options.batch_size).await {
            let spans = batch.len() as u64;
            let sent = match timeout(SENT_WITHIN, exporter.export(batch)).await {
                Ok(sent) => sent.map_err(|error| error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            match &sent {
                Ok(()) => self.cells.sent.add(spans),
                Err(_) => self.cells.failed.add(spans),
            }
            // Once each time, however many batches it is.
            match &sent {
                Ok(()) if is_away => tracing::info!(endpoint, "the collector takes traces again"),
                Err(error) if !is_away => {
                    tracing::warn!(endpoint, error, "the collector takes no traces");
                }
                Ok(()) | Err(_) => {}
            }
            is_away = sent.is_err();
        }
    }
}

/// The next spans: so many at the most, and not fewer than come within a while. None when none can come any more.
async fn next_batch(spans: &mut Spans, spans_max: usize) -> Option<Vec<SpanData>> {
    let mut batch = Vec::new();
    if spans.recv_many(&mut batch, spans_max).await == 0 {
        return None;
    }
    let deadline = Instant::now() + FILLS_WITHIN;
    while batch.len() < spans_max {
        let left = spans_max - batch.len();
        match timeout_at(deadline, spans.recv_many(&mut batch, left)).await {
            Ok(more) if more > 0 => {}
            Ok(_) | Err(_) => break,
        }
    }
    Some(batch)
}

/// An exporter that connects when it has something to send.
fn connect(options: &TracerOptions) -> Result<SpanExporter, String> {
    let endpoint = Endpoint::from_shared(options.endpoint.clone());
    let channel = endpoint
        .map_err(|error| error.to_string())?
        .connect_timeout(CONNECTS_WITHIN)
        .timeout(ANSWERS_WITHIN)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .connect_lazy();
    let exporter = SpanExporter::builder().with_tonic().with_channel(channel);
    let mut exporter = exporter.build().map_err(|error| error.to_string())?;
    let (name, store) = &options.instance;
    let store = i64::try_from(*store).unwrap_or(i64::MAX);
    let resource = Resource::builder_empty()
        .with_service_name("kontiki")
        .with_attribute(KeyValue::new("service.version", VERSION))
        .with_attribute(KeyValue::new("service.instance.id", name.clone()))
        .with_attribute(KeyValue::new("kontiki.store", store))
        .build();
    exporter.set_resource(&resource);
    Ok(exporter)
}

#[cfg(test)]
mod tests {
    use super::super::Shared;
    use super::super::trace::Trace;
    use super::*;
    use crate::meters::Method;
    use opentelemetry_sdk::trace::RandomIdGenerator;
    use std::sync::atomic::AtomicU64;

    /// What reads that are traced share, each of which gives one span.
    fn shared(queue_size: usize) -> (Arc<Shared>, Spans) {
        let (queue, spans) = Queue::new(queue_size, Arc::default());
        let shared = Shared {
            sample_one_in: AtomicU64::new(0),
            ids: RandomIdGenerator::default(),
            queue,
        };
        (Arc::new(shared), spans)
    }

    fn trace(shared: &Arc<Shared>) {
        drop(Trace::begin(shared, Method::RawGet, None));
    }

    #[test]
    fn what_does_not_fit_is_dropped_as_a_whole_and_counted() {
        let (shared, mut spans) = shared(3);
        (0..5).for_each(|_| trace(&shared));
        assert_eq!(shared.queue.cells().dropped.get(), 2);
        let mut first = vec![spans.try_recv().unwrap()];
        first.push(first[0].clone());
        // There is room for one.
        shared.queue.put(first);
        assert_eq!(shared.queue.cells().dropped.get(), 4);
        trace(&shared);
        assert_eq!(shared.queue.cells().dropped.get(), 4);
        assert_eq!(std::iter::from_fn(|| spans.try_recv().ok()).count(), 3);
        drop(spans);
        trace(&shared);
        assert_eq!(shared.queue.cells().dropped.get(), 5, "nobody sends them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_sent_when_it_is_full_or_when_no_more_come_for_a_while() {
        let (shared, mut spans) = shared(100);
        (0..5).for_each(|_| trace(&shared));
        let begun = Instant::now();
        let full = next_batch(&mut spans, 4).await.unwrap();
        assert_eq!((full.len(), begun.elapsed()), (4, Duration::ZERO));
        let rest = next_batch(&mut spans, 4).await.unwrap();
        assert_eq!((rest.len(), begun.elapsed()), (1, FILLS_WITHIN));
        drop(shared);
        assert!(next_batch(&mut spans, 4).await.is_none());
    }

    #[tokio::test]
    async fn a_collector_that_is_no_address_is_said_and_spans_are_dropped() {
        let options = TracerOptions {
            endpoint: "http://no address".to_owned(),
            sample_one_in: 1,
            batch_size: 4,
            queue_size: 4,
            instance: ("n1".to_owned(), 1),
        };
        let (tracer, exporter) = super::super::Tracer::new(options);
        exporter.run().await;
        let trace = tracer.begin_command(|| Some(Method::RawGet));
        drop(trace.unwrap());
        let shared = tracer.0.unwrap();
        assert_eq!(shared.queue.cells().dropped.get(), 1);
    }
}
