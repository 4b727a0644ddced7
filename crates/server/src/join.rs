//! How a store with a new directory joins a running cluster, and what is checked when one that has joined
//! comes back.
//!
//! **The way in.** Any node says which cluster it is and who leads placement; the leader gives an id. With
//! that the directory becomes the store's, and only then does the store register, as at every start: a
//! crash before costs an id, and none leaves a store behind that nobody is. It has no Region until
//! placement gives it some.
//!
//! **Invariants.** Nothing is written. A store that lays out keys otherwise than the cluster, or whose address
//! is another store's, gets no id. As long as nobody answers, or nobody leads, it waits: nodes may be
//! started in any order.
//!
//! **Not here.** Writing the directory (`node::bootstrap`), registering (`placement_link`).

use crate::backoff::Backoff;
use crate::inquiry::{Seen, dial, in_time, refusal, see_all};
use node::{Identified, Identity, Member, Members, Origin};
use proto::metapb::StoreState;
use proto::pdpb::{AllocIdRequest, GetAllStoresRequest, RequestHeader};
use thiserror::Error;
use types::{ApiVersion, ClusterId, StoreId};

/// A node that wants to join.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Nodes of the cluster, each `host:port`.
    pub nodes: Vec<String>,
    /// Its own name.
    pub name: String,
    /// `host:port`, as others dial it.
    pub address: String,
    /// How its clients' keys are laid out.
    pub api_version: ApiVersion,
}

/// Why a node must not join.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JoinError {
    /// What it was told is not one cluster.
    #[error(
        "the nodes that this one shall join belong to different clusters: {first} to cluster \
         {cluster}, {second} to cluster {other}: name nodes of one cluster only"
    )]
    SeveralClusters {
        /// A node.
        first: String,
        /// Its cluster.
        cluster: ClusterId,
        /// Another node.
        second: String,
        /// Its cluster.
        other: ClusterId,
    },
    /// The directory belongs to another cluster.
    #[error(
        "the data directory belongs to store {store} of cluster {ours}, but the node at {address} that \
         this one shall join is of cluster {theirs}: point this node to its own directory, or name \
         nodes of cluster {ours}"
    )]
    OtherCluster {
        /// A node of the other cluster.
        address: String,
        /// As it says.
        theirs: ClusterId,
        /// As the directory says.
        ours: ClusterId,
        /// As the directory says.
        store: StoreId,
    },
    /// The cluster lays out keys otherwise.
    #[error(
        "cluster {cluster} was bootstrapped with storage.api-version = {theirs}, and this node has \
         {ours}: set it to {theirs}"
    )]
    OtherApiVersion {
        /// The cluster.
        cluster: ClusterId,
        /// Its version.
        theirs: u32,
        /// As configured.
        ours: u32,
    },
    /// The node at this address does not say how keys are laid out.
    #[error(
        "the node at {0} does not say which storage.api-version it has: it is no node of Kontiki"
    )]
    Foreign(String),
    /// Another store is registered at this address.
    #[error(
        "store {store} of cluster {cluster} is registered at {address}, which is this node's address: \
         if that store is lost, drain it first (ctl store drain {store}); otherwise start it from its \
         own directory, or give this node another address"
    )]
    AddressTaken {
        /// This node's.
        address: String,
        /// The other store.
        store: StoreId,
        /// The cluster.
        cluster: ClusterId,
    },
}

/// Why an attempt has not succeeded.
enum Attempt {
    /// It may later.
    NotYet(String),
    Refused(JoinError),
}

impl From<JoinError> for Attempt {
    fn from(error: JoinError) -> Self {
        Attempt::Refused(error)
    }
}

impl From<String> for Attempt {
    fn from(reason: String) -> Self {
        Attempt::NotYet(reason)
    }
}

/// Joins the cluster of these nodes, with an id that no store has had. Waits until somebody there can
/// give it one.
///
/// # Errors
/// It must not join.
pub async fn join(joining: &Joining) -> Result<Identified, JoinError> {
    let (mut backoff, mut said) = (Backoff::new(), String::new());
    loop {
        match attempt(joining).await {
            Ok(joined) => return Ok(joined),
            Err(Attempt::Refused(error)) => return Err(error),
            Err(Attempt::NotYet(reason)) => {
                if said != reason {
                    tracing::warn!(%reason, "can't join yet");
                    said = reason;
                }
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

/// Asks the nodes that a store with an old directory was told to join, each once, whether they are of its
/// cluster. Takes a second at the most; who does not answer does not count.
///
/// # Errors
/// One of them is of another cluster.
pub async fn check_rejoin(known: &Identified, nodes: &[String]) -> Result<(), JoinError> {
    let me = &known.identity;
    let others: Vec<String> = not_here(nodes, &me.address);
    for (address, seen) in see_all(&others).await {
        if seen.cluster_id != me.cluster_id {
            return Err(JoinError::OtherCluster {
                address,
                theirs: seen.cluster_id,
                ours: me.cluster_id,
                store: me.store_id,
            });
        }
    }
    Ok(())
}

fn not_here(nodes: &[String], here: &str) -> Vec<String> {
    let others = nodes.iter().filter(|node| *node != here);
    others.cloned().collect()
}

async fn attempt(joining: &Joining) -> Result<Identified, Attempt> {
    let answers = see_all(&not_here(&joining.nodes, &joining.address)).await;
    let (cluster_id, members, leader) = agree(joining, &answers)?;
    let header = Some(RequestHeader {
        cluster_id: cluster_id.get(),
        ..Default::default()
    });
    let mut client = dial(&leader.address).await?;
    let request = GetAllStoresRequest {
        header,
        exclude_tombstone_stores: true,
    };
    let stores = in_time("asking for the stores", client.get_all_stores(request)).await?;
    let stores = stores.into_inner().stores;
    let is_here = |store: &&proto::metapb::Store| {
        store.address == joining.address && store.state != StoreState::Tombstone as i32
    };
    if let Some(other) = stores.iter().find(is_here) {
        return Err(Attempt::Refused(JoinError::AddressTaken {
            address: joining.address.clone(),
            store: StoreId(other.id),
            cluster: cluster_id,
        }));
    }
    let request = AllocIdRequest { header };
    let id = in_time("asking for an id", client.alloc_id(request)).await?;
    let id = id.into_inner();
    if let Some(reason) = refusal(id.header.as_ref()) {
        return Err(Attempt::NotYet(reason.to_owned()));
    }
    let identity = Identity {
        cluster_id,
        store_id: StoreId(id.id),
        api_version: joining.api_version,
        name: joining.name.clone(),
        address: joining.address.clone(),
    };
    tracing::info!(cluster = %cluster_id, store = %identity.store_id, "joins a cluster");
    Ok(Identified {
        identity,
        origin: Origin::Joined,
        members,
        is_new: true,
    })
}

/// What the nodes that have answered say together.
fn agree(
    joining: &Joining,
    answers: &[(String, Seen)],
) -> Result<(ClusterId, Members, Member), Attempt> {
    let Some((first, seen)) = answers.first() else {
        return Err(Attempt::NotYet(format!(
            "nobody answers at {}",
            joining.nodes.join(", ")
        )));
    };
    let cluster = seen.cluster_id;
    for (address, seen) in answers {
        if seen.cluster_id != cluster {
            return Err(Attempt::Refused(JoinError::SeveralClusters {
                first: first.clone(),
                cluster,
                second: address.clone(),
                other: seen.cluster_id,
            }));
        }
        let theirs = seen.api_version;
        let theirs = theirs.ok_or_else(|| JoinError::Foreign(address.clone()))?;
        if theirs != joining.api_version {
            return Err(Attempt::Refused(JoinError::OtherApiVersion {
                cluster,
                theirs: theirs.number(),
                ours: joining.api_version.number(),
            }));
        }
    }
    let knows = |(_, seen): &(String, Seen)| Some((seen.members.clone()?, seen.leader.clone()?));
    let (members, leader) = answers
        .iter()
        .find_map(knows)
        .ok_or_else(|| format!("{first} knows no placement leader"))?;
    Ok((cluster, members, leader))
}
