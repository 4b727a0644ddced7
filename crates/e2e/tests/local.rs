//! `kontiki ctl local` on the folders of real nodes: looked at, damaged, and brought back after most nodes are lost.

use e2e::{Cluster, LoneNode, Options, kontiki_binary, until};
use engine::{Cf, Durability, KvBatch, KvEngine};
use engine_rocks::{RocksKv, RocksOptions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use types::{RegionId, keys};

const STOPS_WITHIN: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(120);
const KEYS: usize = 50;

/// What `kontiki ctl local` says of a folder.
fn local(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(kontiki_binary().expect("it is built"));
    command.args(["ctl", "local", "--data-dir"]).arg(folder);
    command.args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it prints when all is well.
fn prints(folder: &Path, args: &[&str]) -> String {
    let output = local(folder, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    let printed = text(&output.stdout);
    println!("-- kontiki ctl local {}\n{printed}", args.join(" "));
    printed
}

/// What it says when it refuses, or has found something.
fn refuses(folder: &Path, args: &[&str]) -> String {
    let output = local(folder, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    let said = text(&output.stdout) + &text(&output.stderr);
    println!(
        "-- kontiki ctl local {} (exit code 1)\n{said}",
        args.join(" ")
    );
    said
}

/// The lines of JSON that it prints.
fn json(folder: &Path, args: &[&str]) -> Vec<Value> {
    let printed = prints(folder, &[args, &["--output", "json"]].concat());
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect()
}

/// Every file below a folder.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("it is listed") {
            let path = entry.expect("it is listed").path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.clone(), fs::read(path).expect("it is read"))),
            }
        }
    }
    found
}

fn stop(node: &mut LoneNode) {
    let mut process = node.process.take().expect("it runs");
    let status = process.terminate(STOPS_WITHIN).expect("it ends");
    assert!(status.success(), "{}", process.output());
}

/// A node that has written some keys and is stopped; its data is in tables.
fn written(items: &str) -> LoneNode {
    let mut node = LoneNode::start(items);
    for at in 0..KEYS {
        node.put(&format!("key{at}"));
    }
    // Its second start puts into tables what the write-ahead log had.
    stop(&mut node);
    node.begin();
    stop(&mut node);
    node
}

#[test]
fn a_stopped_node_is_looked_at_without_a_change_to_its_folder() {
    for raft_engine in [true, false] {
        let mut node = LoneNode::start(&format!("raft-engine.enable = {raft_engine}"));
        let folder = node.path("data");
        for at in 0..KEYS {
            node.put(&format!("key{at}"));
        }
        for args in [
            &["regions"][..],
            &["verify"],
            &["recover", "--failed-stores", "2"],
        ] {
            let said = refuses(&folder, args);
            assert!(said.contains("stop the node first"), "{said}");
        }
        // Killed, so that its write-ahead log has something and its Raft log a torn end, perhaps.
        node.process.take().expect("it runs").kill();
        let before = content(&folder);
        let regions = json(&folder, &["regions"]);
        assert_eq!(regions.len(), 2, "{regions:?}");
        for (region, id) in regions.iter().zip([1, 2]) {
            assert_eq!(region["id"], id);
            assert_eq!(region["state"], "normal");
            assert_eq!(region["peers"][0], format!("{}@1", id * 10 + 1));
            assert!(region["last_index"].as_u64() >= region["applied_index"].as_u64());
        }
        assert_eq!(json(&folder, &["regions", "2"]), regions[1..]);
        assert_eq!(prints(&folder, &["regions", "--bad"]), "");
        let state = json(&folder, &["raft-state", "2"]);
        assert_eq!(state[0]["last_index"], regions[1]["last_index"]);
        assert!(state[0]["commit"].as_u64() >= Some(5), "{state:?}");
        let log = prints(&folder, &["raft-log", "2"]);
        let put = |at: usize| log.contains(&format!("put key{at} ("));
        assert!((0..KEYS).all(put), "{log}");
        let last = state[0]["last_index"].to_string();
        let one = json(&folder, &["raft-log", "2", "--from", &last, "--to", &last]);
        assert_eq!(one.len(), 1);
        assert_eq!(one[0]["index"].to_string(), last);
        let hex = prints(&folder, &["--encoding", "hex", "raft-log", "2"]);
        assert!(hex.contains("put 6b657930 ("), "{hex}");
        let verified = prints(&folder, &["verify"]);
        assert!(verified.contains("all is well"), "{verified}");
        let missing = refuses(&folder, &["raft-state", "77"]);
        assert!(missing.contains("no Region 77"), "{missing}");
        assert_eq!(content(&folder), before, "reading changes nothing");
        node.begin();
        node.put("more");
    }
}

#[test]
fn a_folder_that_is_no_nodes_is_refused_and_left_empty() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = local(folder.path(), &["regions"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("no data folder of a node"), "{said}");
    assert!(content(folder.path()).is_empty());
}

/// The largest file of a folder with this ending.
fn largest(folder: &Path, ending: &str) -> PathBuf {
    let files = content(folder).into_iter();
    let files = files.filter(|(path, _)| path.extension().is_some_and(|found| found == ending));
    let largest = files.max_by_key(|(_, bytes)| bytes.len());
    largest.expect("there is one").0
}

/// Flips a bit at this share of a file while `check` looks.
fn with_damage(path: &Path, place: impl Fn(usize) -> usize, check: impl FnOnce()) {
    let whole = fs::read(path).expect("it is read");
    let mut damaged = whole.clone();
    let at = place(damaged.len());
    damaged[at] ^= 1;
    fs::write(path, damaged).expect("it is written");
    check();
    fs::write(path, whole).expect("it is written");
}

#[test]
fn damage_in_a_file_of_either_engine_is_found_and_named() {
    let node = written("");
    let folder = node.path("data");
    assert!(prints(&folder, &["verify"]).contains("all is well"));
    let log = largest(&folder.join("raft-engine"), "raftlog");
    // Its first bytes are the header, and the end may be allocated ahead.
    with_damage(
        &log,
        |_| 200,
        || {
            let said = refuses(&folder, &["verify"]);
            assert!(said.contains("0000000000000001.raftlog"), "{said}");
            // The other engine was read nevertheless.
            assert!(
                said.contains("pairs") && said.contains("problems: 1"),
                "{said}"
            );
        },
    );
    let table = largest(&folder.join("db"), "sst");
    with_damage(
        &table,
        |_| 20,
        || {
            let said = refuses(&folder, &["verify"]);
            let name = table.file_name().expect("it has one").to_string_lossy();
            assert!(said.contains(&*name), "{said}");
            assert!(said.contains("entries of their Raft logs"), "{said}");
        },
    );
    assert!(prints(&folder, &["verify"]).contains("all is well"));
}

#[test]
fn a_region_whose_state_does_not_fit_its_log_is_bad() {
    let node = written("");
    let folder = node.path("data");
    let put = |key: &[u8], value: &[u8]| {
        let kv = RocksKv::open(&folder.join("db"), &RocksOptions::default());
        let kv = kv.expect("it opens");
        let before = kv.get(Cf::Raft, key).expect("it reads");
        let mut batch = kv.batch();
        batch.put(Cf::Raft, key, value);
        kv.write(&mut batch, Durability::Synced)
            .expect("it is written");
        before.expect("it was there")
    };
    let apply_key = keys::apply_state_key(RegionId::FIRST_DATA);
    // Applied up to 16,383, where the log ends long before.
    let applied = put(&apply_key, &[1, 0xff, 0x7f, 6, 5, 5]);
    let bad = json(&folder, &["regions", "--bad"]);
    let said = bad[0]["problem"].as_str().unwrap_or_default();
    assert!(said.contains("entries up to 16383 were applied"), "{said}");
    let verified = refuses(&folder, &["verify"]);
    assert!(verified.contains("16383"), "{verified}");
    put(&apply_key, &applied);
    let state = put(&keys::region_state_key(RegionId::FIRST_DATA), b"\x09");
    let bad = prints(&folder, &["regions", "--bad"]);
    assert!(bad.contains("its state can't be read"), "{bad}");
    put(&keys::region_state_key(RegionId::FIRST_DATA), &state);
    assert_eq!(prints(&folder, &["regions", "--bad"]), "");
}

/// Placement that looks often, and has room.
fn options() -> Options {
    Options {
        extra: "raftstore.pd-heartbeat-tick-interval = \"500ms\"\n\
                raftstore.pd-store-heartbeat-tick-interval = \"500ms\"\n\
                raftstore.capacity = \"2GiB\"\n"
            .to_owned(),
        ..Options::default()
    }
}

/// What `ctl` prints on the cluster, once it can.
fn at_last(cluster: &Cluster, args: &[&str]) -> String {
    until(&args.join(" "), PATIENCE, || cluster.ctl(args).ok())
}

/// A cluster of three whose third node has all that was written, and is the only one that is left.
fn only_the_third_is_left() -> Cluster {
    let mut cluster = Cluster::start(3, options()).expect("it starts");
    for at in 0..KEYS {
        at_last(
            &cluster,
            &["raw", "put", &format!("key{at}"), &format!("value{at}")],
        );
    }
    // All replicas are hashed at one entry, so all have applied what was before.
    for region in ["1", "2"] {
        at_last(&cluster, &["region", "check-consistency", region]);
    }
    cluster.kill_all();
    for lost in [0, 1] {
        fs::remove_dir_all(cluster.data_dir(lost)).expect("it is removed");
    }
    cluster
}

#[test]
fn the_last_of_three_nodes_serves_again_with_all_data_and_gets_new_company() {
    const RECOVER: [&str; 3] = ["recover", "--failed-stores", "1,2"];
    let mut cluster = only_the_third_is_left();
    let folder = cluster.data_dir(2);
    let before = content(&folder);
    let one = local(&folder, &["recover", "--failed-stores", "1"]);
    assert!(one.status.success(), "{one:?}");
    assert!(text(&one.stdout).contains("left alone"), "{one:?}");
    let own = refuses(&folder, &["recover", "--failed-stores", "3"]);
    assert!(
        own.contains("store 3 is the one of this directory"),
        "{own}"
    );
    let shown = refuses(&folder, &RECOVER);
    assert!(
        shown.contains("warning") && shown.contains("--yes-lose-data"),
        "{shown}"
    );
    assert_eq!(
        content(&folder),
        before,
        "without the flag nothing is changed"
    );
    let done = prints(&folder, &[&RECOVER[..], &["--yes-lose-data"]].concat());
    assert!(done.contains("2 Regions go on"), "{done}");
    let again = prints(&folder, &[&RECOVER[..], &["--yes-lose-data"]].concat());
    assert!(again.contains("no Region had to be changed"), "{again}");
    assert!(prints(&folder, &["verify"]).contains("all is well"));
    for region in json(&folder, &["regions"]) {
        assert_eq!(
            region["peers"].as_array().map(Vec::len),
            Some(1),
            "{region}"
        );
        assert_eq!(region["epoch"], "3.1");
    }

    cluster.start_node(2).expect("it starts");
    for at in 0..KEYS {
        let got = at_last(&cluster, &["raw", "get", &format!("key{at}")]);
        assert!(got.trim_end().ends_with(&format!("value{at}")), "{got}");
    }
    at_last(&cluster, &["raw", "put", "after", "the loss"]);
    let members = at_last(&cluster, &["member"]);
    println!("-- kontiki ctl member\n{members}");
    assert!(members.contains(&cluster.endpoints()[2]), "{members}");

    replace_the_lost(&mut cluster);
    let got = at_last(&cluster, &["raw", "get", "after"]);
    assert!(got.contains("the loss"), "{got}");
}

/// New nodes take the places of those that are lost.
fn replace_the_lost(cluster: &mut Cluster) {
    let survivor = cluster.endpoints()[2].clone();
    cluster.set_join(Some(&survivor));
    for _ in 0..2 {
        cluster.join_node().expect("it starts");
    }
    let replicas = |peers: &Value| peers.as_array().map_or(0, Vec::len);
    until("new replicas", PATIENCE, || {
        let regions = cluster.ctl(&["region", "--output", "json"]).ok()?;
        let regions: Result<Vec<Value>, _> = regions.lines().map(serde_json::from_str).collect();
        let regions = regions.ok()?;
        let is_whole = |region: &Value| replicas(&region["peers"]) == 3;
        (!regions.is_empty() && regions.iter().all(is_whole)).then_some(())
    });
    for lost in ["1", "2"] {
        at_last(cluster, &["store", "drain", lost, "--wait"]);
    }
    at_last(cluster, &["store", "remove-tombstone"]);
    let stores = at_last(cluster, &["store"]);
    println!("-- kontiki ctl store\n{stores}");
    assert_eq!(stores.lines().count(), 4, "{stores}");
}
