//! A playground and everything that `ctl` and `bench` do with it, as a person would.

use e2e::{Process, free_ports};
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const KONTIKI: &str = env!("CARGO_BIN_EXE_kontiki");
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

struct Playground {
    process: Process,
    endpoint: String,
    data: tempfile::TempDir,
}

impl Playground {
    /// Three nodes, ready.
    fn start(api_version: u8) -> Playground {
        let data = tempfile::tempdir().unwrap();
        let port = six_in_a_row();
        let mut process = spawn(port, api_version, data.path(), "log");
        wait_until_ready(&mut process);
        Playground {
            process,
            endpoint: format!("127.0.0.1:{port}"),
            data,
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        let pd = ["--pd", &self.endpoint];
        Command::new(KONTIKI).args(args).args(pd).output().unwrap()
    }

    /// What a command that must succeed prints.
    fn prints(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

/// A playground with its nodes' data and its log in `folder`; it has yet to start.
fn spawn(port: u16, api_version: u8, folder: &Path, log: &str) -> Process {
    let args = [
        "playground",
        "--port",
        &port.to_string(),
        "--status-port",
        &(port + 3).to_string(),
        "--api-version",
        &api_version.to_string(),
        "--data-dir",
        &folder.join("data").display().to_string(),
    ];
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    Process::spawn("playground", Path::new(KONTIKI), &args, &folder.join(log)).unwrap()
}

fn wait_until_ready(process: &mut Process) {
    let deadline = Instant::now() + STARTS_WITHIN;
    while !process.output().contains("Ready.") {
        assert!(
            process.ended().is_none() && Instant::now() < deadline,
            "{}",
            process.output()
        );
        std::thread::sleep(POLL);
    }
}

/// The first of six free ports: for each node one of its own, and one for its status.
fn six_in_a_row() -> u16 {
    free_ports(6).unwrap()[0]
}

#[test]
fn what_ctl_writes_it_reads_and_deletes() {
    let cluster = Playground::start(1);
    assert_eq!(
        cluster.prints(&["ctl", "raw", "put", "a\\x00b", "line\\n"]),
        ""
    );
    assert_eq!(
        cluster.prints(&["ctl", "raw", "get", "a\\x00b"]),
        "a\\x00b\tline\\n\n"
    );
    let json = cluster.prints(&[
        "ctl",
        "--output",
        "json",
        "--encoding",
        "hex",
        "raw",
        "get",
        "610062",
    ]);
    let pair: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&pair["key"], &pair["value"]),
        (&"610062".into(), &"6c696e650a".into())
    );
    cluster.prints(&["ctl", "raw", "delete", "a\\x00b"]);
    let missing = cluster.run(&["ctl", "raw", "get", "a\\x00b"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("not found: a\\x00b"));
}

#[test]
fn a_file_is_loaded_and_scanned_back_equal_under_both_api_versions() {
    for api_version in [1, 2] {
        let cluster = Playground::start(api_version);
        let lines: Vec<String> = (0..3_000)
            .map(|n| format!("key/{n:06}\tvalue {n}"))
            .collect();
        let file = cluster.write("pairs.tsv", &lines.join("\n"));
        let api = format!("--api-version={api_version}");
        let report = cluster.prints(&["ctl", &api, "raw", "load", &file]);
        assert!(report.starts_with("3000 pairs"), "{report}");
        let all = cluster.prints(&["ctl", &api, "raw", "scan"]);
        assert_eq!(all.lines().collect::<Vec<_>>(), lines);
        let args = [
            "ctl",
            &api,
            "raw",
            "scan",
            "--start",
            "key/000010",
            "--end",
            "key/000013",
            "--keys-only",
        ];
        assert_eq!(
            cluster.prints(&args),
            "key/000010\nkey/000011\nkey/000012\n"
        );
        let args = [
            "ctl", &api, "raw", "scan", "--prefix", "key/0029", "--limit", "1",
        ];
        assert_eq!(cluster.prints(&args), "key/002900\tvalue 2900\n");
    }
}

#[test]
fn a_load_with_bad_lines_names_them_and_loads_the_rest() {
    let cluster = Playground::start(1);
    let file = cluster.write(
        "pairs.jsonl",
        "{\"key\":\"a\",\"value\":\"1\"}\n{}\n{\"key\":\"b\",\"value\":\"2\"}\n",
    );
    let output = cluster.run(&["ctl", "raw", "load", &file]);
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains("pairs.jsonl:2: not a pair"), "{report}");
    assert_eq!(cluster.prints(&["ctl", "raw", "scan"]), "a\t1\nb\t2\n");
}

#[test]
fn values_near_the_limit_of_an_entry_are_loaded_and_scanned_and_what_is_beyond_is_named() {
    let cluster = Playground::start(1);
    // Together more than a store reads for one answer, each with a small neighbour.
    let large = "x".repeat(7 << 20);
    let mut lines: Vec<String> = (0..5)
        .flat_map(|n| [format!("key{n}\t{large}"), format!("key{n}+\tsmall")])
        .collect();
    let (key_too_large, value_too_large) = ("k".repeat(9_000), "x".repeat(9 << 20));
    let bad = [
        format!("{key_too_large}\tv"),
        format!("key\t{value_too_large}"),
    ];
    let file = cluster.write("pairs.tsv", &[&lines[..], &bad].concat().join("\n"));
    let output = cluster.run(&["ctl", "raw", "load", "--timeout", "60s", &file]);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.starts_with("10 pairs"), "{report}");
    assert!(report.contains("2 pairs failed"), "{report}");
    assert!(report.contains("pairs.tsv:11: refused: key too large"));
    assert!(report.contains("pairs.tsv:12: too large"), "{report}");
    lines.sort();
    let all = cluster.prints(&["ctl", "raw", "scan", "--timeout", "60s"]);
    assert!(all.lines().eq(&lines), "{} lines", all.lines().count());
    let keys = cluster.prints(&["ctl", "raw", "scan", "--keys-only"]);
    assert_eq!(keys.lines().count(), 10, "{keys}");
}

#[test]
fn ctl_shows_stores_regions_and_members() {
    let cluster = Playground::start(1);
    let stores = cluster.prints(&["ctl", "store"]);
    assert_eq!(stores.lines().count(), 1 + 3, "{stores}");
    let first: Vec<&str> = stores.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(first[..3], ["1", &cluster.endpoint, "Up"], "{stores}");
    let regions = cluster.prints(&["ctl", "--output", "json", "region"]);
    let region: Value = serde_json::from_str(&regions).unwrap();
    assert_eq!(region["peers"].as_array().unwrap().len(), 3, "{regions}");
    let members = cluster.prints(&["ctl", "member"]);
    assert_eq!(members.matches("leader").count(), 1, "{members}");
    assert_eq!(cluster.run(&["ctl", "store", "77"]).status.code(), Some(1));
}

#[test]
fn a_region_is_cut_where_ctl_says_and_its_keys_stay() {
    for api_version in [1, 2] {
        let cluster = Playground::start(api_version);
        let api = format!("--api-version={api_version}");
        for key in ["a", "m", "z"] {
            cluster.prints(&["ctl", &api, "raw", "put", key, key]);
        }
        let parts = cluster.prints(&["ctl", &api, "region", "split", "m"]);
        assert_eq!(parts.lines().count(), 1 + 2, "{parts}");
        let again = cluster.prints(&["ctl", &api, "region", "split", "m"]);
        assert_eq!(
            again.lines().count(),
            1 + 1,
            "it is cut there already: {again}"
        );
        for key in ["a", "m", "z"] {
            cluster.prints(&["ctl", &api, "raw", "put", key, "again"]);
        }
        let all = cluster.prints(&["ctl", &api, "raw", "scan"]);
        assert_eq!(all, "a\tagain\nm\tagain\nz\tagain\n");
    }
}

#[test]
fn bench_reports_every_kind_of_operation() {
    let cluster = Playground::start(1);
    let flags = [
        "--keys",
        "50",
        "--clients",
        "4",
        "--count",
        "200",
        "--warm-up",
        "0s",
        "--output",
        "json",
    ];
    for (load, kinds) in [("put", 1), ("get", 1), ("mixed", 2), ("scan", 1)] {
        let json = cluster.prints(&[["bench", load].as_slice(), &flags].concat());
        let report: Value = serde_json::from_str(&json).unwrap();
        let operations = report["operations"].as_array().unwrap();
        assert_eq!(operations.len(), kinds, "{json}");
        let count: u64 = operations
            .iter()
            .map(|kind| kind["count"].as_u64().unwrap())
            .sum();
        assert_eq!(count, 200, "{json}");
    }
}

#[test]
fn a_playground_keeps_the_folder_that_was_asked_for_and_its_data() {
    let mut cluster = Playground::start(1);
    cluster.prints(&["ctl", "raw", "put", "kept", "yes"]);
    let status = cluster.process.terminate(ENDS_WITHIN).unwrap();
    assert!(status.success(), "{}", cluster.process.output());
    assert!(cluster.data.path().join("data/n3/db").is_dir());
    let (_, port) = cluster.endpoint.rsplit_once(':').unwrap();
    let port = port.parse().unwrap();
    cluster.process = spawn(port, 1, cluster.data.path(), "log of the second start");
    wait_until_ready(&mut cluster.process);
    assert_eq!(
        cluster.prints(&["ctl", "raw", "get", "kept"]),
        "kept\tyes\n"
    );
}

#[test]
fn ctl_waits_for_a_cluster_that_is_starting() {
    let folder = tempfile::tempdir().unwrap();
    let port = six_in_a_row();
    let playground = spawn(port, 1, folder.path(), "log");
    let output = Command::new(KONTIKI)
        .args(["ctl", "--timeout", "60s", "--pd"])
        .arg(format!("127.0.0.1:{port}"))
        .args(["raw", "put", "k", "v"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{}", playground.output());
}

#[test]
fn a_taken_port_is_named_before_anything_is_written() {
    let port = six_in_a_row();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut refused = spawn(port, 1, folder.path(), "log");
    let status = refused.wait(ENDS_WITHIN).unwrap();
    let output = refused.output();
    assert_eq!(status.code(), Some(1), "{output}");
    let taken = taken.local_addr().unwrap().to_string();
    assert!(output.contains(&taken), "{output}");
    assert!(output.contains("--port"), "{output}");
    assert!(!folder.path().join("data").exists());
}
