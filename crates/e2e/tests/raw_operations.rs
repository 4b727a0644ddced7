//! Every raw operation of the official client against three processes, under both API versions.
//!
//! Under V1 scans ask for exactly as many pairs as there are: this client begins again from the start
//! of the key space when the last Region did not fill its limit.

use e2e::{Cluster, Options, SERVES_WITHIN, official_client};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tikv_client::{Config, Key, KvPair, RawClient};

async fn every_operation(api_version: u8, config: Config) {
    let options = Options {
        api_version,
        ..Options::default()
    };
    let cluster = Cluster::start(3, options).unwrap();
    let client = official_client(&cluster, config).await.unwrap();
    single_keys(&client).await;
    batches(&client).await;
    scans(&client).await;
    deletions(&client).await;
    swaps(&client).await;
    times_to_live(&client).await;
    expiry(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_does_every_raw_operation_under_v1() {
    every_operation(1, Config::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_does_every_raw_operation_under_v2() {
    every_operation(2, Config::default().with_default_keyspace()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_v2_a_scan_ends_with_its_range_and_not_with_its_limit() {
    let options = Options {
        api_version: 2,
        ..Options::default()
    };
    let cluster = Cluster::start(3, options).unwrap();
    let config = Config::default().with_default_keyspace();
    let client = official_client(&cluster, config).await.unwrap();
    put_all(&client, "limit", 3).await;
    let scanned = client.scan(range("limit"), 100).await.unwrap();
    assert_eq!(scanned, pairs("limit", 3));
    let none = client.scan(range("nothing"), 100).await.unwrap();
    assert_eq!(none, []);
}

fn pairs(prefix: &str, count: u32) -> Vec<KvPair> {
    (0..count)
        .map(|n| KvPair::new(format!("{prefix}/{n:03}"), format!("value {n}")))
        .collect()
}

fn keys(prefix: &str, count: u32) -> Vec<Key> {
    pairs(prefix, count)
        .into_iter()
        .map(KvPair::into_key)
        .collect()
}

/// All keys of a prefix.
fn range(prefix: &str) -> std::ops::Range<String> {
    format!("{prefix}/")..format!("{prefix}0")
}

async fn put_all(client: &RawClient, prefix: &str, count: u32) {
    client.batch_put(pairs(prefix, count)).await.unwrap();
}

async fn single_keys(client: &RawClient) {
    let key = "single/key".to_owned();
    assert_eq!(client.get(key.clone()).await.unwrap(), None);
    client.put(key.clone(), "first").await.unwrap();
    client.put(key.clone(), "second").await.unwrap();
    assert_eq!(
        client.get(key.clone()).await.unwrap(),
        Some(b"second".to_vec())
    );
    client.put(key.clone(), "").await.unwrap();
    assert_eq!(
        client.get(key.clone()).await.unwrap(),
        Some(Vec::new()),
        "empty, not absent"
    );
    client.delete(key.clone()).await.unwrap();
    assert_eq!(client.get(key.clone()).await.unwrap(), None);
    client.delete(key).await.unwrap();
    let binary: Vec<u8> = (0..=255).collect();
    client.put(binary.clone(), binary.clone()).await.unwrap();
    assert_eq!(
        client.get(binary.clone()).await.unwrap(),
        Some(binary.clone())
    );
    client.delete(binary).await.unwrap();
}

async fn batches(client: &RawClient) {
    put_all(client, "batch", 200).await;
    let asked = keys("batch", 200)
        .into_iter()
        .chain([Key::from("batch/none".to_owned())]);
    let found = client.batch_get(asked).await.unwrap();
    let by_key: BTreeMap<Key, Vec<u8>> = found.into_iter().map(|pair| (pair.0, pair.1)).collect();
    let expected: BTreeMap<Key, Vec<u8>> = pairs("batch", 200)
        .into_iter()
        .map(|pair| (pair.0, pair.1))
        .collect();
    assert_eq!(by_key, expected);
}

async fn scans(client: &RawClient) {
    put_all(client, "scan", 100).await;
    let forward = pairs("scan", 100);
    let backward: Vec<KvPair> = forward.iter().rev().cloned().collect();
    assert_eq!(client.scan(range("scan"), 100).await.unwrap(), forward);
    assert_eq!(client.scan(range("scan"), 7).await.unwrap(), forward[..7]);
    assert_eq!(
        client.scan_reverse(range("scan"), 100).await.unwrap(),
        backward
    );
    assert_eq!(
        client.scan_reverse(range("scan"), 7).await.unwrap(),
        backward[..7]
    );
    assert_eq!(
        client.scan_keys(range("scan"), 100).await.unwrap(),
        keys("scan", 100)
    );
    let back_keys: Vec<Key> = backward.iter().map(|pair| pair.0.clone()).collect();
    assert_eq!(
        client.scan_keys_reverse(range("scan"), 100).await.unwrap(),
        back_keys
    );

    let ranges = [
        "scan/000".to_owned().."scan/005".to_owned(),
        "scan/050".to_owned().."scan/060".to_owned(),
    ];
    let both = [&forward[0..5], &forward[50..56]].concat();
    assert_eq!(client.batch_scan(ranges.clone(), 6).await.unwrap(), both);
    let both_keys: Vec<Key> = both.iter().map(|pair| pair.0.clone()).collect();
    assert_eq!(client.batch_scan_keys(ranges, 6).await.unwrap(), both_keys);
}

async fn deletions(client: &RawClient) {
    put_all(client, "delete", 10).await;
    client.batch_delete(keys("delete", 3)).await.unwrap();
    assert_eq!(
        client.scan(range("delete"), 7).await.unwrap(),
        pairs("delete", 10)[3..]
    );
    client
        .delete_range("delete/005".to_owned().."delete/008".to_owned())
        .await
        .unwrap();
    let left = client.batch_get(keys("delete", 10)).await.unwrap();
    let mut left: Vec<Key> = left.into_iter().map(KvPair::into_key).collect();
    left.sort();
    let all = keys("delete", 10);
    assert_eq!(left, [&all[3..5], &all[8..]].concat());
}

async fn swaps(client: &RawClient) {
    let client = client.with_atomic_for_cas();
    let key = "swap".to_owned();
    let swap = async |expected: Option<&str>, value: &str| {
        let expected = expected.map(|text| text.as_bytes().to_vec());
        client
            .compare_and_swap(key.clone(), expected, value)
            .await
            .unwrap()
    };
    assert_eq!(swap(Some("other"), "x").await, (None, false));
    assert_eq!(swap(None, "first").await, (None, true));
    assert_eq!(swap(None, "x").await, (Some(b"first".to_vec()), false));
    assert_eq!(
        swap(Some("first"), "second").await,
        (Some(b"first".to_vec()), true)
    );
    assert_eq!(
        client.get(key.clone()).await.unwrap(),
        Some(b"second".to_vec())
    );
    let raced = (0..16).map(|n| {
        let (client, key) = (client.clone(), key.clone());
        tokio::spawn(async move {
            let expected = Some(b"second".to_vec());
            client
                .compare_and_swap(key, expected, format!("by {n}"))
                .await
                .unwrap()
                .1
        })
    });
    let mut winners = 0;
    for race in raced.collect::<Vec<_>>() {
        winners += u32::from(race.await.unwrap());
    }
    assert_eq!(
        winners, 1,
        "of many that expect the same value one alone swaps it"
    );
}

async fn times_to_live(client: &RawClient) {
    client.put("ttl/ever".to_owned(), "v").await.unwrap();
    client
        .put_with_ttl("ttl/long".to_owned(), "v", 1_000)
        .await
        .unwrap();
    assert_eq!(
        client
            .get_key_ttl_secs("ttl/ever".to_owned())
            .await
            .unwrap(),
        Some(0)
    );
    assert_eq!(
        client
            .get_key_ttl_secs("ttl/none".to_owned())
            .await
            .unwrap(),
        None
    );
    let left = client
        .get_key_ttl_secs("ttl/long".to_owned())
        .await
        .unwrap()
        .unwrap();
    assert!((900..=1_000).contains(&left), "{left}");
}

async fn expiry(client: &RawClient) {
    let short = pairs("ttl-short", 3);
    client
        .batch_put_with_ttl(short, [1, 1, 1_000])
        .await
        .unwrap();
    let deadline = Instant::now() + SERVES_WITHIN;
    while client
        .get("ttl-short/000".to_owned())
        .await
        .unwrap()
        .is_some()
    {
        assert!(Instant::now() < deadline, "a key outlives its time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Both expired together, and every kind of read agrees.
    let live = pairs("ttl-short", 3).split_off(2);
    assert_eq!(client.batch_get(keys("ttl-short", 3)).await.unwrap(), live);
    assert_eq!(client.scan(range("ttl-short"), 1).await.unwrap(), live);
    assert_eq!(
        client.batch_scan([range("ttl-short")], 3).await.unwrap(),
        live
    );
    assert_eq!(
        client
            .get_key_ttl_secs("ttl-short/001".to_owned())
            .await
            .unwrap(),
        None
    );
    let atomic = client.with_atomic_for_cas();
    let swap = atomic
        .compare_and_swap("ttl-short/001".to_owned(), None, "again")
        .await
        .unwrap();
    assert_eq!(swap, (None, true), "an expired key does not exist");
    assert_eq!(
        client
            .get_key_ttl_secs("ttl-short/001".to_owned())
            .await
            .unwrap(),
        Some(0)
    );
}
