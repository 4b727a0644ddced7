//! A node that is no member of placement, and a member that leads.

use super::Server;
use crate::AddressBook;
use crate::backend::Backend;
use crate::fake::FakeNode;
use crate::limits::Limits;
use futures::stream;
use node::{Member, Members};
use proto::keyspacepb::LoadKeyspaceRequest;
use proto::keyspacepb::keyspace_client::KeyspaceClient;
use proto::pdpb::pd_client::PdClient;
use proto::pdpb::{AllocIdRequest, GetMembersRequest, RequestHeader, TsoRequest};
use tokio::net::TcpListener;
use tonic::{Code, Request};
use types::{ApiVersion, KeyRange, StoreId};

const LIST: &str = "n1=127.0.0.1:1,n2=127.0.0.1:2";

/// Two servers of one cluster: the first is of store 1, which takes store 2, the other, for the leader and
/// the only member. (Every fake takes itself for store 1.)
struct Pair {
    outsider: Server,
    leader: FakeNode,
    _leader: Server,
}

impl Pair {
    async fn start() -> Self {
        let node = || FakeNode::in_cluster(LIST, ApiVersion::V1, KeyRange::default());
        let (outsider, leader) = (node(), node());
        let at_leader = Server::start(leader.clone(), Limits::default()).await;
        let only_member = Member {
            name: "n2".to_owned(),
            address: at_leader.address.to_string(),
            store_id: StoreId(2),
        };
        let members = Members::told(vec![only_member]).unwrap();
        let book = AddressBook::new(outsider.identity(), members, Vec::new());
        outsider.depose();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            outsider: Server::start_with(listener, outsider, Limits::default(), book),
            leader,
            _leader: at_leader,
        }
    }

    fn header(&self) -> Option<RequestHeader> {
        Some(RequestHeader {
            cluster_id: self.leader.identity().cluster_id.get(),
            ..Default::default()
        })
    }
}

#[tokio::test]
async fn a_node_that_is_no_member_sends_questions_and_streams_on_to_the_leader() {
    let pair = Pair::start().await;
    let header = pair.header();
    let mut client = PdClient::connect(pair.outsider.url()).await.unwrap();
    let id = client.alloc_id(AllocIdRequest { header }).await.unwrap();
    assert!(id.into_inner().id > 0);
    let asked = TsoRequest {
        header,
        count: 3,
        ..Default::default()
    };
    let mut answers = client
        .tso(stream::iter([asked.clone(), asked]))
        .await
        .unwrap()
        .into_inner();
    for _ in 0..2 {
        assert_eq!(answers.message().await.unwrap().unwrap().count, 3);
    }
    assert!(
        answers.message().await.unwrap().is_none(),
        "the stream ends as the leader ends it"
    );
    let mut keyspaces = KeyspaceClient::connect(pair.outsider.url()).await.unwrap();
    let name = "DEFAULT".to_owned();
    let keyspace = keyspaces
        .load_keyspace(LoadKeyspaceRequest { header, name })
        .await;
    assert_eq!(
        keyspace.unwrap().into_inner().keyspace.unwrap().name,
        "DEFAULT"
    );
}

#[tokio::test]
async fn a_node_that_is_no_member_says_itself_who_the_members_are() {
    let pair = Pair::start().await;
    let mut client = PdClient::connect(pair.outsider.url()).await.unwrap();
    let request = GetMembersRequest {
        header: pair.header(),
    };
    let response = client.get_members(request).await.unwrap().into_inner();
    let ids: Vec<u64> = response
        .members
        .iter()
        .map(|member| member.member_id)
        .collect();
    assert_eq!(ids, [2]);
    assert_eq!(response.leader.unwrap().member_id, 2);
}

#[tokio::test]
async fn a_request_goes_on_once() {
    let pair = Pair::start().await;
    let mut client = PdClient::connect(pair.outsider.url()).await.unwrap();
    let mut request = Request::new(AllocIdRequest {
        header: pair.header(),
    });
    request
        .metadata_mut()
        .insert("kontiki-forwarded", "1".parse().unwrap());
    let refused = client.alloc_id(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("not leader"), "{refused}");
}
