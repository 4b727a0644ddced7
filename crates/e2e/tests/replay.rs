//! A node that was killed under load, with a long Raft log to read: what its status port says meanwhile.
//!
//! `KONTIKI_REPLAY_BYTES` makes the log longer; the time that it takes to serve again is printed.

use client::{Client, Config};
use e2e::{Cluster, Options, http_get, own_client};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BYTES_DEFAULT: u64 = 48 << 20;
const VALUE_BYTES: usize = 32 << 10;
const WRITERS: usize = 16;
const WITHIN: Duration = Duration::from_secs(120);
/// For the first answer of a process that was started. On a machine of its own it is a tenth of this.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

async fn write(client: Client, written: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let turn = written.fetch_add(1, Ordering::Relaxed);
        let value = vec![turn as u8; VALUE_BYTES];
        let key = format!("k{}", turn % 1_000);
        // The last ones find the node killed.
        let _ = client.put(key.as_bytes(), value.into()).await;
    }
}

fn size_of(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .map(|file| file.metadata().map_or(0, |file| file.len()))
        .sum()
}

/// What `/ready?verbose` says, whatever its code; none if nobody listens.
fn ready(address: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = "GET /ready?verbose HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// A node whose log is kept, and the bytes that it is to have.
fn node() -> (Cluster, u64) {
    let wanted = std::env::var("KONTIKI_REPLAY_BYTES").ok();
    let wanted = wanted.map_or(BYTES_DEFAULT, |bytes| {
        bytes.parse().expect("a number of bytes")
    });
    let options = Options {
        status: true,
        extra: "raftstore.raft-log-gc-threshold = 100000000\n\
                raftstore.raft-log-gc-count-limit = 1000000000\n\
                raftstore.raft-log-gc-size-limit = \"100GiB\""
            .to_owned(),
        ..Options::default()
    };
    (Cluster::start(1, options).unwrap(), wanted)
}

/// Watches a start: when the first answer came, and each progress that was told, until the node serves.
async fn watch(status: &str, since: Instant) -> (Duration, Vec<String>) {
    let mut first = None;
    let mut seen = Vec::new();
    loop {
        assert!(
            since.elapsed() < WITHIN,
            "it does not serve; it said {seen:?}"
        );
        if let Some(told) = ready(status) {
            let first = *first.get_or_insert_with(|| since.elapsed());
            if !told["progress"].is_null() {
                seen.push(told["progress"].to_string());
            }
            if told["stage"] == "serving" {
                return (first, seen);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_says_from_its_start_on_how_far_it_has_read_its_log() {
    let (mut cluster, wanted) = node();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    let (written, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            tokio::spawn(write(
                client.clone(),
                Arc::clone(&written),
                Arc::clone(&stop),
            ))
        })
        .collect();
    let logs = cluster.data_dir(0).join("raft-engine");
    while size_of(&logs) < wanted {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.kill_node(0);
    stop.store(true, Ordering::Relaxed);
    let status = cluster.status_addresses().remove(0);
    let since = Instant::now();
    cluster.start_node(0).unwrap();
    let (first, seen) = watch(&status, since).await;
    let serves = since.elapsed();
    let told: Value = serde_json::from_str(&http_get(&status, "/ready?verbose").unwrap()).unwrap();
    println!(
        "{} MiB of log: first answer after {first:?}, served after {serves:?}; {told}; {} steps of progress, such as {:?}",
        size_of(&logs) >> 20,
        seen.len(),
        seen.get(seen.len() / 2)
    );
    assert!(
        first < ANSWERS_WITHIN,
        "the first answer came after {first:?}"
    );
    assert!(
        seen.iter().any(|step| step.contains("Raft log verified")),
        "{seen:?}"
    );
    assert_eq!(told["passed"].as_array().unwrap().len(), 4);
    for writer in writers {
        writer.await.unwrap();
    }
    let again = own_client(&cluster, Config::default()).await.unwrap();
    assert!(again.get(b"k1").await.unwrap().is_some());
}
