//! Changes of Regions, as their leader here is asked for them: by requests, by the placement driver, by
//! the thread that looks after their sizes.
//!
//! **Invariants.** A change names the epoch for which it was thought of, and comes to nothing in any
//! other. Nothing here waits behind clients' requests.
//!
//! **Not here.** The rules of a change (`raftstore::op`).

use crate::fsm::PeerMessage;
use crate::handle::NodeHandle;
use crate::split_check::middle;
use batch_system::Router;
use bytes::Bytes;
use engine::{Cf, KvEngine};
use placement::{Instruction, RegionInstruction};
use raftstore::peer::Input;
use raftstore::state::RegionRecord;
use raftstore::{Admin, Command, Cut, Outcome, PeerChange, PeerChangeKind};
use raftstore::{Reply, RequestContext, RequestError};
use types::{PeerId, Region, RegionId, keys};

impl<K: KvEngine> NodeHandle<K> {
    /// Cuts a Region at these keys, as Regions hold keys. One that is a boundary already is left out.
    /// Returns the Regions that it became, in the order of their keys.
    ///
    /// # Errors
    /// The Region is not led here or is another by now, a key is not its, or there are no ids now.
    pub async fn split(
        &self,
        context: RequestContext,
        mut keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Region>, RequestError> {
        self.check_leads(context.region_id)?;
        let region = self.shape(context.region_id)?;
        if context.epoch != region.epoch {
            return Err(RequestError::EpochNotMatch {
                current: vec![region],
            });
        }
        keys.sort();
        keys.dedup();
        keys.retain(|key| *key != region.range.start);
        if let Some(key) = keys.iter().find(|key| !region.range.contains(key)) {
            return Err(RequestError::KeyNotInRegion {
                key: key.clone(),
                region: Box::new(region),
            });
        }
        if keys.is_empty() {
            return Ok(vec![region]);
        }
        let ids = self.inner.link.ask_split(region, keys.len()).await;
        let ids = ids.map_err(|reason| {
            tracing::info!(region = %context.region_id, reason, "no ids for a split");
            RequestError::ServerIsBusy {
                reason: "the placement driver gives no ids now",
            }
        })?;
        let cut = |(key, ids): (Vec<u8>, placement::SplitIds)| Cut {
            key: Bytes::from(key),
            region_id: ids.region_id,
            peer_ids: ids.peer_ids,
        };
        let cuts = keys.into_iter().zip(ids).map(cut).collect();
        let command = Command::Admin(Admin::Split(cuts));
        match self.write_past_bounds(context, command).await? {
            Outcome::Split(parts) => Ok(parts),
            other => unreachable!("a split is not answered with {other:?}"),
        }
    }

    /// Changes a Region's membership; returns its shape after that. Several changes are joint: the
    /// shape is then that of the joint configuration, which is left soon.
    ///
    /// # Errors
    /// The Region is not led here or is another by now, or the change does not fit it.
    pub async fn change_peers(
        &self,
        context: RequestContext,
        changes: Vec<PeerChange>,
    ) -> Result<Region, RequestError> {
        let region = context.region_id;
        let input = |request| Input::ChangePeers {
            request,
            context,
            changes,
        };
        match self.ask(region, input, Router::force_send).await? {
            Reply::Command(Outcome::Changed(region)) => Ok(region),
            other => unreachable!("a change of membership is not answered with {other:?}"),
        }
    }

    /// Has the leader of a Region here hand its leadership over to another voter. Whether that works,
    /// leadership shows.
    pub fn transfer_leader(&self, region: RegionId, to: PeerId) {
        let input = PeerMessage(Input::TransferLeader { to });
        let _ = self.inner.peers.force_send(region.get(), input);
    }

    /// Does what the placement driver says. What fails, it hears from the Region's next report.
    pub async fn instruct(&self, told: RegionInstruction) {
        let RegionInstruction {
            region_id,
            epoch,
            leader,
            instruction,
        } = told;
        let context = RequestContext {
            region_id,
            epoch,
            peer: leader,
            term: 0,
            replica_read: false,
        };
        let what = format!("{instruction:?}");
        let done = match instruction {
            // The leader leaves a joint configuration by itself.
            Instruction::ChangePeers(changes) if changes.is_empty() => Ok(()),
            Instruction::ChangePeers(changes) => {
                let changes = changes.into_iter().map(change).collect();
                self.change_peers(context, changes).await.map(drop)
            }
            Instruction::TransferLeader { to } => {
                self.transfer_leader(region_id, to.id);
                Ok(())
            }
            Instruction::Split { keys } if keys.is_empty() => self.halve(context).await,
            Instruction::Split { keys } => self.split(context, keys).await.map(drop),
            Instruction::Merge { target } => self.merge(context, target).await,
        };
        match done {
            Ok(()) => tracing::debug!(region = %region_id, what, "did as placement said"),
            Err(error) => {
                tracing::info!(region = %region_id, what, %error, "can't do as placement said");
            }
        }
    }

    /// Has a Region begin to merge into a neighbour. Whether it comes to that, the neighbour's shape shows.
    ///
    /// # Errors
    /// The Region is not led here or is another by now, the two don't fit, or a replica is not at hand.
    pub async fn merge(&self, context: RequestContext, target: Region) -> Result<(), RequestError> {
        // Once it has begun the Region serves nobody: better not for a target that is another by now.
        let here = self.shape(target.id)?;
        if here.epoch != target.epoch {
            return Err(RequestError::EpochNotMatch {
                current: vec![here],
            });
        }
        let command = Command::Admin(Admin::PrepareMerge(Box::new(here)));
        self.write_past_bounds(context, command).await.map(drop)
    }

    async fn halve(&self, context: RequestContext) -> Result<(), RequestError> {
        let region = self.shape(context.region_id)?;
        let engine = self.inner.engine.clone();
        let found = tokio::task::spawn_blocking(move || middle(&engine, &region)).await;
        let found = found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        match found {
            Ok(Some(key)) => self.split(context, vec![key]).await.map(drop),
            Ok(None) => Err(RequestError::InvalidChange {
                region_id: context.region_id,
                reason: "it has too few keys to be cut",
            }),
            Err(error) => Err(unreadable(context.region_id, &error)),
        }
    }

    pub(crate) fn engine(&self) -> &K {
        &self.inner.engine
    }

    pub(crate) fn check_leads(&self, region_id: RegionId) -> Result<(), RequestError> {
        self.inner.leaders.check_leads(region_id)
    }

    /// The Region as it was applied here last.
    pub(crate) fn shape(&self, region_id: RegionId) -> Result<Region, RequestError> {
        let key = keys::region_state_key(region_id);
        let record = self.inner.engine.get(Cf::Raft, &key);
        let record = record.map_err(|error| unreadable(region_id, &error))?;
        let record = record.map(RegionRecord::decode).transpose();
        match record.map_err(|error| unreadable(region_id, &error))? {
            Some(RegionRecord::Normal(region) | RegionRecord::Merging(region, _)) => Ok(region),
            Some(RegionRecord::Tombstone(_)) | None => {
                Err(RequestError::RegionNotFound { region_id })
            }
        }
    }
}

fn unreadable(region: RegionId, error: &dyn std::error::Error) -> RequestError {
    tracing::error!(%region, %error, "the Region's state can't be read");
    RequestError::ServerIsBusy {
        reason: "the Region's state can't be read",
    }
}

fn change(change: placement::PeerChange) -> PeerChange {
    PeerChange {
        kind: match change.kind {
            placement::PeerChangeKind::AddVoter => PeerChangeKind::AddVoter,
            placement::PeerChangeKind::AddLearner => PeerChangeKind::AddLearner,
            placement::PeerChangeKind::Remove => PeerChangeKind::Remove,
        },
        peer_id: change.peer.id,
        store_id: change.peer.store_id,
    }
}
