//! Requests on their way in: a message that has begun must be complete in time.
//!
//! **Why.** gRPC collects a message before anybody sees it, up to 16 MiB for each request. Without a
//! deadline a client that stops in the middle of each would keep all of them here.
//!
//! **Invariants.** Time runs only while a message is incomplete and nothing more of it is there: a
//! stream may be silent between two messages, and a request that comes whole costs no timer.
//!
//! **Not here.** A bound in bytes on what is incomplete in all connections together: within the
//! deadline only the network bounds it. And what a request holds once it is complete: the node's
//! budgets bound writes, and `reads_concurrent_max` reads.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};
use tonic::Status;

/// Before each message: a flag, and the length in four bytes.
const HEADER_BYTES: usize = 5;

/// The body of a gRPC request.
pub(super) struct Incoming<B> {
    body: B,
    progress: Progress,
    limit: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> Incoming<B> {
    /// Each message of `body` must be complete within `limit` once it has begun to stall.
    pub(super) fn new(body: B, limit: Duration) -> Self {
        Self {
            body,
            progress: Progress::default(),
            limit,
            deadline: None,
        }
    }
}

impl<B> Body for Incoming<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
                && this.progress.advance(data)
            {
                this.deadline = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.progress.is_between_messages() {
            return Poll::Pending;
        }
        let limit = this.limit;
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
        deadline.as_mut().poll(cx).map(|()| {
            let status = Status::deadline_exceeded("a message has begun and was not completed");
            Some(Err(status.into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How much of the present message has come.
#[derive(Default)]
struct Progress {
    header: [u8; HEADER_BYTES],
    /// So many bytes of the header are there.
    header_bytes: usize,
    /// So many bytes of the message are missing; known when the header is whole.
    missing: usize,
}

impl Progress {
    fn is_between_messages(&self) -> bool {
        self.header_bytes == 0
    }

    /// More bytes have come. Whether a message was completed.
    fn advance(&mut self, mut bytes: &[u8]) -> bool {
        let mut completed = false;
        while !bytes.is_empty() {
            if self.header_bytes < HEADER_BYTES {
                let count = bytes.len().min(HEADER_BYTES - self.header_bytes);
                let (head, rest) = bytes.split_at(count);
                self.header[self.header_bytes..][..count].copy_from_slice(head);
                self.header_bytes += count;
                bytes = rest;
                if self.header_bytes < HEADER_BYTES {
                    break;
                }
                let [_, length @ ..] = self.header;
                self.missing = u32::from_be_bytes(length) as usize;
            }
            let count = bytes.len().min(self.missing);
            self.missing -= count;
            bytes = &bytes[count..];
            if self.missing == 0 {
                self.header_bytes = 0;
                completed = true;
            }
        }
        completed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u8) -> Vec<u8> {
        [0, 0, 0, 0, length]
            .into_iter()
            .chain(std::iter::repeat_n(7, length.into()))
            .collect()
    }

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let bytes = [message(3), message(0), message(9)].concat();
        for cut in 1..bytes.len() {
            let mut progress = Progress::default();
            progress.advance(&bytes[..cut]);
            let between = [0, 8, 13].contains(&cut);
            assert_eq!(progress.is_between_messages(), between, "{cut}");
            assert!(progress.advance(&bytes[cut..]));
            assert!(progress.is_between_messages());
        }
    }
}
