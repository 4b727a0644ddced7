//! A connection's bytes, in pieces: where its turn is over, it goes on reading or writing in the next one.
//!
//! **Why.** Whoever takes an answer of 32 MiB as fast as it comes makes its connection write for as long as the
//! socket takes more: 3 ms in one poll were seen. Whoever sends small requests without an end makes it read. The
//! turn of a connection ([`crate::turn`]) would end between two polls only.
//!
//! **Invariants.** None stops twice without having moved something.

use crate::turn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that reads and writes until a turn is over, and one call more: HTTP/2 writes one frame with each.
pub(super) struct InPieces<S> {
    stream: S,
    read: Moved,
    written: Moved,
}

/// Bytes in one direction, since it last stopped there, or there was nothing to read.
#[derive(Default)]
struct Moved(usize);

impl Moved {
    /// Whether it may go on; if not, its task is woken, and goes on in its next turn.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 || !turn::is_over() {
            return Poll::Ready(());
        }
        self.0 = 0;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S> InPieces<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            read: Moved::default(),
            written: Moved::default(),
        }
    }

    fn count(&mut self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        self.written.0 += written.as_ref().copied().unwrap_or(0);
        Poll::Ready(written)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InPieces<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.read.poll_piece(cx));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match read {
            Poll::Ready(_) => self.read.0 += buffer.filled().len() - before,
            Poll::Pending => (self.read.0, self.written.0) = (0, 0),
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
        ready!(self.written.poll_piece(cx));
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.written.poll_piece(cx));
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
    use crate::turn::Line;
    use std::task::Waker;
    use tokio::io::duplex;

    #[test]
    fn where_a_turn_is_over_it_goes_on_in_the_next() {
        let (near, far) = duplex(usize::MAX);
        let (mut near, mut far) = (InPieces::new(near), InPieces::new(far));
        let mut turns = Line::default().turns();
        let mut cx = Context::from_waker(Waker::noop());
        // One byte, behind which the turn is over.
        let mut write = || {
            let mut written = 0;
            let _ = turns.take(&mut cx, |cx| {
                while let Poll::Ready(Ok(byte)) = Pin::new(&mut near).poll_write(cx, &[7]) {
                    written += byte;
                    while !turn::is_over() {}
                }
                Poll::<()>::Pending
            });
            written
        };
        assert_eq!((write(), write(), write()), (1, 1, 1));
        let mut turns = Line::default().turns();
        let mut buffer = [0; 8];
        let read = turns.take(&mut cx, |cx| {
            while !turn::is_over() {}
            let mut buffer = ReadBuf::new(&mut buffer);
            assert!(Pin::new(&mut far).poll_read(cx, &mut buffer).is_ready());
            assert!(Pin::new(&mut far).poll_read(cx, &mut buffer).is_pending());
            Poll::Ready(buffer.filled().len())
        });
        assert_eq!(read, Poll::Ready(3));
    }
}
