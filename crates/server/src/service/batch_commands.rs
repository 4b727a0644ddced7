//! `BatchCommands`: many commands over one stream, answered in the order in which they are done.
//!
//! **One task a stream.** The stream of responses drives everything: it reads requests, polls the
//! commands under way, and puts all that are done into one response. So there is no task and no
//! channel for each command, and a client that does not read its responses is not read further
//! either.
//!
//! **Invariants.** Each request id is answered once, unless the stream breaks. What is under way is
//! bounded in number and in bytes. A command that is missing or unknown is answered with an empty
//! response, which clients report as an error of that one command.
//!
//! **Not here.** What a command does (`raw`).

use crate::backend::Backend;
use crate::service::raw::Raw;
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};
use prost::Message;
use proto::tikvpb::{
    BatchCommandsEmptyResponse, BatchCommandsRequest, BatchCommandsResponse,
    batch_commands_request, batch_commands_response,
};
use std::iter::Zip;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::vec::IntoIter;
use tonic::Status;

type Command = batch_commands_request::request::Cmd;
type Answer = batch_commands_response::response::Cmd;

/// A response is sent when it holds so many answers, even if more are done.
const ANSWERS_PER_RESPONSE_MAX: usize = 256;
/// Likewise when it holds so many bytes: no response should reach the limits of clients' decoders.
const RESPONSE_BYTES_TARGET: usize = 1 << 20;
/// A probe may not occupy its place for longer.
const PROBE_DELAY_MS_MAX: u64 = 10_000;

/// A command that is done.
struct Done {
    id: u64,
    request_bytes: usize,
    answer: Option<Answer>,
}

/// The responses to a stream of requests.
pub(crate) fn serve<B, S>(
    raw: Arc<Raw<B>>,
    mut requests: S,
) -> impl Stream<Item = Result<BatchCommandsResponse, Status>> + Send
where
    B: Backend,
    S: Stream<Item = Result<BatchCommandsRequest, Status>> + Send + Unpin,
{
    let mut under_way = FuturesUnordered::new();
    let mut bytes_under_way = 0;
    // What has been read and is not under way: the rest of one message.
    let mut waiting: Commands = Vec::new().into_iter().zip(Vec::new());
    // How the stream of requests ended, once it has.
    let mut end: Option<Result<(), Status>> = None;
    stream::poll_fn(move |cx| {
        let limits = raw.limits();
        while under_way.len() < limits.batch_commands_max
            && bytes_under_way < limits.batch_bytes_max
        {
            if let Some((id, request)) = waiting.next() {
                let request_bytes = request.encoded_len();
                bytes_under_way += request_bytes;
                let raw = raw.clone();
                under_way.push(async move {
                    let answer = run(&raw, request.cmd).await;
                    Done {
                        id,
                        request_bytes,
                        answer,
                    }
                });
                continue;
            }
            if end.is_some() {
                break;
            }
            match requests.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(request))) => match pair(request) {
                    Ok(commands) => waiting = commands,
                    Err(status) => end = Some(Err(status)),
                },
                Poll::Ready(Some(Err(status))) => end = Some(Err(status)),
                Poll::Ready(None) => end = Some(Ok(())),
                Poll::Pending => break,
            }
        }
        let mut response = BatchCommandsResponse::default();
        let mut bytes = 0;
        while response.request_ids.len() < ANSWERS_PER_RESPONSE_MAX && bytes < RESPONSE_BYTES_TARGET
        {
            let Poll::Ready(Some(done)) = under_way.poll_next_unpin(cx) else {
                break;
            };
            bytes_under_way -= done.request_bytes;
            let answer = batch_commands_response::Response { cmd: done.answer };
            bytes += answer.encoded_len();
            response.request_ids.push(done.id);
            response.responses.push(answer);
        }
        if !response.request_ids.is_empty() {
            return Poll::Ready(Some(Ok(response)));
        }
        match &mut end {
            // The error is told once, after the answers; then the stream is over.
            Some(end) if under_way.is_empty() => match std::mem::replace(end, Ok(())) {
                Ok(()) => Poll::Ready(None),
                Err(status) => Poll::Ready(Some(Err(status))),
            },
            _ => Poll::Pending,
        }
    })
}

/// The requests of one message, each with its id.
type Commands = Zip<IntoIter<u64>, IntoIter<batch_commands_request::Request>>;

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

async fn run<B: Backend>(raw: &Raw<B>, command: Option<Command>) -> Option<Answer> {
    Some(match command? {
        Command::RawGet(request) => Answer::RawGet(raw.get(request).await),
        Command::RawBatchGet(request) => Answer::RawBatchGet(raw.batch_get(request).await),
        Command::RawPut(request) => Answer::RawPut(raw.put(request).await),
        Command::RawBatchPut(request) => Answer::RawBatchPut(raw.batch_put(request).await),
        Command::RawDelete(request) => Answer::RawDelete(raw.delete(request).await),
        Command::RawBatchDelete(request) => Answer::RawBatchDelete(raw.batch_delete(request).await),
        Command::RawScan(request) => Answer::RawScan(raw.scan(request).await),
        Command::RawDeleteRange(request) => Answer::RawDeleteRange(raw.delete_range(request).await),
        Command::RawBatchScan(request) => Answer::RawBatchScan(raw.batch_scan(request).await),
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
