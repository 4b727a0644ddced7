//! One connection as one task: its requests are polled where its bytes are read and written.
//!
//! **Why not a task for each request.** The answers to many requests of a connection become ready
//! together, since writes are replicated in batches. One task that is woken once polls all of them
//! and writes them with one system call; with a task each, every one is scheduled, and wakes the
//! connection again.
//!
//! **What it costs.** The requests of one connection share one core, and a point read that waits for
//! the disk delays the others of its connection. Clients that need more open more connections.
//!
//! **Invariants.** A request is polled only by its connection's task, and goes when the connection
//! does. The number of them is bounded by the streams of a connection.
//!
//! **Not here.** Work that takes long: it must go to another thread, or it delays its connection.

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Where HTTP/2 puts the futures of new requests. Clones are of the same connection.
#[derive(Clone, Default)]
pub(crate) struct Requests {
    arrived: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl<F> hyper::rt::Executor<F> for Requests
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        self.arrived.lock().push(Box::pin(request));
    }
}

/// A connection together with its requests.
pub(crate) struct Connection<C> {
    protocol: Pin<Box<C>>,
    requests: Requests,
    under_way: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl<C> Connection<C> {
    /// A connection whose protocol puts its requests into `requests`.
    pub(crate) fn new(protocol: C, requests: Requests) -> Self {
        Self {
            protocol: Box::pin(protocol),
            requests,
            under_way: FuturesUnordered::new(),
        }
    }
}

impl<C: Future> Future for Connection<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        loop {
            // Requests first, so that the protocol writes their answers in the same turn.
            while let Poll::Ready(Some(())) = this.under_way.poll_next_unpin(cx) {}
            if let Poll::Ready(end) = this.protocol.as_mut().poll(cx) {
                return Poll::Ready(end);
            }
            let mut arrived = this.requests.arrived.lock();
            if arrived.is_empty() {
                return Poll::Pending;
            }
            this.under_way.extend(arrived.drain(..));
        }
    }
}
