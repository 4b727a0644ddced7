//! A node that joins, and the nodes that it asks.

use super::Server;
use crate::backend::Backend;
use crate::fake::FakeNode;
use crate::limits::Limits;
use crate::{JoinError, Joining, check_rejoin, join};
use node::{Identified, Origin};
use placement::{Request, Response, Store};
use types::{ApiVersion, KeyRange, StoreId};

const ADDRESS: &str = "127.0.0.1:7";

/// A first member that leads.
async fn first_member(api_version: ApiVersion) -> (FakeNode, Server) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let list = format!("n1={},n2=127.0.0.1:1", listener.local_addr().unwrap());
    let node = FakeNode::in_cluster(&list, api_version, KeyRange::default());
    let server = Server::start_on(listener, node.clone(), Limits::default());
    (node, server)
}

fn joining(nodes: &[&Server]) -> Joining {
    Joining {
        nodes: nodes.iter().map(|node| node.address.to_string()).collect(),
        name: "n9".to_owned(),
        address: ADDRESS.to_owned(),
        api_version: ApiVersion::V1,
    }
}

/// What placement knows of the store at [`ADDRESS`].
async fn register(node: &FakeNode, id: StoreId) {
    let store = Store {
        id,
        address: ADDRESS.to_owned(),
        ..Store::default()
    };
    let registered = node.place(Request::PutStore(store)).await;
    assert_eq!(registered, Ok(Response::Done));
}

#[tokio::test]
async fn a_store_that_joins_gets_an_id_of_its_own_and_learns_the_members() {
    let (node, server) = first_member(ApiVersion::V1).await;
    let first = join(&joining(&[&server])).await.unwrap();
    let second = join(&joining(&[&server])).await.unwrap();
    assert_ne!(first.identity.store_id, second.identity.store_id);
    let Identified {
        identity,
        origin,
        members,
        is_new,
    } = first;
    assert!(origin == Origin::Joined && is_new);
    assert_eq!(identity.cluster_id, node.identity().cluster_id);
    assert_eq!(
        (identity.name.as_str(), identity.address.as_str()),
        ("n9", ADDRESS)
    );
    assert_eq!(members, node.members());
    register(&node, identity.store_id).await;
}

#[tokio::test]
async fn a_store_waits_until_somebody_there_leads() {
    let (node, server) = first_member(ApiVersion::V1).await;
    let mut nobody = joining(&[&server]);
    nobody.nodes = vec![ADDRESS.to_owned(), "127.0.0.1:1".to_owned()];
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(100), join(&nobody));
    assert!(waiting.await.is_err(), "it waits");
    // The leader that is named instead can't be reached.
    node.depose();
    let joins = joining(&[&server]);
    let mut task = tokio::spawn(async move { join(&joins).await });
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(50), &mut task);
    assert!(waiting.await.is_err(), "it waits");
    node.elect(7);
    assert!(task.await.unwrap().is_ok());
}

#[tokio::test]
async fn nodes_of_two_clusters_and_keys_of_another_layout_are_refused() {
    let (one, first) = first_member(ApiVersion::V1).await;
    let (other, second) = first_member(ApiVersion::V2).await;
    let refused = join(&joining(&[&first, &second])).await.unwrap_err();
    assert!(matches!(refused, JoinError::SeveralClusters { .. }));
    for node in [&one, &other] {
        let id = node.identity().cluster_id.to_string();
        assert!(refused.to_string().contains(&id), "{refused}");
    }
    let refused = join(&joining(&[&second])).await.unwrap_err();
    let expected = JoinError::OtherApiVersion {
        cluster: other.identity().cluster_id,
        theirs: 2,
        ours: 1,
    };
    assert_eq!(refused, expected);
}

#[tokio::test]
async fn a_store_whose_address_is_anothers_is_refused_with_the_others_id() {
    let (node, server) = first_member(ApiVersion::V1).await;
    let first = join(&joining(&[&server])).await.unwrap();
    register(&node, first.identity.store_id).await;
    let refused = join(&joining(&[&server])).await;
    let expected = JoinError::AddressTaken {
        address: ADDRESS.to_owned(),
        store: first.identity.store_id,
        cluster: first.identity.cluster_id,
    };
    assert_eq!(refused, Err(expected));
}

#[tokio::test]
async fn a_directory_that_comes_back_to_another_cluster_is_refused_and_needs_no_answer() {
    let (_node, server) = first_member(ApiVersion::V1).await;
    let (other, elsewhere) = first_member(ApiVersion::V1).await;
    let known = join(&joining(&[&server])).await.unwrap();
    let at = |server: &Server| vec!["127.0.0.1:1".to_owned(), server.address.to_string()];
    assert_eq!(check_rejoin(&known, &at(&server)).await, Ok(()));
    assert_eq!(check_rejoin(&known, &at(&server)[..1]).await, Ok(()));
    let refused = JoinError::OtherCluster {
        address: elsewhere.address.to_string(),
        theirs: other.identity().cluster_id,
        ours: known.identity.cluster_id,
        store: known.identity.store_id,
    };
    assert_eq!(check_rejoin(&known, &at(&elsewhere)).await, Err(refused));
}
