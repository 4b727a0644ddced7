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
//! does. The number of them is bounded by the streams of a connection. After a turn others are polled,
//! however much the client has sent ([`crate::turn`]).
//!
//! **Not here.** Work that takes long: it must go to another thread, or it delays its connection.

use crate::turn::{self, Line, Turns};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use std::future::Future;
use std::mem;
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
    turns: Turns,
}

impl<C> Connection<C> {
    /// A connection whose protocol puts its requests into `requests`, and that waits in `line` once it has had much.
    pub(crate) fn new(protocol: C, requests: Requests, line: &Line) -> Self {
        Self {
            protocol: Box::pin(protocol),
            requests,
            under_way: FuturesUnordered::new(),
            turns: line.turns(),
        }
    }

    /// Of somebody new.
    pub(crate) fn begin_as_newcomer(&mut self) {
        self.turns.begin_as_newcomer();
    }
}

/// Requests know where more of them are put: those that have not been begun would keep themselves.
impl<C> Drop for Connection<C> {
    fn drop(&mut self) {
        let arrived = mem::take(&mut *self.requests.arrived.lock());
        drop(arrived);
    }
}

impl<C: Future> Future for Connection<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let Self {
            protocol,
            requests,
            under_way,
            turns,
        } = &mut *self;
        turns.take(cx, |cx| {
            loop {
                // Requests first, so that the protocol writes their answers in the same turn, and reads no others before all
                // of these were polled.
                while let Poll::Ready(Some(())) = under_way.poll_next_unpin(cx) {
                    if turn::is_over() && !under_way.is_empty() {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                if let Poll::Ready(end) = protocol.as_mut().poll(cx) {
                    return Poll::Ready(end);
                }
                let mut arrived = requests.arrived.lock();
                if arrived.is_empty() {
                    return Poll::Pending;
                }
                under_way.extend(arrived.drain(..));
                if turn::is_over() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::rt::Executor;
    use std::future::{pending, poll_fn};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn a_connection_that_always_has_more_to_do_gives_way() {
        let requests = Requests::default();
        let arrived = requests.clone();
        // Whenever it is polled there is one more request.
        let protocol = poll_fn(move |_| {
            arrived.execute(async {});
            Poll::<()>::Pending
        });
        let mut connection = Connection::new(protocol, requests, &Line::default());
        let woken = Arc::new(AtomicBool::new(false));
        let waker = futures::task::waker(Arc::new(Flag(Arc::clone(&woken))));
        let begun = Instant::now();
        let polled = Pin::new(&mut connection).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending() && begun.elapsed() < Duration::from_secs(5));
        assert!(woken.load(Ordering::Relaxed), "it wants to go on");
    }

    /// As hyper's do.
    #[test]
    fn requests_that_were_not_begun_go_with_their_connection() {
        let requests = Requests::default();
        let token = Arc::new(());
        let (known, held) = (requests.clone(), token.clone());
        requests.execute(async move { drop((known, held)) });
        drop(Connection::new(pending::<()>(), requests, &Line::default()));
        assert_eq!(Arc::strong_count(&token), 1);
    }

    #[test]
    fn a_connection_with_nothing_to_do_waits() {
        let line = Line::default();
        let waits = || {
            let mut connection = Connection::new(pending::<()>(), Requests::default(), &line);
            let woken = Arc::new(AtomicBool::new(false));
            let waker = futures::task::waker(Arc::new(Flag(Arc::clone(&woken))));
            let polled = Pin::new(&mut connection).poll(&mut Context::from_waker(&waker));
            polled.is_pending() && !woken.load(Ordering::Relaxed)
        };
        // Where the test's own thread has to wait, a turn may be over at once.
        assert!((0..100).any(|_| waits()));
    }

    struct Flag(Arc<AtomicBool>);

    impl futures::task::ArcWake for Flag {
        fn wake_by_ref(flag: &Arc<Self>) {
            flag.0.store(true, Ordering::Relaxed);
        }
    }
}
