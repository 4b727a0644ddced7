//! All services behind one port: which of them answers a request.
//!
//! **Why not a router of a framework for gRPC.** The hot path is one comparison of the path's
//! beginning; then the generated service takes over.
//!
//! **Not here.** What the services do, and how requests come in.

use super::answer::Answering;
use super::incoming::Incoming;
use super::places::Place;
use crate::backend::Backend;
use crate::book::AddressBook;
use crate::connection::Requests;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::meters::{ErrorKind, Method, ServiceMeters};
use crate::service::debug::DebugService;
use crate::service::diagnostics::DiagnosticsService;
use crate::service::forward::{Forwarder, forward};
use crate::service::health::HealthService;
use crate::service::keyspace::KeyspaceService;
use crate::service::pd::PdService;
use crate::service::raft::RaftReceiver;
use crate::service::raw::Raw;
use crate::service::tikv::TikvService;
use crate::stop::Stop;
use crate::traces::Tracer;
use axum::Router;
use http::{Request, Response, header};
use hyper::service::Service;
use metrics::Stopwatch;
use proto::debugpb::debug_server::DebugServer;
use proto::diagnosticspb::diagnostics_server::DiagnosticsServer;
use proto::healthpb::health_server::HealthServer;
use proto::keyspacepb::keyspace_server::KeyspaceServer;
use proto::pdpb::pd_server::PdServer;
use proto::tikvpb::tikv_server::TikvServer;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::Gzip;
use tower_service::Service as _;

/// All services on one port. Clones are the same services.
pub(crate) struct Services<B: Backend> {
    backend: B,
    forwarder: Forwarder,
    tikv: TikvServer<TikvService<B>>,
    pd: PdServer<PdService<B>>,
    keyspace: KeyspaceServer<KeyspaceService<B>>,
    health: HealthServer<HealthService>,
    debug: DebugServer<DebugService>,
    diagnostics: DiagnosticsServer<DiagnosticsService>,
    http: Router,
    message_timeout: Duration,
    meters: ServiceMeters,
    tracer: Tracer,
}

impl<B: Backend> Clone for Services<B> {
    fn clone(&self) -> Self {
        Self {
            backend: self.backend.clone(),
            forwarder: self.forwarder.clone(),
            tikv: self.tikv.clone(),
            pd: self.pd.clone(),
            keyspace: self.keyspace.clone(),
            health: self.health.clone(),
            debug: self.debug.clone(),
            diagnostics: self.diagnostics.clone(),
            http: self.http.clone(),
            message_timeout: self.message_timeout,
            meters: self.meters.clone(),
            tracer: self.tracer.clone(),
        }
    }
}

impl<B: Backend> Services<B> {
    /// The services over `backend`.
    pub(crate) fn new(
        backend: B,
        book: AddressBook,
        (limits, gate): (Limits, Gate),
        (meters, tracer): (ServiceMeters, Tracer),
        stop: &Stop,
    ) -> Self {
        let bytes_max = limits.request_bytes_max;
        let message_timeout = limits.message_timeout;
        let raw = Raw::new(backend.clone(), limits, meters.clone());
        let raw = Arc::new(raw.behind(gate).traced(tracer.clone()));
        let receiver = RaftReceiver::new(backend.clone(), book.clone());
        let tikv = TikvService::new(raw, receiver, stop.clone());
        let pd = PdService::new(backend.clone(), book.clone(), stop.clone());
        let keyspace = KeyspaceService::new(pd.clone());
        Self {
            backend: backend.clone(),
            forwarder: Forwarder::new(book.clone()),
            tikv: TikvServer::new(tikv)
                .accept_compressed(Gzip)
                .max_decoding_message_size(bytes_max),
            pd: PdServer::new(pd)
                .accept_compressed(Gzip)
                .max_decoding_message_size(bytes_max),
            keyspace: KeyspaceServer::new(keyspace).accept_compressed(Gzip),
            health: HealthServer::new(HealthService::new(stop.clone())).accept_compressed(Gzip),
            debug: DebugServer::new(DebugService::new()),
            diagnostics: DiagnosticsServer::new(DiagnosticsService::default())
                .accept_compressed(Gzip),
            http: crate::http::router(backend, book),
            message_timeout,
            meters,
            tracer,
        }
    }

    fn grpc(
        &self,
        request: Request<hyper::body::Incoming>,
    ) -> Request<Incoming<hyper::body::Incoming>> {
        request.map(|body| Incoming::new(body, self.message_timeout))
    }
}

impl<B: Backend> Services<B> {
    /// An answer of placement, which is counted when its beginning is there.
    fn counted<F>(&self, method: Method, answer: F) -> Answering
    where
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let (meters, since) = (self.meters.clone(), Stopwatch::start());
        Answering::new(Box::pin(async move {
            let Ok(answer) = answer.await;
            // Without one the call goes on, or has ended well.
            let status = answer.headers().get("grpc-status");
            let failed = status.is_some_and(|status| status != "0");
            let error = failed.then_some(ErrorKind::Status);
            meters.answered(method, &since, error);
            Ok(answer)
        }))
    }
}

/// The services, as one connection sees them.
pub(super) struct Routes<B: Backend> {
    services: Services<B>,
    place: Arc<Place>,
    requests: Requests,
}

impl<B: Backend> Routes<B> {
    /// For the connection that holds `place`, and polls `requests`.
    pub(super) fn new(services: Services<B>, place: Arc<Place>, requests: Requests) -> Self {
        Self {
            services,
            place,
            requests,
        }
    }
}

impl<B: Backend> Service<Request<hyper::body::Incoming>> for Routes<B> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<hyper::body::Incoming>) -> Self::Future {
        let services = &self.services;
        let path = request.uri().path();
        if let Some(method) = path.strip_prefix("/tikvpb.Tikv/") {
            let trace = services.tracer.begin(method, request.headers());
            if matches!(method, "Raft" | "BatchRaft" | "Snapshot") {
                // By this the receiver of Raft messages says whose connection it is.
                request.extensions_mut().insert(Arc::clone(&self.place));
            } else if method == "BatchCommands" {
                request.extensions_mut().insert(self.requests.clone());
            }
            let answer = services.tikv.clone().call(services.grpc(request));
            return Answering::new(answer).traced(trace);
        }
        let placement_method = path.strip_prefix("/pdpb.PD/").map(Method::of_placement);
        let is_for_placement = placement_method.is_some();
        let is_for_keyspaces = path.starts_with("/keyspacepb.Keyspace/");
        if (is_for_placement || is_for_keyspaces)
            && let Some(way) = services.forwarder.way(&services.backend, &request)
        {
            let request = services.grpc(request).map(Body::new);
            return Answering::new(Box::pin(forward(way, request)));
        }
        if let Some(method) = placement_method {
            let answer = services.pd.clone().call(services.grpc(request));
            return match method {
                Some(method) => services.counted(method, answer),
                None => Answering::new(answer),
            };
        }
        if is_for_keyspaces {
            return Answering::new(services.keyspace.clone().call(services.grpc(request)));
        }
        if path.starts_with("/grpc.health.v1.Health/") {
            return Answering::new(services.health.clone().call(services.grpc(request)));
        }
        if path.starts_with("/debugpb.Debug/") {
            return Answering::new(services.debug.clone().call(services.grpc(request)));
        }
        if path.starts_with("/diagnosticspb.Diagnostics/") {
            return Answering::new(services.diagnostics.clone().call(services.grpc(request)));
        }
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            let status = tonic::Status::unimplemented(format!("unknown method {path}"));
            return Answering::new(Box::pin(std::future::ready(Ok(status.into_http()))));
        }
        let mut http = services.http.clone();
        Answering::new(Box::pin(async move {
            http.call(request)
                .await
                .map(|response| response.map(Body::new))
        }))
    }
}
