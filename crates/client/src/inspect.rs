//! The cluster as placement sees it, and changes of it, for `kontiki ctl`.

use crate::admin::Admin;
use crate::raw::Client;
use crate::{Error, Result};
use bytes::Bytes;
use proto::kvrpcpb::SplitRegionRequest;
use proto::{metapb, pdpb};
use types::{KeyMode, Peer, Region, StoreId};

/// One member of the placement driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u64,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// The members of the placement driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// All of them.
    pub members: Vec<Member>,
    /// The one that leads, if any.
    pub leader: Option<Member>,
}

/// One store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its id.
    pub id: StoreId,
    /// Where it listens.
    pub address: String,
    /// Where its status server listens; empty if it has none.
    pub status_address: String,
    /// The version of its program.
    pub version: String,
    /// Its state, as the protocol names it.
    pub state: &'static str,
}

/// One Region and who leads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// The Region.
    pub region: Region,
    /// Its leader, if placement knows it.
    pub leader: Option<Peer>,
}

/// Regions of one request.
const PAGE: i32 = 1_024;

impl Client {
    /// The routes by which placement is steered.
    pub fn admin(&self) -> Admin<'_> {
        Admin(&self.0)
    }

    /// A user's key as Regions' bounds are written.
    ///
    /// # Errors
    /// It is no key of this API version.
    pub fn region_key(&self, key: &[u8]) -> Result<Vec<u8>> {
        let stored = self.0.stored_key(key);
        let version = self.0.config.api_version;
        Ok(version.region_key(KeyMode::Raw, &stored)?)
    }

    /// Cuts the Region of a key there; the Regions that it became. A key at which a Region begins
    /// already changes nothing.
    pub async fn split_region(&self, key: &[u8]) -> Result<Vec<Region>> {
        self.split_region_at(&[key]).await
    }

    /// Cuts the Region of the first key at all keys, which are in it; the Regions that it became.
    pub async fn split_region_at(&self, keys: &[&[u8]]) -> Result<Vec<Region>> {
        let split_keys: Vec<_> = keys.iter().map(|key| self.0.stored_key(key)).collect();
        let Some(key) = split_keys.first().cloned() else {
            return Ok(Vec::new());
        };
        let request = SplitRegionRequest {
            split_keys,
            is_raw_kv: true,
            ..Default::default()
        };
        let response = self.0.single(&key, request).await?;
        let regions = response.regions.into_iter().map(Region::try_from);
        let regions: std::result::Result<_, _> = regions.collect();
        regions.map_err(|invalid| Error::Protocol(invalid.to_string()))
    }

    /// The placement driver's members, as the first of them that answers knows them.
    pub async fn members(&self) -> Result<Members> {
        let response = self.0.pd.members().await?;
        let leader = response.leader.map(member);
        Ok(Members {
            members: response.members.into_iter().map(member).collect(),
            leader,
        })
    }

    /// All stores.
    pub async fn stores(&self) -> Result<Vec<Store>> {
        Ok(self.0.pd.stores().await?.into_iter().map(store).collect())
    }

    /// All Regions of the clients' key space, in the order of their ranges.
    pub async fn regions(&self) -> Result<Vec<RegionInfo>> {
        let mut regions: Vec<RegionInfo> = Vec::new();
        let mut start = Bytes::new();
        loop {
            let page = self.0.pd.scan_regions(start.clone(), PAGE).await?;
            let full = page.len() >= PAGE as usize;
            regions.extend(page.into_iter().filter_map(region));
            let Some(last) = regions.last() else {
                return Ok(regions);
            };
            let end = Bytes::copy_from_slice(&last.region.range.end);
            // Regions tile the key space: an end that does not advance would be asked for for ever.
            if !full || end.is_empty() || end <= start {
                return Ok(regions);
            }
            start = end;
        }
    }
}

fn member(member: pdpb::Member) -> Member {
    Member {
        name: member.name,
        id: member.member_id,
        client_urls: member.client_urls,
    }
}

fn store(store: metapb::Store) -> Store {
    let state = store.state().as_str_name();
    Store {
        id: StoreId(store.id),
        address: store.address,
        status_address: store.status_address,
        version: store.version,
        state,
    }
}

/// `None` for what is no Region at all.
fn region(region: pdpb::Region) -> Option<RegionInfo> {
    let leader = region
        .leader
        .filter(|leader| leader.id != 0)
        .map(Into::into);
    Some(RegionInfo {
        region: region.region?.try_into().ok()?,
        leader,
    })
}
