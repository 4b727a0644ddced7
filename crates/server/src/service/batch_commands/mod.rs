//! `BatchCommands`: many commands over one stream, answered in the order in which they are done.
//!
//! **One driver a stream.** It reads requests, polls the commands under way, and packs what is
//! done into the [`Outbox`], from which HTTP/2 takes responses. So there is no task and no channel
//! for each command, and none for each stream: the driver is polled as its connection's requests are. The driver never waits for the client: a command that has begun holds bytes of
//! the node's budgets, and must end whether its client reads or not. While answers wait, only the
//! reading of further commands stops: those of one client up to a bound, and all that wait when the node has
//! no room for more answers, since what came next would only be done to be refused.
//!
//! **Invariants.** Each request id is answered once, unless the stream breaks. What is under way is
//! bounded in number and in bytes, and so are the answers that wait, up to those of the commands
//! that were already under way. After a turn others are polled ([`crate::turn`]). A command that is missing or unknown is answered with an empty
//! response, which clients report as an error of that one command. A stream that is dropped takes
//! its driver along.
//!
//! **Not here.** What a command does (`raw`).

mod outbox;

use crate::backend::Backend;
use crate::meters::Method;
use crate::service::answers::Held;
use crate::service::raw::Raw;
use crate::service::slow::Asked;
use crate::turn;
use futures::FutureExt;
use futures::future::{AbortHandle, BoxFuture, abortable};
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};
use hyper::rt::Executor;
use outbox::Outbox;
use prost::Message;
use proto::tikvpb::{
    BatchCommandsEmptyResponse, BatchCommandsRequest, BatchCommandsResponse,
    batch_commands_request, batch_commands_response,
};
use std::future::{Future, poll_fn};
use std::iter::Zip;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use std::vec::IntoIter;
use tonic::Status;

type Command = batch_commands_request::request::Cmd;
type Answer = batch_commands_response::response::Cmd;

/// A probe may not occupy its place for longer.
const PROBE_DELAY_MS_MAX: u64 = 10_000;

/// So many commands are begun before those that can end at once do, and none before these have: each that is
/// under way takes kilobytes.
const TAKEN_AT_ONCE: usize = 16;

/// So long a stream may go on even if others of its connection have used the turn up: it comes after them in each.
const AT_LEAST: Duration = Duration::from_micros(20);

/// A command that is done.
struct Done {
    id: u64,
    request_bytes: usize,
    answer: Option<Answer>,
    held: Option<Held>,
}

/// The responses to a stream of requests, if what is given to `executor` is polled.
pub(crate) fn serve<B, S, E>(
    raw: Arc<Raw<B>>,
    requests: S,
    executor: &E,
) -> impl Stream<Item = Result<BatchCommandsResponse, Status>> + Send + use<B, S, E>
where
    B: Backend,
    E: Executor<Driver>,
    S: Stream<Item = Result<BatchCommandsRequest, Status>> + Send + Unpin + 'static,
{
    let outbox = Arc::new(Outbox::new(raw.limits().batch_answer_bytes_max));
    let driver = drive(raw, requests, Ending(Arc::clone(&outbox)));
    // What is left after a panic is dropped, and looked at by nobody: it is this stream's alone.
    let (driver, handle) = abortable(AssertUnwindSafe(driver).catch_unwind());
    executor.execute(driver.map(drop).boxed());
    let end = EndOnDrop(handle);
    stream::poll_fn(move |cx| {
        let _alive = &end;
        outbox.poll_take(cx)
    })
}

/// Runs the commands of a stream.
pub(crate) type Driver = BoxFuture<'static, ()>;

/// The driver of a stream that nobody listens to any more.
struct EndOnDrop(AbortHandle);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ends the stream even if the driver panics: the client would wait for ever.
struct Ending(Arc<Outbox>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Err(Status::internal("the stream has failed")));
    }
}

/// Reads and runs commands until the requests end and all are answered.
fn drive<B, S>(raw: Arc<Raw<B>>, requests: S, ending: Ending) -> impl Future<Output = ()> + Send
where
    B: Backend,
    S: Stream<Item = Result<BatchCommandsRequest, Status>> + Send + Unpin,
{
    let mut intake = Intake::new(requests);
    let mut under_way = FuturesUnordered::new();
    let mut bytes_under_way = 0;
    let mut done = Vec::new();
    // Whether the last turn ended before all that could be done at once was.
    let mut is_behind = false;
    poll_fn(move |cx| {
        let (limits, outbox) = (raw.limits(), &ending.0);
        let is_full = |commands, bytes| {
            commands >= limits.batch_commands_max || bytes >= limits.batch_bytes_max
        };
        let polled = Instant::now();
        let is_over = || turn::is_over() && polled.elapsed() >= AT_LEAST;
        loop {
            let mut taken = 0;
            let was_behind = is_behind;
            let has_room = raw.has_room_for_answers();
            while !was_behind
                && taken < TAKEN_AT_ONCE
                && outbox.poll_room(cx, has_room).is_ready()
                && !is_full(under_way.len(), bytes_under_way)
            {
                let Poll::Ready(Some((id, request))) = intake.poll_next(cx) else {
                    break;
                };
                taken += 1;
                bytes_under_way += request.encoded_len();
                under_way.push(begin(raw.clone(), id, request));
            }
            let was_full = is_full(under_way.len(), bytes_under_way);
            while !is_over()
                && let Poll::Ready(Some(one)) = under_way.poll_next_unpin(cx)
            {
                bytes_under_way -= one.request_bytes;
                done.push(one);
            }
            let has_more_room = was_full && !done.is_empty();
            if !done.is_empty() {
                outbox.put(done.drain(..));
            }
            is_behind = is_over();
            if is_behind {
                cx.waker().wake_by_ref();
                break;
            }
            // Otherwise whatever comes next wakes this task.
            if taken == 0 && !has_more_room && !was_behind {
                break;
            }
        }
        match &mut intake.end {
            Some(end) if under_way.is_empty() => {
                outbox.end(mem::replace(end, Ok(())));
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    })
}

async fn begin<B: Backend>(
    raw: Arc<Raw<B>>,
    id: u64,
    request: batch_commands_request::Request,
) -> Done {
    let request_bytes = request.encoded_len();
    let mut held = None;
    let method = || request.cmd.as_ref().and_then(method_of);
    let answer = match raw.tracer().begin_command(method) {
        Some(trace) => trace.follow(run(&raw, request.cmd, &mut held)).await,
        None => run(&raw, request.cmd, &mut held).await,
    };
    Done {
        id,
        request_bytes,
        answer,
        held,
    }
}

/// The commands of a stream, one by one.
struct Intake<S> {
    requests: S,
    /// The rest of one message.
    waiting: Commands,
    /// How the stream of requests ended, once it has; then nothing waits.
    end: Option<Result<(), Status>>,
}

/// The requests of one message, each with its id.
type Commands = Zip<IntoIter<u64>, IntoIter<batch_commands_request::Request>>;

impl<S> Intake<S>
where
    S: Stream<Item = Result<BatchCommandsRequest, Status>> + Unpin,
{
    fn new(requests: S) -> Self {
        Self {
            requests,
            waiting: Vec::new().into_iter().zip(Vec::new()),
            end: None,
        }
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(u64, batch_commands_request::Request)>> {
        loop {
            if let Some(next) = self.waiting.next() {
                return Poll::Ready(Some(next));
            }
            if self.end.is_some() {
                return Poll::Ready(None);
            }
            match ready!(self.requests.poll_next_unpin(cx)) {
                Some(request) => match request.and_then(pair) {
                    Ok(commands) => self.waiting = commands,
                    Err(status) => self.end = Some(Err(status)),
                },
                None => self.end = Some(Ok(())),
            }
        }
    }
}

fn pair(request: BatchCommandsRequest) -> Result<Commands, Status> {
    let (ids, requests) = (request.request_ids, request.requests);
    if ids.len() != requests.len() {
        return Err(Status::invalid_argument(format!(
            "{} request ids for {} requests",
            ids.len(),
            requests.len()
        )));
    }
    Ok(ids.into_iter().zip(requests))
}

/// What a command is; a probe is none.
fn method_of(command: &Command) -> Option<Method> {
    Some(match command {
        Command::RawGet(_) => Method::RawGet,
        Command::RawBatchGet(_) => Method::RawBatchGet,
        Command::RawPut(_) => Method::RawPut,
        Command::RawBatchPut(_) => Method::RawBatchPut,
        Command::RawDelete(_) => Method::RawDelete,
        Command::RawBatchDelete(_) => Method::RawBatchDelete,
        Command::RawScan(_) => Method::RawScan,
        Command::RawDeleteRange(_) => Method::RawDeleteRange,
        Command::RawBatchScan(_) => Method::RawBatchScan,
        Command::Empty(_) => return None,
    })
}

/// Runs a command; what its answer holds is counted in `held`.
async fn run<B: Backend>(
    raw: &Raw<B>,
    command: Option<Command>,
    held: &mut Option<Held>,
) -> Option<Answer> {
    macro_rules! answer {
        ($answer:ident, $method:ident, $request:expr) => {{
            let asked = Asked::begin(Method::$answer, &$request);
            let response = raw.$method($request).await;
            Answer::$answer(raw.count(&asked, response, held))
        }};
    }
    Some(match command? {
        Command::RawGet(request) => answer!(RawGet, get, request),
        Command::RawBatchGet(request) => answer!(RawBatchGet, batch_get, request),
        Command::RawPut(request) => answer!(RawPut, put, request),
        Command::RawBatchPut(request) => answer!(RawBatchPut, batch_put, request),
        Command::RawDelete(request) => answer!(RawDelete, delete, request),
        Command::RawBatchDelete(request) => answer!(RawBatchDelete, batch_delete, request),
        Command::RawScan(request) => answer!(RawScan, scan, request),
        Command::RawDeleteRange(request) => answer!(RawDeleteRange, delete_range, request),
        Command::RawBatchScan(request) => answer!(RawBatchScan, batch_scan, request),
        Command::Empty(probe) => {
            let delay_ms = probe.delay_time.min(PROBE_DELAY_MS_MAX);
            if delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            }
            Answer::Empty(BatchCommandsEmptyResponse {
                test_id: probe.test_id,
            })
        }
    })
}
