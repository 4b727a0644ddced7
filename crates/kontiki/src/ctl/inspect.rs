//! `ctl store`, `ctl region`, `ctl member`: what the cluster is made of, as placement sees it, and
//! changes of it.

use super::encoding::Encoding;
use super::output::Printer;
use crate::error::{Error, Result};
use client::Client;
use serde_json::{Value, json};
use types::{Peer, PeerRole, Region};

/// Prints the stores, or the one with this id.
pub async fn stores(client: &Client, id: Option<u64>, printer: &mut Printer) -> Result<()> {
    let stores = client.stores().await?;
    let mut found = false;
    for store in stores
        .iter()
        .filter(|store| id.is_none_or(|id| store.id.get() == id))
    {
        found = true;
        printer.line(&[
            ("id", json!(store.id.get())),
            ("address", json!(store.address)),
            ("state", json!(store.state)),
            ("version", json!(store.version)),
        ])?;
    }
    require(found, id, "store")
}

/// Prints the Regions in the order of their keys, or the one with this id.
pub async fn regions(client: &Client, id: Option<u64>, printer: &mut Printer) -> Result<()> {
    let regions = client.regions().await?;
    let mut found = false;
    for info in regions
        .iter()
        .filter(|info| id.is_none_or(|id| info.region.id.get() == id))
    {
        found = true;
        let leader = info.leader.as_ref().map_or(Value::Null, peer);
        let mut fields = shape(&info.region);
        fields.push(("leader", leader));
        printer.line(&fields)?;
    }
    require(found, id, "Region")
}

/// Cuts the Region of a key there, and prints what it became.
pub async fn split(
    client: &Client,
    key: &str,
    encoding: Encoding,
    printer: &mut Printer,
) -> Result<()> {
    let decoded = encoding.decode(key.as_bytes());
    let decoded = decoded.map_err(|error| Error::Usage(format!("`{key}`: {error}")))?;
    for region in client.split_region(&decoded).await? {
        printer.line(&shape(&region))?;
    }
    Ok(())
}

/// Bounds are keys as placement has them, not as the user wrote them: always escaped.
fn shape(region: &Region) -> Vec<(&'static str, Value)> {
    let bound = |key: &[u8]| json!(Encoding::Escaped.encode(key));
    let epoch = format!("{}.{}", region.epoch.conf_ver, region.epoch.version);
    vec![
        ("id", json!(region.id.get())),
        ("start", bound(&region.range.start)),
        ("end", bound(&region.range.end)),
        ("epoch", json!(epoch)),
        ("peers", region.peers.iter().map(peer).collect()),
    ]
}

/// `peer@store`, and the role if it is no voter.
fn peer(peer: &Peer) -> Value {
    let role = match peer.role {
        PeerRole::Voter => "",
        PeerRole::Learner => " learner",
        PeerRole::IncomingVoter => " incoming",
        PeerRole::DemotingVoter => " demoting",
    };
    json!(format!("{}@{}{role}", peer.id, peer.store_id))
}

fn require(found: bool, id: Option<u64>, what: &str) -> Result<()> {
    match id {
        Some(id) if !found => Err(Error::Incomplete(format!("there is no {what} {id}"))),
        _ => Ok(()),
    }
}

/// Prints placement's members.
pub async fn members(client: &Client, printer: &mut Printer) -> Result<()> {
    let members = client.members().await?;
    for member in &members.members {
        let leads = members
            .leader
            .as_ref()
            .is_some_and(|leader| leader.id == member.id);
        printer.line(&[
            ("id", json!(member.id)),
            ("name", json!(member.name)),
            ("urls", json!(member.client_urls)),
            ("role", json!(if leads { "leader" } else { "follower" })),
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{PeerId, StoreId};

    #[test]
    fn a_peer_is_printed_with_its_store_and_its_role_if_it_is_no_voter() {
        let voter = Peer {
            id: PeerId(7),
            store_id: StoreId(2),
            role: PeerRole::Voter,
        };
        assert_eq!(peer(&voter), "7@2");
        let learner = Peer {
            role: PeerRole::Learner,
            ..voter
        };
        assert_eq!(peer(&learner), "7@2 learner");
    }

    #[test]
    fn only_an_id_that_was_asked_for_can_be_missing() {
        assert!(require(false, Some(1), "store").is_err());
        assert!(require(true, Some(1), "store").is_ok());
        assert!(require(false, None, "store").is_ok());
    }
}
