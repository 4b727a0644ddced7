//! A connection that must say something soon.
//!
//! **Why.** Which version of HTTP a connection speaks is found out by its first bytes, and that
//! waits for them without an end: silent connections would keep their places for ever.
//!
//! **Invariants.** The deadline ends with the last byte that is needed to tell the versions apart;
//! from then on HTTP's own timeouts hold, and this costs one comparison for each read.
//!
//! **Not here.** What the bytes mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// HTTP/2 begins with so many fixed bytes.
const PREFACE_BYTES: usize = 24;

/// A stream of bytes whose first must come in time.
pub(super) struct FirstBytes<S> {
    stream: S,
    missing: usize,
    /// `None` once nothing is missing.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> FirstBytes<S> {
    /// The first bytes of `stream` must come within `limit` from now.
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            missing: PREFACE_BYTES,
            deadline: Some(Box::pin(tokio::time::sleep(limit))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(deadline) = &mut this.deadline else {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        };
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_pending() && deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let count = buffer.filled().len() - before;
        this.missing = this.missing.saturating_sub(count);
        if this.missing == 0 {
            this.deadline = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_silent_connection_ends_in_time() {
        let (mut client, server) = duplex(100);
        let mut server = FirstBytes::new(server, SHORT);
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let mut all = [0; PREFACE_BYTES];
        let end = server.read_exact(&mut all).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn after_the_first_bytes_it_may_be_silent() {
        let (mut client, server) = duplex(100);
        let mut server = FirstBytes::new(server, SHORT);
        client.write_all(&[1; PREFACE_BYTES]).await.unwrap();
        server.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        let silent = tokio::time::timeout(SHORT * 3, server.read_u8()).await;
        assert!(silent.is_err(), "{silent:?}");
    }
}
