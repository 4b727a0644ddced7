//! What a request must be, beside this replica, before anything is done for it.
//!
//! **Invariants.** Whoever is merging serves nobody. What leaders propose for themselves nobody can ask
//! for.
//!
//! **Not here.** Changes of membership (`change`).

use super::{Peer, RequestContext};
use crate::admin::Admin;
use crate::command::Command;
use crate::error::RequestError;
use crate::op::split;
use types::Region;

impl Peer {
    /// Whether a request is for this replica in its present shape, and this replica serves.
    pub(super) fn check(&self, context: &RequestContext, serves: bool) -> Result<(), RequestError> {
        if context.peer.id.get() != 0 {
            if context.peer.store_id != self.me.store_id {
                return Err(RequestError::StoreNotMatch {
                    asked: context.peer.store_id,
                    actual: self.me.store_id,
                });
            }
            if context.peer.id != self.me.id {
                return Err(RequestError::PeerMismatch {
                    asked: context.peer.id,
                    actual: self.me.id,
                });
            }
        }
        if self.is_stopped {
            return Err(RequestError::Stopping);
        }
        self.check_serves(serves)?;
        if context.term != 0 && context.term != self.term() {
            return Err(RequestError::StaleCommand);
        }
        if context.epoch.version != self.region.epoch.version {
            return Err(RequestError::EpochNotMatch {
                current: vec![Region::clone(&self.region)],
            });
        }
        if self.merging().is_some() {
            // Most probably it is about to go; clients look for it anew, after a while.
            return Err(self.not_found());
        }
        Ok(())
    }

    /// Whether a command fits the Region, and is one for clients to ask for.
    pub(super) fn check_command(&self, command: &Command, bytes: u64) -> Result<(), RequestError> {
        if bytes > self.options.entry_bytes_max {
            return Err(RequestError::EntryTooLarge {
                region_id: self.region.id,
                bytes,
                limit_bytes: self.options.entry_bytes_max,
            });
        }
        let range = &self.region.range;
        let outside = match command {
            Command::Admin(Admin::Split(cuts)) => {
                return split::parts(&self.region, cuts).map(|_| ());
            }
            Command::Admin(Admin::PrepareMerge(target)) => return self.check_prepare(target),
            Command::Admin(
                Admin::CompactLog { .. }
                | Admin::SealMerge { .. }
                | Admin::CommitMerge(_)
                | Admin::RefuseMerge { .. }
                | Admin::RollbackMerge { .. }
                | Admin::ComputeHash
                | Admin::VerifyHash(_),
            ) => {
                return Err(RequestError::InvalidChange {
                    region_id: self.region.id,
                    reason: "that is for its own leader to propose",
                });
            }
            Command::Write(mutations) => mutations.iter().find_map(|mutation| {
                let (start, end) = mutation.touches();
                let inside = match end {
                    None => range.contains(start),
                    Some(end) => range.contains_range(start, end),
                };
                (!inside).then_some(start)
            }),
            Command::CompareAndSwap { key, .. } => (!range.contains(key)).then_some(key),
        };
        match outside {
            None => Ok(()),
            Some(key) => Err(RequestError::KeyNotInRegion {
                key: key.to_vec(),
                region: Box::new(Region::clone(&self.region)),
            }),
        }
    }
}
