//! The background's checks: of the Regions that are led here, one after the other, for ever.
//!
//! **Regions that sleep** are checked like all others, and sleep again behind it: what nobody reads is what
//! only a comparison finds to be damaged. One Region at a time is awake for that.
//!
//! **Not here.** A check that somebody asks for: [`NodeHandle::check_consistency`].

use crate::handle::NodeHandle;
use batch_system::Router;
use engine::KvEngine;
use raftstore::op::consistency::{Hash, Quarantine, Report};
use raftstore::peer::Input;
use raftstore::{Reply, RequestContext, RequestError};
use std::time::Duration;
use types::{Peer, RegionId};

impl<K: KvEngine> NodeHandle<K> {
    /// Compares all replicas of a Region that is led here. May take minutes.
    ///
    /// # Errors
    /// The Region is not led here, or not any more, or is being checked.
    pub async fn check_consistency(&self, region_id: RegionId) -> Result<Report, RequestError> {
        self.check_leads(region_id)?;
        let context = RequestContext {
            region_id,
            epoch: self.shape(region_id)?.epoch,
            ..RequestContext::default()
        };
        let input = |request| Input::CheckConsistency { request, context };
        match self.ask(region_id, input, Router::force_send).await? {
            Reply::Checked(report) => Ok(*report),
            other => unreachable!("a check is not answered with {other:?}"),
        }
    }

    /// The replicas of this store that serve nobody, since they differ from the others.
    pub fn quarantined(&self) -> Vec<(RegionId, Quarantine)> {
        self.inner.quarantines.list()
    }
}

/// Never ends.
pub(crate) async fn check_in_rounds<K: KvEngine>(handle: NodeHandle<K>, interval: Duration) {
    let mut last = RegionId(0);
    loop {
        tokio::time::sleep(interval).await;
        let leaders = &handle.inner.leaders;
        let Some(region) = leaders.led_here_after(last) else {
            continue;
        };
        last = region;
        match handle.check_consistency(region).await {
            Ok(report) if report.differs() => {}
            Ok(report) => tracing::debug!(%region, index = report.index, "replicas are equal"),
            Err(error) => tracing::debug!(%region, %error, "replicas were not compared"),
        }
    }
}

/// What an operator should know of a check that has found a difference.
pub(crate) fn log_difference(report: &Report) {
    let hash = |(peer, hash): &(Peer, Option<Hash>)| match hash {
        Some(hash) => format!("store {}: {hash}", peer.store_id),
        None => format!("store {}: none", peer.store_id),
    };
    let hashes: Vec<String> = report.hashes.iter().map(hash).collect();
    tracing::error!(
        region = %report.region_id,
        index = report.index,
        agreed = report.agreed.map(|hash| hash.to_string()),
        hashes = hashes.join(", "),
        "replicas of a Region differ"
    );
}
