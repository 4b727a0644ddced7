//! A gRPC server over a hash map: the least that a store can cost which speaks this protocol.
//!
//! It answers RawGet and RawPut of one Region that holds everything, and just enough of the placement
//! driver's service for the official client to find that Region. The server is tonic's with its
//! defaults; requests are dispatched by path, as generated code does.
//!
//! **Not here.** No log, no replication, no other request: UNIMPLEMENTED.

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use proto::{kvrpcpb, metapb, pdpb};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

const CLUSTER_ID: u64 = 1;
const STORE_ID: u64 = 1;

/// Serves on `address` until the process ends.
pub async fn serve(address: SocketAddr) -> Result<(), tonic::transport::Error> {
    let store = Arc::new(Store {
        address,
        pairs: Mutex::default(),
    });
    tonic::transport::Server::builder()
        .add_service(Tikv(Arc::clone(&store)))
        .add_service(Pd(store))
        .serve(address)
        .await
}

struct Store {
    address: SocketAddr,
    pairs: Mutex<HashMap<Bytes, Bytes>>,
}

impl Store {
    fn get(&self, request: &kvrpcpb::RawGetRequest) -> kvrpcpb::RawGetResponse {
        let value = self.pairs.lock().get(&request.key).cloned();
        kvrpcpb::RawGetResponse {
            not_found: value.is_none(),
            value: value.unwrap_or_default(),
            ..Default::default()
        }
    }

    fn put(&self, request: &kvrpcpb::RawPutRequest) -> kvrpcpb::RawPutResponse {
        // Copies, so that a pair does not keep the buffer alive that its request came in.
        let key = Bytes::copy_from_slice(&request.key);
        self.pairs
            .lock()
            .insert(key, Bytes::copy_from_slice(&request.value));
        kvrpcpb::RawPutResponse::default()
    }

    fn members(&self) -> pdpb::GetMembersResponse {
        let member = pdpb::Member {
            name: "echo".to_owned(),
            member_id: STORE_ID,
            client_urls: vec![format!("http://{}", self.address)],
            ..Default::default()
        };
        pdpb::GetMembersResponse {
            header: header(),
            members: vec![member.clone()],
            leader: Some(member),
            ..Default::default()
        }
    }

    fn store(&self) -> pdpb::GetStoreResponse {
        let store = metapb::Store {
            id: STORE_ID,
            address: self.address.to_string(),
            ..Default::default()
        };
        pdpb::GetStoreResponse {
            header: header(),
            store: Some(store),
            ..Default::default()
        }
    }
}

fn header() -> Option<pdpb::ResponseHeader> {
    Some(pdpb::ResponseHeader {
        cluster_id: CLUSTER_ID,
        error: None,
    })
}

fn region() -> pdpb::GetRegionResponse {
    let peer = metapb::Peer {
        id: 1,
        store_id: STORE_ID,
        ..Default::default()
    };
    let region = metapb::Region {
        id: 1,
        region_epoch: Some(metapb::RegionEpoch {
            conf_ver: 1,
            version: 1,
        }),
        peers: vec![peer],
        ..Default::default()
    };
    pdpb::GetRegionResponse {
        header: header(),
        region: Some(region),
        leader: Some(peer),
        ..Default::default()
    }
}

#[derive(Clone)]
struct Tikv(Arc<Store>);

impl NamedService for Tikv {
    const NAME: &'static str = "tikvpb.Tikv";
}

#[derive(Clone)]
struct Pd(Arc<Store>);

impl NamedService for Pd {
    const NAME: &'static str = "pdpb.PD";
}

type HttpResponse = http::Response<Body>;
type Answering = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Tikv {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let store = Arc::clone(&self.0);
        match request.uri().path() {
            "/tikvpb.Tikv/RawGet" => unary(request, move |get| store.get(&get)),
            "/tikvpb.Tikv/RawPut" => unary(request, move |put| store.put(&put)),
            _ => unknown(),
        }
    }
}

impl Service<http::Request<Body>> for Pd {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let store = Arc::clone(&self.0);
        match request.uri().path() {
            "/pdpb.PD/GetMembers" => {
                unary(request, move |_: pdpb::GetMembersRequest| store.members())
            }
            "/pdpb.PD/GetStore" => unary(request, move |_: pdpb::GetStoreRequest| store.store()),
            "/pdpb.PD/GetRegion" => unary(request, |_: pdpb::GetRegionRequest| region()),
            "/pdpb.PD/GetRegionByID" => unary(request, |_: pdpb::GetRegionByIdRequest| region()),
            _ => unknown(),
        }
    }
}

/// A handler that answers at once.
struct Handler<F>(F);

impl<F, Q, A> UnaryService<Q> for Handler<F>
where
    F: Fn(Q) -> A,
    Q: Message,
    A: Message,
{
    type Response = A;
    type Future = Ready<Result<Response<A>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        ready(Ok(Response::new((self.0)(request.into_inner()))))
    }
}

fn unary<Q, A>(
    request: http::Request<Body>,
    handler: impl Fn(Q) -> A + Send + Sync + 'static,
) -> Answering
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
        Ok(grpc.unary(Handler(handler), request).await)
    })
}

fn unknown() -> Answering {
    Box::pin(ready(Ok(Status::unimplemented(
        "the echo server knows RawGet and RawPut",
    )
    .into_http())))
}
