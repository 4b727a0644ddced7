//! One port for everything: accepts connections, speaks HTTP/1.1 and HTTP/2 on each, and gives each
//! request to the service that its path names.
//!
//! **Why not a router of a framework for gRPC.** The hot path is one comparison of the path's
//! beginning; then the generated service takes over.
//!
//! **Invariants.** The number of connections, the streams on each and the size of their headers are
//! bounded. When the server stops, it takes no more connections, lets requests under way end, and
//! gives up on what is left after a while.
//!
//! **Not here.** What the services do.

use crate::backend::Backend;
use crate::connection::{Connection, Requests};
use crate::limits::Limits;
use crate::service::health::HealthService;
use crate::service::keyspace::KeyspaceService;
use crate::service::pd::PdService;
use crate::service::raft::RaftReceiver;
use crate::service::raw::Raw;
use crate::service::tikv::TikvService;
use crate::stop::{Stop, Stopper};
use axum::Router;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use node::Members;
use proto::healthpb::health_server::HealthServer;
use proto::keyspacepb::keyspace_server::KeyspaceServer;
use proto::pdpb::pd_server::PdServer;
use proto::tikvpb::tikv_server::TikvServer;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::Gzip;
use tower_service::Service as _;

/// A connection that says nothing is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/1.1 can't do with less.
const HTTP1_BUFFER_BYTES_MIN: usize = 8 << 10;
/// What a client may send ahead, in bytes: on a stream, and on a connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// After an error that is not one connection's fault (no file descriptors, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Answer = Result<Response<Body>, Infallible>;

/// All services on one port. Clones are the same services.
pub(crate) struct Services<B: Backend> {
    tikv: TikvServer<TikvService<B>>,
    pd: PdServer<PdService<B>>,
    keyspace: KeyspaceServer<KeyspaceService<B>>,
    health: HealthServer<HealthService>,
    http: Router,
}

impl<B: Backend> Clone for Services<B> {
    fn clone(&self) -> Self {
        Self {
            tikv: self.tikv.clone(),
            pd: self.pd.clone(),
            keyspace: self.keyspace.clone(),
            health: self.health.clone(),
            http: self.http.clone(),
        }
    }
}

impl<B: Backend> Services<B> {
    /// The services over `backend`.
    pub(crate) fn new(backend: B, members: Members, limits: &Limits, stop: &Stop) -> Self {
        let bytes_max = limits.request_bytes_max;
        let raw = Arc::new(Raw::new(backend.clone(), limits.clone()));
        let tikv = TikvService::new(raw, RaftReceiver::new(backend.clone()), stop.clone());
        let pd = PdService::new(backend.clone(), members.clone(), stop.clone());
        let keyspace = KeyspaceService::new(pd.clone());
        Self {
            tikv: TikvServer::new(tikv)
                .accept_compressed(Gzip)
                .max_decoding_message_size(bytes_max),
            pd: PdServer::new(pd)
                .accept_compressed(Gzip)
                .max_decoding_message_size(bytes_max),
            keyspace: KeyspaceServer::new(keyspace).accept_compressed(Gzip),
            health: HealthServer::new(HealthService::new(stop.clone())).accept_compressed(Gzip),
            http: crate::http::router(backend, members),
        }
    }
}

impl<B: Backend> Service<Request<Incoming>> for Services<B> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        if path.starts_with("/tikvpb.Tikv/") {
            return self.tikv.clone().call(request);
        }
        if path.starts_with("/pdpb.PD/") {
            return self.pd.clone().call(request);
        }
        if path.starts_with("/keyspacepb.Keyspace/") {
            return self.keyspace.clone().call(request);
        }
        if path.starts_with("/grpc.health.v1.Health/") {
            return self.health.clone().call(request);
        }
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            let status = tonic::Status::unimplemented(format!("unknown method {path}"));
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let mut http = self.http.clone();
        Box::pin(async move {
            http.call(request)
                .await
                .map(|response| response.map(Body::new))
        })
    }
}

/// Serves connections until `shutdown`, and then for `drain` at the most.
pub(crate) async fn run<B: Backend>(
    listener: TcpListener,
    services: Services<B>,
    limits: &Limits,
    shutdown: impl Future<Output = ()>,
    (stopper, drain): (Stopper, Duration),
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
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
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(
                limit = limits.connections_max,
                "too many connections: closed one"
            );
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it was served");
            continue;
        }
        let requests = Requests::default();
        let protocol = protocol(limits, requests.clone());
        let connection = protocol.serve_connection(TokioIo::new(stream), services.clone());
        let connection = Connection::new(graceful.watch(connection.into_owned()), requests);
        connections.spawn(hold(place, connection));
    }
    drop(listener);
    stopper.stop();
    if tokio::time::timeout(drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::info!(
            left = connections.len(),
            "closing connections with requests under way"
        );
    }
    connections.shutdown().await;
}

async fn hold<E: std::fmt::Display>(
    place: OwnedSemaphorePermit,
    connection: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = connection.await {
        // A client that goes away in the middle is no event.
        tracing::debug!(%error, "a connection ended with an error");
    }
    drop(place);
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
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_header_list_size(limits.header_list_bytes_max);
    builder
}
