//! Connections of the status server.
//!
//! **Why with patience only.** Whoever asks and does not read would keep one of a few places; a scraper that
//! hangs must not lock an operator out.
//!
//! **Not here.** What is answered.

use super::NodeStatus;
use super::routes::router;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

/// The most connections at a time; further ones wait.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// A connection that asks nothing for so long is closed.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that takes nothing of its answer for so long is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error that is not one connection's fault (no file descriptors, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Shows the status of a node on a bound port, for as long as it is polled.
pub(super) async fn serve_status(listener: TcpListener, status: NodeStatus) {
    let router = router(status);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                connections.spawn(async move {
                    answer(stream, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the status server could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let service = service_fn(move |request| router.clone().call(request));
    let answered = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(Patient::new(stream)), service)
        .await;
    if let Err(error) = answered {
        // A client that goes away in the middle is no event.
        tracing::debug!(%error, "a connection to the status server ended with an error");
    }
}

/// A stream whose reader has to read.
struct Patient<S> {
    inner: S,
    /// Since a write has been waiting.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(inner: S) -> Self {
        Self {
            inner,
            deadline: None,
        }
    }

    /// What came of a write, or of waiting for it.
    fn within<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline = self.deadline.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_TIMEOUT))
        });
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.within(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.within(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.within(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (here, mut there) = tokio::io::duplex(8);
        let mut writer = Patient::new(here);
        writer.write_all(&[0; 8]).await.unwrap();
        let slow = async {
            sleep(WRITE_TIMEOUT / 2).await;
            tokio::io::AsyncReadExt::read_exact(&mut there, &mut [0; 8]).await
        };
        let (written, read) = tokio::join!(writer.write_all(&[0; 8]), slow);
        assert!(written.is_ok() && read.is_ok());
        let given_up = writer.write_all(&[0; 8]).await.unwrap_err();
        assert_eq!(given_up.kind(), io::ErrorKind::TimedOut);
    }
}
