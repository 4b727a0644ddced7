//! Telling everything that lives long that the server stops.
//!
//! **Why.** A stream between stores, or one of batched commands, never ends by itself; a server that
//! waits for its connections to end would wait for ever.
//!
//! **Not here.** Connections: they are told by HTTP (`listener`).

use futures::StreamExt;
use futures::stream::{BoxStream, Stream};
use tokio::sync::watch;

/// Hears when the server begins to stop. Clones hear the same.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

/// Tells it.
pub(crate) struct Stopper(watch::Sender<bool>);

/// Both ends.
pub(crate) fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Tells everybody, once and for good.
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }

    /// Ready when the server stops.
    pub(crate) async fn stopped(mut self) {
        // An error means that the server is gone, which is as good.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }

    /// The stream, until the server stops.
    pub(crate) fn end<'a, S>(&self, stream: S) -> BoxStream<'a, S::Item>
    where
        S: Stream + Send + 'a,
    {
        stream.take_until(Box::pin(self.clone().stopped())).boxed()
    }
}
