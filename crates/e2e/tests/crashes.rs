//! Acknowledged writes survive `kill -9`, of the leader and of all nodes, under load.
//!
//! `KONTIKI_CRASH_ROUNDS` raises the number of leader kills (6); all nodes are killed a quarter as
//! often. Writers never use a key twice, so that what a lost answer leaves open stays confined to its
//! own keys: each must be there if it was acknowledged, and a group must be there whole or not at all.

use bytes::Bytes;
use client::{Client, Config, Error};
use e2e::{Cluster, ELECTION_TICKS, Options, TICK, leader_of, own_client};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use workload::Rng;

const WRITERS: usize = 64;
const GROUP: usize = 8;
/// A new leader serves within this and the longest election timeout.
const TAKEOVER: Duration = Duration::from_millis(1_500);
const RESTART_WITHIN: Duration = Duration::from_secs(30);

fn rounds() -> u32 {
    let given = std::env::var("KONTIKI_CRASH_ROUNDS").ok();
    given.map_or(6, |text| {
        text.parse().expect("KONTIKI_CRASH_ROUNDS is a number")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_log_engine_no_acknowledged_write_is_lost_and_none_is_half_applied() {
    crash(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_log_in_rocksdb_no_acknowledged_write_is_lost_and_none_is_half_applied() {
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
    let load = Load::start(&client);
    let reader = Reader::start(&client);
    for round in 0..rounds() {
        kill_the_leader(&mut cluster, &client, &load, &mut rng, round).await;
    }
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

async fn kill_the_leader(
    cluster: &mut Cluster,
    client: &Client,
    load: &Load,
    rng: &mut Rng,
    round: u32,
) {
    load.progress(200).await;
    pause(rng).await;
    let leader = loop {
        if let Some(leader) = leader_of(cluster, client, b"single/").await {
            break leader;
        }
        tokio::time::sleep(TICK).await;
    };
    cluster.kill_node(leader);
    let bound = TAKEOVER + TICK * (2 * ELECTION_TICKS);
    let took = until_served(cluster, Instant::now(), RESTART_WITHIN).await;
    println!(
        "kill {round}, of node {}: served after {took:?}",
        leader + 1
    );
    assert!(
        took <= bound,
        "no leader served within {bound:?}, only after {took:?}"
    );
    pause(rng).await;
    cluster.start_node(leader).unwrap();
    let address: SocketAddr = cluster.endpoints()[leader].parse().unwrap();
    let deadline = Instant::now() + RESTART_WITHIN;
    while TcpStream::connect(address).is_err() {
        assert!(
            Instant::now() < deadline,
            "node {} does not come back",
            leader + 1
        );
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

/// What one writer knows of its writes.
#[derive(Default)]
struct Written {
    /// The numbers of acknowledged writes; the others were answered with an error.
    acknowledged: Vec<u64>,
    attempted: u64,
}

struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Written>>,
}

impl Load {
    fn start(client: &Client) -> Load {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let writers = (0..WRITERS).map(|writer| {
            let client = client.clone();
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(write(writer, client, stop, acknowledged))
        });
        let writers = writers.collect();
        Load {
            stop,
            acknowledged,
            writers,
        }
    }

    /// Waits until so many more writes have been acknowledged.
    async fn progress(&self, writes: u64) {
        let target = self.acknowledged.load(Ordering::Relaxed) + writes;
        let deadline = Instant::now() + RESTART_WITHIN;
        while self.acknowledged.load(Ordering::Relaxed) < target {
            assert!(Instant::now() < deadline, "the writers make no progress");
            tokio::time::sleep(TICK).await;
        }
    }

    async fn stop(self) -> Vec<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Vec::with_capacity(WRITERS);
        for writer in self.writers {
            written.push(writer.await.unwrap());
        }
        written
    }
}

fn single_key(writer: usize, number: u64) -> String {
    format!("single/{writer:02}/{number:08}")
}

fn group_key(writer: usize, number: u64, member: usize) -> String {
    format!("group/{writer:02}/{number:08}/{member}")
}

/// The group that is written again and again, for readers.
fn shared_group(number: u64) -> Vec<(Bytes, Bytes)> {
    let pair = |member| (format!("shared/{member}").into(), number.to_string().into());
    (0..GROUP).map(pair).collect()
}

/// Even numbers are single keys, odd ones groups in one request.
async fn write(
    writer: usize,
    client: Client,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Written {
    let mut written = Written::default();
    while !stop.load(Ordering::Relaxed) {
        let number = written.attempted;
        written.attempted += 1;
        let value = Bytes::from(number.to_string());
        let done = if number.is_multiple_of(2) {
            client
                .put(single_key(writer, number).as_bytes(), value)
                .await
        } else {
            let pair = |member| (group_key(writer, number, member).into(), value.clone());
            let pairs: Vec<(Bytes, Bytes)> = (0..GROUP).map(pair).collect();
            client.batch_put(&pairs).await
        };
        match done {
            Ok(()) => {
                written.acknowledged.push(number);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Undetermined { .. } | Error::Deadline { .. } | Error::NoMember { .. }) => {}
            Err(error) => panic!("writer {writer}: {error}"),
        }
        if writer == 0 {
            // Its fate does not matter, only that nobody ever reads a half of it.
            let _ = client.batch_put(&shared_group(number)).await;
        }
    }
    written
}

/// Reads the shared group all the time: its keys always agree.
struct Reader {
    stop: Arc<AtomicBool>,
    reads: JoinHandle<u64>,
}

impl Reader {
    fn start(client: &Client) -> Reader {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = tokio::spawn(read(client.clone(), Arc::clone(&stop)));
        Reader { stop, reads }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let reads = self.reads.await.unwrap();
        assert!(reads > 0, "the reader has never seen the group");
    }
}

async fn read(client: Client, stop: Arc<AtomicBool>) -> u64 {
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(pairs) = client.scan(b"shared/", b"shared0", 100).await else {
            continue;
        };
        let whole = pairs.is_empty() || pairs.len() == GROUP;
        assert!(
            whole && pairs.windows(2).all(|pair| pair[0].1 == pair[1].1),
            "torn: {pairs:?}"
        );
        reads += u64::from(!pairs.is_empty());
    }
    reads
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
