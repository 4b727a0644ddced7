//! What the leader of a Region is told, as the answer to its heartbeat.
//!
//! **Invariants.** From the wire nothing panics. A change of several Peers, and leaving a joint
//! configuration, is a `ChangePeerV2`; a single change a `ChangePeer`, as stores of the protocol expect.

use placement::{Instruction, PeerChange, PeerChangeKind, RegionInstruction};
use proto::eraftpb::ConfChangeType;
use proto::pdpb;
use types::{Region, RegionId};

/// An instruction for the wire.
pub(crate) fn to_wire(
    header: Option<pdpb::ResponseHeader>,
    told: &RegionInstruction,
) -> pdpb::RegionHeartbeatResponse {
    let mut response = pdpb::RegionHeartbeatResponse {
        header,
        region_id: told.region_id.get(),
        region_epoch: Some(told.epoch.into()),
        target_peer: Some(told.leader.into()),
        ..Default::default()
    };
    match &told.instruction {
        Instruction::ChangePeers(changes) => match &changes[..] {
            [change] => response.change_peer = Some(change_to_wire(change)),
            changes => {
                let changes = changes.iter().map(change_to_wire).collect();
                response.change_peer_v2 = Some(pdpb::ChangePeerV2 { changes });
            }
        },
        Instruction::TransferLeader { to } => {
            response.transfer_leader = Some(pdpb::TransferLeader {
                peer: Some((*to).into()),
                peers: vec![(*to).into()],
            });
        }
        Instruction::Merge { target } => {
            response.merge = Some(pdpb::Merge {
                target: Some(target.into()),
            });
        }
        Instruction::Split { keys } => {
            let policy = match keys.is_empty() {
                true => pdpb::CheckPolicy::Scan,
                false => pdpb::CheckPolicy::Usekey,
            };
            response.split_region = Some(pdpb::SplitRegion {
                policy: policy as i32,
                keys: keys.iter().map(|key| key.clone().into()).collect(),
            });
        }
    }
    response
}

fn change_to_wire(change: &PeerChange) -> pdpb::ChangePeer {
    let kind = match change.kind {
        PeerChangeKind::AddVoter => ConfChangeType::AddNode,
        PeerChangeKind::AddLearner => ConfChangeType::AddLearnerNode,
        PeerChangeKind::Remove => ConfChangeType::RemoveNode,
    };
    pdpb::ChangePeer {
        peer: Some(change.peer.into()),
        change_type: kind as i32,
    }
}

/// What a response tells a leader to do, if anything.
pub(crate) fn from_wire(
    response: pdpb::RegionHeartbeatResponse,
) -> Result<Option<RegionInstruction>, String> {
    let instruction = if let Some(change) = response.change_peer {
        Instruction::ChangePeers(vec![change_from_wire(change)?])
    } else if let Some(change) = response.change_peer_v2 {
        let changes = change.changes.into_iter().map(change_from_wire);
        Instruction::ChangePeers(changes.collect::<Result<_, _>>()?)
    } else if let Some(transfer) = response.transfer_leader {
        let peer = transfer.peer.or_else(|| transfer.peers.first().copied());
        let to = peer.ok_or("a leader is to hand over to nobody")?;
        Instruction::TransferLeader { to: to.into() }
    } else if let Some(merge) = response.merge {
        let target = merge.target.ok_or("a Region is to merge into none")?;
        let target = Region::try_from(target).map_err(|error| error.to_string())?;
        Instruction::Merge { target }
    } else if let Some(split) = response.split_region {
        let keys = split.keys.iter().map(|key| key.to_vec()).collect();
        Instruction::Split { keys }
    } else {
        return Ok(None);
    };
    let epoch = response.region_epoch.ok_or("an instruction has no epoch")?;
    let leader = response.target_peer.ok_or("an instruction is for nobody")?;
    Ok(Some(RegionInstruction {
        region_id: RegionId(response.region_id),
        epoch: epoch.into(),
        leader: leader.into(),
        instruction,
    }))
}

fn change_from_wire(change: pdpb::ChangePeer) -> Result<PeerChange, String> {
    let kind = match ConfChangeType::try_from(change.change_type) {
        Ok(ConfChangeType::AddNode) => PeerChangeKind::AddVoter,
        Ok(ConfChangeType::AddLearnerNode) => PeerChangeKind::AddLearner,
        Ok(ConfChangeType::RemoveNode) => PeerChangeKind::Remove,
        Err(_) => return Err("a change of Peers of an unknown kind".to_owned()),
    };
    let peer = change.peer.ok_or("a change of Peers names none")?;
    Ok(PeerChange {
        kind,
        peer: peer.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Epoch, KeyRange, Peer, PeerId, PeerRole, StoreId};

    fn peer(id: u64, role: PeerRole) -> Peer {
        Peer {
            id: PeerId(id),
            store_id: StoreId(id + 10),
            role,
        }
    }

    fn told(instruction: Instruction) -> RegionInstruction {
        RegionInstruction {
            region_id: RegionId(9),
            epoch: Epoch {
                conf_ver: 3,
                version: 4,
            },
            leader: peer(1, PeerRole::Voter),
            instruction,
        }
    }

    #[test]
    fn every_instruction_survives_the_way_over_the_wire() {
        let change = |kind, role| PeerChange {
            kind,
            peer: peer(2, role),
        };
        let promote = change(PeerChangeKind::AddVoter, PeerRole::Voter);
        let demote = change(PeerChangeKind::AddLearner, PeerRole::Learner);
        let remove = change(PeerChangeKind::Remove, PeerRole::Learner);
        let target = Region {
            id: RegionId(8),
            range: KeyRange {
                start: b"a".to_vec(),
                end: b"b".to_vec(),
            },
            epoch: Epoch {
                conf_ver: 1,
                version: 2,
            },
            peers: vec![peer(4, PeerRole::Voter)],
        };
        for instruction in [
            Instruction::ChangePeers(Vec::new()),
            Instruction::ChangePeers(vec![remove]),
            Instruction::ChangePeers(vec![promote, demote]),
            Instruction::TransferLeader {
                to: peer(5, PeerRole::Voter),
            },
            Instruction::Merge { target },
            Instruction::Split { keys: Vec::new() },
            Instruction::Split {
                keys: vec![b"k".to_vec()],
            },
        ] {
            let sent = told(instruction);
            assert_eq!(from_wire(to_wire(None, &sent)), Ok(Some(sent)));
        }
    }

    #[test]
    fn an_answer_without_an_instruction_tells_nothing_and_a_broken_one_is_refused() {
        let empty = pdpb::RegionHeartbeatResponse::default();
        assert_eq!(from_wire(empty.clone()), Ok(None));
        let broken = pdpb::RegionHeartbeatResponse {
            transfer_leader: Some(pdpb::TransferLeader::default()),
            ..empty
        };
        assert!(from_wire(broken).is_err());
    }
}
