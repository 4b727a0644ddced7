//! The node's reports to the placement leader, through `pdpb` like any store's.
//!
//! **The way of a report.** The node hands it over without waiting; only the latest of each Region is
//! kept. One task finds the leader, registers the store, opens a stream for Region heartbeats that
//! takes what is there, and sends the store's heartbeats beside it. When the leader changes, it goes
//! to the next one and asks the node to report all its Regions again, since a new leader knows none.
//!
//! **Invariants.** No call of the node blocks. What is kept is bounded by the number of Regions that
//! lead here. A refused report is logged and forgotten: a newer one follows.
//!
//! **Not here.** Operators from the placement driver: it gives none yet.

mod pending;

use crate::backoff::Backoff;
use crate::transport::describe;
use crate::wire;
use futures::Stream;
use node::{Identity, Members, PlacementLink};
use parking_lot::Mutex;
use pending::Pending;
use placement::{RegionHeartbeat, Store, StoreStats};
use proto::pdpb::pd_client::PdClient;
use proto::pdpb::{
    GetMembersRequest, PutStoreRequest, RegionHeartbeatRequest, RequestHeader, ResponseHeader,
    StoreHeartbeatRequest,
};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tonic::transport::{Channel, Endpoint};
use types::StoreId;

/// An attempt to reach a member, and any single call, may take so long.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the node is asked whether the leader is still the same.
const LEADER_CHECK: Duration = Duration::from_millis(100);

/// What the link needs of its node.
pub struct LinkNode {
    /// Who the placement leader is, as far as the node knows: `NodeHandle::placement().leader()`.
    pub leader: Box<dyn Fn() -> Option<StoreId> + Send + Sync>,
    /// Makes all leaders on this store report: `NodeHandle::report_all`.
    pub report_all: Box<dyn Fn() + Send + Sync>,
    /// Completes the store's report with what the node does not know: the disk, the start time.
    pub complete: Box<dyn Fn(StoreStats) -> StoreStats + Send + Sync>,
}

/// The link of one node. Clones are the same link.
#[derive(Clone)]
pub struct PdLink {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    members: Members,
    /// What the store registers as.
    store: Store,
    pending: Mutex<Pending>,
    /// A store's heartbeat is there.
    store_report: Notify,
}

impl PdLink {
    /// A link that keeps reports until [`Self::run`] sends them.
    pub fn new(identity: Identity, members: Members, store: Store) -> Self {
        let shared = Shared {
            identity,
            members,
            store,
            pending: Mutex::default(),
            store_report: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Sends reports for as long as it is polled.
    pub async fn run(self, node: LinkNode) {
        let mut backoff = Backoff::new();
        let mut said = String::new();
        loop {
            let reason = match self.shared.find_leader(&node).await {
                Some(leader) => match self.shared.report_to(leader, &node).await {
                    Ok(()) => {
                        backoff.reset();
                        said.clear();
                        continue;
                    }
                    Err(reason) => reason,
                },
                None => "no placement leader is known".to_owned(),
            };
            if said != reason {
                tracing::warn!(%reason, "no reports to the placement driver");
                said = reason;
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }
}

impl PlacementLink for PdLink {
    fn region_heartbeat(&self, heartbeat: RegionHeartbeat) {
        let reader = self.shared.pending.lock().put(heartbeat);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn store_heartbeat(&self, stats: StoreStats) {
        self.shared.pending.lock().store = Some(stats);
        self.shared.store_report.notify_one();
    }
}

impl Shared {
    fn header(&self) -> RequestHeader {
        RequestHeader {
            cluster_id: self.identity.cluster_id.get(),
            sender_id: self.identity.store_id.get(),
        }
    }

    /// From the node itself if it knows, otherwise from the first member that does.
    async fn find_leader(&self, node: &LinkNode) -> Option<StoreId> {
        if let Some(leader) = (node.leader)() {
            return Some(leader);
        }
        for member in self.members.iter() {
            if member.store_id == self.identity.store_id {
                continue;
            }
            let Ok(mut client) = dial(&member.address).await else {
                continue;
            };
            let request = GetMembersRequest {
                header: Some(self.header()),
            };
            let call = tokio::time::timeout(CALL_TIMEOUT, client.get_members(request));
            if let Ok(Ok(response)) = call.await
                && let Some(leader) = response.into_inner().leader
            {
                return Some(StoreId(leader.member_id));
            }
        }
        None
    }

    /// Reports to one leader until another one leads. An error says why it ended otherwise.
    async fn report_to(self: &Arc<Self>, leader: StoreId, node: &LinkNode) -> Result<(), String> {
        let member = self.members.iter().find(|member| member.store_id == leader);
        let member = member.ok_or_else(|| format!("store {leader} is not a known member"))?;
        let mut client = dial(&member.address).await?;
        self.register(&mut client).await?;
        let reports = Arc::clone(self).region_reports();
        let call = tokio::time::timeout(CALL_TIMEOUT, client.region_heartbeat(reports)).await;
        let answers =
            call.map_err(|_| "the stream for heartbeats did not open in time".to_owned())?;
        let mut answers = answers
            .map_err(|status| status.message().to_owned())?
            .into_inner();
        tracing::info!(%leader, "reporting to the placement leader");
        (node.report_all)();
        let mut check = tokio::time::interval(LEADER_CHECK);
        loop {
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => log_refusal(answer.region_id, answer.header.as_ref()),
                    Ok(None) => return Err("the placement leader closed the stream".to_owned()),
                    Err(status) => return Err(status.message().to_owned()),
                },
                () = self.store_report.notified() => self.report_store(&mut client, node).await?,
                _ = check.tick() => {
                    if (node.leader)().is_some_and(|now| now != leader) {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn register(&self, client: &mut PdClient<Channel>) -> Result<(), String> {
        let request = PutStoreRequest {
            header: Some(self.header()),
            store: Some(wire::registration(&self.store)),
        };
        let call = tokio::time::timeout(CALL_TIMEOUT, client.put_store(request)).await;
        let response = call.map_err(|_| "registering the store took too long".to_owned())?;
        let response = response
            .map_err(|status| status.message().to_owned())?
            .into_inner();
        match response.header.and_then(|header| header.error) {
            None => Ok(()),
            Some(error) => Err(format!("the store is not accepted: {}", error.message)),
        }
    }

    async fn report_store(
        &self,
        client: &mut PdClient<Channel>,
        node: &LinkNode,
    ) -> Result<(), String> {
        let Some(stats) = self.pending.lock().store.take() else {
            return Ok(());
        };
        let request = StoreHeartbeatRequest {
            header: Some(self.header()),
            stats: Some(wire::stats_to_wire(&(node.complete)(stats))),
        };
        let call = tokio::time::timeout(CALL_TIMEOUT, client.store_heartbeat(request)).await;
        let response = call.map_err(|_| "the store's heartbeat took too long".to_owned())?;
        response.map_err(|status| status.message().to_owned())?;
        Ok(())
    }

    /// What Regions report from now on.
    fn region_reports(self: Arc<Self>) -> impl Stream<Item = RegionHeartbeatRequest> + Send {
        let generation = self.pending.lock().next_generation();
        futures::stream::poll_fn(move |cx| self.poll_report(generation, cx))
    }

    fn poll_report(
        &self,
        generation: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<RegionHeartbeatRequest>> {
        let next = self.pending.lock().poll(generation, cx);
        next.map(|report| report.map(|report| wire::heartbeat_to_wire(self.header(), &report)))
    }
}

async fn dial(address: &str) -> Result<PdClient<Channel>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let channel = endpoint
        .map_err(|error| describe(&error))?
        .connect_timeout(CALL_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2))
        .connect()
        .await
        .map_err(|error| describe(&error))?;
    Ok(PdClient::new(channel))
}

fn log_refusal(region: u64, header: Option<&ResponseHeader>) {
    if let Some(error) = header.and_then(|header| header.error.as_ref()) {
        tracing::debug!(region, reason = %error.message, "a Region heartbeat was refused");
    }
}
