//! Questions to the placement driver that come to a node which is none of its members: they go on to its
//! leader, streams as well.
//!
//! **Why only there.** A member answers "not leader", and clients then find the leader, which costs them
//! less than a detour for ever. Nobody is told of the other nodes as members, but whoever comes to one all the
//! same, by an address of a configuration or a load balancer, is served.
//!
//! **Invariants.** A request goes on once: a node that gets one which was sent on answers it itself, so that
//! two nodes of different opinions never send it to and fro. Bodies pass as they are, under the flow
//! control of both connections.
//!
//! **Not here.** Who the members are and who leads: every node says that itself.

use crate::backend::Backend;
use crate::book::AddressBook;
use crate::transport::describe;
use http::{HeaderValue, Request, Response};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

/// The header of a request that was sent on.
const FORWARDED_HEADER: &str = "kontiki-forwarded";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends requests on. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Forwarder {
    book: AddressBook,
    /// To the leader, as it was known last.
    leader: Arc<Mutex<Option<(String, Channel)>>>,
}

impl Forwarder {
    /// Finds the leader in `book`.
    pub(crate) fn new(book: AddressBook) -> Self {
        Self {
            book,
            leader: Arc::default(),
        }
    }

    /// The way to the placement leader, if a request to this path of `pdpb.PD` or `keyspacepb.Keyspace`
    /// has to go there.
    pub(crate) fn way<B: Backend, T>(&self, backend: &B, request: &Request<T>) -> Option<Channel> {
        let path = request.uri().path();
        let is_own = path.ends_with("/GetMembers") || path.ends_with("/GetClusterInfo");
        if is_own || request.headers().contains_key(FORWARDED_HEADER) {
            return None;
        }
        let here = backend.identity().store_id;
        let leader = backend
            .placement_leader()
            .filter(|leader| *leader != here)?;
        if self.book.members().on(here).is_some() {
            return None;
        }
        self.channel(self.book.address(leader)?)
    }

    fn channel(&self, address: String) -> Option<Channel> {
        let mut leader = self.leader.lock();
        if let Some((known, channel)) = &*leader
            && *known == address
        {
            return Some(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2));
        let channel = endpoint.connect_lazy();
        *leader = Some((address, channel.clone()));
        Some(channel)
    }
}

/// Sends a request on, and brings back the answer.
pub(crate) async fn forward(
    mut way: Channel,
    mut request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let yes = HeaderValue::from_static("1");
    request.headers_mut().insert(FORWARDED_HEADER, yes);
    let answer = async {
        poll_fn(|cx| way.poll_ready(cx)).await?;
        way.call(request).await
    };
    Ok(answer.await.unwrap_or_else(|error| {
        let reason = describe(&error);
        Status::unavailable(format!("the placement leader can't be reached: {reason}")).into_http()
    }))
}
