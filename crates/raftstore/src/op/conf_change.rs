//! Change of membership: one Peer at once, or several through a joint configuration (Raft thesis §4.3).
//!
//! One change takes effect at its entry. Several make the configuration joint: voters to be have the
//! role [`PeerRole::IncomingVoter`], voters that were [`PeerRole::DemotingVoter`], and both old and new
//! majorities decide. The leader leaves it by itself, as soon as it has entered it.
//!
//! **Invariants.** One change is under way at a time. At most one Peer of a Region lives on a store. A
//! voter is demoted before it is removed in company of others. A leader neither removes nor demotes
//! itself: it transfers its leadership first, and so does a voter on its way out that won an election while
//! the configuration was joint. A change is refused if the voters after it that have the log are no majority.
//!
//! **Not here.** Which change is wise (`placement`).

use crate::admin::{PeerChange, PeerChangeKind};
use crate::error::RequestError;
use types::{Peer, PeerRole, Region};

/// The Region after these changes; without any, after it left its joint configuration.
///
/// # Errors
/// The changes don't fit the Region.
pub fn changed(region: &Region, changes: &[PeerChange]) -> Result<Region, RequestError> {
    let invalid = |reason| RequestError::InvalidChange {
        region_id: region.id,
        reason,
    };
    let mut changed = region.clone();
    if changes.is_empty() {
        let roles = leave_joint(&mut changed.peers);
        changed.epoch.conf_ver += roles;
        return match roles {
            0 => Err(invalid("it is in no joint configuration")),
            _ => Ok(changed),
        };
    }
    if is_joint(region) {
        return Err(invalid("it is in a joint configuration already"));
    }
    let is_several = changes.len() > 1;
    for (at, change) in changes.iter().enumerate() {
        let is_repeated = changes[..at].iter().any(|c| c.peer_id == change.peer_id);
        if is_repeated || change.peer_id.get() == 0 || change.store_id.get() == 0 {
            return Err(invalid("a change names no Peer, or one that another names"));
        }
        change_one(&mut changed.peers, *change, is_several).map_err(invalid)?;
    }
    if is_several && !is_joint(&changed) {
        return Err(invalid(
            "several changes, and none of them is one of voters",
        ));
    }
    if !changed.peers.iter().any(|peer| is_voter_after(peer.role)) {
        return Err(invalid("no voter would be left"));
    }
    changed.epoch.conf_ver += changes.len() as u64;
    Ok(changed)
}

/// Whether a change of several Peers is half done.
pub fn is_joint(region: &Region) -> bool {
    let roles = region.peers.iter().map(|peer| peer.role);
    roles
        .into_iter()
        .any(|role| matches!(role, PeerRole::IncomingVoter | PeerRole::DemotingVoter))
}

/// Whether a Peer in this role votes once no configuration is joint.
pub fn is_voter_after(role: PeerRole) -> bool {
    matches!(role, PeerRole::Voter | PeerRole::IncomingVoter)
}

fn leave_joint(peers: &mut [Peer]) -> u64 {
    let mut left = 0;
    for peer in peers {
        let role = match peer.role {
            PeerRole::IncomingVoter => PeerRole::Voter,
            PeerRole::DemotingVoter => PeerRole::Learner,
            PeerRole::Voter | PeerRole::Learner => continue,
        };
        peer.role = role;
        left += 1;
    }
    left
}

fn change_one(
    peers: &mut Vec<Peer>,
    change: PeerChange,
    is_joint: bool,
) -> Result<(), &'static str> {
    let voter = match is_joint {
        true => PeerRole::IncomingVoter,
        false => PeerRole::Voter,
    };
    let Some(at) = peers.iter().position(|peer| peer.id == change.peer_id) else {
        let role = match change.kind {
            PeerChangeKind::AddVoter => voter,
            PeerChangeKind::AddLearner => PeerRole::Learner,
            PeerChangeKind::Remove => return Err("the Peer to remove is not its"),
        };
        if peers.iter().any(|peer| peer.store_id == change.store_id) {
            return Err("there is a Peer on that store already");
        }
        peers.push(Peer {
            id: change.peer_id,
            store_id: change.store_id,
            role,
        });
        return Ok(());
    };
    let peer = &mut peers[at];
    if peer.store_id != change.store_id {
        return Err("the Peer is on another store");
    }
    match (change.kind, peer.role) {
        (PeerChangeKind::AddVoter, PeerRole::Learner) => peer.role = voter,
        (PeerChangeKind::AddLearner, PeerRole::Voter) => {
            peer.role = match is_joint {
                true => PeerRole::DemotingVoter,
                false => PeerRole::Learner,
            };
        }
        (PeerChangeKind::Remove, PeerRole::Voter) if is_joint => {
            return Err("a voter is demoted before it is removed in company of other changes");
        }
        (PeerChangeKind::Remove, _) => {
            peers.remove(at);
        }
        (PeerChangeKind::AddVoter | PeerChangeKind::AddLearner, _) => {
            return Err("the Peer has that role already");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use PeerChangeKind::*;
    use types::{Epoch, PeerId, RegionId, StoreId};

    fn peer(id: u64, role: PeerRole) -> Peer {
        Peer {
            id: PeerId(id),
            store_id: StoreId(id),
            role,
        }
    }

    fn region(roles: &[PeerRole]) -> Region {
        Region {
            id: RegionId(2),
            epoch: Epoch {
                conf_ver: 3,
                version: 7,
            },
            peers: (1..).zip(roles).map(|(id, role)| peer(id, *role)).collect(),
            ..Region::default()
        }
    }

    fn change(kind: PeerChangeKind, id: u64) -> PeerChange {
        PeerChange {
            kind,
            peer_id: PeerId(id),
            store_id: StoreId(id),
        }
    }

    fn roles(region: &Region) -> Vec<(u64, PeerRole)> {
        let peers = region.peers.iter();
        peers.map(|peer| (peer.id.get(), peer.role)).collect()
    }

    #[test]
    fn one_change_takes_effect_at_once() {
        use PeerRole::*;
        let added = changed(&region(&[Voter]), &[change(AddLearner, 2)]).unwrap();
        assert_eq!(roles(&added), [(1, Voter), (2, Learner)]);
        let promoted = changed(&added, &[change(AddVoter, 2)]).unwrap();
        assert_eq!(roles(&promoted), [(1, Voter), (2, Voter)]);
        let demoted = changed(&promoted, &[change(AddLearner, 1)]).unwrap();
        assert_eq!(roles(&demoted), [(1, Learner), (2, Voter)]);
        let removed = changed(&promoted, &[change(Remove, 1)]).unwrap();
        assert_eq!(roles(&removed), [(2, Voter)]);
        assert_eq!((removed.epoch.conf_ver, removed.epoch.version), (6, 7));
    }

    #[test]
    fn several_changes_go_through_a_joint_configuration() {
        use PeerRole::*;
        let before = region(&[Voter, Voter, Voter, Learner]);
        let joint = changed(&before, &[change(AddVoter, 4), change(AddLearner, 1)]).unwrap();
        assert_eq!(
            roles(&joint),
            [
                (1, DemotingVoter),
                (2, Voter),
                (3, Voter),
                (4, IncomingVoter)
            ]
        );
        assert!(is_joint(&joint));
        assert!(changed(&joint, &[change(Remove, 2)]).is_err());
        let after = changed(&joint, &[]).unwrap();
        assert_eq!(
            roles(&after),
            [(1, Learner), (2, Voter), (3, Voter), (4, Voter)]
        );
        assert_eq!(after.epoch.conf_ver, 7);
        assert!(!is_joint(&after));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        use PeerRole::*;
        let elsewhere = PeerChange {
            store_id: StoreId(9),
            ..change(AddVoter, 2)
        };
        let crowded = PeerChange {
            peer_id: PeerId(9),
            ..change(AddLearner, 2)
        };
        for changes in [
            vec![],
            vec![change(AddVoter, 1)],
            vec![change(AddLearner, 2)],
            vec![change(Remove, 7)],
            vec![change(Remove, 1)],
            vec![change(AddLearner, 1)],
            vec![elsewhere],
            vec![crowded],
            vec![change(AddVoter, 0)],
            vec![change(AddVoter, 2), change(Remove, 2)],
            vec![change(AddVoter, 2), change(Remove, 1)],
            vec![change(AddLearner, 3), change(AddLearner, 4)],
        ] {
            let refused = changed(&region(&[Voter, Learner]), &changes);
            assert!(
                matches!(refused, Err(RequestError::InvalidChange { .. })),
                "{changes:?}"
            );
        }
    }
}
