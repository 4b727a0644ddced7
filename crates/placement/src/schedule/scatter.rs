//! Regions are spread over all stores by request, before much is loaded into them at once: balance
//! would come only after.
//!
//! **How.** For each group of requests it is counted how many replicas and leaders of it each store was
//! given; a Region goes where there are fewest.
//!
//! **Invariants.** The groups that are remembered are bounded: the oldest is forgotten.

use crate::cluster::Cluster;
use crate::ids::PeerIds;
use crate::observed::RegionSeen;
use crate::operator::{Operator, OperatorKind, OperatorStep};
use crate::plan;
use std::collections::{BTreeMap, VecDeque};
use types::StoreId;

const GROUPS_MAX: usize = 64;

/// What each store was given, group by group.
#[derive(Debug, Default)]
pub(crate) struct Groups(VecDeque<(String, Given)>);

#[derive(Debug, Default)]
struct Given {
    replicas: BTreeMap<StoreId, u64>,
    leaders: BTreeMap<StoreId, u64>,
}

impl Groups {
    fn group(&mut self, name: &str) -> &mut Given {
        let at = match self.0.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                if self.0.len() == GROUPS_MAX {
                    self.0.pop_front();
                }
                self.0.push_back((name.to_owned(), Given::default()));
                self.0.len() - 1
            }
        };
        &mut self.0[at].1
    }
}

/// An operator that scatters a Region of a group, and none if it is well where it is.
pub(crate) fn scatter(
    cluster: &Cluster<'_>,
    ids: &mut PeerIds<'_>,
    groups: &mut Groups,
    seen: &RegionSeen,
    group: &str,
) -> Option<Operator> {
    let given = groups.group(group);
    let count = |counts: &BTreeMap<StoreId, u64>, store| counts.get(&store).copied().unwrap_or(0);
    let mut wanted: Vec<StoreId> = Vec::new();
    for peer in &seen.region.peers {
        let here = peer.store_id;
        let others: Vec<StoreId> = seen
            .region
            .peers
            .iter()
            .map(|other| other.store_id)
            .filter(|other| *other != here)
            .chain(wanted.iter().copied())
            .collect();
        let isolation = cluster.isolation(here, &others);
        let stores = cluster.health.stores().filter(|store| {
            let is_free = !others.contains(&store.id);
            is_free && (store.id == here || cluster.can_receive(store))
        });
        let ids = stores.map(|store| store.id);
        let apart = ids.filter(|store| cluster.isolation(*store, &others) >= isolation);
        let rank = |store: &StoreId| (count(&given.replicas, *store), *store != here, *store);
        wanted.push(apart.min_by_key(rank).unwrap_or(here));
    }
    let able = wanted.iter().filter(|store| cluster.can_lead(**store));
    let rank = |store: &&StoreId| (count(&given.leaders, **store), **store);
    let leader = able.min_by_key(rank).copied();
    for store in &wanted {
        *given.replicas.entry(*store).or_default() += 1;
    }
    if let Some(leader) = leader {
        *given.leaders.entry(leader).or_default() += 1;
    }
    let mut steps = plan::steps(cluster, ids, seen, &wanted)?;
    let leads = steps.iter().rev().find_map(|step| match step {
        OperatorStep::TransferLeader { to } => Some(*to),
        _ => None,
    });
    let leads = leads.unwrap_or(seen.leader().store_id);
    let to = leader.filter(|leader| *leader != leads);
    steps.extend(to.map(|to| OperatorStep::TransferLeader { to }));
    if steps.is_empty() {
        return None;
    }
    let now = cluster.health.now;
    Some(Operator::new(
        now,
        seen,
        OperatorKind::Admin,
        "scatter-region",
        steps,
    ))
}
