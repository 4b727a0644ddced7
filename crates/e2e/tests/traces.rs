//! Traces of real nodes, as a collector sees them: which requests have one, and that its spans fit together; and a
//! collector that hangs, whom no client has to wait for.
//!
//! **Not here.** The sampler and the form of `traceparent` by themselves (`server::traces`).

use client::{Client, Config};
use e2e::{Cluster, Options, SERVES_WITHIN, leader_context, own_client, store_client, until};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use proto::kvrpcpb::{Context, RawGetRequest, RawPutRequest, RawPutResponse};
use proto::tikvpb::BatchCommandsRequest;
use proto::tikvpb::batch_commands_request::{Request as One, request::Cmd};
use proto::tikvpb::batch_commands_response::response::Cmd as Answer;
use proto::tikvpb::tikv_client::TikvClient;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

const COMES_WITHIN: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Collectors may want one, which nodes have in their environment.
const TOKEN: &str = "token-of-this-test";

/// A span, and the name of the node that it is from.
type Seen = (String, Span);

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if request.metadata().get("authorization") != Some(&TOKEN.parse().unwrap()) {
            return Err(Status::unauthenticated("this is not the token"));
        }
        for of_node in request.into_inner().resource_spans {
            let resource = of_node.resource.unwrap_or_default();
            let node = text(&resource.attributes, "service.instance.id").unwrap_or_default();
            let spans = of_node
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            let seen = spans.map(|span| (node.clone(), span));
            self.0.lock().unwrap().extend(seen);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// That listens from now on.
    fn start(listener: TcpListener) -> Self {
        let collector = Self::default();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let connections = TcpIncoming::from(listener);
        let server = Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(connections));
        collector
    }

    /// All that it has, taken away, as soon as one of these spans is as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Vec<Seen> {
        let deadline = Instant::now() + COMES_WITHIN;
        loop {
            {
                let mut seen = self.0.lock().unwrap();
                if seen.iter().any(|(_, span)| wanted(span)) {
                    return std::mem::take(&mut seen);
                }
                assert!(Instant::now() < deadline, "{what}: only {seen:#?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let attribute = attributes.iter().find(|one| one.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_of(span: &Span, method: &str) -> bool {
    text(&span.attributes, "rpc.method").as_deref() == Some(method)
}

/// A cluster that sends its traces to a listener, and what is needed to ask its leader by hand.
struct World {
    cluster: Cluster,
    client: Client,
    leader: usize,
    store: TikvClient<Channel>,
    context: Context,
}

/// How a put is asked for.
enum Way {
    Unary { traceparent: Option<String> },
    Stream,
}

const UNARY: Way = Way::Unary { traceparent: None };

impl World {
    async fn start(nodes: usize, listener: &TcpListener, items: &str) -> Self {
        let port = listener.local_addr().unwrap().port();
        let token = format!("authorization={TOKEN}");
        let options = Options {
            status: true,
            environment: vec![("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), token)],
            extra: format!("tracing.endpoint = \"http://127.0.0.1:{port}\"\n{items}"),
            ..Options::default()
        };
        let cluster = Cluster::start(nodes, options).unwrap();
        let client = own_client(&cluster, Config::default()).await.unwrap();
        let store = store_client(&cluster.endpoints()[0]);
        let mut world = Self {
            cluster,
            client,
            leader: 0,
            store,
            context: Context::default(),
        };
        world.find_leader().await;
        world
    }

    async fn find_leader(&mut self) {
        let deadline = Instant::now() + SERVES_WITHIN;
        loop {
            if let Some(found) = leader_context(&self.cluster, &self.client, b"k").await {
                (self.leader, self.context) = found;
                self.store = store_client(&self.cluster.endpoints()[self.leader]);
                return;
            }
            assert!(Instant::now() < deadline, "nobody leads");
        }
    }

    /// Writes the key, and asks the next leader if another one has become it.
    async fn put(&mut self, way: &Way) {
        loop {
            let answer = self.try_put(way).await;
            assert_eq!(answer.error, "");
            if answer.region_error.is_none() {
                return;
            }
            self.find_leader().await;
        }
    }

    async fn try_put(&mut self, way: &Way) -> RawPutResponse {
        let put = RawPutRequest {
            context: Some(self.context),
            key: "k".into(),
            value: "v".into(),
            ..Default::default()
        };
        match way {
            Way::Unary { traceparent } => {
                let mut put = Request::new(put);
                if let Some(text) = traceparent {
                    let text = text.parse().unwrap();
                    put.metadata_mut().insert("traceparent", text);
                }
                self.store.raw_put(put).await.unwrap().into_inner()
            }
            Way::Stream => {
                let cmd = Some(Cmd::RawPut(put));
                let batch = BatchCommandsRequest {
                    requests: vec![One { cmd }],
                    request_ids: vec![1],
                };
                let commands = tokio_stream::once(batch);
                let answers = self.store.batch_commands(commands).await.unwrap();
                let answer = answers.into_inner().message().await.unwrap().unwrap();
                match answer.responses.into_iter().next().and_then(|one| one.cmd) {
                    Some(Answer::RawPut(answer)) => answer,
                    other => panic!("a put is not answered with {other:?}"),
                }
            }
        }
    }

    async fn get(&mut self) {
        let get = RawGetRequest {
            context: Some(self.context),
            key: "k".into(),
            ..Default::default()
        };
        self.store.raw_get(get).await.unwrap();
    }

    /// On all nodes; some of them may be registering yet.
    fn sample_one_in(&self, requests: u64) {
        let (key, value) = ("tracing.sample-one-in", requests.to_string());
        let set = ["config", "node", "set", key, &value];
        until("the change", COMES_WITHIN, || self.cluster.ctl(&set).ok());
    }

    /// How many of the leader's spans had this result.
    fn counted(&self, result: &str) -> f64 {
        let address = self.cluster.status_address(self.leader);
        let page = e2e::http_get(&address, "/metrics").unwrap_or_default();
        let name = format!("kontiki_trace_spans_total{{result=\"{result}\"}} ");
        let found = page.lines().find_map(|line| line.strip_prefix(&name));
        found.map_or(0.0, |number| number.parse().unwrap())
    }
}

/// The spans of this trace by their names; each is there once.
fn by_name(seen: &[Seen], trace_id: &[u8]) -> BTreeMap<String, Span> {
    let of_trace = seen.iter().filter(|(_, span)| span.trace_id == trace_id);
    let mut spans = BTreeMap::new();
    for (_, span) in of_trace {
        let before = spans.insert(span.name.clone(), span.clone());
        assert!(before.is_none(), "{} is there twice", span.name);
    }
    spans
}

/// A put's spans: names, parents and times are as they have to be.
fn check_put(spans: &BTreeMap<String, Span>) {
    let names: Vec<&str> = spans.keys().map(String::as_str).collect();
    assert_eq!(names, ["append", "apply", "grpc", "propose", "replicate"]);
    let root = &spans["grpc"];
    let mut at = root.start_time_unix_nano;
    for name in ["propose", "append", "replicate", "apply"] {
        let span = &spans[name];
        assert_eq!(span.parent_span_id, root.span_id, "{name}");
        let times = [at, span.start_time_unix_nano, span.end_time_unix_nano];
        assert!(times.is_sorted(), "{name}: {times:?}");
        at = span.end_time_unix_nano;
    }
    assert!(at <= root.end_time_unix_nano);
    let append = &spans["append"];
    let synced_ns = append.end_time_unix_nano - append.start_time_unix_nano;
    assert!(synced_ns > 0, "a log is not written in no time");
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age_ns = age.unwrap().as_nanos() - u128::from(root.start_time_unix_nano);
    assert!(age_ns < COMES_WITHIN.as_nanos(), "its times are of today");
}

fn show(spans: &BTreeMap<String, Span>) {
    let begun = spans["grpc"].start_time_unix_nano;
    for (name, span) in spans {
        let us = |time: u64| (time - begun) / 1_000;
        let (from, to) = (us(span.start_time_unix_nano), us(span.end_time_unix_nano));
        println!("{name:>10}: {from:>6} to {to:>6} us");
    }
}

/// A put that was not sent on to another leader.
fn is_put(span: &Span) -> bool {
    is_of(span, "RawPut") && span.status.as_ref().is_none_or(|status| status.code == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_is_one_trace_from_its_request_to_its_effect() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::start(3, &listener, "tracing.sample-one-in = 0").await;
    let collector = Collector::start(listener);
    world.sample_one_in(1);
    world.put(&UNARY).await;
    let seen = collector.until("the put", is_put).await;
    let (node, root) = seen.iter().find(|(_, span)| is_put(span)).unwrap();
    assert_eq!(*node, format!("n{}", world.leader + 1));
    assert!(root.parent_span_id.is_empty());
    let region = text(&root.attributes, "kontiki.region");
    assert_eq!(region, Some(world.context.region_id.to_string()));
    let spans = by_name(&seen, &root.trace_id);
    check_put(&spans);
    show(&spans);

    world.get().await;
    let is_get = |span: &Span| is_of(span, "RawGet");
    let seen = collector.until("the get", is_get).await;
    let (_, root) = seen.iter().rfind(|(_, span)| is_get(span)).unwrap();
    assert_eq!(by_name(&seen, &root.trace_id).len(), 1);

    world.put(&Way::Stream).await;
    let is_command =
        |span: &Span| is_put(span) && text(&span.attributes, "kontiki.stream").is_some();
    let seen = collector.until("the command", is_command).await;
    let (_, root) = seen.iter().find(|(_, span)| is_command(span)).unwrap();
    check_put(&by_name(&seen, &root.trace_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_share_only_those_are_traced_whose_callers_want_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::start(1, &listener, "tracing.sample-one-in = 0").await;
    let collector = Collector::start(listener);
    let with = |text: String| Way::Unary {
        traceparent: Some(text),
    };
    world.put(&UNARY).await;
    world.put(&Way::Stream).await;
    world.put(&with("nonsense".to_owned())).await;
    world.put(&with(format!("00-{TRACE}-{PARENT}-00"))).await;
    world.put(&with(format!("00-{TRACE}-{PARENT}-01"))).await;
    // The queue has kept their order: what came before would be here.
    let seen = collector.until("the put", |span| span.name == "grpc").await;
    let ids: Vec<String> = seen.iter().map(|(_, span)| hex(&span.trace_id)).collect();
    assert!(ids.iter().all(|id| id == TRACE), "{ids:?}");
    let spans = by_name(&seen, &seen[0].1.trace_id);
    check_put(&spans);
    assert_eq!(hex(&spans["grpc"].parent_span_id), PARENT);
    until("the count", COMES_WITHIN, || {
        (world.counted("sent") == 5.0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_nobody_up_and_is_found_again() {
    const PUTS: usize = 300;
    const WAITING: f64 = 28.0;
    // It takes connections, since the system does, and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let items = "tracing.sample-one-in = 0\ntracing.queue-size = 20\ntracing.batch-size = 8";
    let mut world = World::start(1, &listener, items).await;
    world.sample_one_in(1);
    let begun = Instant::now();
    for _ in 0..PUTS {
        world.put(&UNARY).await;
    }
    let took = begun.elapsed();
    println!("{PUTS} puts took {took:?} while the collector hung");
    // To wait for the collector would take ten seconds each time.
    assert!(took < Duration::from_secs(1) * PUTS as u32, "{took:?}");
    let lost = world.counted("dropped") + world.counted("failed");
    assert!(lost >= 5.0 * PUTS as f64 - WAITING, "{lost}");
    assert_eq!(world.counted("sent"), 0.0);
    let address = listener.local_addr().unwrap();
    drop(listener);
    let listener = TcpListener::bind(address).unwrap();
    let collector = Collector::start(listener);
    let deadline = Instant::now() + COMES_WITHIN;
    while world.counted("sent") == 0.0 {
        world.put(&UNARY).await;
        assert!(
            Instant::now() < deadline,
            "the collector is not found again"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    collector.until("a put", |span| is_of(span, "RawPut")).await;
}
