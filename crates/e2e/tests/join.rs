//! Nodes that join a running cluster, come back, and move to other ports.

use client::{Client, RegionInfo};
use e2e::{Cluster, NO_STATUS, Options, free_ports, refused};
use e2e::{official_client, own_client, pd_get, pd_post};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tikv_client::{Config, RawClient};
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(120);
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const WRITERS: usize = 8;
const VALUE_BYTES: usize = 1_024;
/// Writes of one task that may have to be made again, because the client's ten tries ran out.
const AGAIN_MAX: usize = 20;

/// Regions of about 64 KiB, and all that placement does in a hurry.
fn options() -> Options {
    Options {
        extra: "coprocessor.region-split-size = \"64KiB\"\n\
                raftstore.split-region-check-tick-interval = \"100ms\"\n\
                raftstore.pd-heartbeat-tick-interval = \"500ms\"\n\
                raftstore.pd-store-heartbeat-tick-interval = \"500ms\"\n"
            .to_owned(),
        ..Options::default()
    }
}

/// Writes that go on until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<Vec<String>>,
}

impl Load {
    fn start(client: &RawClient, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            let prefix = format!("{name}/{writer}");
            writers.spawn(write_until(client, prefix, stop));
        }
        Self { stop, writers }
    }

    /// Waits until all writers have ended; returns the keys that were written.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.join_all().await.concat()
    }
}

async fn write_until(client: RawClient, prefix: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let (mut written, mut again) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let key = format!("{prefix}/{:06}", written.len());
        while let Err(error) = client.put(key.clone(), value(&key)).await {
            again += 1;
            assert!(again <= AGAIN_MAX, "{key}: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        written.push(key);
        // So that Regions are not split faster than they can be moved.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    written
}

fn value(key: &str) -> Vec<u8> {
    let mut value = key.as_bytes().to_vec();
    value.resize(VALUE_BYTES, b'.');
    value
}

async fn check(client: &RawClient, keys: &[String]) {
    for keys in keys.chunks(200) {
        let found = client.batch_get(keys.to_vec()).await.unwrap();
        assert_eq!(found.len(), keys.len(), "keys are missing");
        for pair in found {
            let key = String::from_utf8(Vec::from(pair.0)).unwrap();
            assert!(pair.1 == value(&key), "{key}");
        }
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The id of the store at this address, once it has registered.
async fn store_at(client: &Client, address: &str) -> u64 {
    let mut id = None;
    until(&format!("a store at {address}"), async || {
        let stores = client.stores().await.unwrap_or_default();
        let here = stores.iter().find(|store| store.address == address);
        id = here.map(|store| store.id.get());
        id.is_some()
    })
    .await;
    id.unwrap()
}

fn replicas_on(regions: &[RegionInfo], store: u64) -> usize {
    let peers = regions.iter().flat_map(|info| &info.region.peers);
    peers.filter(|peer| peer.store_id.get() == store).count()
}

/// Waits until these stores have at least half of their even share of all replicas.
async fn until_shared(client: &Client, stores: &[u64], of: usize) {
    until("replicas on the new stores", async || {
        let regions = client.regions().await.unwrap_or_default();
        let replicas: usize = regions.iter().map(|info| info.region.peers.len()).sum();
        let has_share = |store: &u64| replicas_on(&regions, *store) * of * 2 >= replicas;
        regions.len() >= 10 && stores.iter().all(has_share)
    })
    .await;
}

/// Waits until each Region has a leader that hears of all its replicas, and they have caught up.
async fn until_whole(cluster: &Cluster) {
    until("Regions whose replicas are all there", async || {
        let regions = pd_get(cluster, "/pd/api/v1/regions").unwrap_or_default();
        let all = regions.matches("\"epoch\":").count();
        let with = |text: &str| regions.matches(text).count();
        let are_there = with("\"down_peers\":[]") == all && with("\"pending_peers\":[]") == all;
        all > 0 && are_there && with("\"leader\":null") == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_under_load_get_their_share_and_are_found_wherever_they_come_back() {
    let mut cluster = Cluster::start(3, options()).unwrap();
    let official = official_client(&cluster, Config::default()).await.unwrap();
    let own = own_client(&cluster, client::Config::default())
        .await
        .unwrap();
    // Otherwise a machine whose disk is nearly full moves nothing, and a busy one too little in time.
    let hurry = r#"{"low-space-percent": 99, "store-limit-add-peer": 600,
        "store-limit-remove-peer": 600}"#;
    pd_post(&cluster, "/pd/api/v1/config", hurry).expect("somebody leads placement");
    let load = Load::start(&official, "a");
    let (fourth, fifth) = (cluster.join_node().unwrap(), cluster.join_node().unwrap());
    let addresses = cluster.endpoints();
    let stores = [
        store_at(&own, &addresses[fourth]).await,
        store_at(&own, &addresses[fifth]).await,
    ];
    assert!(stores.iter().all(|id| *id > 3) && stores[0] != stores[1]);
    until_shared(&own, &stores, 5).await;
    let mut keys = load.stop().await;
    println!("{} keys were written while two nodes joined", keys.len());
    check(&official, &keys).await;

    // Whom they were told to join by is not there any more, or they are told nothing.
    cluster.stop_node(fourth, ENDS_WITHIN).unwrap();
    cluster.set_join(Some("127.0.0.1:1"));
    cluster.start_node(fourth).unwrap();
    cluster.stop_node(fifth, ENDS_WITHIN).unwrap();
    cluster.set_join(None);
    cluster.move_node(fifth).unwrap();
    cluster.start_node(fifth).unwrap();
    assert_eq!(store_at(&own, &cluster.endpoints()[fifth]).await, stores[1]);
    // A first member as well: those that run have another address in their lists.
    cluster.stop_node(1, ENDS_WITHIN).unwrap();
    cluster.move_node(1).unwrap();
    cluster.start_node(1).unwrap();
    assert_eq!(store_at(&own, &cluster.endpoints()[1]).await, 2);
    let official = official_client(&cluster, Config::default()).await.unwrap();
    let load = Load::start(&official, "b");
    until_whole(&cluster).await;
    keys.extend(load.stop().await);
    check(&official, &keys).await;
    for endpoint in cluster.endpoints() {
        let url = format!("http://{}", cluster.endpoints()[1]);
        let endpoints = [endpoint];
        let one = Client::connect(&endpoints, client::Config::default());
        let one = one.await.unwrap();
        until(
            "every node knows where the member is that moved",
            async || {
                let members = one.members().await.unwrap().members;
                members
                    .iter()
                    .any(|member| member.client_urls.contains(&url))
            },
        )
        .await;
    }
}

/// The first members of placement, as one node has them.
async fn members(cluster: &Cluster, node: usize) -> Vec<u64> {
    let endpoints = [cluster.endpoints()[node].clone()];
    let client = Client::connect(&endpoints, client::Config::default()).await;
    let members = client.unwrap().members().await.unwrap().members;
    members.iter().map(|member| member.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_member_that_is_drained_gives_its_place_in_placement_away_and_is_not_missed() {
    let mut cluster = Cluster::start(3, options()).unwrap();
    let own = own_client(&cluster, client::Config::default())
        .await
        .unwrap();
    let hurry = r#"{"low-space-percent": 99, "store-limit-add-peer": 600,
        "store-limit-remove-peer": 600}"#;
    pd_post(&cluster, "/pd/api/v1/config", hurry).expect("somebody leads placement");
    let fourth = cluster.join_node().unwrap();
    let joined = store_at(&own, &cluster.endpoints()[fourth]).await;
    until("a fourth store that may be given replicas", async || {
        cluster.ctl(&["store", "drain", "1"]).is_ok()
    })
    .await;
    until("three members of placement without the first", async || {
        let mut now = members(&cluster, fourth).await;
        now.sort_unstable();
        now == [2, 3, joined]
    })
    .await;
    until("a store that has left", async || {
        let stores = own.stores().await.unwrap_or_default();
        stores
            .iter()
            .all(|store| store.id.get() != 1 || store.state == "Tombstone")
    })
    .await;
    cluster.stop_node(0, ENDS_WITHIN).unwrap();
    // Whoever starts again now must not need the one that has left, and two of three are a majority.
    cluster.stop_node(1, ENDS_WITHIN).unwrap();
    let remaining = own_client(&cluster, client::Config::default())
        .await
        .unwrap();
    remaining.put(b"k", "v".into()).await.unwrap();
    cluster.start_node(1).unwrap();
    cluster.stop_node(2, ENDS_WITHIN).unwrap();
    let remaining = own_client(&cluster, client::Config::default())
        .await
        .unwrap();
    assert_eq!(
        remaining.get(b"k").await.unwrap().as_deref(),
        Some(&b"v"[..])
    );
    let mut now = members(&cluster, 1).await;
    now.sort_unstable();
    assert_eq!(now, [2, 3, joined]);
}

/// The command line of a server on this folder, with these flags.
fn server(data: &Path, flags: &[&str]) -> Vec<OsString> {
    let config = data.with_extension("toml");
    std::fs::write(&config, NO_STATUS).unwrap();
    let address = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    let mut args: Vec<OsString> = vec!["server".into(), "--addr".into(), address.into()];
    args.extend(["--data-dir".into(), data.into()]);
    args.extend(["--config".into(), config.into()]);
    args.extend(flags.iter().map(OsString::from));
    args
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_cluster_does_not_join_and_a_joined_one_does_not_found() {
    let mut one = Cluster::start(1, Options::default()).unwrap();
    let other = Cluster::start(1, Options::default()).unwrap();
    let ids = [
        own_client(&one, client::Config::default())
            .await
            .unwrap()
            .cluster_id(),
        own_client(&other, client::Config::default())
            .await
            .unwrap()
            .cluster_id(),
    ];
    let joined = one.join_node().unwrap();
    let client = own_client(&one, client::Config::default()).await.unwrap();
    store_at(&client, &one.endpoints()[joined]).await;
    one.stop_node(joined, ENDS_WITHIN).unwrap();
    one.stop_node(0, ENDS_WITHIN).unwrap();
    let elsewhere = other.endpoints()[0].clone();
    for node in [0, joined] {
        let said = refused(&server(&one.data_dir(node), &["--join", &elsewhere]));
        assert!(
            said.contains("the data directory belongs to store"),
            "{said}"
        );
        assert!(
            ids.iter().all(|id| said.contains(&id.to_string())),
            "{said}"
        );
    }
    let said = refused(&server(
        &one.data_dir(joined),
        &["--initial-cluster", "n1=127.0.0.1:1"],
    ));
    assert!(said.contains("which joined cluster"), "{said}");
    let new = tempfile::tempdir().unwrap();
    let new = new.path().join("data");
    let both = ["--initial-cluster", "n1=127.0.0.1:1", "--join", &elsewhere];
    let said = refused(&server(&new, &both));
    assert!(said.contains("both to found a cluster"), "{said}");
    let config = new.with_extension("toml");
    let args = server(&new, &["--join", &elsewhere]);
    std::fs::write(&config, format!("{NO_STATUS}\nstorage.api-version = 2\n")).unwrap();
    let said = refused(&args);
    assert!(
        said.contains("bootstrapped with storage.api-version = 1"),
        "{said}"
    );
    one.start_all().unwrap();
    own_client(&one, client::Config::default()).await.unwrap();
}
