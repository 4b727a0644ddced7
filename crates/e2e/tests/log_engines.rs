//! The Raft log moves from one engine to the other and back, and the data stays.

use client::{Client, Config};
use e2e::{Cluster, Options, own_client};
use std::time::Duration;

const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// Writes the pairs of this round and reads all that were written in it and before.
async fn write_and_read_back(client: &Client, round: u32) {
    for n in 0..50 {
        let key = format!("switch/{round}/{n:02}");
        client
            .put(key.as_bytes(), format!("{round} {n}").into())
            .await
            .unwrap();
    }
    for earlier in 0..=round {
        let start = format!("switch/{earlier}/");
        let end = format!("switch/{earlier}0");
        let pairs = client
            .scan(start.as_bytes(), end.as_bytes(), 1_000)
            .await
            .unwrap();
        let expected = (0..50).map(|n| format!("{earlier} {n}"));
        assert!(
            pairs
                .iter()
                .map(|(_, value)| &value[..])
                .eq(expected.map(String::into_bytes))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_changes_its_log_engine_and_changes_back_keeps_its_data() {
    let mut cluster = Cluster::start(3, Options::default()).unwrap();
    for (round, raft_engine) in (0..).zip([true, false, true, false]) {
        cluster.set_options(|options| options.raft_engine = raft_engine);
        cluster.start_all().unwrap();
        let client = own_client(&cluster, Config::default()).await.unwrap();
        write_and_read_back(&client, round).await;
        // A stop in good order, then the next time none at all: both leave logs to move.
        if round.is_multiple_of(2) {
            for node in 0..3 {
                cluster.stop_node(node, STOPS_WITHIN).unwrap();
            }
        } else {
            cluster.kill_all();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_different_log_engines_form_one_cluster() {
    let mut cluster = Cluster::start(3, Options::default()).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    write_and_read_back(&client, 0).await;
    cluster.set_options(|options| options.raft_engine = false);
    for (round, node) in (1..).zip(0..3) {
        cluster.stop_node(node, STOPS_WITHIN).unwrap();
        cluster.start_node(node).unwrap();
        let client = own_client(&cluster, Config::default()).await.unwrap();
        write_and_read_back(&client, round).await;
    }
}
