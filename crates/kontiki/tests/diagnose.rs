//! `kontiki ctl diagnose` on real clusters in which something is wrong: it names the culprit.
//!
//! **How it is staged.** A down store is killed, another setting is set online, a Region is written to; a disk is made
//! small by `raftstore.capacity`; and a library that is loaded before libc's has a disk sync slowly and a clock show
//! another time, for one process.

use client::Client;
use e2e::{Process, free_ports};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const KONTIKI: &str = env!("CARGO_BIN_EXE_kontiki");
const WITHIN: Duration = Duration::from_secs(120);
const NODES: usize = 3;

/// The library. System calls, and not libc's own functions: to find those it would have to allocate, and who
/// allocates first asks for the time.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long of(const char *name) {
    const char *value = getenv(name);
    return value ? atol(value) : 0;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int done = syscall(SYS_clock_gettime, id, time);
    if (done == 0 && id == CLOCK_REALTIME) time->tv_sec += of("SHIM_AHEAD_S");
    return done;
}

int fdatasync(int file) {
    usleep(of("SHIM_SYNC_MS") * 1000);
    return syscall(SYS_fdatasync, file);
}

int fsync(int file) {
    usleep(of("SHIM_SYNC_MS") * 1000);
    return syscall(SYS_fsync, file);
}
"#;

struct Cluster {
    addresses: Vec<String>,
    status: Vec<String>,
    folder: TempDir,
    processes: Vec<Option<Process>>,
}

impl Cluster {
    fn new() -> Self {
        let ports = free_ports(2 * NODES).unwrap();
        let address = |port: &u16| format!("127.0.0.1:{port}");
        Self {
            addresses: ports[..NODES].iter().map(address).collect(),
            status: ports[NODES..].iter().map(address).collect(),
            folder: tempfile::tempdir().unwrap(),
            processes: (0..NODES).map(|_| None).collect(),
        }
    }

    /// The library; none without a C compiler.
    fn shim(&self) -> Option<PathBuf> {
        let (source, library) = (
            self.folder.path().join("shim.c"),
            self.folder.path().join("shim.so"),
        );
        fs::write(&source, SHIM).unwrap();
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source);
        let built = compiler.output().ok()?;
        assert!(built.status.success(), "{built:?}");
        Some(library)
    }

    /// Starts a node with these items besides and in this environment.
    fn start(&mut self, node: usize, items: &str, environment: &[String]) {
        let name = format!("n{}", node + 1);
        let config = self.folder.path().join(format!("{name}.toml"));
        // Rates are by whole seconds: reports come no more often.
        let all = "raftstore.raft-base-tick-interval = \"100ms\"\n\
                   raftstore.pd-heartbeat-tick-interval = \"2s\"\n\
                   raftstore.pd-store-heartbeat-tick-interval = \"2s\"\n\
                   slow-log-threshold = \"200ms\"\n";
        fs::write(&config, format!("{all}{items}")).unwrap();
        let members: Vec<String> = self
            .addresses
            .iter()
            .enumerate()
            .map(|(node, address)| format!("n{}={address}", node + 1))
            .collect();
        let log = self.folder.path().join(format!("{name}.log"));
        let mut args: Vec<OsString> = environment.iter().map(OsString::from).collect();
        args.extend([
            KONTIKI.into(),
            "server".into(),
            "--name".into(),
            name.clone().into(),
        ]);
        args.extend(["--config".into(), config.into()]);
        args.extend(["--addr".into(), self.addresses[node].clone().into()]);
        args.extend(["--status-addr".into(), self.status[node].clone().into()]);
        args.extend(["--data-dir".into(), self.folder.path().join(&name).into()]);
        args.extend(["--initial-cluster".into(), members.join(",").into()]);
        args.extend(["--log-file".into(), log.into()]);
        let output = self.folder.path().join(format!("{name}.out"));
        let process = Process::spawn(&name, Path::new("/usr/bin/env"), &args, &output).unwrap();
        self.processes[node] = Some(process);
    }

    async fn client(&self) -> Client {
        let deadline = Instant::now() + WITHIN;
        loop {
            let config = client::Config::default();
            let attempt = async {
                let client = Client::connect(&self.addresses, config).await?;
                client.put(b"probe", "v".into()).await?;
                Ok::<_, client::Error>(client)
            };
            match attempt.await {
                // A node says where its status server is once it has found who leads placement.
                Ok(client) if self.run(&["config", "node", "show"]).status.success() => {
                    return client;
                }
                Ok(_) => assert!(Instant::now() < deadline, "a node does not register"),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }

    fn run(&self, args: &[&str]) -> std::process::Output {
        let mut command = Command::new(KONTIKI);
        command
            .args(["ctl", "--pd", &self.addresses.join(",")])
            .args(args);
        command.current_dir(self.folder.path());
        command.output().unwrap()
    }

    fn ctl(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The rules and culprits of all findings.
    fn diagnose(&self) -> Vec<(String, String)> {
        let printed = self.ctl(&["diagnose", "--archive", "", "--output", "json"]);
        let findings = printed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        findings
            .map(|finding: Value| (text(&finding["rule"]), text(&finding["culprit"])))
            .collect()
    }

    /// Until this is found, with whom it is said of.
    fn until_found(&self, rule: &str) -> Vec<String> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let found = self.diagnose();
            let of_rule = found.iter().filter(|(found, _)| found == rule);
            let culprits: Vec<String> = of_rule.map(|(_, culprit)| culprit.clone()).collect();
            if !culprits.is_empty() {
                return culprits;
            }
            assert!(Instant::now() < deadline, "no {rule} in {found:?}");
        }
    }

    /// The id of the store at a node.
    fn store(&self, node: usize) -> String {
        let stores = self.ctl(&["store", "--output", "json"]);
        let mut stores = stores
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let store = stores.find(|store| store["address"] == self.addresses[node].as_str());
        format!("store {}", store.unwrap()["id"])
    }
}

/// Writes below `prefix` until it is told to stop.
fn write_on(
    client: &Client,
    prefix: &'static str,
) -> (Arc<AtomicBool>, tokio::task::JoinHandle<()>) {
    let (stop, client) = (Arc::new(AtomicBool::new(false)), client.clone());
    let stopped = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        let value = bytes::Bytes::from(vec![b'v'; 16 << 10]);
        let mut number = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            let key = format!("{prefix}{}", number % 100);
            // A leader may be on its way.
            let _ = client.put(key.as_bytes(), value.clone()).await;
            number += 1;
        }
    });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_differs_a_hot_region_and_a_store_that_is_down_are_named() {
    let mut cluster = Cluster::new();
    (0..NODES).for_each(|node| cluster.start(node, "", &[]));
    let client = cluster.client().await;
    let rules = [
        "config-differs",
        "region-hot",
        "store-down",
        "clock-skew",
        "placement-silent",
    ];
    let found = cluster.diagnose();
    let early = found
        .iter()
        .find(|(rule, _)| rules.contains(&rule.as_str()));
    assert_eq!(early, None, "{found:?}");

    let second = cluster.store(1);
    let id = second.strip_prefix("store ").unwrap();
    cluster.ctl(&[
        "config",
        "node",
        "set",
        "raftstore.store-pool-size",
        "3",
        "--store",
        id,
    ]);
    assert_eq!(cluster.until_found("config-differs"), [second]);

    client.split_region(b"m").await.unwrap();
    let (stop, writing) = write_on(&client, "x");
    let hot = cluster.until_found("region-hot");
    let of_key = cluster.ctl(&["region", "key", "x1", "--output", "json"]);
    let of_key: Value = serde_json::from_str(of_key.trim()).unwrap();
    assert_eq!(hot, [format!("Region {}", of_key["id"])]);
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();

    cluster.ctl(&[
        "config",
        "placement",
        "set",
        "store-disconnected-time-ms",
        "10000",
    ]);
    let third = cluster.store(2);
    cluster.processes[2] = None;
    assert_eq!(
        cluster.until_found("store-down"),
        std::slice::from_ref(&third)
    );
    let text = cluster.ctl(&["diagnose", "--archive", "report.tar.gz"]);
    assert!(
        text.contains(&format!("CRITICAL: {third} (")) && text.contains("→ Start its node again"),
        "{text}"
    );
    unpacks(cluster.folder.path());
}

/// The archive has the findings and what all nodes and placement said, and no key.
fn unpacks(folder: &Path) {
    let tar = Command::new("tar")
        .args(["xzf", "report.tar.gz"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(tar.status.success(), "{tar:?}");
    let read =
        |name: &str| fs::read_to_string(folder.join("kontiki-diagnosis").join(name)).unwrap();
    assert!(read("findings.txt").contains("CRITICAL"));
    let regions = read("placement/regions.json");
    assert!(
        regions.contains("\"end_key\": \"?\"") && !regions.contains("\"6D\""),
        "{regions}"
    );
    let nodes = fs::read_dir(folder.join("kontiki-diagnosis")).unwrap();
    let nodes = nodes.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.join("metrics.txt").exists()
            && path.join("config.json").exists()
            && path.join("log.json").exists()
    });
    assert_eq!(nodes.count(), NODES - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_a_clock_that_is_ahead_and_a_store_that_is_nearly_full_are_named() {
    let mut cluster = Cluster::new();
    let Some(shim) = cluster.shim() else {
        println!("left out: there is no C compiler");
        return;
    };
    let preload = format!("LD_PRELOAD={}", shim.display());
    cluster.start(0, "", &[preload.clone(), "SHIM_SYNC_MS=700".to_owned()]);
    cluster.start(1, "", &[preload, "SHIM_AHEAD_S=60".to_owned()]);
    cluster.start(2, "raftstore.capacity = \"64KiB\"\n", &[]);
    let client = cluster.client().await;
    // However full the disk of this machine is.
    cluster.ctl(&["config", "placement", "set", "low-space-percent", "99"]);
    assert_eq!(cluster.until_found("clock-skew"), [cluster.store(1)]);
    assert_eq!(cluster.until_found("store-full"), [cluster.store(2)]);
    let (stop, writing) = write_on(&client, "x");
    assert_eq!(cluster.until_found("disk-slow"), [cluster.store(0)]);
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
}
