//! `ctl region`: the Regions as placement sees them; splitting and scattering them, comparing their replicas.
//!
//! **Keys.** Arguments are a user's keys. Bounds are printed as placement has them, always escaped: under
//! API V2 they are encoded, and not what the user wrote.
//!
//! **Not here.** Operators on single Regions (`operator`); how a comparison is printed (`consistency`).

use super::encoding::Encoding;
use super::session::Session;
use super::table::{Cell, Row, at, items};
use super::{consistency, files};
use crate::config::units::ReadableDuration;
use crate::error::{Error, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use types::{Peer, PeerRole, Region};

/// Regions of one request.
const PAGE: u64 = 1_024;

/// Arguments of `kontiki ctl region`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RegionArgs {
    /// Its id; all Regions if not given.
    #[arg(conflicts_with_all = ["start", "end", "limit"])]
    pub id: Option<u64>,
    /// From the Region of this key on.
    #[arg(long, value_name = "KEY")]
    pub start: Option<String>,
    /// Up to this key, itself not included.
    #[arg(long, value_name = "KEY")]
    pub end: Option<String>,
    /// The most Regions; all if not given.
    #[arg(long)]
    pub limit: Option<u64>,
    /// What to look for or to do.
    #[command(subcommand)]
    pub command: Option<RegionCommand>,
}

/// The commands of `kontiki ctl region`.
#[derive(Debug, Subcommand)]
pub enum RegionCommand {
    /// The Region that owns a key.
    Key {
        /// The key.
        key: String,
    },
    /// The Regions that are not as they should be.
    Check {
        /// In which way.
        kind: CheckKind,
    },
    /// Compare the replicas of a Region; the exit code is 1 if they differ.
    CheckConsistency {
        /// Its id.
        id: u64,
        /// How long it may take: every replica reads all that it holds, at a bounded rate.
        #[arg(long, default_value = "15m", value_name = "DURATION")]
        within: ReadableDuration,
    },
    /// How the replicas of a Region stand: log, files, what was removed and still takes room.
    Properties {
        /// Its id.
        id: u64,
    },
    /// Cut the Region of a key there, and print the Regions that it became.
    Split {
        /// The first key of the new Region.
        key: String,
    },
    /// Spread Regions over all stores.
    Scatter {
        /// Their ids.
        #[arg(required = true)]
        ids: Vec<u64>,
        /// Regions of one group are spread evenly, also over several commands.
        #[arg(long, default_value = "")]
        group: String,
    },
}

/// What `ctl region check` looks for; the names are those of placement's route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckKind {
    /// Fewer voters than there should be.
    MissPeer,
    /// More voters than there should be.
    ExtraPeer,
    /// A replica that its leader has not heard of for long.
    DownPeer,
    /// A replica that is catching up.
    PendingPeer,
    /// A learner.
    LearnerPeer,
    /// A replica on a store that is drained or has left.
    OfflinePeer,
    /// A replica that holds something else than most, and serves nobody.
    QuarantinedPeer,
    /// Next to no data.
    EmptyRegion,
}

impl CheckKind {
    fn name(self) -> &'static str {
        match self {
            CheckKind::MissPeer => "miss-peer",
            CheckKind::ExtraPeer => "extra-peer",
            CheckKind::DownPeer => "down-peer",
            CheckKind::PendingPeer => "pending-peer",
            CheckKind::LearnerPeer => "learner-peer",
            CheckKind::OfflinePeer => "offline-peer",
            CheckKind::QuarantinedPeer => "quarantined-peer",
            CheckKind::EmptyRegion => "empty-region",
        }
    }
}

/// Does it.
pub async fn run(session: &mut Session<'_>, args: RegionArgs) -> Result<()> {
    let rows = match (&args.command, args.id) {
        (None, Some(id)) => vec![row(&session.get(&format!("/region/id/{id}")).await?)],
        (None, None) => range(session, &args).await?,
        (Some(RegionCommand::Key { key }), _) => {
            let path = format!("/region/key/{}?format=hex", session.bound(key)?);
            vec![row(&session.get(&path).await?)]
        }
        (Some(RegionCommand::Check { kind }), _) => {
            let path = format!("/regions/check/{}", kind.name());
            rows(&session.get(&path).await?)
        }
        (Some(RegionCommand::CheckConsistency { id, within }), _) => {
            return consistency::check(session, *id, *within).await;
        }
        (Some(RegionCommand::Split { key }), _) => {
            let key = session.key(key)?;
            let regions = session.client.split_region(&key).await?;
            regions.iter().map(shape).collect()
        }
        (Some(RegionCommand::Properties { id }), _) => {
            return files::properties(session, *id).await;
        }
        (Some(RegionCommand::Scatter { ids, group }), _) => {
            return scatter(session, ids, group).await;
        }
    };
    session.printer.table(&rows)
}

/// The Regions of a range, asked for a page at a time.
async fn range(session: &Session<'_>, args: &RegionArgs) -> Result<Vec<Row>> {
    // In capitals, as placement writes them: pages are compared.
    let bound = |key: &Option<String>| match key {
        Some(key) => session.bound(key).map(|key| key.to_uppercase()),
        None => Ok(String::new()),
    };
    let (mut start, end) = (bound(&args.start)?, bound(&args.end)?);
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut found = Vec::new();
    while left > 0 {
        let limit = left.min(PAGE);
        let path = format!("/regions/key?key={start}&end_key={end}&limit={limit}&format=hex");
        let page = session.get(&path).await?;
        let regions = items(at(&page, "/regions"));
        found.extend(regions.iter().map(row));
        left -= (regions.len() as u64).min(left);
        let last = regions.last().map(|region| &region["end_key"]);
        let next = last.and_then(Value::as_str).unwrap_or_default();
        // Regions tile the key space: an end that does not advance would be asked for for ever.
        if (regions.len() as u64) < limit || next.is_empty() || next <= start.as_str() {
            break;
        }
        next.clone_into(&mut start);
    }
    Ok(found)
}

async fn scatter(session: &mut Session<'_>, ids: &[u64], group: &str) -> Result<()> {
    let body = json!({ "regions_id": ids, "group": group });
    let answer = session.post("/regions/scatter", &body).await?;
    let failures = items(at(&answer, "/failures"));
    let reason = |failure: &Value| failure["error"].as_str().map(str::to_owned);
    let reasons: Vec<String> = failures.iter().filter_map(reason).collect();
    let begun = ids.len() - failures.len().min(ids.len());
    session.done(&format!("{begun} of {} Regions are scattered", ids.len()))?;
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Error::Incomplete(reasons.join("; "))),
    }
}

fn rows(answer: &Value) -> Vec<Row> {
    items(at(answer, "/regions")).iter().map(row).collect()
}

/// A Region from placement's HTTP routes.
fn row(region: &Value) -> Row {
    let key = |name: &str| {
        let hex = region[name].as_str().unwrap_or_default();
        let key = Encoding::Hex.decode(hex.as_bytes()).unwrap_or_default();
        Encoding::Escaped.encode(&key)
    };
    let epoch = at(region, "/epoch");
    let epoch = format!("{}.{}", epoch["conf_ver"], epoch["version"]);
    let peers = |name: &str| {
        items(at(region, name))
            .iter()
            .map(peer_of)
            .collect::<Value>()
    };
    let leader = at(region, "/leader");
    vec![
        Cell::new("id", region["id"].clone()),
        Cell::new("start", key("start_key")),
        Cell::new("end", key("end_key")),
        Cell::new("epoch", epoch),
        Cell::new("peers", peers("/peers")),
        Cell::new("leader", (!leader.is_null()).then(|| peer_of(leader))),
        Cell::bytes("size_bytes", &region["approximate_size_bytes"]),
        Cell::new("keys", region["approximate_keys"].clone()),
        Cell::new("down", peers("/down_peers")),
        Cell::new("pending", peers("/pending_peers")),
        Cell::new("quarantined", peers("/quarantined_peers")),
    ]
}

pub(super) fn peer_of(peer: &Value) -> String {
    let role = match peer["role_name"].as_str() {
        None | Some("Voter") => "",
        Some("Learner") => " learner",
        Some("IncomingVoter") => " incoming",
        Some(_) => " demoting",
    };
    format!("{}@{}{role}", peer["id"], peer["store_id"])
}

/// A Region as a store has split it, before placement has heard of it.
fn shape(region: &Region) -> Row {
    let bound = |key: &[u8]| Encoding::Escaped.encode(key);
    let epoch = format!("{}.{}", region.epoch.conf_ver, region.epoch.version);
    vec![
        Cell::new("id", region.id.get()),
        Cell::new("start", bound(&region.range.start)),
        Cell::new("end", bound(&region.range.end)),
        Cell::new("epoch", epoch),
        Cell::new("peers", region.peers.iter().map(peer).collect::<Value>()),
    ]
}

/// `peer@store`, and the role if it is no voter.
pub(super) fn peer(peer: &Peer) -> String {
    let role = match peer.role {
        PeerRole::Voter => "",
        PeerRole::Learner => " learner",
        PeerRole::IncomingVoter => " incoming",
        PeerRole::DemotingVoter => " demoting",
    };
    format!("{}@{}{role}", peer.id, peer.store_id)
}

#[cfg(test)]
mod tests {
    use super::super::table;
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
        let of = |role: &str| peer_of(&json!({ "id": 7, "store_id": 2, "role_name": role }));
        assert_eq!([of("Voter"), of("Learner")], ["7@2", "7@2 learner"]);
    }

    #[test]
    fn a_region_is_a_row_whose_bounds_can_be_pasted() {
        let peer = json!({ "id": 7, "store_id": 2, "role_name": "Voter" });
        let region = json!({
            "id": 9, "start_key": "610A", "end_key": "",
            "epoch": { "conf_ver": 3, "version": 4 },
            "peers": [peer], "leader": null, "down_peers": [peer], "pending_peers": [],
            "quarantined_peers": [peer],
            "approximate_size_bytes": 2048, "approximate_keys": 5,
        });
        let lines = table::lines(&[row(&region)]);
        let cells: Vec<&str> = lines[1].split_whitespace().collect();
        let expected = [
            "9", "a\\n", "-", "3.4", "7@2", "-", "2.0KiB", "5", "7@2", "-", "7@2",
        ];
        assert_eq!(cells, expected);
    }

    #[test]
    fn checks_have_the_names_that_placement_knows() {
        for kind in CheckKind::value_variants() {
            let parsed = placement::RegionCheck::parse(kind.name());
            assert!(parsed.is_some(), "{kind:?}");
            let shown = kind.to_possible_value().unwrap();
            assert_eq!(shown.get_name(), kind.name());
        }
    }
}
