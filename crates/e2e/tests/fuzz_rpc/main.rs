//! Every RPC of the protocol, spoken by somebody who knows its words and makes no sense: requests with
//! random and damaged fields, in single calls and in streams, Raft messages, and bodies of HTTP requests.
//! The node lives, answers each with a status or an answer, and a good client goes on working.
//!
//! Some hundred requests with every test run; `FUZZ_SECONDS=60` makes it that long, and `FUZZ_SEED`
//! begins at the same request.

mod grammar;
mod raft;
mod world;

use bytes::{Buf, BufMut};
use e2e::{pd_get, pd_post};
use fuzz::Rng;
use grammar::{Grammar, Known, Method, put_bytes};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use world::World;

const ROUNDS: u64 = 400;
/// A good client comes after so many requests.
const ROUNDS_A_CHECK: u64 = 50;
/// A scan may take ten seconds, and so may a split by request be waited for, on a machine with nothing else
/// to do.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// Answers that are read from a stream.
const ANSWERS_MAX: usize = 20;
/// Requests that are shown if something breaks.
const SHOWN: usize = 60;

/// What was sent, for whoever has to find out what broke the node.
type Sent = VecDeque<String>;

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_every_rpc_and_the_node_lives_and_serves_others() {
    let seed = Rng::seed_of("FUZZ_SEED");
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut rng = Rng::new(seed);
    let grammar = Grammar::load();
    assert!(grammar.methods.len() > 35, "the tables have all services");
    let mut world = World::start().await;
    let mut known = world.known().await;
    let channel = Channel::from_shared(format!("http://{}", world.cluster.endpoints()[0]));
    let channel = channel.unwrap().connect_lazy();
    let mut outcomes: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut sent = Sent::new();
    let mut rounds = 0;
    while until.map_or(rounds < ROUNDS, |until| Instant::now() < until) {
        if rng.percent(10) {
            speak_http(&mut rng, &world, &mut sent);
        } else {
            let method = rng.pick(&grammar.methods).clone();
            let messages = messages(&mut rng, &grammar, &known, &method);
            remember(&mut sent, &method, &messages);
            let code = call(&channel, &known, &method, messages).await;
            let code = format!("{code:?}");
            *outcomes.entry((method.path, code)).or_default() += 1;
        }
        rounds += 1;
        if rounds % ROUNDS_A_CHECK == 0 {
            if let Err(error) = world.still_serves().await {
                panic!("FUZZ_SEED={seed}: {error}; the last requests: {sent:#?}");
            }
            known = world.known().await;
        }
    }
    world.still_serves().await.unwrap();
    for ((path, code), count) in &outcomes {
        println!("{path} {code}: {count}");
    }
    println!(
        "{rounds} requests; a client that asks placement: {:?}",
        world.client.get(b"x").await
    );
    let answered = outcomes.keys().filter(|(_, code)| code == "Ok").count();
    assert!(
        answered > grammar.methods.len() / 3,
        "hardly anything passes the first checks"
    );
    // No server says so of a request: it has broken, or has not answered.
    let is_broken = |code: &str| ["Unknown", "DataLoss", "DeadlineExceeded"].contains(&code);
    let broken: Vec<_> = outcomes
        .keys()
        .filter(|(_, code)| is_broken(code))
        .collect();
    assert!(broken.is_empty(), "FUZZ_SEED={seed}: {broken:?}");
}

/// What one call sends: one message, or for a stream up to five.
fn messages(rng: &mut Rng, grammar: &Grammar, known: &Known, method: &Method) -> Vec<Vec<u8>> {
    let count = match method.takes_stream {
        true => 1 + rng.below(5),
        false => 1,
    };
    let mut message = || {
        let mut message = match method.input {
            "raft_serverpb.RaftMessage" => raft::envelope(rng, known),
            "tikvpb.BatchRaftMessage" => {
                let mut batch = Vec::new();
                for _ in 0..rng.below(5) {
                    put_bytes(&mut batch, 1, &raft::envelope(rng, known));
                }
                batch
            }
            input => grammar.message(rng, known, input),
        };
        // A Raft message must not become one of a later epoch: see `raft`.
        if rng.percent(10) && !method.input.contains("Raft") {
            let other = message.clone();
            fuzz::mutate(rng, &mut message, &other, &[], 64 << 10);
        }
        message
    };
    (0..count).map(|_| message()).collect()
}

fn remember(sent: &mut Sent, method: &Method, messages: &[Vec<u8>]) {
    let messages: Vec<String> = messages.iter().map(|bytes| fuzz::to_hex(bytes)).collect();
    let mut text = format!("{} {}", method.path, messages.join(" "));
    text.truncate(2_000);
    sent.push_back(text);
    if sent.len() > SHOWN {
        sent.pop_front();
    }
}

async fn call(channel: &Channel, known: &Known, method: &Method, messages: Vec<Vec<u8>>) -> Code {
    let asked = tokio::time::timeout(ANSWERS_WITHIN, ask(channel, known, method, messages));
    match asked.await {
        Ok(Ok(())) => Code::Ok,
        Ok(Err(status)) => status.code(),
        Err(_) => Code::DeadlineExceeded,
    }
}

async fn ask(
    channel: &Channel,
    known: &Known,
    method: &Method,
    messages: Vec<Vec<u8>>,
) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = method.path.parse().expect("it is a path");
    let mut request = Request::new(tokio_stream::iter(messages));
    let cluster = known.numbers["cluster_id"][0].into();
    request.metadata_mut().insert("kontiki-cluster-id", cluster);
    // A single answer is a stream of one, on the wire and here.
    let mut answers = grpc.streaming(request, path, RawBytes).await?.into_inner();
    for _ in 0..if method.gives_stream { ANSWERS_MAX } else { 1 } {
        // Some streams stay open: what has come within a moment is enough.
        match tokio::time::timeout(Duration::from_millis(300), answers.message()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => break,
            Ok(Err(status)) => return Err(status),
            Err(_) if method.gives_stream => break,
            Err(_) => {
                answers.message().await?;
            }
        }
    }
    Ok(())
}

/// The routes of operators, with bodies that are nearly right.
fn speak_http(rng: &mut Rng, world: &World, sent: &mut Sent) {
    const BODIES: [(&str, &str); 6] = [
        (
            "/pd/api/v1/operators",
            r#"{"name":"transfer-leader","region_id":2,"to_store_id":1}"#,
        ),
        (
            "/pd/api/v1/operators",
            r#"{"name":"split-region","region_id":2,"keys":["66"]}"#,
        ),
        (
            "/pd/api/v1/schedulers",
            r#"{"name":"evict-leader-scheduler","store_id":1}"#,
        ),
        (
            "/pd/api/v1/schedulers/balance-leader-scheduler",
            r#"{"delay":18446744073709551615}"#,
        ),
        (
            "/pd/api/v1/config",
            r#"{"max-replicas":3,"leader-schedule-limit":"4"}"#,
        ),
        ("/pd/api/v1/region/id/18446744073709551616", "{}"),
    ];
    let (path, body) = *rng.pick(&BODIES);
    let mut body = body.as_bytes().to_vec();
    if rng.percent(70) {
        let words = [
            b"18446744073709551615".to_vec(),
            b"[[[[[[[[".to_vec(),
            b"null".to_vec(),
        ];
        fuzz::mutate(rng, &mut body, b"{\"name\":-1}", &words, 4_096);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    sent.push_back(format!("POST {path} {body}"));
    pd_post(&world.cluster, path, &body);
    pd_get(&world.cluster, path);
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct RawBytes;

impl Codec for RawBytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = RawBytes;
    type Decoder = RawBytes;

    fn encoder(&mut self) -> RawBytes {
        RawBytes
    }

    fn decoder(&mut self) -> RawBytes {
        RawBytes
    }
}

impl Encoder for RawBytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawBytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}
