//! More bytes of writes than a store takes at once: the rest is refused, by name and in time, and has
//! no effect.

use client::Config;
use e2e::{Cluster, Options, leader_context, own_client, store_client};
use proto::kvrpcpb;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The smallest entry that the configuration allows, and no more than one of them at a time.
const ONE_ENTRY: &str = "raftstore.raft-entry-max-size = \"16KiB\"\n\
                         storage.scheduler-pending-write-threshold = \"16KiB\"";
const VALUE_BYTES: usize = 12 << 10;
/// Long enough that a leader without followers still leads when its store is tired of waiting (1 s).
const TICK: Duration = Duration::from_millis(300);
const REFUSED_WITHIN: Duration = Duration::from_secs(2);
const WRITES: u8 = 8;

fn put(context: kvrpcpb::Context, number: u8) -> kvrpcpb::RawPutRequest {
    kvrpcpb::RawPutRequest {
        context: Some(context),
        key: vec![b'k', number].into(),
        value: vec![number; VALUE_BYTES].into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_beyond_the_pending_bytes_are_refused_as_busy_and_the_ones_before_are_done() {
    let options = Options {
        tick: TICK,
        extra: ONE_ENTRY.to_owned(),
        ..Options::default()
    };
    let mut cluster = Cluster::start(3, options).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    let led = leader_context(&cluster, &client, b"k").await;
    let (leader, context) = led.expect("the cluster has just taken a write");
    let followers: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    for &follower in &followers {
        cluster.node(follower).unwrap().pause();
    }

    let asked = Instant::now();
    let mut writes = JoinSet::new();
    for number in 0..WRITES {
        let mut store = store_client(&cluster.endpoints()[leader]);
        writes.spawn(async move {
            let answer = store.raw_put(put(context, number)).await.unwrap();
            (number, answer.into_inner())
        });
    }
    let mut waiting: BTreeSet<u8> = (0..WRITES).collect();
    while waiting.len() > 1 {
        let (number, answer) = writes.join_next().await.unwrap().unwrap();
        let error = answer.region_error.expect("nothing can be committed");
        let busy = error.server_is_busy.expect("the error says so");
        assert!(busy.reason.contains("pending"), "{busy:?}");
        waiting.remove(&number);
    }
    let took = asked.elapsed();
    println!("{} writes were refused within {took:?}", WRITES - 1);
    assert!(took < REFUSED_WITHIN, "only after {took:?}");

    for &follower in &followers {
        cluster.node(follower).unwrap().resume();
    }
    let (number, answer) = writes.join_next().await.unwrap().unwrap();
    assert_eq!((answer.region_error, answer.error.as_str()), (None, ""));
    assert!(waiting.contains(&number));
    let pairs = client.scan(b"k", b"l", WRITES.into()).await.unwrap();
    let keys: Vec<&[u8]> = pairs.iter().map(|(key, _)| &key[..]).collect();
    assert_eq!(keys, [[b'k', number]], "the refused ones had no effect");
}
