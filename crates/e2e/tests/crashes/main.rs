//! Acknowledged writes survive `kill -9`, of the leader and of all nodes, under load.
//!
//! Every write that was acknowledged must be there, and a group must be there whole or not at all.
//! `KONTIKI_CRASH_ROUNDS` changes the number of leader kills (20); all nodes are killed a quarter as
//! often.

mod load;

use bytes::Bytes;
use client::{Client, Config};
use e2e::{
    Cluster, ELECTION_TIMEOUT_MAX, Options, TICK, leader_of, official_client, own_client,
    store_client,
};
use load::{GROUP, Load, Reader, WRITERS, Written, group_key, single_key};
use proto::kvrpcpb::RawGetRequest;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use workload::Rng;

/// A new leader serves within this and the longest election timeout that is set.
const TAKEOVER: Duration = Duration::from_millis(1_500);
const RESTART_WITHIN: Duration = Duration::from_secs(30);

/// Held by the test that runs: the time of a take-over says nothing beside another cluster's load.
static ALONE: Mutex<()> = Mutex::const_new(());

fn rounds() -> u32 {
    let given = std::env::var("KONTIKI_CRASH_ROUNDS").ok();
    given.map_or(20, |text| {
        text.parse().expect("KONTIKI_CRASH_ROUNDS is a number")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_log_engine_no_acknowledged_write_is_lost_and_none_is_half_applied() {
    let _alone = ALONE.lock().await;
    crash(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_log_in_rocksdb_no_acknowledged_write_is_lost_and_none_is_half_applied() {
    let _alone = ALONE.lock().await;
    crash(false).await;
}

async fn crash(raft_engine: bool) {
    let options = Options {
        raft_engine,
        ..Options::default()
    };
    let mut cluster = Cluster::start(3, options).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    let mut rng = Rng::new(u64::from(raft_engine), 0);
    let load = Load::start(&client).await;
    let official = official_client(&cluster, tikv_client::Config::default());
    let reader = Reader::start(official.await.unwrap());
    let mut longest = Duration::ZERO;
    for round in 0..rounds() {
        let took = kill_the_leader(&mut cluster, &client, &load, &mut rng, round).await;
        longest = longest.max(took);
    }
    println!(
        "{} leaders were killed: the longest take-over took {longest:?}",
        rounds()
    );
    for round in 0..rounds().div_ceil(4) {
        load.progress(50).await;
        pause(&mut rng).await;
        cluster.kill_all();
        cluster.start_all().unwrap();
        let took = until_served(&cluster, Instant::now(), RESTART_WITHIN).await;
        println!("restart {round} of all nodes: served after {took:?}");
    }
    load.progress(200).await;
    reader.stop().await;
    let written = load.stop().await;
    // Once more from nothing but the disks.
    cluster.kill_all();
    cluster.start_all().unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    verify(&client, &written).await;
}

/// Kills the leader at a random moment and returns how long nobody served. The node comes back.
async fn kill_the_leader(
    cluster: &mut Cluster,
    client: &Client,
    load: &Load,
    rng: &mut Rng,
    round: u32,
) -> Duration {
    load.progress(200).await;
    pause(rng).await;
    let leader = leader(cluster, client).await;
    let killed_at = Instant::now();
    cluster.kill_node(leader);
    let took = until_served(cluster, killed_at, RESTART_WITHIN).await;
    println!(
        "kill {round}, of node {}: served after {took:?}",
        leader + 1
    );
    let bound = TAKEOVER + ELECTION_TIMEOUT_MAX;
    assert!(
        took <= bound,
        "no leader served within {TAKEOVER:?} and {ELECTION_TIMEOUT_MAX:?} for an election, only after {took:?}"
    );
    pause(rng).await;
    cluster.start_node(leader).unwrap();
    until_answering(&cluster.endpoints()[leader]).await;
    took
}

/// Waits until a node that was started has read its data. Before, it could not replace the next leader.
async fn until_answering(address: &str) {
    let deadline = Instant::now() + RESTART_WITHIN;
    let mut store = store_client(address);
    // It is refused, but only by a node that serves.
    while store.raw_get(RawGetRequest::default()).await.is_err() {
        assert!(Instant::now() < deadline, "{address} does not come back");
        tokio::time::sleep(TICK).await;
    }
}

/// Who leads, as soon as anybody does.
async fn leader(cluster: &Cluster, client: &Client) -> usize {
    let deadline = Instant::now() + RESTART_WITHIN;
    loop {
        if let Some(leader) = leader_of(cluster, client, b"single/").await {
            return leader;
        }
        assert!(Instant::now() < deadline, "nobody leads");
        tokio::time::sleep(TICK).await;
    }
}

/// The random moment: up to a second.
async fn pause(rng: &mut Rng) {
    tokio::time::sleep(Duration::from_millis(rng.below(1_000))).await;
}

/// The time from `since` to the first acknowledged write that begins after it.
async fn until_served(cluster: &Cluster, since: Instant, within: Duration) -> Duration {
    let endpoints = cluster.endpoints();
    let attempt = Duration::from_millis(200);
    let config = Config {
        attempt_timeout: attempt,
        deadline: attempt * 2,
        ..Config::default()
    };
    loop {
        assert!(since.elapsed() < within, "nobody serves after {within:?}");
        let Ok(client) = Client::connect(&endpoints, config.clone()).await else {
            tokio::time::sleep(TICK / 5).await;
            continue;
        };
        while since.elapsed() < within {
            if client
                .put(b"takeover", Bytes::from_static(b"served"))
                .await
                .is_ok()
            {
                return since.elapsed();
            }
        }
    }
}

async fn verify(client: &Client, written: &[Written]) {
    let mut acknowledged = 0;
    for (writer, written) in written.iter().enumerate() {
        acknowledged += written.acknowledged.len();
        let singles = all(client, "single", writer).await;
        let groups = all(client, "group", writer).await;
        for &number in &written.acknowledged {
            let expected = Bytes::from(number.to_string());
            if number.is_multiple_of(2) {
                let key = single_key(writer, number);
                assert_eq!(singles.get(key.as_bytes()), Some(&expected), "lost: {key}");
            } else {
                let key = group_key(writer, number, 0);
                assert_eq!(groups.get(key.as_bytes()), Some(&expected), "lost: {key}");
            }
        }
        for number in (1..written.attempted).step_by(2) {
            let expected = Bytes::from(number.to_string());
            let member = |member| groups.get(group_key(writer, number, member).as_bytes());
            let there = (0..GROUP)
                .filter(|&at| member(at) == Some(&expected))
                .count();
            assert!(
                there == 0 || there == GROUP,
                "{there} keys of group {writer}/{number}"
            );
        }
    }
    println!("{acknowledged} acknowledged writes are there");
    assert!(acknowledged > WRITERS, "there was hardly any load");
}

async fn all(client: &Client, kind: &str, writer: usize) -> BTreeMap<Bytes, Bytes> {
    let start = format!("{kind}/{writer:02}/");
    let end = format!("{kind}/{writer:02}0");
    let pairs = client
        .scan(start.as_bytes(), end.as_bytes(), usize::MAX)
        .await
        .unwrap();
    pairs.into_iter().collect()
}
