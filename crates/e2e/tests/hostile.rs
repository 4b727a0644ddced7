//! Clients that mean harm: they cost the node no more memory than its limits say, and a good client beside
//! them goes on as before.
//!
//! **What is asserted** is what holds on a machine that is busy with other things: memory stays bounded, the
//! node lives, and once an attack is over a good client works as before. How it fared meanwhile is printed:
//! attackers and the node share processors here.

use bytes::Bytes;
use client::{Client, Config};
use e2e::{Cluster, Options, SERVES_WITHIN, leader_context, own_client};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use prost::Message;
use proto::kvrpcpb;
use proto::tikvpb::batch_commands_request::{Request as Command, request::Cmd};
use proto::tikvpb::tikv_client::TikvClient;
use proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

/// What answers that wait to be sent may take, all together: `Limits::answer_bytes_max`, and as much again
/// while they are encoded.
const ANSWERS_BYTES: u64 = 2 * (512 << 20);
/// For requests under way, connections and what the allocator keeps.
const OTHER_BYTES: u64 = 256 << 20;
const QUIET: Duration = Duration::from_secs(3);
const EACH_ATTACK: Duration = Duration::from_secs(4);
const VALUE_BYTES: usize = 16 << 10;
const VALUES: usize = 4_096;
/// Nearly what one answer may hold, 32 MiB.
const ANSWER_VALUES: u32 = 1_900;
const CONNECTIONS: usize = 1_000;

/// A good client: reads and writes until it is told to stop, and says how long each took.
struct GoodClient {
    stop: Arc<AtomicBool>,
    running: JoinHandle<Fared>,
}

/// How a good client fared.
#[derive(Default)]
struct Fared {
    took: Vec<Duration>,
    failed: usize,
}

impl Fared {
    fn put(&mut self, since: Instant, is_done: bool) {
        self.took.push(since.elapsed());
        self.failed += usize::from(!is_done);
    }
}

impl std::fmt::Display for Fared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.took.len();
        let p99 = self
            .took
            .get((count * 99 / 100).min(count.saturating_sub(1)));
        write!(
            f,
            "{count} operations, {} failed, p99 {:?}",
            self.failed,
            p99.unwrap_or(&Duration::ZERO)
        )
    }
}

impl GoodClient {
    fn start(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let running = tokio::spawn(async move {
            let mut fared = Fared::default();
            for number in 0_u64.. {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("good/{:02}", number % 100);
                let value = Bytes::from(number.to_string());
                let since = Instant::now();
                let written = client.put(key.as_bytes(), value.clone()).await;
                fared.put(since, written.is_ok());
                let since = Instant::now();
                let found = client.get(key.as_bytes()).await;
                fared.put(since, found.is_ok());
                if let (Ok(()), Ok(found)) = (written, found) {
                    assert_eq!(found, Some(value));
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            fared
        });
        Self { stop, running }
    }

    async fn stop(self) -> Fared {
        self.stop.store(true, Ordering::Relaxed);
        let mut fared = self.running.await.expect("it reads what it has written");
        fared.took.sort_unstable();
        fared
    }
}

/// Watches how much memory a process has.
struct Memory {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    pid: u32,
}

impl Memory {
    fn watch(pid: u32) -> Self {
        let (peak, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, until) = (peak.clone(), stop.clone());
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                seen.fetch_max(resident_bytes(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { peak, stop, pid }
    }

    fn peak_since_last(&self) -> u64 {
        self.peak.swap(resident_bytes(self.pid), Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn resident_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Where the attacks go.
#[derive(Clone)]
struct Victim {
    address: String,
    context: kvrpcpb::Context,
}

impl Victim {
    fn endpoint(&self) -> Endpoint {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        endpoint.expect("host and port make a URL")
    }

    fn store(&self) -> TikvClient<Channel> {
        TikvClient::new(self.endpoint().connect_lazy())
    }

    /// A connection on which answers are taken only if somebody asks for them.
    async fn bare(&self) -> SendRequest<Bytes> {
        let stream = tokio::net::TcpStream::connect(&self.address).await;
        let stream = stream.expect("the node listens");
        let (requests, connection) = h2::client::handshake(stream)
            .await
            .expect("it speaks HTTP/2");
        tokio::spawn(connection);
        requests.ready().await.expect("it takes a request")
    }

    /// Of so many values.
    fn scan(&self, limit: u32) -> kvrpcpb::RawScanRequest {
        kvrpcpb::RawScanRequest {
            context: Some(self.context),
            start_key: Bytes::from_static(b"bulk/"),
            limit,
            ..Default::default()
        }
    }

    fn get(&self) -> kvrpcpb::RawGetRequest {
        kvrpcpb::RawGetRequest {
            context: Some(self.context),
            key: bulk_key(7).into(),
            ..Default::default()
        }
    }
}

fn bulk_key(number: usize) -> String {
    format!("bulk/{number:06}")
}

/// Requests of 17 MiB, one after the other.
async fn oversized(victim: Victim) -> u64 {
    let mut refused = 0;
    let until = Instant::now() + EACH_ATTACK;
    while Instant::now() < until {
        let put = kvrpcpb::RawPutRequest {
            context: Some(victim.context),
            key: Bytes::from_static(b"big"),
            value: vec![0; 17 << 20].into(),
            ..Default::default()
        };
        let status = victim.store().raw_put(put).await.unwrap_err();
        assert!(
            !matches!(status.code(), Code::Ok | Code::Internal),
            "{status:?}"
        );
        refused += 1;
    }
    refused
}

/// Scans of everything, and of as much as one answer may hold, again and again.
async fn scan_bomb(victim: Victim) -> u64 {
    let mut store = victim.store().max_decoding_message_size(1 << 30);
    let (mut scanned, until) = (0, Instant::now() + EACH_ATTACK);
    while Instant::now() < until {
        // A status is an answer, too: the node has more to do than it takes at once.
        for limit in [u32::MAX, ANSWER_VALUES] {
            let _ = store.raw_scan(victim.scan(limit)).await;
        }
        scanned += 1;
    }
    scanned
}

/// What a call needs to be kept open.
type Open = (SendRequest<Bytes>, ResponseFuture, SendStream<Bytes>);

/// A call whose answer is not read, and that is not ended if there is more to say.
async fn call(
    mut requests: SendRequest<Bytes>,
    path: &str,
    message: &impl Message,
) -> Option<Open> {
    let request = http::Request::post(format!("http://node{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("it is a request");
    let mut body = vec![0];
    body.extend((message.encoded_len() as u32).to_be_bytes());
    body.extend(message.encode_to_vec());
    let (answer, mut stream) = requests.send_request(request, false).ok()?;
    stream.send_data(body.into(), false).ok()?;
    Some((requests, answer, stream))
}

/// Calls that are taken back as soon as they are sent.
async fn rapid_resets(victim: Victim) -> u64 {
    let (mut reset, until) = (0, Instant::now() + EACH_ATTACK);
    while Instant::now() < until {
        let mut requests = victim.bare().await;
        // Until the node has enough of it and closes the connection.
        while let Ok(ready) = requests.ready().await {
            let open = call(ready.clone(), "/tikvpb.Tikv/RawGet", &victim.get()).await;
            let Some((_, _, mut stream)) = open else {
                break;
            };
            stream.send_reset(Reason::CANCEL);
            reset += 1;
            if Instant::now() > until {
                break;
            }
            requests = ready;
        }
    }
    reset
}

/// A scan with a large answer that nobody takes.
async fn unread_scan(victim: Victim) -> Option<Open> {
    let (requests, answer, mut stream) = call(
        victim.bare().await,
        "/tikvpb.Tikv/RawScan",
        &victim.scan(ANSWER_VALUES),
    )
    .await?;
    stream.send_data(Bytes::new(), true).ok()?;
    Some((requests, answer, stream))
}

/// A request that ends in the middle of its message.
async fn half_said(victim: Victim) -> Option<Open> {
    let mut open = call(victim.bare().await, "/tikvpb.Tikv/RawPut", &victim.get()).await?;
    // The head of a second message, which is to have a mebibyte.
    open.2
        .send_data(Bytes::from_static(&[0, 0, 16, 0, 0, 1, 2, 3]), false)
        .ok()?;
    Some(open)
}

/// A stream with a flood of commands whose answers nobody takes.
async fn unread_batches(victim: Victim) -> Option<Open> {
    let command = Command {
        cmd: Some(Cmd::RawGet(victim.get())),
    };
    let batch = |first: u64| BatchCommandsRequest {
        requests: vec![command.clone(); 200],
        request_ids: (first..first + 200).collect(),
    };
    let path = "/tikvpb.Tikv/BatchCommands";
    let mut open = call(victim.bare().await, path, &batch(0)).await?;
    for number in 1..100 {
        let message = batch(number * 200);
        let mut body = vec![0];
        body.extend((message.encoded_len() as u32).to_be_bytes());
        body.extend(message.encode_to_vec());
        // It waits here in this process once the node takes no more.
        open.2.send_data(body.into(), false).ok()?;
    }
    Some(open)
}

/// A stream on which nothing is ever said.
async fn silent_stream(mut store: TikvClient<Channel>) -> Option<Streaming<BatchCommandsResponse>> {
    let nothing = tokio_stream::pending::<BatchCommandsRequest>();
    let opened = tokio::time::timeout(Duration::from_secs(2), store.batch_commands(nothing));
    opened.await.ok()?.ok().map(tonic::Response::into_inner)
}

/// Connections that say nothing, the beginning of something, or nonsense.
fn connections(address: &str) -> Vec<TcpStream> {
    let words: [&[u8]; 4] = [b"", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET / HT", &[0xff; 64]];
    let connect = |number: usize| {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(words[number % words.len()]).ok()?;
        Some(stream)
    };
    (0..CONNECTIONS).filter_map(connect).collect()
}

/// Runs so many at once.
async fn all<F>(count: usize, attack: impl Fn() -> F) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        tasks.spawn(attack());
    }
    tasks.join_all().await
}

async fn fill(client: &Client) {
    for first in (0..VALUES).step_by(64) {
        let pair = |number| {
            let value = Bytes::from(vec![number as u8; VALUE_BYTES]);
            (Bytes::from(bulk_key(number)), value)
        };
        let pairs: Vec<_> = (first..first + 64).map(pair).collect();
        client.batch_put(&pairs).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_cost_a_bounded_amount_of_memory_and_hold_no_good_one_up() {
    let mut cluster = Cluster::start(1, Options::default()).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    fill(&client).await;
    let (_, context) = leader_context(&cluster, &client, b"bulk/").await.unwrap();
    let address = cluster.endpoints()[0].clone();
    let victim = Victim { address, context };
    let memory = Memory::watch(cluster.node(0).unwrap().pid());
    let quiet = GoodClient::start(client.clone());
    tokio::time::sleep(QUIET).await;
    let fared = quiet.stop().await;
    let quiet_bytes = memory.peak_since_last();
    println!("quiet: {fared}; {} MiB", quiet_bytes >> 20);

    let report = |name: &str, done: u64, fared: Fared| {
        let bytes = memory.peak_since_last();
        println!(
            "{name}: {done} of them; good client: {fared}; {} MiB",
            bytes >> 20
        );
        let limit = quiet_bytes + ANSWERS_BYTES + OTHER_BYTES;
        assert!(bytes < limit, "{name}: {} MiB", bytes >> 20);
    };
    let good = || GoodClient::start(client.clone());

    let beside = good();
    let done = all(4, || oversized(victim.clone())).await;
    report("oversized requests", done.iter().sum(), beside.stop().await);

    let beside = good();
    let done = all(16, || scan_bomb(victim.clone())).await;
    report("scan bombs", done.iter().sum(), beside.stop().await);

    let beside = good();
    let done = all(4, || rapid_resets(victim.clone())).await;
    report("rapid resets", done.iter().sum(), beside.stop().await);

    let beside = good();
    let held = connections(&victim.address);
    tokio::time::sleep(EACH_ATTACK).await;
    report("idle connections", held.len() as u64, beside.stop().await);
    drop(held);

    let beside = good();
    let store = victim.store();
    let held = all(500, || silent_stream(store.clone())).await;
    let half = all(100, || half_said(victim.clone())).await;
    tokio::time::sleep(EACH_ATTACK).await;
    let open = held.iter().flatten().count() + half.iter().flatten().count();
    report("half-open streams", open as u64, beside.stop().await);
    drop((held, half));

    let beside = good();
    let scans = all(32, || unread_scan(victim.clone())).await;
    let batches = all(32, || unread_batches(victim.clone())).await;
    tokio::time::sleep(EACH_ATTACK).await;
    let open = scans.iter().flatten().count() + batches.iter().flatten().count();
    report("slow readers", open as u64, beside.stop().await);
    drop((scans, batches));

    // What was under way is given up first.
    let until = Instant::now() + SERVES_WITHIN;
    while client.put(b"good/after", Bytes::new()).await.is_err() {
        assert!(Instant::now() < until, "it does not recover");
    }
    let after = good();
    tokio::time::sleep(QUIET).await;
    let fared = after.stop().await;
    let bytes = memory.peak_since_last();
    println!("afterwards: {fared}; {} MiB", bytes >> 20);
    assert_eq!(fared.failed, 0);
    let node = cluster.node(0).unwrap();
    assert!(node.ended().is_none());
    assert!(!node.output().contains("panicked"), "{}", node.output());
}
