//! A connection's bytes, in pieces: after each, other connections have their turn, and now and then other threads.
//!
//! **Why.** Whoever takes an answer of 32 MiB as fast as it comes makes its connection write for as long as the
//! socket takes more: 3 ms in one poll were seen, and whoever else is served by the same thread waits for
//! that time. The turn of a connection ([`crate::turn`]) ends between two polls only.
//!
//! **Invariants.** A stream that stops by itself has woken its task first, and none stops twice without having moved
//! something. Where there was nothing to read, counting begins anew: who asks for little is never stopped.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Some 15 µs of a thread, on loopback.
const PIECE_BYTES: usize = 32 << 10;

/// A stream that reads and writes so much at a time, and one call more: HTTP/2 writes one frame with each.
pub(super) struct InPieces<S> {
    stream: S,
    /// Since it last stopped, or there was nothing to read.
    moved: usize,
}

impl<S> InPieces<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, moved: 0 }
    }

    /// Whether it may go on; if not, its task is woken for the next piece.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.moved < PIECE_BYTES {
            return Poll::Ready(());
        }
        self.moved = 0;
        node::rest_if_due();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn count(&mut self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        self.moved += written.as_ref().copied().unwrap_or(0);
        Poll::Ready(written)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InPieces<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_piece(cx));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match read {
            Poll::Ready(_) => self.moved += buffer.filled().len() - before,
            Poll::Pending => self.moved = 0,
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InPieces<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_piece(cx));
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_piece(cx));
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::pin::pin;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn what_is_large_moves_in_pieces() {
        let (near, far) = duplex(usize::MAX);
        let (mut near, mut far) = (InPieces::new(near), InPieces::new(far));
        let sent = vec![7; 3 * PIECE_BYTES + 1];
        let mut received = Vec::new();
        let frames = async {
            for frame in sent.chunks(PIECE_BYTES / 8) {
                near.write_all(frame).await.unwrap();
            }
        };
        assert_eq!(polls(frames).await, 4);
        drop(near);
        assert!(polls(far.read_to_end(&mut received)).await >= 3);
        assert!(received == sent);
    }

    /// How often a future is polled that never waits for anything but its next turn.
    async fn polls(future: impl Future) -> usize {
        let mut future = pin!(future);
        let mut polls = 1;
        while future.as_mut().now_or_never().is_none() {
            polls += 1;
        }
        polls
    }
}
