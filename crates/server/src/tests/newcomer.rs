//! A store with a new directory, and the members that it asks.

use super::Server;
use crate::backend::Backend;
use crate::fake::FakeNode;
use crate::limits::Limits;
use crate::{NewcomerError, check_newcomer};
use node::{DEFAULT_TOKEN, Identified, Members, Origin};
use placement::{Request, Response, Store};
use tokio::net::TcpListener;
use types::{ApiVersion, KeyRange, StoreId};

/// The first member, which leads, and the second, which asks.
async fn cluster(token: &str) -> (FakeNode, Server, Identified) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let list = format!("n1={},n2=127.0.0.1:1", listener.local_addr().unwrap());
    let node = FakeNode::in_cluster(&list, ApiVersion::V1, KeyRange::default());
    let server = Server::start_on(listener, node.clone(), Limits::default());
    (node, server, newcomer(&list, token))
}

fn newcomer(list: &str, token: &str) -> Identified {
    let members = Members::parse(list).unwrap();
    Identified {
        identity: members.identify("n2", ApiVersion::V1, token).unwrap(),
        origin: Origin::Founded,
        members,
        is_new: true,
    }
}

#[tokio::test]
async fn a_store_that_never_registered_may_begin() {
    let (_node, _server, newcomer) = cluster(DEFAULT_TOKEN).await;
    assert_eq!(check_newcomer(&newcomer).await, Ok(()));
}

#[tokio::test]
async fn a_store_that_has_registered_before_must_not_begin_again() {
    let (node, _server, newcomer) = cluster(DEFAULT_TOKEN).await;
    let store = Store {
        id: StoreId(2),
        address: newcomer.identity.address.clone(),
        start_time_s: 77,
        ..Store::default()
    };
    let registered = node.place(Request::PutStore(store)).await;
    assert!(matches!(registered, Ok(Response::Done)), "{registered:?}");
    let refused = NewcomerError::Forgotten {
        store: StoreId(2),
        cluster: newcomer.identity.cluster_id,
    };
    assert_eq!(check_newcomer(&newcomer).await, Err(refused));
}

#[tokio::test]
async fn a_store_that_was_told_of_another_cluster_hears_of_both() {
    let (node, _server, newcomer) = cluster("another token").await;
    let refused = check_newcomer(&newcomer).await.unwrap_err().to_string();
    for id in [node.identity().cluster_id, newcomer.identity.cluster_id] {
        assert!(refused.contains(&id.to_string()), "{refused}");
    }
}

#[tokio::test]
async fn at_a_first_boot_nobody_answers() {
    let newcomer = newcomer("n1=127.0.0.1:1,n2=127.0.0.1:2", DEFAULT_TOKEN);
    assert_eq!(check_newcomer(&newcomer).await, Ok(()));
}
