//! The placement driver as its clients see it: members, one of which leads, and who owns which key.
//!
//! **Invariants.** All answers come from members of one cluster. A question that the leader does not
//! answer is put to whoever leads next, until the budget is spent.
//!
//! **Not here.** A cache of the answers (`routes`).

use crate::channels::{channel, url};
use crate::config::Config;
use crate::retry::{Budget, Failure, status_failure};
use crate::routes::Route;
use crate::{Error, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use proto::keyspacepb::LoadKeyspaceRequest;
use proto::keyspacepb::keyspace_client::KeyspaceClient;
use proto::pdpb::pd_client::PdClient;
use proto::{metapb, pdpb};
use std::collections::HashMap;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Response, Status};
use types::{KeyspaceId, Region, StoreId};

/// A link to the placement driver's leader.
pub(crate) struct Pd {
    config: Config,
    cluster_id: u64,
    /// Where members may be found, each URL once: what the user gave, and what members said since.
    endpoints: Mutex<Vec<String>>,
    leader: Mutex<Channel>,
    addresses: Mutex<HashMap<StoreId, String>>,
}

/// A response with the header that all of them carry.
pub(crate) trait Headed {
    fn header(&self) -> Option<&pdpb::ResponseHeader>;
}

macro_rules! headed {
    ($($response:path),* $(,)?) => {
        $(impl Headed for $response {
            fn header(&self) -> Option<&pdpb::ResponseHeader> {
                self.header.as_ref()
            }
        })*
    };
}

headed!(
    pdpb::GetMembersResponse,
    pdpb::GetRegionResponse,
    pdpb::GetStoreResponse,
    pdpb::GetAllStoresResponse,
    pdpb::ScanRegionsResponse,
    proto::keyspacepb::LoadKeyspaceResponse,
);

impl Pd {
    /// Finds the leader through the first endpoint that knows it, as soon as one does.
    pub(crate) async fn connect(
        endpoints: &[String],
        config: Config,
        budget: &mut Budget,
    ) -> Result<Pd> {
        let mut known = Vec::new();
        add_urls(&mut known, endpoints);
        loop {
            let members = find_members(&known, &config, None, budget).await?;
            let cluster_id = members
                .header
                .as_ref()
                .map_or(0, |header| header.cluster_id);
            let Some(leader) = leader_url(&members) else {
                let reason = "the placement members have no leader yet".to_owned();
                budget.pause(Duration::ZERO, reason).await?;
                continue;
            };
            let leader = open(leader, &config)?;
            return Ok(Pd {
                cluster_id,
                endpoints: Mutex::new(known),
                leader: Mutex::new(leader),
                addresses: Mutex::default(),
                config,
            });
        }
    }

    pub(crate) fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// The header of a request.
    pub(crate) fn header(&self) -> Option<pdpb::RequestHeader> {
        Some(pdpb::RequestHeader {
            cluster_id: self.cluster_id,
            sender_id: 0,
        })
    }

    /// Puts a question to the leader.
    pub(crate) async fn ask<T: Headed, F>(
        &self,
        budget: &mut Budget,
        question: impl Fn(Channel) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        loop {
            let leader = self.leader.lock().clone();
            let timeout = budget.attempt(self.config.attempt_timeout);
            let reason = match tokio::time::timeout(timeout, question(leader)).await {
                Ok(Ok(response)) => match complaint(response.get_ref()) {
                    None => return Ok(response.into_inner()),
                    Some(reason) if reason.contains("not leader") => reason,
                    Some(reason) => return Err(Error::Refused { reason }),
                },
                Ok(Err(status)) => match status_failure(&status) {
                    Failure::Fatal(error) => return Err(error),
                    _ => format!("the placement leader: {}", status.message()),
                },
                Err(_) => "the placement leader does not answer".to_owned(),
            };
            budget.pause(Duration::ZERO, reason).await?;
            self.find_leader(budget).await;
        }
    }

    /// The members, from the first that answers.
    pub(crate) async fn members(&self) -> Result<pdpb::GetMembersResponse> {
        let endpoints = self.endpoints.lock().clone();
        let mut budget = Budget::new(self.config.deadline);
        find_members(&endpoints, &self.config, Some(self.cluster_id), &mut budget).await
    }

    /// Where the leader is, as members say now. Another one is asked first at each `turn`: a store that
    /// has left the cluster may name a leader of the past for ever.
    pub(crate) async fn leader_url(&self, turn: usize, budget: &mut Budget) -> Result<String> {
        loop {
            let mut endpoints = self.endpoints.lock().clone();
            let first = turn % endpoints.len().max(1);
            endpoints.rotate_left(first);
            let cluster = Some(self.cluster_id);
            let members = find_members(&endpoints, &self.config, cluster, budget).await?;
            if let Some(url) = leader_url(&members) {
                return Ok(url.clone());
            }
            let reason = "the placement members have no leader".to_owned();
            budget.pause(Duration::ZERO, reason).await?;
        }
    }

    /// Looks once for a new leader; keeps the old one if nobody knows any.
    async fn find_leader(&self, budget: &Budget) {
        let endpoints = self.endpoints.lock().clone();
        let asked = ask_members(&endpoints, &self.config, Some(self.cluster_id), budget).await;
        let Ok(members) = asked else {
            // One that is silent may have used all the time up: the next search begins with another.
            self.endpoints.lock().rotate_left(1);
            return;
        };
        let Some(leader) = leader_url(&members) else {
            return;
        };
        let Ok(channel) = open(leader, &self.config) else {
            return;
        };
        *self.leader.lock() = channel;
        let urls = members.members.iter().flat_map(|m| &m.client_urls);
        add_urls(&mut self.endpoints.lock(), urls);
    }

    /// The Region that owns a Region key, with its leader.
    pub(crate) async fn region(&self, budget: &mut Budget, key: &[u8]) -> Result<Route> {
        loop {
            let request = pdpb::GetRegionRequest {
                header: self.header(),
                region_key: Bytes::copy_from_slice(key),
                ..Default::default()
            };
            let ask = |channel| {
                let request = request.clone();
                async move { PdClient::new(channel).get_region(request).await }
            };
            let response: pdpb::GetRegionResponse = self.ask(budget, ask).await?;
            let leader = response
                .leader
                .filter(|leader| leader.id != 0)
                .map(Into::into);
            match response.region.map(Region::try_from) {
                Some(Ok(region)) => {
                    if let Some(route) = Route::new(region, leader) {
                        return Ok(route);
                    }
                }
                Some(Err(invalid)) => return Err(Error::Protocol(invalid.to_string())),
                None => {}
            }
            let reason = "the placement driver knows no Region for the key".to_owned();
            budget.pause(Duration::ZERO, reason).await?;
        }
    }

    /// All Regions from a Region key on, a page at a time.
    pub(crate) async fn scan_regions(&self, start: Bytes, limit: i32) -> Result<Vec<pdpb::Region>> {
        let header = self.header();
        let request = pdpb::ScanRegionsRequest {
            header,
            start_key: start,
            limit,
            ..Default::default()
        };
        let ask = |channel| {
            let request = request.clone();
            async move { PdClient::new(channel).scan_regions(request).await }
        };
        let mut budget = Budget::new(self.config.deadline);
        let response: pdpb::ScanRegionsResponse = self.ask(&mut budget, ask).await?;
        Ok(response.regions)
    }

    /// All stores.
    pub(crate) async fn stores(&self) -> Result<Vec<metapb::Store>> {
        let request = pdpb::GetAllStoresRequest {
            header: self.header(),
            ..Default::default()
        };
        let ask = |channel| async move { PdClient::new(channel).get_all_stores(request).await };
        let mut budget = Budget::new(self.config.deadline);
        let response: pdpb::GetAllStoresResponse = self.ask(&mut budget, ask).await?;
        Ok(response.stores)
    }

    /// Where a store listens.
    pub(crate) async fn address(&self, budget: &mut Budget, store: StoreId) -> Result<String> {
        if let Some(address) = self.addresses.lock().get(&store) {
            return Ok(address.clone());
        }
        let request = pdpb::GetStoreRequest {
            header: self.header(),
            store_id: store.get(),
        };
        let ask = |channel| async move { PdClient::new(channel).get_store(request).await };
        let response: pdpb::GetStoreResponse = self.ask(budget, ask).await?;
        let address = response
            .store
            .map(|store| store.address)
            .unwrap_or_default();
        if address.is_empty() {
            return Err(Error::Protocol(format!("store {store} has no address")));
        }
        self.addresses.lock().insert(store, address.clone());
        Ok(address)
    }

    /// Forgets where a store listened.
    pub(crate) fn forget_address(&self, store: StoreId) {
        self.addresses.lock().remove(&store);
    }

    /// The id of a keyspace.
    pub(crate) async fn keyspace(&self, budget: &mut Budget, name: &str) -> Result<KeyspaceId> {
        let request = LoadKeyspaceRequest {
            header: self.header(),
            name: name.to_owned(),
        };
        let ask = |channel| {
            let request = request.clone();
            async move { KeyspaceClient::new(channel).load_keyspace(request).await }
        };
        let response: proto::keyspacepb::LoadKeyspaceResponse = self.ask(budget, ask).await?;
        let keyspace = response
            .keyspace
            .ok_or_else(|| Error::NoKeyspace(name.to_owned()))?;
        Ok(KeyspaceId::new(keyspace.id)?)
    }
}

/// The error in a response's header, if there is one or no header at all.
fn complaint(response: &impl Headed) -> Option<String> {
    match response.header() {
        None => Some("a response of the placement driver has no header".to_owned()),
        Some(header) => header.error.as_ref().map(|error| error.message.clone()),
    }
}

fn leader_url(members: &pdpb::GetMembersResponse) -> Option<&String> {
    members.leader.as_ref()?.client_urls.first()
}

fn open(url: &str, config: &Config) -> Result<Channel> {
    channel(url, config.attempt_timeout)
        .map_err(|error| Error::Protocol(format!("{url:?} is no address: {error}")))
}

/// Adds the addresses that are not there yet.
fn add_urls<'a>(known: &mut Vec<String>, addresses: impl IntoIterator<Item = &'a String>) {
    for url in addresses.into_iter().map(|address| url(address)) {
        if !known.contains(&url) {
            known.push(url);
        }
    }
}

/// Asks the endpoints again and again until one of them answers: a cluster may be about to start.
async fn find_members(
    endpoints: &[String],
    config: &Config,
    cluster: Option<u64>,
    budget: &mut Budget,
) -> Result<pdpb::GetMembersResponse> {
    loop {
        let asked = ask_members(endpoints, config, cluster, budget).await;
        let Err(Error::NoMember { last, .. }) = &asked else {
            return asked;
        };
        // Without an answer from anybody, that nobody answers says more than that time is up.
        if budget.pause(Duration::ZERO, last.clone()).await.is_err() {
            return asked;
        }
    }
}

/// Asks each endpoint once, in turn. One that knows a leader is preferred to one that does not.
async fn ask_members(
    endpoints: &[String],
    config: &Config,
    cluster: Option<u64>,
    budget: &Budget,
) -> Result<pdpb::GetMembersResponse> {
    let mut last = "none was asked".to_owned();
    let mut leaderless = None;
    for endpoint in endpoints {
        let timeout = budget.attempt(config.attempt_timeout);
        if timeout.is_zero() {
            break;
        }
        let mut client = PdClient::new(open(endpoint, config)?);
        let ask = client.get_members(pdpb::GetMembersRequest::default());
        let response = match tokio::time::timeout(timeout, ask).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                last = format!("{endpoint}: {}", status.message());
                continue;
            }
            Err(_) => {
                last = format!("{endpoint} does not answer");
                continue;
            }
        };
        if let Some(reason) = complaint(&response) {
            last = format!("{endpoint}: {reason}");
            continue;
        }
        let actual = response
            .header
            .as_ref()
            .map_or(0, |header| header.cluster_id);
        if let Some(expected) = cluster.filter(|&expected| expected != actual) {
            let endpoint = endpoint.clone();
            return Err(Error::ForeignMember {
                endpoint,
                actual,
                expected,
            });
        }
        if leader_url(&response).is_some() {
            return Ok(response);
        }
        leaderless.get_or_insert(response);
    }
    leaderless.ok_or_else(|| Error::NoMember {
        endpoints: endpoints.to_vec(),
        last,
    })
}
