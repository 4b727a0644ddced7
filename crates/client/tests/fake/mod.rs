//! A cluster that lives in this test: real gRPC servers over one shared map, which answer as stores
//! and the placement driver do, and fail as they are told to.

use bytes::Bytes;
use http::Request as HttpRequest;
use parking_lot::Mutex;
use prost::Message;
use proto::{errorpb, keyspacepb, kvrpcpb, metapb, pdpb};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::{Future, Ready, pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

pub const CLUSTER_ID: u64 = 77;
/// What one batch of pairs may have in bytes, as on a real store.
const ENTRY_BYTES_MAX: usize = 8 << 20;
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// What a store does with its next request instead of answering it.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Busy,
    /// Asks to be left alone for longer than any deadline.
    BusyForAnHour,
    NoLeader,
    /// Nothing: what comes next in the list is for a later request.
    Pass,
    /// Says that a batch does not fit into an entry.
    TooLarge,
    /// Does it, and then the connection breaks.
    AnswerLost,
    /// The same, and the key space is cut here meanwhile.
    AnswerLostInSplit(&'static [u8]),
    /// Says this in the response's `error`.
    Complaint(&'static str),
}

#[derive(Default)]
pub struct World {
    pub data: BTreeMap<Bytes, Bytes>,
    /// Regions with their leaders' store ids, as they are.
    pub regions: Vec<(metapb::Region, u64)>,
    /// The leader's store id that placement believes in, if it differs.
    pub stale_leader: Option<u64>,
    /// What one answer may have in bytes; a read of more is over its budget.
    pub read_bytes_max: usize,
    /// One for each of the next requests.
    pub faults: VecDeque<Fault>,
    /// The one of the request that is answered now.
    fault: Option<Fault>,
    /// So many times, members are asked for before placement has started.
    pub early_questions: usize,
    /// Placement refuses every question, and members are not named: that call has no answer.
    pub placement_is_lost: bool,
    /// The store that leads placement, if it is not the last one.
    pub placement_leader: Option<u64>,
    /// Requests that stores and placement got: (store id, path).
    pub calls: Vec<(u64, String)>,
    addresses: Vec<String>,
}

pub struct Fake {
    pub world: Arc<Mutex<World>>,
    servers: Vec<AbortHandle>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.servers.iter().for_each(AbortHandle::abort);
    }
}

impl Fake {
    /// Three stores; one Region for each space between the boundaries, led by store 1.
    pub async fn start(boundaries: &[&[u8]]) -> Fake {
        let world = Arc::new(Mutex::new(World {
            read_bytes_max: 32 << 20,
            ..World::default()
        }));
        let mut servers = Vec::new();
        for store in 1..=3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            world
                .lock()
                .addresses
                .push(listener.local_addr().unwrap().to_string());
            let world = Arc::clone(&world);
            let server = tonic::transport::Server::builder()
                .add_service(Tikv(Server {
                    store,
                    world: Arc::clone(&world),
                }))
                .add_service(Pd(Server {
                    store,
                    world: Arc::clone(&world),
                }))
                .add_service(Keyspace(Server { store, world }))
                .serve_with_incoming(TcpListenerStream::new(listener));
            servers.push(tokio::spawn(server).abort_handle());
        }
        let fake = Fake { world, servers };
        fake.cut(boundaries, 1);
        fake
    }

    /// Cuts the key space anew, with a new epoch.
    pub fn cut(&self, boundaries: &[&[u8]], version: u64) {
        self.world.lock().cut(boundaries, version);
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.world.lock().addresses.clone()
    }

    pub fn lead(&self, store: u64) {
        self.world
            .lock()
            .regions
            .iter_mut()
            .for_each(|(_, leader)| *leader = store);
    }

    /// Ends a store's server; its connections are refused from now on.
    pub fn stop(&self, store: u64) {
        self.servers[store as usize - 1].abort();
    }

    pub fn fail(&self, faults: &[Fault]) {
        self.world.lock().faults.extend(faults);
    }

    /// How many requests for this path there were; to this store, or to all (0).
    pub fn calls(&self, store: u64, path: &str) -> usize {
        let world = self.world.lock();
        let matches =
            |call: &&(u64, String)| (store == 0 || call.0 == store) && call.1.ends_with(path);
        world.calls.iter().filter(matches).count()
    }
}

#[derive(Clone)]
struct Server {
    store: u64,
    world: Arc<Mutex<World>>,
}

impl World {
    fn cut(&mut self, boundaries: &[&[u8]], version: u64) {
        let mut starts: Vec<Bytes> = vec![Bytes::new()];
        starts.extend(boundaries.iter().map(|key| Bytes::copy_from_slice(key)));
        let ends = starts.iter().skip(1).cloned().chain([Bytes::new()]);
        let regions =
            starts
                .iter()
                .cloned()
                .zip(ends)
                .zip(2..)
                .map(|((start_key, end_key), id)| {
                    let peer = |store| metapb::Peer {
                        id: id * 10 + store,
                        store_id: store,
                        ..Default::default()
                    };
                    let region = metapb::Region {
                        id,
                        start_key,
                        end_key,
                        region_epoch: Some(metapb::RegionEpoch {
                            conf_ver: 1,
                            version,
                        }),
                        peers: (1..=3).map(peer).collect(),
                    };
                    (region, 1)
                });
        self.regions = regions.collect();
    }

    /// What a store checks before anything else. `keys` must all lie in the Region.
    fn refusal(
        &self,
        store: u64,
        context: &Option<kvrpcpb::Context>,
        keys: &[&Bytes],
    ) -> Option<errorpb::Error> {
        let context = context.as_ref().unwrap();
        let region_id = context.region_id;
        let Some((region, leader)) = self
            .regions
            .iter()
            .find(|(r, _)| r.id == region_id)
            .cloned()
        else {
            let region_not_found = Some(errorpb::RegionNotFound { region_id });
            return Some(errorpb::Error {
                region_not_found,
                ..Default::default()
            });
        };
        if let Some(error) = self.planned_refusal(region_id) {
            return Some(error);
        }
        if store != leader {
            let leader = region
                .peers
                .iter()
                .find(|peer| peer.store_id == leader)
                .copied();
            let not_leader = Some(errorpb::NotLeader { region_id, leader });
            return Some(errorpb::Error {
                not_leader,
                ..Default::default()
            });
        }
        if context.region_epoch != region.region_epoch {
            let current_regions = self
                .regions
                .iter()
                .map(|(region, _)| region.clone())
                .collect();
            let epoch_not_match = Some(errorpb::EpochNotMatch { current_regions });
            return Some(errorpb::Error {
                epoch_not_match,
                ..Default::default()
            });
        }
        let v2 = context.api_version() == kvrpcpb::ApiVersion::V2;
        let inside = |key: &&Bytes| {
            let key = if v2 {
                types::keys::encode(key)
            } else {
                key.to_vec()
            };
            key >= region.start_key && (region.end_key.is_empty() || key < region.end_key)
        };
        let key_not_in_region = Some(errorpb::KeyNotInRegion::default());
        let error = errorpb::Error {
            key_not_in_region,
            ..Default::default()
        };
        (!keys.iter().all(inside)).then_some(error)
    }

    fn planned_refusal(&self, region_id: u64) -> Option<errorpb::Error> {
        match self.fault? {
            Fault::Busy => Some(busy(0, "a test wants it")),
            Fault::BusyForAnHour => Some(busy(3_600_000, "a test wants it")),
            Fault::NoLeader => Some(errorpb::Error {
                not_leader: Some(errorpb::NotLeader {
                    region_id,
                    leader: None,
                }),
                ..Default::default()
            }),
            Fault::TooLarge => Some(too_large(ENTRY_BYTES_MAX + 1)),
            Fault::Pass | Fault::AnswerLost | Fault::AnswerLostInSplit(_) | Fault::Complaint(_) => {
                None
            }
        }
    }

    fn lose_answer(&mut self) -> bool {
        if let Some(Fault::AnswerLostInSplit(key)) = self.fault {
            self.cut(&[key], 2);
        }
        matches!(
            self.fault,
            Some(Fault::AnswerLost | Fault::AnswerLostInSplit(_))
        )
    }

    fn complain(&self) -> String {
        match self.fault {
            Some(Fault::Complaint(text)) => text.to_owned(),
            _ => String::new(),
        }
    }

    fn within_budget(
        &self,
        pairs: Vec<kvrpcpb::KvPair>,
    ) -> Result<Vec<kvrpcpb::KvPair>, Box<errorpb::Error>> {
        match bytes_of(&pairs) > self.read_bytes_max {
            true => Err(Box::new(busy(0, proto::READ_OVER_BUDGET))),
            false => Ok(pairs),
        }
    }

    fn range(&self, start: &Bytes, end: &Bytes) -> Vec<(Bytes, Bytes)> {
        let inside = |key: &Bytes| key >= start && (end.is_empty() || key < end);
        self.data
            .iter()
            .filter(|(key, _)| inside(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }
}

fn bytes_of(pairs: &[kvrpcpb::KvPair]) -> usize {
    let size = |pair: &kvrpcpb::KvPair| pair.key.len() + pair.value.len();
    pairs.iter().map(size).sum()
}

fn busy(backoff_ms: u64, reason: &str) -> errorpb::Error {
    let server_is_busy = Some(errorpb::ServerIsBusy {
        backoff_ms,
        reason: reason.to_owned(),
        ..Default::default()
    });
    errorpb::Error {
        server_is_busy,
        ..Default::default()
    }
}

fn too_large(bytes: usize) -> errorpb::Error {
    let raft_entry_too_large = Some(errorpb::RaftEntryTooLarge {
        entry_size: bytes as u64,
        ..Default::default()
    });
    errorpb::Error {
        raft_entry_too_large,
        ..Default::default()
    }
}

fn header() -> Option<pdpb::ResponseHeader> {
    Some(pdpb::ResponseHeader {
        cluster_id: CLUSTER_ID,
        error: None,
    })
}

/// Runs a request of a store: admission, effect, and the loss of the answer.
fn stored<A: Default>(
    server: &Server,
    context: &Option<kvrpcpb::Context>,
    keys: &[&Bytes],
    region_error: impl Fn(&mut A, errorpb::Error),
    effect: impl FnOnce(&mut World) -> Result<A, Box<errorpb::Error>>,
) -> Result<A, Status> {
    let mut world = server.world.lock();
    let failed = |error| {
        let mut answer = A::default();
        region_error(&mut answer, error);
        answer
    };
    world.fault = world.faults.pop_front();
    if let Some(error) = world.refusal(server.store, context, keys) {
        return Ok(failed(error));
    }
    let answer = effect(&mut world).unwrap_or_else(|error| failed(*error));
    match world.lose_answer() {
        true => Err(Status::unavailable("the connection broke")),
        false => Ok(answer),
    }
}

fn tikv(server: Server, request: HttpRequest<Body>) -> Answering {
    match request.uri().path() {
        "/tikvpb.Tikv/RawGet" => unary(request, move |q: kvrpcpb::RawGetRequest| {
            stored(
                &server,
                &q.context,
                &[&q.key],
                |a: &mut kvrpcpb::RawGetResponse, e| a.region_error = Some(e),
                |world| {
                    let value = world.data.get(&q.key).cloned();
                    let (not_found, error) = (value.is_none(), world.complain());
                    Ok(kvrpcpb::RawGetResponse {
                        not_found,
                        error,
                        value: value.unwrap_or_default(),
                        ..Default::default()
                    })
                },
            )
        }),
        "/tikvpb.Tikv/RawPut" => unary(request, move |q: kvrpcpb::RawPutRequest| {
            stored(
                &server,
                &q.context,
                &[&q.key],
                |a: &mut kvrpcpb::RawPutResponse, e| a.region_error = Some(e),
                |world| {
                    world.data.insert(q.key.clone(), q.value.clone());
                    Ok(kvrpcpb::RawPutResponse {
                        error: world.complain(),
                        ..Default::default()
                    })
                },
            )
        }),
        "/tikvpb.Tikv/RawCompareAndSwap" => unary(request, move |q: kvrpcpb::RawCasRequest| {
            stored(
                &server,
                &q.context,
                &[&q.key],
                |a: &mut kvrpcpb::RawCasResponse, e| a.region_error = Some(e),
                |world| {
                    let previous = world.data.get(&q.key).cloned();
                    let expected = (!q.previous_not_exist).then(|| q.previous_value.clone());
                    let succeed = previous == expected;
                    if succeed {
                        world.data.insert(q.key.clone(), q.value.clone());
                    }
                    let previous_not_exist = previous.is_none();
                    Ok(kvrpcpb::RawCasResponse {
                        succeed,
                        previous_not_exist,
                        previous_value: previous.unwrap_or_default(),
                        ..Default::default()
                    })
                },
            )
        }),
        "/tikvpb.Tikv/RawBatchPut" => unary(request, move |q: kvrpcpb::RawBatchPutRequest| {
            let keys: Vec<&Bytes> = q.pairs.iter().map(|pair| &pair.key).collect();
            stored(
                &server,
                &q.context,
                &keys,
                |a: &mut kvrpcpb::RawBatchPutResponse, e| a.region_error = Some(e),
                |world| {
                    let bytes = bytes_of(&q.pairs);
                    if bytes > ENTRY_BYTES_MAX {
                        return Err(Box::new(too_large(bytes)));
                    }
                    world.data.extend(
                        q.pairs
                            .iter()
                            .map(|pair| (pair.key.clone(), pair.value.clone())),
                    );
                    Ok(kvrpcpb::RawBatchPutResponse::default())
                },
            )
        }),
        "/tikvpb.Tikv/RawBatchGet" => unary(request, move |q: kvrpcpb::RawBatchGetRequest| {
            let keys: Vec<&Bytes> = q.keys.iter().collect();
            stored(
                &server,
                &q.context,
                &keys,
                |a: &mut kvrpcpb::RawBatchGetResponse, e| a.region_error = Some(e),
                |world| {
                    let pair = |key: &Bytes| {
                        Some(kvrpcpb::KvPair {
                            key: key.clone(),
                            value: world.data.get(key)?.clone(),
                            error: None,
                        })
                    };
                    Ok(kvrpcpb::RawBatchGetResponse {
                        pairs: world.within_budget(q.keys.iter().filter_map(pair).collect())?,
                        ..Default::default()
                    })
                },
            )
        }),
        "/tikvpb.Tikv/RawScan" => unary(request, move |q: kvrpcpb::RawScanRequest| {
            stored(
                &server,
                &q.context,
                &[&q.start_key],
                |a: &mut kvrpcpb::RawScanResponse, e| a.region_error = Some(e),
                |world| {
                    let pairs = world
                        .range(&q.start_key, &q.end_key)
                        .into_iter()
                        .take(q.limit as usize);
                    let pair = |(key, value)| kvrpcpb::KvPair {
                        key,
                        value: if q.key_only { Bytes::new() } else { value },
                        error: None,
                    };
                    Ok(kvrpcpb::RawScanResponse {
                        kvs: world.within_budget(pairs.map(pair).collect())?,
                        ..Default::default()
                    })
                },
            )
        }),
        "/tikvpb.Tikv/RawDeleteRange" => {
            unary(request, move |q: kvrpcpb::RawDeleteRangeRequest| {
                stored(
                    &server,
                    &q.context,
                    &[&q.start_key],
                    |a: &mut kvrpcpb::RawDeleteRangeResponse, e| a.region_error = Some(e),
                    |world| {
                        for (key, _) in world.range(&q.start_key, &q.end_key) {
                            world.data.remove(&key);
                        }
                        Ok(kvrpcpb::RawDeleteRangeResponse::default())
                    },
                )
            })
        }
        _ => unknown(),
    }
}

fn pd(server: Server, request: HttpRequest<Body>) -> Answering {
    let world = server.world;
    let lost = world.lock().placement_is_lost;
    match request.uri().path() {
        "/pdpb.PD/GetMembers" if lost => Box::pin(pending()),
        _ if lost => failing(Status::unavailable("placement is lost")),
        "/pdpb.PD/GetMembers" => unary(request, move |_: pdpb::GetMembersRequest| {
            let mut world = world.lock();
            if let Some(left) = world.early_questions.checked_sub(1) {
                world.early_questions = left;
                return Err(Status::unavailable("placement has not started"));
            }
            let urls = world.addresses.clone();
            let member = |(url, id)| pdpb::Member {
                member_id: id,
                client_urls: vec![format!("http://{url}")],
                ..Default::default()
            };
            let members: Vec<pdpb::Member> = urls.into_iter().zip(1..).map(member).collect();
            // The last store leads, so that the death of the first does not concern placement.
            let leads = world.placement_leader.unwrap_or(members.len() as u64);
            let leader = members.get(leads as usize - 1).cloned();
            Ok(pdpb::GetMembersResponse {
                header: header(),
                members,
                leader,
                ..Default::default()
            })
        }),
        "/pdpb.PD/GetStore" => unary(request, move |q: pdpb::GetStoreRequest| {
            let address = world.lock().addresses[q.store_id as usize - 1].clone();
            let store = Some(metapb::Store {
                id: q.store_id,
                address,
                ..Default::default()
            });
            Ok(pdpb::GetStoreResponse {
                header: header(),
                store,
                ..Default::default()
            })
        }),
        "/pdpb.PD/GetRegion" => unary(request, move |q: pdpb::GetRegionRequest| {
            let world = world.lock();
            let owns = |region: &metapb::Region| {
                q.region_key >= region.start_key
                    && (region.end_key.is_empty() || q.region_key < region.end_key)
            };
            let (region, leader) = world
                .regions
                .iter()
                .find(|(region, _)| owns(region))
                .unwrap();
            let believed = world.stale_leader.unwrap_or(*leader);
            let leader = region
                .peers
                .iter()
                .find(|peer| peer.store_id == believed)
                .copied();
            Ok(pdpb::GetRegionResponse {
                header: header(),
                region: Some(region.clone()),
                leader,
                ..Default::default()
            })
        }),
        "/pdpb.PD/ScanRegions" => unary(request, move |_: pdpb::ScanRegionsRequest| {
            let region = |(region, _): &(metapb::Region, u64)| pdpb::Region {
                region: Some(region.clone()),
                ..Default::default()
            };
            let regions = world.lock().regions.iter().map(region).collect();
            Ok(pdpb::ScanRegionsResponse {
                header: header(),
                regions,
                ..Default::default()
            })
        }),
        _ => unknown(),
    }
}

fn keyspace(_: Server, request: HttpRequest<Body>) -> Answering {
    unary(request, |q: keyspacepb::LoadKeyspaceRequest| {
        let keyspace = (q.name == "DEFAULT").then(keyspacepb::KeyspaceMeta::default);
        Ok(keyspacepb::LoadKeyspaceResponse {
            header: header(),
            keyspace,
        })
    })
}

macro_rules! service {
    ($service:ident, $name:literal, $dispatch:ident) => {
        #[derive(Clone)]
        struct $service(Server);

        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl Service<HttpRequest<Body>> for $service {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Answering;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: HttpRequest<Body>) -> Answering {
                let call = (self.0.store, request.uri().path().to_owned());
                self.0.world.lock().calls.push(call);
                $dispatch(self.0.clone(), request)
            }
        }
    };
}

service!(Tikv, "tikvpb.Tikv", tikv);
service!(Pd, "pdpb.PD", pd);
service!(Keyspace, "keyspacepb.Keyspace", keyspace);

type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

struct Handler<F>(F);

impl<F, Q, A> UnaryService<Q> for Handler<F>
where
    F: Fn(Q) -> Result<A, Status>,
    Q: Message,
    A: Message,
{
    type Response = A;
    type Future = Ready<Result<Response<A>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        ready((self.0)(request.into_inner()).map(Response::new))
    }
}

fn unary<Q, A>(
    request: HttpRequest<Body>,
    handler: impl Fn(Q) -> Result<A, Status> + Send + Sync + 'static,
) -> Answering
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<A, Q>::default())
            .apply_max_message_size_config(Some(REQUEST_BYTES_MAX), None);
        Ok(grpc.unary(Handler(handler), request).await)
    })
}

fn unknown() -> Answering {
    failing(Status::unimplemented("not in this fake"))
}

fn failing(status: Status) -> Answering {
    Box::pin(ready(Ok(status.into_http())))
}
