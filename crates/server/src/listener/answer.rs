//! Answers on their way out: those that are counted stay counted until they are sent.
//!
//! **Why at the frames.** HTTP/2 takes a whole frame from a response at once, however small the
//! client's window is; what it holds then is the frame's buffer, and only that tells when it is gone.
//!
//! **Invariants.** An answer that is not counted passes without an allocation.
//!
//! **Not here.** How large messages are encoded (`service::encoded`). Streams of batched commands: those count in their outboxes.

use crate::service::answers::Held;
use crate::service::encoded::Encoded;
use crate::traces::Trace;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::body::Body;

type Answer = Result<Response<Body>, Infallible>;

/// A service's answer, when it is there.
pub(crate) struct Answering {
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
    trace: Option<Box<Trace>>,
}

impl Answering {
    /// From what a service returns.
    pub(super) fn new(answer: Pin<Box<dyn Future<Output = Answer> + Send>>) -> Self {
        Self {
            answer,
            trace: None,
        }
    }

    /// The same, of a request that is traced.
    pub(super) fn traced(self, trace: Option<Box<Trace>>) -> Self {
        Self { trace, ..self }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(trace) = &self.trace else {
            return self.answer.as_mut().poll(cx);
        };
        let answer = ready!(trace.poll(self.answer.as_mut(), cx));
        if let (Some(trace), Ok(response)) = (self.trace.take(), &answer) {
            trace.answered(response);
        }
        Poll::Ready(answer)
    }
}

impl Future for Answering {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Ok(mut response) = ready!(self.poll_answer(cx));
        if let Some(Encoded(parts)) = response.extensions_mut().remove::<Encoded>() {
            response = response.map(|_| Body::new(Message::Left(parts)));
        }
        Poll::Ready(Ok(match response.extensions_mut().remove::<Arc<Held>>() {
            Some(held) => response.map(|body| Body::new(Counted { body, held })),
            None => response,
        }))
    }
}

/// A body that was encoded before.
enum Message {
    /// The parts that were not sent yet.
    Left(VecDeque<Bytes>),
    /// It was sent.
    Ended,
}

impl HttpBody for Message {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self::Left(left) = &mut *self else {
            return Poll::Ready(None);
        };
        if let Some(part) = left.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        *self = Self::Ended;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Ended)
    }
}

/// A body whose frames are counted.
struct Counted {
    body: Body,
    held: Arc<Held>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let held = &self.held;
        let count = |bytes| {
            Bytes::from_owner(CountedBytes {
                bytes,
                _held: Arc::clone(held),
            })
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(count))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct CountedBytes {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
