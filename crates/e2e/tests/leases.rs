//! A leader that is stopped for longer than its lease and goes on: its lease is over, although its
//! threads have not seen the time pass.
//!
//! `LEASE_TRIES` says how often; by default few times, so that it takes less than half a minute.

use client::{Client, Config};
use e2e::{Cluster, ELECTION_TIMEOUT_MAX, Options, SERVES_WITHIN, leader_context, own_client};
use e2e::{TICK, store_client};
use proto::kvrpcpb;
use proto::tikvpb::tikv_client::TikvClient;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::transport::Channel;

const TRIES: u32 = 8;
const KEY: &[u8] = b"lease/key";
/// Reads that wait for the stopped leader, and as many that come as soon as it goes on.
const READS: usize = 8;
/// Time enough for what was sent to lie in the socket of a process that stands still.
const ON_ITS_WAY: Duration = Duration::from_millis(20);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

fn tries() -> u32 {
    match std::env::var("LEASE_TRIES") {
        Ok(text) => text.parse().expect("a number of tries"),
        Err(_) => TRIES,
    }
}

/// Repeats an operation until it succeeds.
async fn insist<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SERVES_WITHIN;
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(Instant::now() < deadline, "the cluster does not serve");
        tokio::time::sleep(TICK).await;
    }
}

async fn put(client: &Client, value: u32) {
    insist(async || client.put(KEY, value.to_string().into()).await.ok()).await;
}

/// What one store answers: the value, or nothing if it refuses or its answer does not come.
async fn get(mut store: TikvClient<Channel>, context: kvrpcpb::Context) -> Option<u32> {
    let mut request = tonic::Request::new(kvrpcpb::RawGetRequest {
        context: Some(context),
        key: KEY.to_vec().into(),
        ..Default::default()
    });
    request.set_timeout(ANSWERS_WITHIN);
    let answer = store.raw_get(request).await.ok()?.into_inner();
    if answer.region_error.is_some() {
        return None;
    }
    assert_eq!((answer.error.as_str(), answer.not_found), ("", false));
    let text = String::from_utf8(answer.value.to_vec()).unwrap();
    Some(text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stopped_beyond_its_lease_reads_nothing_stale_when_it_goes_on() {
    let mut cluster = Cluster::start(3, Options::default()).unwrap();
    // One who asks the stopped leader should not wait for long.
    let config = Config {
        attempt_timeout: ELECTION_TIMEOUT_MAX / 2,
        ..Config::default()
    };
    let client = own_client(&cluster, config).await.unwrap();
    let (mut refused, mut fresh) = (0, 0);
    for round in 0..tries() {
        let (old, new) = (2 * round, 2 * round + 1);
        put(&client, old).await;
        // Its connection is open and its lease is new when the leader is stopped.
        let (leader, store, context) = insist(async || {
            let (leader, context) = leader_context(&cluster, &client, KEY).await?;
            let store = store_client(&cluster.endpoints()[leader]);
            let found = get(store.clone(), context).await?;
            assert_eq!(found, old);
            Some((leader, store, context))
        })
        .await;
        cluster.node(leader).unwrap().pause();
        put(&client, new).await;

        let mut reads = JoinSet::new();
        (0..READS).for_each(|_| drop(reads.spawn(get(store.clone(), context))));
        tokio::time::sleep(ON_ITS_WAY).await;
        cluster.node(leader).unwrap().resume();
        (0..READS).for_each(|_| drop(reads.spawn(get(store.clone(), context))));
        while let Some(found) = reads.join_next().await {
            match found.unwrap() {
                None => refused += 1,
                Some(found) => {
                    assert_eq!(found, new, "a stale read in try {round}");
                    fresh += 1;
                }
            }
        }
    }
    println!("{} tries: {refused} reads refused, {fresh} fresh", tries());
    assert!(refused > 0, "nobody asked a leader that was deposed");
}
