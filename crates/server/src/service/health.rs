//! `grpc.health.v1.Health`: whether this node serves.
//!
//! **Invariants.** It says "serving" from the first connection until the server begins to stop.
//!
//! **Not here.** Whether Regions have leaders: one Region's trouble must not make clients drop the
//! store.

use crate::stop::Stop;
use futures::stream::{self, BoxStream, StreamExt};
use proto::healthpb::health_check_response::ServingStatus;
use proto::healthpb::health_server::Health;
use proto::healthpb::{HealthCheckRequest, HealthCheckResponse};
use tonic::{Request, Response, Status};

/// The names that can be asked for; the empty one is the whole server.
const SERVICES: &[&str] = &["", "tikvpb.Tikv", "pdpb.PD", "keyspacepb.Keyspace"];

/// The service.
pub(crate) struct HealthService {
    stop: Stop,
}

impl HealthService {
    /// Serving until `stop`.
    pub(crate) fn new(stop: Stop) -> Self {
        Self { stop }
    }

    fn now(&self) -> ServingStatus {
        if self.stop.is_stopping() {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status as i32,
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !SERVICES.contains(&service.as_str()) {
            return Err(Status::not_found(format!("unknown service {service:?}")));
        }
        Ok(Response::new(response(self.now())))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = SERVICES.contains(&request.get_ref().service.as_str());
        let first = if known {
            self.now()
        } else {
            ServingStatus::ServiceUnknown
        };
        let stop = self.stop.clone();
        let last = stream::once(async move {
            stop.stopped().await;
            Ok(response(if known {
                ServingStatus::NotServing
            } else {
                ServingStatus::ServiceUnknown
            }))
        });
        Ok(Response::new(
            stream::iter([Ok(response(first))]).chain(last).boxed(),
        ))
    }
}
