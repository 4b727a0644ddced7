//! Questions to members of placement: who they are, who leads.
//!
//! **Invariants.** A question is answered or given up within a second: a node that starts takes
//! connections and says nothing. What comes back is checked, and what makes no sense is no answer.
//!
//! **Not here.** What follows from the answers.

use crate::transport::describe;
use node::{Member, Members};
use proto::pdpb;
use proto::pdpb::pd_client::PdClient;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};
use types::{ApiVersion, ClusterId, StoreId};

/// An attempt to reach a member, and any single call, may take so long.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// The header of an answer to `GetMembers` that says how clients' keys are laid out: `pdpb` has no field
/// for it, and a store that lays them out otherwise must not join.
pub(crate) const API_VERSION_HEADER: &str = "kontiki-api-version";

/// A cluster, as one of its nodes shows it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) cluster_id: ClusterId,
    /// `None` if the node does not say, as one of another make does not.
    pub(crate) api_version: Option<ApiVersion>,
    /// `None` if the node says nothing that makes sense.
    pub(crate) members: Option<Members>,
    /// `None` if the node knows none.
    pub(crate) leader: Option<Member>,
}

/// Asks one node about its cluster, whichever that is.
pub(crate) async fn see(address: &str) -> Result<Seen, String> {
    let question = async {
        let mut client = dial(address).await?;
        let request = pdpb::GetMembersRequest::default();
        in_time("asking for the members", client.get_members(request)).await
    };
    let answer = tokio::time::timeout(CALL_TIMEOUT, question).await;
    answer
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
        .map(seen)
}

/// Asks several nodes at the same time; those that answer are returned with their addresses, in order.
pub(crate) async fn see_all(addresses: &[String]) -> Vec<(String, Seen)> {
    let mut questions = JoinSet::new();
    for (place, address) in addresses.iter().cloned().enumerate() {
        questions.spawn(async move {
            match see(&address).await {
                Ok(seen) => Some((place, address, seen)),
                Err(reason) => {
                    tracing::debug!(address, %reason, "a member did not answer");
                    None
                }
            }
        });
    }
    let mut seen: Vec<_> = questions.join_all().await.into_iter().flatten().collect();
    seen.sort_unstable_by_key(|(place, ..)| *place);
    seen.into_iter()
        .map(|(_, address, seen)| (address, seen))
        .collect()
}

/// What an answer says, as far as it makes sense.
pub(crate) fn seen(response: Response<pdpb::GetMembersResponse>) -> Seen {
    let header = response.metadata().get(API_VERSION_HEADER);
    let number = header.and_then(|value| value.to_str().ok()?.parse().ok());
    let response = response.into_inner();
    let members = response.members.iter().map(member).collect::<Option<_>>();
    Seen {
        cluster_id: ClusterId(response.header.map_or(0, |header| header.cluster_id)),
        api_version: number.and_then(ApiVersion::from_number),
        members: members.and_then(Members::told),
        leader: response.leader.as_ref().and_then(member),
    }
}

fn member(member: &pdpb::Member) -> Option<Member> {
    let url = member.client_urls.first()?;
    Some(Member {
        name: member.name.clone(),
        address: url.strip_prefix("http://").unwrap_or(url).to_owned(),
        store_id: StoreId(member.member_id),
    })
}

/// Connects to a node.
pub(crate) async fn dial(address: &str) -> Result<PdClient<Channel>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let channel = endpoint
        .map_err(|error| describe(&error))?
        .connect_timeout(CALL_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2))
        .connect()
        .await
        .map_err(|error| describe(&error))?;
    Ok(PdClient::new(channel))
}

/// The answer to a call, if it comes in time.
pub(crate) async fn in_time<T>(
    what: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, String> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err(format!("{what} took too long")),
    }
}

/// Why a response is a refusal.
pub(crate) fn refusal(header: Option<&pdpb::ResponseHeader>) -> Option<&str> {
    let error = header?.error.as_ref()?;
    Some(&error.message)
}
