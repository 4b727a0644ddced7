//! Telling everything that lives long that the server stops.
//!
//! **Why.** A stream between stores, or one of batched commands, never ends by itself; a server that
//! waits for its connections to end would wait for ever.
//!
//! **Two steps.** First clients: what they have under way shall end, and what is new they shall take
//! elsewhere. Only then the streams of other stores: a write under way ends by their
//! acknowledgements, and without them nobody would know its fate.
//!
//! **Invariants.** An item of a stream costs one read of an atomic; only a stream that has nothing
//! to give registers itself.
//!
//! **Not here.** Connections: they are told by HTTP (`listener`).

use futures::stream::{self, BoxStream, Stream, StreamExt};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use tokio::sync::watch;

/// How far the stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    Serving,
    /// Clients' requests end.
    Draining,
    /// Everything ends.
    Ended,
}

/// Hears when the server stops. Clones hear the same.
#[derive(Clone)]
pub(crate) struct Stop {
    phase: Arc<AtomicU8>,
    told: watch::Receiver<Phase>,
}

/// Tells it.
pub(crate) struct Stopper {
    phase: Arc<AtomicU8>,
    tell: watch::Sender<Phase>,
}

/// Both ends.
pub(crate) fn channel() -> (Stopper, Stop) {
    let phase = Arc::new(AtomicU8::new(Phase::Serving as u8));
    let (tell, told) = watch::channel(Phase::Serving);
    let stopper = Stopper {
        phase: Arc::clone(&phase),
        tell,
    };
    (stopper, Stop { phase, told })
}

impl Stopper {
    /// Ends what clients have open, once and for good.
    pub(crate) fn stop(&self) {
        self.reach(Phase::Draining);
    }

    /// Ends the streams of other stores as well.
    pub(crate) fn stop_stores(&self) {
        self.reach(Phase::Ended);
    }

    fn reach(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.tell.send_replace(phase);
    }
}

impl Stop {
    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.has_reached(Phase::Draining)
    }

    /// Ready when the server stops.
    pub(crate) async fn stopped(self) {
        self.reached(Phase::Draining).await;
    }

    /// A client's stream, until the server stops.
    pub(crate) fn end<'a, S>(&self, stream: S) -> BoxStream<'a, S::Item>
    where
        S: Stream + Send + 'a,
    {
        self.until(Phase::Draining, stream)
    }

    /// A stream of another store, until clients have been served.
    pub(crate) fn end_of_store<'a, S>(&self, stream: S) -> BoxStream<'a, S::Item>
    where
        S: Stream + Send + 'a,
    {
        self.until(Phase::Ended, stream)
    }

    fn has_reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }

    async fn reached(mut self, phase: Phase) {
        // An error means that the server is gone, which is as good.
        let _ = self.told.wait_for(|reached| *reached >= phase).await;
    }

    fn until<'a, S>(&self, phase: Phase, stream: S) -> BoxStream<'a, S::Item>
    where
        S: Stream + Send + 'a,
    {
        let stop = self.clone();
        let mut stream = Box::pin(stream);
        let mut reached = Box::pin(self.clone().reached(phase));
        let mut is_over = false;
        stream::poll_fn(move |cx| {
            is_over = is_over || stop.has_reached(phase);
            if is_over {
                return Poll::Ready(None);
            }
            if let Poll::Ready(item) = stream.as_mut().poll_next(cx) {
                return Poll::Ready(item);
            }
            is_over = reached.as_mut().poll(cx).is_ready();
            if is_over {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;

    #[tokio::test]
    async fn clients_are_told_first_and_stores_last() {
        let (stopper, stop) = channel();
        let mut client = stop.end(stream::pending::<()>());
        let mut store = stop.end_of_store(stream::pending::<()>());
        assert!(poll!(client.next()).is_pending() && poll!(store.next()).is_pending());
        stopper.stop();
        assert!(stop.is_stopping());
        assert_eq!(client.next().await, None);
        assert!(poll!(store.next()).is_pending());
        stopper.stop_stores();
        assert_eq!(store.next().await, None);
    }

    #[tokio::test]
    async fn a_stream_that_always_has_something_ends_as_well() {
        let (stopper, stop) = channel();
        let mut busy = stop.end(stream::repeat(()));
        assert_eq!(busy.next().await, Some(()));
        stopper.stop();
        assert_eq!(busy.next().await, None);
    }
}
