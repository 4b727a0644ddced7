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

use crate::transport::describe;
use node::{Identified, Identity};
use proto::pdpb::pd_client::PdClient;
use proto::pdpb::{GetMembersRequest, GetMembersResponse, GetStoreRequest, RequestHeader};
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use types::{ClusterId, StoreId};

/// For the whole inquiry.
const WITHIN: Duration = Duration::from_secs(2);
/// For one question, the connection included. A node that starts at the same time takes connections
/// and says nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
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
         serve as long as they are a majority. A store that began again would have forgotten its \
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
    loop {
        let answers = ask_members(newcomer).await;
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
            if leader.member_id == me.store_id.get() {
                return Err(forgotten());
            }
            let url = leader.client_urls.first().map_or("", String::as_str);
            match is_registered(url, me).await {
                Ok(true) => return Err(forgotten()),
                Ok(false) => return Ok(()),
                Err(reason) => tracing::debug!(url, %reason, "the leader did not answer"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks all other members at the same time; those that answer are returned with their addresses.
async fn ask_members(newcomer: &Identified) -> Vec<(String, GetMembersResponse)> {
    let mut questions = JoinSet::new();
    for member in newcomer.members.iter() {
        if member.store_id != newcomer.identity.store_id {
            questions.spawn(ask_member(member.address.clone()));
        }
    }
    questions.join_all().await.into_iter().flatten().collect()
}

async fn ask_member(address: String) -> Option<(String, GetMembersResponse)> {
    let question = async {
        let mut client = dial(&format!("http://{address}")).await?;
        // Without a cluster id: which one it is in is part of the question.
        let answer = client.get_members(GetMembersRequest::default()).await;
        answer.map_err(|status| status.message().to_owned())
    };
    match in_time(question).await {
        Ok(answer) => Some((address, answer.into_inner())),
        Err(reason) => {
            tracing::debug!(address, %reason, "a member did not answer");
            None
        }
    }
}

fn check_cluster(
    me: &Identity,
    address: &str,
    answer: &GetMembersResponse,
) -> Result<(), NewcomerError> {
    let header = answer.header.as_ref();
    let theirs = ClusterId(header.map_or(0, |header| header.cluster_id));
    if theirs == me.cluster_id {
        return Ok(());
    }
    Err(NewcomerError::OtherCluster {
        address: address.to_owned(),
        theirs,
        ours: me.cluster_id,
    })
}

/// Whether the placement leader has seen this store register: it then knows when it started.
async fn is_registered(url: &str, me: &Identity) -> Result<bool, String> {
    let header = RequestHeader {
        cluster_id: me.cluster_id.get(),
        sender_id: me.store_id.get(),
    };
    let question = async {
        let request = GetStoreRequest {
            header: Some(header),
            store_id: me.store_id.get(),
        };
        let answer = dial(url).await?.get_store(request).await;
        let answer = answer.map_err(|status| status.message().to_owned())?;
        let store = answer.into_inner().store;
        Ok(store.ok_or("no store in the answer")?.start_timestamp != 0)
    };
    in_time(question).await
}

async fn in_time<T>(question: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, question).await;
    answer.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn dial(url: &str) -> Result<PdClient<Channel>, String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| describe(&error))?;
    let channel = endpoint.connect().await.map_err(|error| describe(&error))?;
    Ok(PdClient::new(channel))
}
