//! The status server with threads of its own.
//!
//! **Why.** It is asked when something is wrong. If it shared the node's threads, a node that is busy or hangs would
//! delay just the answers that say so.
//!
//! **Invariants.** It answers from [`StatusServer::start`] until it is dropped, which waits for nothing. The
//! threads that look at the node, and may wait for it, are bounded by the connections; those that answer what
//! needs no look never wait.
//!
//! **Not here.** Connections (`serve`).

use super::NodeStatus;
use super::serve::{CONNECTIONS_MAX, serve_status};
use std::io;
use std::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// Threads that take connections and answer what needs no look at the node.
const THREADS: usize = 2;

/// A status server; it ends when this is dropped.
pub struct StatusServer {
    /// Always there, but while it is dropped.
    runtime: Option<Runtime>,
}

impl StatusServer {
    /// Shows the status of a node on a bound port that does not block.
    ///
    /// # Errors
    /// The system refuses threads.
    pub fn start(listener: TcpListener, status: NodeStatus) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            // Each connection may have one that waits; nothing else asks for any.
            .max_blocking_threads(CONNECTIONS_MAX)
            .thread_name("status")
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        drop(entered);
        runtime.spawn(serve_status(listener, status));
        Ok(Self {
            runtime: Some(runtime),
        })
    }
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;

    #[tokio::test]
    async fn it_answers_while_every_thread_of_its_caller_is_stuck_and_ends_without_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let status = NodeStatus::new("n1".into(), "h:1".into(), Arc::new(Value::Null));
        let server = StatusServer::start(listener, status).unwrap();
        // This is the only thread of the test's runtime.
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET /ready HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("opening the data"), "{answer}");
        drop(server);
    }
}
