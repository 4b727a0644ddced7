//! One port for everything: accepts connections, speaks HTTP/1.1 and HTTP/2 on each.
//!
//! **The stop.** First, clients: their streams end, every connection is told to take nothing new, and
//! what is under way may end. Raft streams go on meanwhile, since writes under way end by the
//! acknowledgements that come over them. When no client is left, or after a while, everything ends.
//!
//! **Invariants.** The number of connections, the streams on each and the size of their headers are
//! bounded. A connection that says nothing does not keep its place.
//!
//! **Not here.** Which service answers (`services`), and what it does. A store that loses its
//! connection during the stop can't come back: no connection is accepted any more.

mod answer;
mod first_bytes;
mod incoming;
mod pieces;
mod places;
mod services;

pub(crate) use places::Place;
pub(crate) use services::Services;

use crate::backend::Backend;
use crate::connection::{Connection, Requests};
use crate::limits::Limits;
use crate::stop::Stopper;
use crate::turn::Line;
use first_bytes::FirstBytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use pieces::InPieces;
use places::Places;
use services::Routes;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::{JoinSet, unconstrained};
use tokio::time::{sleep, timeout};

/// A connection that says nothing is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Within this time a connection that borrows a store's place must show that it is one.
const STORE_DEADLINE: Duration = Duration::from_secs(5);
/// HTTP/1.1 can't do with less.
const HTTP1_BUFFER_BYTES_MIN: usize = 8 << 10;
/// What a client may send ahead, in bytes: on a stream, and on a connection. A whole batch of Raft
/// messages fits.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Large messages come in fewer frames than HTTP/2's default of 16 KiB would make of them.
const FRAME_BYTES_MAX: u32 = 256 << 10;
/// After an error that is not one connection's fault (no file descriptors, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Once clients are gone, so long may the streams of stores take to end.
const STORES_DRAIN: Duration = Duration::from_millis(500);

/// How a connection ended.
type End = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Serves connections until `shutdown`, and then clients' requests for `drain` at the most.
pub(crate) async fn run<B: Backend>(
    listener: TcpListener,
    services: Services<B>,
    limits: &Limits,
    shutdown: impl Future<Output = ()>,
    (stopper, drain): (Stopper, Duration),
) {
    let places = Places::new(limits.connections_max, limits.store_connections_max);
    let graceful = GracefulShutdown::new();
    let line = Line::default();
    let mut connections = JoinSet::new();
    let mut refusals = Refusals::default();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take() else {
            refusals.count(limits.connections_max);
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it was served");
            continue;
        }
        let place = Arc::new(place);
        let requests = Requests::default();
        let routes = Routes::new(services.clone(), Arc::clone(&place), requests.clone());
        let stream = InPieces::new(stream);
        let stream = TokioIo::new(FirstBytes::new(stream, limits.first_bytes_timeout));
        let builder = protocol(limits, requests.clone());
        let protocol = builder.serve_connection(stream, routes).into_owned();
        let mut connection = Connection::new(graceful.watch(protocol), requests, &line);
        connection.begin_as_newcomer();
        // Turns bound what a connection does at once. The runtime's own bound would end them unseen.
        connections.spawn(unconstrained(hold(place, connection)));
    }
    drop(listener);
    stopper.stop();
    let mut ended = pin!(graceful.shutdown());
    let stores_are_left = tokio::select! {
        () = &mut ended => false,
        () = places.without_clients() => true,
        () = sleep(drain) => {
            tracing::info!(left = connections.len(), "closing connections with requests under way");
            true
        }
    };
    stopper.stop_stores();
    if stores_are_left {
        let _ = timeout(STORES_DRAIN, ended).await;
    }
    connections.shutdown().await;
}

/// Runs a connection, unless it is for a store and turns out not to be one's.
async fn hold(place: Arc<Place>, connection: impl Future<Output = End>) {
    let mut connection = pin!(connection);
    let end = if place.is_strangers() {
        match timeout(STORE_DEADLINE, &mut connection).await {
            Ok(end) => end,
            Err(_) if place.is_strangers() => return,
            Err(_) => connection.await,
        }
    } else {
        connection.await
    };
    if let Err(error) = end {
        // A client that goes away in the middle is no event.
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Counts refused connections, and tells of them once a while: a flood of them must not become one
/// of log lines.
#[derive(Default)]
struct Refusals {
    told: Option<Instant>,
    since: u64,
}

impl Refusals {
    const PAUSE: Duration = Duration::from_secs(10);

    fn count(&mut self, limit: usize) {
        self.since += 1;
        if self.told.is_none_or(|told| told.elapsed() > Self::PAUSE) {
            tracing::warn!(limit, refused = self.since, "too many connections");
            self.told = Some(Instant::now());
            self.since = 0;
        }
    }
}

fn protocol(limits: &Limits, requests: Requests) -> auto::Builder<Requests> {
    let mut builder = auto::Builder::new(requests);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size((limits.header_list_bytes_max as usize).max(HTTP1_BUFFER_BYTES_MIN));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_header_list_size(limits.header_list_bytes_max);
    builder
}
