//! `pdpb.PD`: the placement driver over gRPC.
//!
//! **Who answers.** Any node answers who the members are and who leads; everything else only the
//! placement leader. Another member answers "not leader", and clients look for another one; a node that is
//! no member sends the request on (`forward`).
//!
//! **A change of leader.** A stream of Region heartbeats ends with the leadership in which it was opened,
//! so that stores come back and report everything to the next leader, who knows nothing: also if that
//! is the same node again.
//!
//! **Invariants.** Every response has a header with the cluster's id, and a header without an error
//! means success. A request for another cluster is refused. Timestamps come back in the order in
//! which they were asked for.
//!
//! **Not here.** What the answers are (`placement`).

mod heartbeats;
mod regions;
mod rpc;
mod scheduling;

pub(crate) use regions::scan;

use crate::backend::{Backend, Placed, members};
use crate::book::AddressBook;
use crate::stop::Stop;
use futures::future::{BoxFuture, Either, FutureExt, ready};
use futures::stream::{BoxStream, Stream, StreamExt};
use node::{Identity, Member};
use proto::pdpb;
use std::future::Future;
use std::sync::Arc;
use tonic::{Response, Status};
use types::StoreId;

/// The longest key that can be asked for, in bytes: the encoded form of the longest that is stored.
const KEY_BYTES_MAX: usize = 16 << 10;
/// The most questions in one request.
const QUESTIONS_MAX: usize = 4_096;
/// Requests of one stream that are under way at the same time.
const PIPELINE_MAX: usize = 64;

/// The answer to a request that has been taken in.
type Later<A> = BoxFuture<'static, Result<A, Status>>;

/// The service; clones are the same.
pub(crate) struct PdService<B> {
    inner: Arc<Inner<B>>,
}

impl<B> Clone for PdService<B> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<B> {
    backend: B,
    identity: Identity,
    book: AddressBook,
    stop: Stop,
}

impl<B: Backend> PdService<B> {
    /// Serves the placement driver of `backend`, whose members are in `book`; streams end at `stop`.
    pub(crate) fn new(backend: B, book: AddressBook, stop: Stop) -> Self {
        let identity = backend.identity().clone();
        Self {
            inner: Arc::new(Inner {
                backend,
                identity,
                book,
                stop,
            }),
        }
    }

    /// Answers each request of a stream in the order in which they came: they are taken in one after
    /// the other, and several are under way at a time.
    fn answer_each<Q, A, F>(
        &self,
        requests: impl Stream<Item = Result<Q, Status>> + Send + 'static,
        take_in: impl Fn(Self, Q) -> F + Send + 'static,
    ) -> BoxStream<'static, Result<A, Status>>
    where
        Q: Send + 'static,
        A: Send + 'static,
        F: Future<Output = Result<Later<A>, Status>> + Send + 'static,
    {
        let this = self.clone();
        let take_in = move |request: Result<Q, Status>| {
            let taken_in = match request {
                Ok(request) => Either::Left(take_in(this.clone(), request)),
                Err(status) => Either::Right(ready(Err(status))),
            };
            taken_in.map(|later| later.unwrap_or_else(|status| ready(Err(status)).boxed()))
        };
        self.inner
            .stop
            .end(requests)
            .then(take_in)
            .buffered(PIPELINE_MAX)
            .boxed()
    }

    /// Refuses a request that is for another cluster.
    pub(crate) fn check(&self, header: Option<&pdpb::RequestHeader>) -> Result<(), Status> {
        let asked = header.map_or(0, |header| header.cluster_id);
        let actual = self.inner.identity.cluster_id.get();
        if asked == actual {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "mismatch cluster id, need {actual} but got {asked}"
        )))
    }

    /// The header of a success.
    pub(crate) fn header(&self) -> Option<pdpb::ResponseHeader> {
        Some(pdpb::ResponseHeader {
            cluster_id: self.inner.identity.cluster_id.get(),
            error: None,
        })
    }

    /// Asks the placement driver.
    pub(crate) async fn ask(&self, request: placement::Request) -> Placed {
        self.inner.backend.place(request).await
    }

    /// Turns the placement driver's answer into a response.
    pub(crate) fn finish<T: WithHeader>(
        &self,
        result: Placed,
        fill: impl FnOnce(placement::Response, &mut T) -> Option<()>,
    ) -> Result<Response<T>, Status> {
        let mut response = T::default();
        match result {
            Ok(answer) => {
                response.set_header(self.header());
                fill(answer, &mut response).ok_or_else(unexpected_answer)?;
            }
            Err(error) => response.set_header(Some(self.error_header(&error)?)),
        }
        Ok(Response::new(response))
    }

    /// The header of a refusal; a status where the client shall try again, elsewhere or later.
    fn error_header(&self, error: &placement::Error) -> Result<pdpb::ResponseHeader, Status> {
        use placement::Error as E;
        let kind = match error {
            E::NotLeader { .. } | E::Loading | E::Busy { .. } | E::PersistFailed(_) => {
                return Err(status(error));
            }
            E::StateUnusable { .. } | E::TimestampsExhausted | E::ForeignCluster { .. } => {
                return Err(status(error));
            }
            E::StoreTombstone(_) => pdpb::ErrorType::StoreTombstone,
            E::RegionNotFound(_) => pdpb::ErrorType::RegionNotFound,
            E::KeyspaceNotFound { .. }
            | E::OperatorNotFound(_)
            | E::UnknownSetting { .. }
            | E::UnknownScheduler { .. } => pdpb::ErrorType::EntryNotFound,
            E::StoreAddressTaken { .. } => pdpb::ErrorType::DuplicatedEntry,
            E::InvalidStore { .. }
            | E::InvalidRegion { .. }
            | E::InvalidTimestampCount { .. }
            | E::InvalidSetting { .. } => pdpb::ErrorType::InvalidValue,
            E::StoreNotFound(_)
            | E::StoreRefused { .. }
            | E::StaleRegion { .. }
            | E::StaleTerm { .. }
            | E::OperatorExists { .. }
            | E::OperatorLimit { .. }
            | E::OperatorRefused { .. } => pdpb::ErrorType::Unknown,
        };
        Ok(self.refusal(kind, error.to_string()))
    }

    fn refusal(&self, kind: pdpb::ErrorType, message: String) -> pdpb::ResponseHeader {
        pdpb::ResponseHeader {
            cluster_id: self.inner.identity.cluster_id.get(),
            error: Some(pdpb::Error {
                r#type: kind as i32,
                message,
            }),
        }
    }

    async fn members_response(&self) -> pdpb::GetMembersResponse {
        let members = members(&self.inner.backend, &self.inner.book).await;
        let leads: Option<StoreId> = self.inner.backend.placement_leader();
        let leader = leads.and_then(|store| members.on(store));
        pdpb::GetMembersResponse {
            header: self.header(),
            members: members.iter().map(member_to_wire).collect(),
            leader: leader.map(member_to_wire),
            etcd_leader: leader.map(member_to_wire),
            tso_allocator_leaders: Default::default(),
        }
    }
}

fn member_to_wire(member: &Member) -> pdpb::Member {
    let url = format!("http://{}", member.address);
    pdpb::Member {
        name: member.name.clone(),
        member_id: member.store_id.get(),
        peer_urls: vec![url.clone()],
        client_urls: vec![url],
        binary_version: crate::VERSION.to_owned(),
        ..Default::default()
    }
}

/// The status of a request that the client shall bring again, or an operator has to look at.
fn status(error: &placement::Error) -> Status {
    match error {
        error if error.is_transient() => Status::unavailable(error.to_string()),
        placement::Error::InvalidTimestampCount { .. } => {
            Status::invalid_argument(error.to_string())
        }
        _ => Status::internal(error.to_string()),
    }
}

fn unexpected_answer() -> Status {
    Status::internal("the placement driver answered another question")
}

/// A response with the header that all have.
pub(crate) trait WithHeader: Default {
    /// Sets it.
    fn set_header(&mut self, header: Option<pdpb::ResponseHeader>);
}

macro_rules! with_header {
    ($($response:path),* $(,)?) => {
        $(impl WithHeader for $response {
            fn set_header(&mut self, header: Option<pdpb::ResponseHeader>) {
                self.header = header;
            }
        })*
    };
}

with_header!(
    pdpb::AllocIdResponse,
    pdpb::GetStoreResponse,
    pdpb::PutStoreResponse,
    pdpb::GetAllStoresResponse,
    pdpb::StoreHeartbeatResponse,
    pdpb::RegionHeartbeatResponse,
    pdpb::AskBatchSplitResponse,
    pdpb::ReportBatchSplitResponse,
    pdpb::ScatterRegionResponse,
    pdpb::GetOperatorResponse,
    pdpb::SplitRegionsResponse,
    pdpb::GetRegionResponse,
    pdpb::ScanRegionsResponse,
    pdpb::BatchScanRegionsResponse,
    pdpb::IsBootstrappedResponse,
    pdpb::GetGcSafePointResponse,
    pdpb::UpdateGcSafePointResponse,
    proto::keyspacepb::LoadKeyspaceResponse,
    proto::keyspacepb::GetAllKeyspacesResponse,
);
