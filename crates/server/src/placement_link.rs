//! The node's reports to the placement leader, through `pdpb` like any store's.
//!
//! **The way of a report.** The node hands it over without waiting; only the latest of each Region is
//! kept. One task finds the leader, registers the store, opens a stream for Region heartbeats that
//! takes what is there, and sends the store's heartbeats beside it. When the leader changes, it goes
//! to the next one and asks the node to report all its Regions again, since a new leader knows none.
//! A leader that was deposed ends the stream: one that leads again in a later term has forgotten all.
//!
//! **Invariants.** No call of the node blocks. What is kept is bounded by the number of Regions that
//! lead here. A refused report of a Region is logged and forgotten: a newer one follows. A refused
//! report of the store ends the stream: the store registers again.
//!
//! **What it learns.** With each leader, and every few seconds, it asks who placement's members are and where
//! the stores are, writes that into the address book, and has the node remember the members.
//!
//! **The way back.** What the leader of a Region has to do comes with the answer to its report or between
//! two; the node is handed it, and need not wait for anything.
//!
//! **Not here.** Doing it.

mod pending;

use crate::backoff::Backoff;
use crate::book::AddressBook;
use crate::inquiry::{dial, in_time, refusal, see, seen};
use crate::wire::{self, instruction};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use node::{Identity, Members, PlacementLink};
use parking_lot::Mutex;
use pending::Pending;
use placement::{RegionHeartbeat, RegionInstruction, SplitIds, Store, StoreStats};
use proto::pdpb::pd_client::PdClient;
use proto::pdpb::{
    AskBatchSplitRequest, GetAllStoresRequest, GetMembersRequest, GetStoreRequest, PutStoreRequest,
    RegionHeartbeatRequest, RegionHeartbeatResponse, ReportBatchSplitRequest, RequestHeader,
    ResponseHeader, StoreHeartbeatRequest,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tonic::Streaming;
use tonic::transport::Channel;
use types::{PeerId, Region, RegionId, StoreId};

/// How often the members and the stores' addresses are asked for.
const REFRESH: Duration = Duration::from_secs(5);
/// How often the node is asked whether the leader is still the same.
const LEADER_CHECK: Duration = Duration::from_millis(100);

/// What the link needs of its node.
pub struct LinkNode {
    /// Who the placement leader is, as far as the node knows: `NodeHandle::placement().leader()`.
    pub leader: Box<dyn Fn() -> Option<StoreId> + Send + Sync>,
    /// Tells the node who the placement leader is, in case that it does not know by itself:
    /// `NodeHandle::placement().tell_leader()`.
    pub tell_leader: Box<dyn Fn(Option<StoreId>) + Send + Sync>,
    /// Remembers placement's members for the next start: `NodeHandle::remember_members`. It may
    /// wait for the disk, since members hardly ever change.
    pub remember: Box<dyn Fn(Members) + Send + Sync>,
    /// Makes all leaders on this store report: `NodeHandle::report_all`.
    pub report_all: Box<dyn Fn() + Send + Sync>,
    /// Completes the store's report with what the node does not know: the disk, the start time.
    pub complete: Box<dyn Fn(StoreStats) -> StoreStats + Send + Sync>,
    /// Has the leader of a Region on this store do something. It does not block, and may do nothing:
    /// what is left to do is told again.
    pub instruct: Box<dyn Fn(RegionInstruction) + Send + Sync>,
}

/// The link of one node. Clones are the same link.
#[derive(Clone)]
pub struct PdLink {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    book: AddressBook,
    /// What the node was told to remember last.
    remembered: Mutex<Option<Members>>,
    /// The last attempt to report to whom the node took for the leader has failed.
    doubts: AtomicBool,
    /// What the store registers as.
    store: Store,
    pending: Mutex<Pending>,
    /// A store's heartbeat is there.
    store_report: Notify,
    /// A split is there.
    split: Notify,
    /// There is another leader to learn from.
    opened: Notify,
    /// To the leader that is reported to.
    client: Mutex<Option<PdClient<Channel>>>,
}

/// An open stream of Region heartbeats to one leader.
struct Session {
    leader: StoreId,
    client: PdClient<Channel>,
    answers: Streaming<RegionHeartbeatResponse>,
}

impl PdLink {
    /// A link that keeps reports until [`Self::run`] sends them.
    pub fn new(identity: Identity, book: AddressBook, store: Store) -> Self {
        let shared = Shared {
            identity,
            book,
            remembered: Mutex::default(),
            doubts: AtomicBool::new(false),
            store,
            pending: Mutex::default(),
            store_report: Notify::new(),
            split: Notify::new(),
            opened: Notify::new(),
            client: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Sends reports, and learns of members and stores, for as long as it is polled.
    pub async fn run(self, node: LinkNode) {
        tokio::join!(self.shared.send_reports(&node), self.shared.learn(&node));
    }

    /// Where a store is, as placement knows it. An error says why there is no answer.
    pub(crate) fn store_address(
        &self,
        store: StoreId,
    ) -> BoxFuture<'static, Result<String, String>> {
        let shared = Arc::clone(&self.shared);
        async move { shared.store_address(store).await }.boxed()
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

    fn split_done(&self, parts: Vec<Region>) {
        self.shared.pending.lock().put_split(parts);
        self.shared.split.notify_one();
    }

    fn ask_split(
        &self,
        region: Region,
        parts: usize,
    ) -> BoxFuture<'static, Result<Vec<SplitIds>, String>> {
        let shared = Arc::clone(&self.shared);
        async move { shared.ask_split(&region, parts).await }.boxed()
    }
}

impl Shared {
    fn header(&self) -> RequestHeader {
        RequestHeader {
            cluster_id: self.identity.cluster_id.get(),
            sender_id: self.identity.store_id.get(),
        }
    }

    /// Reports to one leader after the other.
    async fn send_reports(self: &Arc<Self>, node: &LinkNode) {
        let mut backoff = Backoff::new();
        let mut said = String::new();
        loop {
            let opened = self.open(node).await;
            let is_new_doubt = opened.is_err() && !self.doubts.load(Ordering::Relaxed);
            self.doubts.store(is_new_doubt, Ordering::Relaxed);
            let ended = match opened {
                Ok(session) => {
                    backoff.reset();
                    said.clear();
                    self.report(session, node).await
                }
                Err(reason) => Err(reason),
            };
            *self.client.lock() = None;
            (node.tell_leader)(None);
            if let Err(reason) = ended {
                if said != reason {
                    tracing::warn!(%reason, "no reports to the placement driver");
                    said = reason;
                }
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }

    /// Asks each leader who the members are and where the stores are, now and then.
    async fn learn(&self, node: &LinkNode) {
        loop {
            // It is as good to be woken in vain.
            let _ = tokio::time::timeout(REFRESH, self.opened.notified()).await;
            let client = self.client.lock().clone();
            if let Some(client) = client
                && let Err(reason) = self.refresh(client, node).await
            {
                tracing::debug!(%reason, "nothing learned of members and stores");
            }
        }
    }

    /// Connects to the placement leader: to whom the node takes for it, or, if that has just failed, to
    /// whom the first member names that knows one which can be reached.
    async fn reach_leader(&self, node: &LinkNode) -> Result<(StoreId, PdClient<Channel>), String> {
        let known = (node.leader)();
        if let Some(leader) = known
            && !self.doubts.load(Ordering::Relaxed)
            && let Some(address) = self.book.address(leader)
            && let Ok(client) = dial(&address).await
        {
            return Ok((leader, client));
        }
        let mut reason = "no placement leader is known".to_owned();
        for address in self.book.entrances() {
            let Ok(seen) = see(&address).await else {
                continue;
            };
            let (theirs, ours) = (seen.cluster_id, self.identity.cluster_id);
            if theirs != ours {
                reason = format!("the node at {address} is of cluster {theirs}, not {ours}");
                continue;
            }
            if let Some(leader) = seen.leader {
                match dial(&leader.address).await {
                    Ok(client) => return Ok((leader.store_id, client)),
                    Err(failed) => reason = failed,
                }
            }
        }
        let address = known.and_then(|leader| self.book.address(leader));
        match (known, address) {
            (Some(leader), Some(address)) => Ok((leader, dial(&address).await?)),
            _ => Err(reason),
        }
    }

    /// Finds the leader, registers the store, and opens the stream for Region heartbeats.
    async fn open(self: &Arc<Self>, node: &LinkNode) -> Result<Session, String> {
        let (leader, mut client) = self.reach_leader(node).await?;
        (node.tell_leader)(Some(leader));
        self.register(&mut client).await?;
        let reports = Arc::clone(self).region_reports();
        let answers = in_time("opening the stream", client.region_heartbeat(reports)).await?;
        *self.client.lock() = Some(client.clone());
        self.opened.notify_one();
        self.split.notify_one();
        tracing::info!(%leader, "reporting to the placement leader");
        (node.report_all)();
        Ok(Session {
            leader,
            client,
            answers: answers.into_inner(),
        })
    }

    /// Learns who the members are, and where all stores are.
    async fn refresh(&self, mut client: PdClient<Channel>, node: &LinkNode) -> Result<(), String> {
        let request = GetMembersRequest {
            header: Some(self.header()),
        };
        let response = in_time("asking for the members", client.get_members(request)).await?;
        if let Some(members) = seen(response).members {
            self.book.set_members(members);
        }
        let request = GetAllStoresRequest {
            header: Some(self.header()),
            exclude_tombstone_stores: true,
        };
        let response = in_time("asking for the stores", client.get_all_stores(request)).await?;
        for store in response.into_inner().stores {
            self.book.learn(StoreId(store.id), &store.address);
        }
        let members = self.book.members();
        let mut remembered = self.remembered.lock();
        if remembered.as_ref() != Some(&members) {
            *remembered = Some(members.clone());
            (node.remember)(members);
        }
        Ok(())
    }

    async fn store_address(&self, store: StoreId) -> Result<String, String> {
        let client = self.client.lock().clone();
        let mut client = client.ok_or("no placement leader is known")?;
        let request = GetStoreRequest {
            header: Some(self.header()),
            store_id: store.get(),
        };
        let response = in_time("asking for a store", client.get_store(request)).await?;
        let response = response.into_inner();
        if let Some(reason) = refusal(response.header.as_ref()) {
            return Err(reason.to_owned());
        }
        let store = response.store.ok_or("no store in the answer")?;
        Ok(store.address)
    }

    /// Reports to one leader until another one leads. An error says why it ended otherwise.
    async fn report(&self, session: Session, node: &LinkNode) -> Result<(), String> {
        let Session {
            leader,
            mut client,
            mut answers,
        } = session;
        let mut check = tokio::time::interval(LEADER_CHECK);
        loop {
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => hear(answer, node),
                    Ok(None) => return Err("the placement leader ended the stream".to_owned()),
                    Err(status) => return Err(status.message().to_owned()),
                },
                () = self.store_report.notified() => self.report_store(&mut client, node).await?,
                () = self.split.notified() => self.report_splits(&mut client).await?,
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
        let response = in_time("registering the store", client.put_store(request)).await?;
        accepted(response.get_ref().header.as_ref())
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
        failpoint::at!("server::link::store_heartbeat");
        let call = client.store_heartbeat(request);
        let response = in_time("the store's heartbeat", call).await?;
        // A leader that does not know the store, or has it otherwise, is told anew who it is.
        accepted(response.get_ref().header.as_ref())
    }

    /// Tells of the splits that are there. One that can't be told stays for the next leader.
    async fn report_splits(&self, client: &mut PdClient<Channel>) -> Result<(), String> {
        loop {
            let Some(parts) = self.pending.lock().split() else {
                return Ok(());
            };
            let request = ReportBatchSplitRequest {
                header: Some(self.header()),
                regions: parts.iter().map(Into::into).collect(),
            };
            let response =
                in_time("telling of a split", client.report_batch_split(request)).await?;
            if let Some(reason) = refusal(response.get_ref().header.as_ref()) {
                tracing::info!(reason, "a split is not taken");
            }
            let reader = self.pending.lock().split_told();
            if let Some(reader) = reader {
                reader.wake();
            }
        }
    }

    async fn ask_split(&self, region: &Region, parts: usize) -> Result<Vec<SplitIds>, String> {
        let client = self.client.lock().clone();
        let mut client = client.ok_or("no placement leader is known")?;
        let request = AskBatchSplitRequest {
            header: Some(self.header()),
            region: Some(region.into()),
            split_count: u32::try_from(parts).unwrap_or(u32::MAX),
        };
        let call = client.ask_batch_split(request);
        let response = in_time("asking for the ids of a split", call).await?;
        let response = response.into_inner();
        if let Some(reason) = refusal(response.header.as_ref()) {
            return Err(reason.to_owned());
        }
        let ids = response.ids.into_iter().map(|ids| SplitIds {
            region_id: RegionId(ids.new_region_id),
            peer_ids: ids.new_peer_ids.into_iter().map(PeerId).collect(),
        });
        let ids: Vec<_> = ids.collect();
        match ids.len() == parts {
            true => Ok(ids),
            false => Err(format!("{} ids came for {parts} Regions", ids.len())),
        }
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

fn accepted(header: Option<&ResponseHeader>) -> Result<(), String> {
    match refusal(header) {
        Some(reason) => Err(format!("the store is not accepted: {reason}")),
        None => Ok(()),
    }
}

fn hear(answer: RegionHeartbeatResponse, node: &LinkNode) {
    failpoint::at!("server::link::instruction", |_| ());
    let region = answer.region_id;
    if let Some(reason) = refusal(answer.header.as_ref()) {
        return tracing::info!(region, reason, "a Region heartbeat was refused");
    }
    match instruction::from_wire(answer) {
        Ok(Some(told)) => (node.instruct)(told),
        Ok(None) => {}
        Err(reason) => tracing::warn!(region, reason, "an instruction makes no sense"),
    }
}
