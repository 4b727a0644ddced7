//! Disks that fail: a node that can't keep its promises stops or does not start, says why, and names
//! the file; the others serve on, and nothing that was acknowledged is lost.

use bytes::Bytes;
use client::{Client, Config, Error};
use e2e::{Cluster, Options, SERVES_WITHIN, leader_of, own_client};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ENDS_WITHIN: Duration = Duration::from_secs(30);
const VALUE_BYTES: usize = 16 << 10;

/// Values differ, and do not compress to nothing.
fn value(number: u32) -> Bytes {
    let mut rng = workload::Rng::new(u64::from(number), 0);
    (0..VALUE_BYTES).map(|_| rng.below(256) as u8).collect()
}

fn key(number: u32) -> String {
    format!("fault/{number:06}")
}

/// Writes numbers from `first` on while `more` says so, and returns those that were acknowledged.
async fn write(client: &Client, first: u32, mut more: impl FnMut(u32) -> bool) -> Vec<u32> {
    let mut acknowledged = Vec::new();
    for number in (first..).take_while(|number| more(*number)) {
        match client.put(key(number).as_bytes(), value(number)).await {
            Ok(()) => acknowledged.push(number),
            Err(
                Error::Undetermined { .. }
                | Error::Deadline { .. }
                | Error::NoMember { .. }
                | Error::DiskFull { .. },
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

async fn all_there(client: &Client, acknowledged: &[u32]) {
    for &number in acknowledged {
        let found = client.get(key(number).as_bytes()).await.unwrap();
        assert!(
            found == Some(value(number)),
            "lost or wrong: {}",
            key(number)
        );
    }
}

/// Waits for the end of a node that can't go on, and returns what it had said.
fn ended_badly(cluster: &mut Cluster, node: usize) -> String {
    let process = cluster.node(node).expect("it was started");
    let status = process.wait(ENDS_WITHIN).unwrap();
    let output = process.output();
    assert!(!status.success(), "{output}");
    cluster.kill_node(node);
    output
}

/// The largest file below `folder` with this ending.
fn largest(folder: &Path, ending: &str) -> PathBuf {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .expect("there is a log")
}

fn flip_a_byte_in_the_middle(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

async fn a_flipped_byte(raft_engine: bool, folder: &str, ending: &str) {
    let options = Options {
        raft_engine,
        ..Options::default()
    };
    let mut cluster = Cluster::start(3, options).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    let mut acknowledged = write(&client, 0, |number| number < 50).await;
    cluster.stop_node(0, ENDS_WITHIN).unwrap();
    let file = largest(&cluster.data_dir(0).join(folder), ending);
    flip_a_byte_in_the_middle(&file);

    cluster.start_node(0).unwrap();
    let output = ended_badly(&mut cluster, 0);
    let name = file.file_name().unwrap().to_string_lossy();
    assert!(output.contains(&*name), "{name} is not named: {output}");
    assert!(!output.contains("panicked"), "{output}");

    let client = own_client(&cluster, Config::default()).await.unwrap();
    acknowledged.extend(write(&client, 50, |number| number < 100).await);
    assert_eq!(acknowledged.len(), 100, "two of three serve");
    all_there(&client, &acknowledged).await;

    // The refusal has changed nothing: with the byte mended the node takes part again.
    flip_a_byte_in_the_middle(&file);
    cluster.start_node(0).unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
    cluster.kill_node(1);
    let client = own_client(&cluster, Config::default()).await.unwrap();
    all_there(&client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_log_engine_stops_that_node_by_name_and_the_others_serve_on() {
    a_flipped_byte(true, "raft-engine", "raftlog").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_rocksdbs_log_stops_that_node_by_name_and_the_others_serve_on() {
    a_flipped_byte(false, "raft-rocks", "log").await;
}

async fn a_refused_write(raft_engine: bool) {
    let options = Options {
        raft_engine,
        ..Options::default()
    };
    let mut cluster = Cluster::start(3, options).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    let leader = leader_of(&cluster, &client, b"fault/").await.unwrap();
    let process = cluster.node(leader).unwrap();
    process.limit_files(2 << 20).unwrap();
    let deadline = Instant::now() + SERVES_WITHIN;
    let acknowledged = write(&client, 0, |_| {
        assert!(Instant::now() < deadline, "the limit does not count");
        process.ended().is_none()
    });
    let mut acknowledged = acknowledged.await;
    let output = ended_badly(&mut cluster, leader);
    assert!(output.contains("can't be written"), "{output}");
    println!("{} writes before the leader stopped", acknowledged.len());

    let first = acknowledged.last().map_or(0, |last| last + 1_000);
    acknowledged.extend(write(&client, first, |number| number < first + 50).await);
    all_there(&client, &acknowledged).await;
    // On a disk with room again, and with one of the others gone: it has what they have.
    cluster.start_node(leader).unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
    cluster.kill_node((leader + 1) % 3);
    let client = own_client(&cluster, Config::default()).await.unwrap();
    all_there(&client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_log_engine_can_not_write_stops_and_says_so_and_nothing_is_lost() {
    a_refused_write(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_rocksdb_log_can_not_write_stops_and_says_so_and_nothing_is_lost() {
    a_refused_write(false).await;
}

/// A small disk of its own; gone with this.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where this process may not mount anything.
    fn mount(mib: u32) -> Option<SmallDisk> {
        let disk = SmallDisk(tempfile::tempdir().unwrap());
        disk.size("", mib).then_some(disk)
    }

    fn grow(&self, mib: u32) {
        assert!(self.size("remount,", mib), "it was mounted before");
    }

    fn size(&self, how: &str, mib: u32) -> bool {
        let mut mount = Command::new("mount");
        let options = format!("{how}size={mib}m");
        mount.args(["-t", "tmpfs", "-o", &options, "kontiki-e2e"]);
        let done = mount.arg(self.0.path()).output();
        done.is_ok_and(|done| done.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Fails where nothing was mounted.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_or_stops_nodes_by_name_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(64) else {
        println!("left out: this process may not mount a small disk (root may)");
        return;
    };
    let options = Options {
        data: Some(disk.0.path().to_owned()),
        ..Options::default()
    };
    let mut cluster = Cluster::start(3, options).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    let mut acknowledged = Vec::new();
    let deadline = Instant::now() + SERVES_WITHIN;
    loop {
        let number = acknowledged.len() as u32;
        match client.put(key(number).as_bytes(), value(number)).await {
            Ok(()) => acknowledged.push(number),
            Err(Error::DiskFull { .. }) => break,
            Err(_) if (0..3).any(|node| cluster.node(node).unwrap().ended().is_some()) => break,
            Err(error) => assert!(Instant::now() < deadline, "nobody says why: {error}"),
        }
        assert!(number < (64 << 20) / VALUE_BYTES as u32, "it does not fill");
    }
    println!("{} writes until the disk was full", acknowledged.len());
    for node in 0..3 {
        if cluster.node(node).unwrap().ended().is_some() {
            let output = ended_badly(&mut cluster, node);
            assert!(output.contains("No space left on device"), "{output}");
            println!("node {} has stopped", node + 1);
        }
    }

    disk.grow(512);
    cluster.start_all().unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    let first = acknowledged.len() as u32 + 1_000;
    acknowledged.extend(write(&client, first, |number| number < first + 50).await);
    all_there(&client, &acknowledged).await;
    cluster.kill_all();
    cluster.start_all().unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    all_there(&client, &acknowledged).await;
}
