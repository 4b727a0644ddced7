//! Attackers share processors with the node here, which they would not elsewhere: their thread prefers all others.
//!
//! **Why at each step, too.** Once the thread has a processor, it would keep it until the kernel's next tick, 4 ms, also from
//! whoever is preferred to it, but has used a little more than its share before.
//!
//! **Not here.** What attackers do.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The scheduler prefers all others to the calling thread.
pub fn prefer_others() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the structure is only read; it changes nothing but how willingly the scheduler runs this thread.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) };
    assert_eq!(done, 0, "attackers can't be made to give way");
}

/// Offers the processor before each step.
pub async fn at_each_step<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    let step = |cx: &mut Context<'_>| {
        std::thread::yield_now();
        work.as_mut().poll(cx)
    };
    poll_fn(step).await
}

/// A socket that offers the processor after each piece: a connection may have megabytes to say in one step.
pub struct InPieces(pub TcpStream);

const PIECE: usize = 16 << 10;

impl AsyncRead for InPieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::thread::yield_now();
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for InPieces {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::thread::yield_now();
        let piece = &bytes[..bytes.len().min(PIECE)];
        Pin::new(&mut self.0).poll_write(cx, piece)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Runs the tasks of a client's connections so.
#[derive(Clone)]
pub struct AtEachStep;

impl hyper::rt::Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for AtEachStep {
    fn execute(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(at_each_step(task));
    }
}
