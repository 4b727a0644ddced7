//! The answers of one stream that wait to be sent.
//!
//! **Why.** HTTP/2 takes responses only while the client gives it window. What the commands hold
//! (permits of the node's budgets) must be given back when they are done, and not when their client
//! reads; so answers move here, and only the *reading* of more commands waits for the client.
//!
//! **Invariants.** `bytes` is the sum over `responses`. Each answer leaves once, in a response of
//! bounded size. The end comes after all answers, and its error is told once.
//!
//! **Not here.** A hard bound: the answers of commands that were under way are always taken.

use super::Done;
use crate::service::answers::Held;
use parking_lot::Mutex;
use prost::Message;
use proto::tikvpb::{BatchCommandsResponse, batch_commands_response};
use std::collections::VecDeque;
use std::mem;
use std::task::{Context, Poll, Waker};
use tonic::Status;

/// A response is sent when it holds so many answers, even if more are done.
const ANSWERS_PER_RESPONSE_MAX: usize = 256;
/// Likewise when it holds so many bytes: it is encoded in one go, in which its connection's thread serves nobody else, and
/// no response should reach the limits of clients' decoders.
const RESPONSE_BYTES_TARGET: usize = 64 << 10;
/// What an answer costs in memory besides its keys and values, in bytes.
const ANSWER_OVERHEAD_BYTES: usize = 256;

/// Shared by the one that fills it and the one that takes.
pub(super) struct Outbox {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    responses: VecDeque<Packed>,
    bytes: usize,
    /// What the last two responses hold. HTTP/2 asks for the third when the first is about sent: it
    /// takes one ahead.
    leaving: [Vec<Held>; 2],
    /// How the stream ends, once that is known.
    end: Option<Result<(), Status>>,
    taker: Option<Waker>,
    filler: Option<Waker>,
}

#[derive(Default)]
struct Packed {
    response: BatchCommandsResponse,
    bytes: usize,
    held: Vec<Held>,
}

impl Packed {
    fn is_full(&self) -> bool {
        self.response.request_ids.len() >= ANSWERS_PER_RESPONSE_MAX
            || self.bytes >= RESPONSE_BYTES_TARGET
    }
}

impl Outbox {
    /// With room for more commands' answers while fewer than `bytes_max` wait.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            bytes_max,
        }
    }

    /// Ready while more commands may be read; the filler is woken when that changes. Where the node has no room for
    /// more answers, none of this stream's may wait.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>, node_has_room: bool) -> Poll<()> {
        let mut state = self.state.lock();
        let bytes_max = if node_has_room { self.bytes_max } else { 1 };
        if state.bytes < bytes_max {
            return Poll::Ready(());
        }
        state.filler = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes over what is done.
    pub(super) fn put(&self, done: impl Iterator<Item = Done>) {
        let mut state = self.state.lock();
        for one in done {
            let Done {
                id, answer, held, ..
            } = one;
            if state.responses.back().is_none_or(Packed::is_full) {
                state.responses.push_back(Packed::default());
            }
            let answer = batch_commands_response::Response { cmd: answer };
            let bytes = answer.encoded_len() + ANSWER_OVERHEAD_BYTES;
            state.bytes += bytes;
            let last = state.responses.back_mut().expect("one was just added");
            last.bytes += bytes;
            last.held.extend(held);
            last.response.request_ids.push(id);
            last.response.responses.push(answer);
        }
        let taker = state.taker.take();
        drop(state);
        wake(taker);
    }

    /// Says how the stream ends after what was put; the first to say so is right.
    pub(super) fn end(&self, end: Result<(), Status>) {
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        let taker = state.taker.take();
        drop(state);
        wake(taker);
    }

    /// The next response.
    pub(super) fn poll_take(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BatchCommandsResponse, Status>>> {
        let mut state = self.state.lock();
        if let Some(packed) = state.responses.pop_front() {
            state.bytes -= packed.bytes;
            state.leaving.swap(0, 1);
            state.leaving[1] = packed.held;
            let filler = if state.bytes < self.bytes_max {
                state.filler.take()
            } else {
                None
            };
            drop(state);
            wake(filler);
            return Poll::Ready(Some(Ok(packed.response)));
        }
        match &mut state.end {
            Some(end) => Poll::Ready(mem::replace(end, Ok(())).err().map(Err)),
            None => {
                state.taker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
