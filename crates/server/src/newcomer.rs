//! Whether a store whose directory is new may begin as one of its cluster's first members.
//!
//! **Why.** A directory that was lost looks like that of a first boot. A replica that begins anew has
//! forgotten its votes and what it acknowledged; the cluster may then lose writes that it promised to
//! keep. So the other members are asked first whether they know this store.
//!
//! **Best effort.** At a first boot nobody answers, or nobody leads yet, and that must not hold it up.
//! So a store that was lost while the others were without a leader, or down, is not found out.
//!
//! **Not here.** What the directory says by itself (`node::identify`).

use crate::inquiry::{Seen, dial, in_time, see_all};
use node::{Identified, Identity};
use proto::pdpb::{GetStoreRequest, RequestHeader};
use std::time::Duration;
use thiserror::Error;
use types::{ClusterId, StoreId};

/// For the whole inquiry.
const WITHIN: Duration = Duration::from_secs(2);
/// Before members that know no leader are asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a store with a new directory must not begin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NewcomerError {
    /// A member belongs to another cluster.
    #[error(
        "the member at {address} belongs to cluster {theirs}, but this node was told to found \
         cluster {ours}: the list of first members, the cluster token or the API version differ"
    )]
    OtherCluster {
        /// The member's.
        address: String,
        /// As it says.
        theirs: ClusterId,
        /// As this node's configuration says.
        ours: ClusterId,
    },
    /// The store has been there before.
    #[error(
        "store {store} of cluster {cluster} has data already, and this directory is empty: bring \
         back the directory as it was when the node stopped, or leave this node down; the others \
         serve as long as they are a majority, and a new store can --join. A store that began again would have forgotten its \
         votes, and acknowledged writes could be lost"
    )]
    Forgotten {
        /// This node's.
        store: StoreId,
        /// Its cluster.
        cluster: ClusterId,
    },
}

/// Asks the other members about a store whose directory is new. Takes two seconds at the most.
///
/// # Errors
/// It must not begin.
pub async fn check_newcomer(newcomer: &Identified) -> Result<(), NewcomerError> {
    let asked = tokio::time::timeout(WITHIN, ask(newcomer)).await;
    // Members that can't say in time who leads have most likely just begun, too.
    asked.unwrap_or(Ok(()))
}

async fn ask(newcomer: &Identified) -> Result<(), NewcomerError> {
    let me = &newcomer.identity;
    let forgotten = || NewcomerError::Forgotten {
        store: me.store_id,
        cluster: me.cluster_id,
    };
    let others = newcomer
        .members
        .iter()
        .filter(|member| member.store_id != me.store_id);
    let others: Vec<String> = others.map(|member| member.address.clone()).collect();
    loop {
        let answers = see_all(&others).await;
        if answers.is_empty() {
            return Ok(());
        }
        for (address, answer) in &answers {
            check_cluster(me, address, answer)?;
        }
        let leader = answers
            .iter()
            .find_map(|(_, answer)| answer.leader.as_ref());
        if let Some(leader) = leader {
            // Whoever led has been there.
            if leader.store_id == me.store_id {
                return Err(forgotten());
            }
            match is_registered(&leader.address, me).await {
                Ok(true) => return Err(forgotten()),
                Ok(false) => return Ok(()),
                Err(reason) => tracing::debug!(%reason, "the leader did not answer"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn check_cluster(me: &Identity, address: &str, seen: &Seen) -> Result<(), NewcomerError> {
    if seen.cluster_id == me.cluster_id {
        return Ok(());
    }
    Err(NewcomerError::OtherCluster {
        address: address.to_owned(),
        theirs: seen.cluster_id,
        ours: me.cluster_id,
    })
}

/// Whether the placement leader has seen this store register: it then knows when it started.
async fn is_registered(leader: &str, me: &Identity) -> Result<bool, String> {
    let request = GetStoreRequest {
        header: Some(RequestHeader {
            cluster_id: me.cluster_id.get(),
            sender_id: me.store_id.get(),
        }),
        store_id: me.store_id.get(),
    };
    let mut client = dial(leader).await?;
    let answer = in_time("asking for the store", client.get_store(request)).await?;
    let store = answer.into_inner().store;
    Ok(store.ok_or("no store in the answer")?.start_timestamp != 0)
}
