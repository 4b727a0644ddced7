//! Regions that split and move while the official client is at work, which must not notice.

use client::{Client, RegionInfo};
use e2e::{Cluster, Options, official_client, own_client, pd_post};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tikv_client::{Config, RawClient};
use tokio::task::JoinSet;

const WRITERS: usize = 16;
const KEYS_EACH: usize = 250;
const VALUE_BYTES: usize = 1_024;
/// Pairs of one scan: far below the client's limit of an answer, 4 MiB.
const PAGE: u32 = 500;
const PATIENCE: Duration = Duration::from_secs(60);

/// Regions of about 128 KiB, and all that placement does in a hurry.
fn options() -> Options {
    Options {
        extra: "coprocessor.region-split-size = \"128KiB\"\n\
                raftstore.split-region-check-tick-interval = \"100ms\"\n\
                raftstore.pd-heartbeat-tick-interval = \"500ms\"\n\
                raftstore.pd-store-heartbeat-tick-interval = \"500ms\"\n"
            .to_owned(),
        ..Options::default()
    }
}

fn key(writer: usize, number: usize) -> String {
    format!("load/{writer:02}/{number:05}")
}

fn value(key: &str) -> Vec<u8> {
    let mut value = key.as_bytes().to_vec();
    value.resize(VALUE_BYTES, b'.');
    value
}

/// Many tasks write keys of their own, and none of the client's operations fails.
async fn load(client: &RawClient) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = client.clone();
        writers.spawn(async move {
            for number in 0..KEYS_EACH {
                let key = key(writer, number);
                let written = client.put(key.clone(), value(&key)).await;
                assert!(written.is_ok(), "{key}: {written:?}");
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
}

/// Everything is there, once, and in order.
async fn check(client: &RawClient) {
    let mut found = Vec::new();
    let mut start = "load/".to_owned();
    loop {
        let page = client.scan(start.clone().."load0".to_owned(), PAGE).await;
        let page = page.unwrap();
        let mut is_last = page.len() < PAGE as usize;
        for pair in page {
            let key = String::from_utf8(Vec::from(pair.0)).unwrap();
            if key < start {
                // The client goes on at the first Region when it has seen the last one.
                is_last = true;
                break;
            }
            assert!(pair.1 == value(&key), "{key}");
            start = format!("{key}\0");
            found.push(key);
        }
        if is_last {
            break;
        }
    }
    let all: Vec<String> = (0..WRITERS)
        .flat_map(|writer| (0..KEYS_EACH).map(move |number| key(writer, number)))
        .collect();
    assert!(found == all, "{} of {} keys", found.len(), all.len());
}

fn tile(regions: &[RegionInfo]) -> bool {
    let meets = |pair: &[RegionInfo]| pair[0].region.range.end == pair[1].region.range.start;
    regions[0].region.range.start.is_empty()
        && regions[regions.len() - 1].region.range.end.is_empty()
        && regions.windows(2).all(meets)
}

/// Waits until the Regions, as placement has them, are as they should be.
async fn regions_where(
    client: &Client,
    what: &str,
    is_so: impl Fn(&[RegionInfo]) -> bool,
) -> usize {
    let mut last = Vec::new();
    let found = until(async || {
        last = client.regions().await.unwrap_or_default();
        !last.is_empty() && tile(&last) && is_so(&last)
    });
    assert!(found.await, "no {what}: {last:#?}");
    last.len()
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if is_so().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

fn stores_of(regions: &[RegionInfo]) -> BTreeSet<u64> {
    let peers = regions.iter().flat_map(|info| &info.region.peers);
    peers.map(|peer| peer.store_id.get()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_that_grow_are_split_and_the_official_client_does_not_notice() {
    let cluster = Cluster::start(3, options()).unwrap();
    let official = official_client(&cluster, Config::default()).await.unwrap();
    load(&official).await;
    let own = own_client(&cluster, client::Config::default())
        .await
        .unwrap();
    let many = |regions: &[RegionInfo]| regions.len() >= 12;
    let count = regions_where(&own, "dozen Regions that tile the key space", many).await;
    println!("{count} Regions");
    check(&official).await;
    load(&official).await;
    check(&official).await;
}

/// Sets what placement goes by, at whichever node leads it.
fn set(cluster: &Cluster, settings: &str) {
    let is_set = pd_post(cluster, "/pd/api/v1/config", settings).is_some();
    assert!(is_set, "nobody takes {settings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_replicas_gets_its_share_while_clients_write() {
    let cluster = Cluster::start(4, options()).unwrap();
    let official = official_client(&cluster, Config::default()).await.unwrap();
    let own = own_client(&cluster, client::Config::default())
        .await
        .unwrap();
    // A machine whose disk is nearly full is no reason to move nothing.
    set(
        &cluster,
        r#"{"low-space-percent": 99, "store-limit-add-peer": 600, "store-limit-remove-peer": 600}"#,
    );
    load(&official).await;
    let is_there = |regions: &[RegionInfo]| {
        let here = |info: &&RegionInfo| {
            info.region
                .peers
                .iter()
                .any(|peer| peer.store_id.get() == 4)
        };
        let three = regions.iter().all(|info| info.region.peers.len() == 3);
        regions.len() >= 8
            && stores_of(regions).len() == 4
            && three
            && regions.iter().filter(here).count() * 2 >= regions.len()
    };
    let writes = async { load(&official).await };
    let (count, ()) = tokio::join!(
        regions_where(&own, "half of the Regions on the fourth store", is_there),
        writes
    );
    println!("{count} Regions on four stores");
    check(&official).await;
}
