//! A node as operators see it on its status port: metrics, Regions, actors, and changes while it runs.

use e2e::{Process, free_ports};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const KONTIKI: &str = env!("CARGO_BIN_EXE_kontiki");
const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Within this time a change is in effect.
const EFFECT: Duration = Duration::from_secs(1);

fn until<T>(what: &str, within: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} took too long");
        std::thread::sleep(POLL);
    }
}

struct Node {
    address: String,
    status: String,
    folder: TempDir,
    /// None between two lives.
    process: Option<Process>,
}

impl Node {
    fn start() -> Self {
        let ports = free_ports(2).unwrap();
        let mut node = Self {
            address: format!("127.0.0.1:{}", ports[0]),
            status: format!("127.0.0.1:{}", ports[1]),
            folder: tempfile::tempdir().unwrap(),
            process: None,
        };
        node.begin();
        node
    }

    fn begin(&mut self) {
        let folder = self.folder.path();
        let config = folder.join("kontiki.toml");
        let items = "raftstore.raft-base-tick-interval = \"50ms\"\n\
                     raftstore.pd-store-heartbeat-tick-interval = \"200ms\"\n";
        fs::write(&config, items).unwrap();
        let mut args: Vec<OsString> = vec!["server".into(), "--config".into(), config.into()];
        args.extend(["--addr".into(), self.address.clone().into()]);
        args.extend(["--status-addr".into(), self.status.clone().into()]);
        args.extend(["--data-dir".into(), folder.join("data").into()]);
        let log = folder.join("log");
        self.process = Some(Process::spawn("n1", Path::new(KONTIKI), &args, &log).unwrap());
        until("the start", WITHIN, || {
            (self.get("/ready")?.0 == 200).then_some(())
        });
    }

    /// The code and the body of an answer; none if nobody listens.
    fn ask(&self, head: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.status).ok()?;
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let code = answer.get(9..12)?.parse().ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some((code, body.to_owned()))
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        self.ask(&format!("GET {path}"), "")
    }

    fn json(&self, path: &str) -> Value {
        let (code, body) = self.get(path).unwrap();
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn set(&self, items: Value) -> (u16, Value) {
        let (code, body) = self.ask("POST /config", &items.to_string()).unwrap();
        (code, serde_json::from_str(&body).unwrap())
    }

    /// Series by their names and labels.
    fn series(&self) -> BTreeMap<String, f64> {
        let (code, text) = self.get("/metrics").unwrap();
        assert_eq!(code, 200);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
        pairs
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    fn ctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(KONTIKI);
        command.args(["ctl", "--pd", &self.address]).args(args);
        command.output().unwrap()
    }

    fn put(&self, key: &str) {
        let output = self.ctl(&["raw", "put", key, "v"]);
        assert!(output.status.success(), "{output:?}");
    }

    fn log(&self) -> String {
        self.process.as_ref().unwrap().output()
    }
}

/// What moves when a client writes and reads, beside what `node` tests.
const MOVES: &[&str] = &[
    "kontiki_build_info",
    "kontiki_grpc_request_seconds_count{method=\"RawPut\"}",
    "kontiki_grpc_request_seconds_count{method=\"RawGet\"}",
    "kontiki_grpc_request_seconds_count{method=\"GetMembers\"}",
    "kontiki_placement_heartbeats_total{of=\"store\"}",
    "kontiki_placement_heartbeats_total{of=\"region\"}",
    "kontiki_placement_regions",
    "kontiki_placement_stores{state=\"up\"}",
    "kontiki_raftlog_sync_seconds_count",
    "kontiki_kv_written_bytes_total",
    "kontiki_rocksdb_memtable_bytes{db=\"kv\",cf=\"default\"}",
    "kontiki_rocksdb_estimated_keys{db=\"kv\",cf=\"default\"}",
    "kontiki_reads_total{path=\"lease\"}",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
];

#[test]
fn every_metric_of_the_reference_is_shown_and_moves_with_a_client() {
    let node = Node::start();
    until("metrics that move", WITHIN, || {
        node.put("k");
        assert!(node.ctl(&["raw", "get", "k"]).status.success());
        let series = node.series();
        let moved = |name: &str| {
            let mut found = series.iter().filter(|(series, _)| series.starts_with(name));
            found.any(|(_, value)| *value > 0.0)
        };
        MOVES.iter().all(|name| moved(name)).then_some(())
    });
    let series = node.series();
    let missing: Vec<&str> = server::CATALOGUE
        .iter()
        .flat_map(|(_, families)| families.iter().map(|desc| desc.name))
        .filter(|name| !series.keys().any(|series| series.starts_with(name)))
        // No operator has ended.
        .filter(|name| *name != "kontiki_placement_ended_operators_total")
        .collect();
    assert_eq!(missing, [] as [&str; 0]);
    let not_there = node.ctl(&["raw", "get", "nothing"]);
    assert!(!not_there.status.success());
    assert_eq!(node.get("/metrics/").unwrap().0, 404);
}

#[test]
fn regions_actors_and_the_start_are_shown() {
    let node = Node::start();
    node.put("k");
    let region = node.json("/region/2");
    assert_eq!(
        (&region["state"], &region["leads_here"]),
        (&"normal".into(), &true.into())
    );
    assert!(region["log"]["applied_index"].as_u64().unwrap() > 0);
    assert_eq!(node.get("/region/77").unwrap().0, 404);
    let actors = node.json("/debug/actors?limit=1");
    assert_eq!(actors["peer"]["busiest"].as_array().unwrap().len(), 1);
    assert_eq!(actors["apply"]["slowest"].as_array().unwrap().len(), 1);
    let ready = node.json("/ready?verbose");
    assert_eq!(ready["passed"].as_array().unwrap().len(), 4);
    let (code, page) = node.get("/").unwrap();
    assert!(code == 200 && page.contains("serving") && page.contains("href=\"/metrics\""));
    assert!(node.log().contains("passed a stage of the start"));
}

#[test]
fn items_of_every_kind_are_changed_at_once_and_remembered_by_the_next_start() {
    let mut node = Node::start();
    // Placement shows nothing before it leads.
    let gauge = |node: &Node, name: &str| node.series().get(name).copied().unwrap_or_default();
    let pollers = "kontiki_actor_pollers{system=\"peer\"}";
    assert_eq!(gauge(&node, pollers), 2.0);
    let (code, answer) = node.set(json!({
        "raftstore.store-pool-size": 4,
        "raftstore.reschedule-duration": "50ms",
        "raftstore.mailbox-memory-limit": "64MiB",
        "memory-usage-limit": "900MiB",
        "raftstore.raft-log-gc-threshold": 10,
        "raftstore.pd-heartbeat-tick-interval": "100ms",
        "raftstore.snap-io-max-bytes-per-sec": "1MiB",
        "coprocessor.region-split-size": "32MiB",
        "split.qps-threshold": 100,
        "storage.block-cache.capacity": "64MiB",
        "rocksdb.defaultcf.write-buffer-size": "32MiB",
        "metrics.enable": true,
        "log.level": "debug",
    }));
    assert_eq!(code, 200, "{answer}");
    until("the effect", EFFECT, || {
        // Which is worth a line at that level only.
        let mut stranger = TcpStream::connect(&node.status).ok()?;
        stranger.write_all(b"nonsense\r\n\r\n").ok()?;
        let limit = "kontiki_memory_limit_bytes{component=\"mailboxes\"}";
        let all = "kontiki_memory_usage_limit_bytes";
        let is_in_effect = gauge(&node, pollers) == 4.0
            && gauge(&node, limit) == f64::from(64 << 20)
            && gauge(&node, all) == f64::from(900 << 20);
        (is_in_effect && node.log().contains("DEBUG")).then_some(())
    });
    // Regions report each 100 ms, and no more once a minute.
    let reports = "kontiki_placement_heartbeats_total{of=\"region\"}";
    let before = gauge(&node, reports);
    until("reports", WITHIN, || {
        (gauge(&node, reports) > before + 5.0).then_some(())
    });
    assert_eq!(node.json("/config")["raftstore"]["store-pool-size"], 4);
    node.process = None;
    node.begin();
    assert_eq!(
        node.json("/config")["coprocessor"]["region-split-size"],
        "32MiB"
    );
    assert_eq!(gauge(&node, pollers), 4.0);
}

/// Every item that can be changed online, with another value than its default.
const ONLINE: &[(&str, &str)] = &[
    ("slow-log-threshold", "2s"),
    ("memory-usage-limit", "1GiB"),
    ("log.level", "warn"),
    ("security.redact-info-log", "marker"),
    ("metrics.enable", "false"),
    ("storage.block-cache.capacity", "128MiB"),
    ("rocksdb.defaultcf.write-buffer-size", "24MiB"),
    ("raftstore.store-pool-size", "3"),
    ("raftstore.store-max-batch-size", "128"),
    ("raftstore.apply-pool-size", "1"),
    ("raftstore.apply-max-batch-size", "64"),
    ("raftstore.reschedule-duration", "1s"),
    ("raftstore.notify-capacity", "20000"),
    ("raftstore.messages-per-tick", "1024"),
    ("raftstore.mailbox-memory-limit", "128MiB"),
    ("raftstore.hibernate-regions", "false"),
    ("raftstore.hibernate-timeout", "1m"),
    ("raftstore.peer-stale-state-check-interval", "4m"),
    ("raftstore.split-region-check-tick-interval", "5s"),
    ("raftstore.pd-heartbeat-tick-interval", "30s"),
    ("raftstore.pd-store-heartbeat-tick-interval", "5s"),
    ("raftstore.slow-log-write-timeout", "1s"),
    ("raftstore.raft-log-gc-tick-interval", "2s"),
    ("raftstore.raft-log-gc-threshold", "100"),
    ("raftstore.raft-log-gc-count-limit", "100000"),
    ("raftstore.raft-log-gc-size-limit", "96MiB"),
    ("raftstore.raft-log-purge-interval", "20s"),
    ("raftstore.concurrent-send-snap-limit", "16"),
    ("raftstore.concurrent-recv-snap-limit", "8"),
    ("raftstore.snap-gc-timeout", "2h"),
    ("raftstore.snap-io-max-bytes-per-sec", "50MiB"),
    ("coprocessor.region-split-size", "128MiB"),
    ("coprocessor.region-max-size", "300MiB"),
    ("coprocessor.region-split-keys", "1000000"),
    ("coprocessor.region-max-keys", "2000000"),
    ("coprocessor.batch-split-limit", "5"),
    ("split.qps-threshold", "1000"),
    ("split.byte-threshold", "10MiB"),
    ("split.region-cpu-threshold", "100ms"),
    ("split.detect-duration", "5s"),
];

#[test]
fn every_online_item_can_be_changed_and_is_in_force_at_the_next_start() {
    let mut node = Node::start();
    let items = node.json("/config/items");
    let online = items.as_array().unwrap().iter();
    let mut online: Vec<&str> = online
        .filter(|item| item["online"] == true)
        .map(|item| item["key"].as_str().unwrap())
        .collect();
    let mut listed: Vec<&str> = ONLINE.iter().map(|(key, _)| *key).collect();
    online.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, online);
    let at = |key: &str| format!("/{}", key.replace('.', "/"));
    for (key, text) in ONLINE {
        // A number, or true or false, or else a text.
        let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        let before = node.json("/config").pointer(&at(key)).cloned();
        assert_ne!(before, Some(value.clone()), "{key} has it already");
        let (code, answer) = node.set(json!({ *key: [] }));
        assert_eq!(code, 400, "{key}: {answer}");
        assert_eq!(node.json("/config").pointer(&at(key)).cloned(), before);
        let (code, answer) = node.set(json!({ *key: value }));
        assert_eq!(code, 200, "{key}: {answer}");
        assert_eq!(node.json("/config").pointer(&at(key)), Some(&value));
    }
    let changed = node.json("/config");
    node.process = None;
    node.begin();
    assert_eq!(node.json("/config"), changed);
}

#[test]
fn a_change_that_is_wrong_in_part_changes_nothing() {
    let node = Node::start();
    let before = node.json("/config");
    let (code, answer) = node.set(json!({
        "raftstore.store-pool-size": 4,
        "raftstore.raft-base-tick-interval": "1s",
        "log.levl": "debug",
    }));
    assert_eq!(code, 400);
    let problems = answer["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{answer}");
    assert!(answer.to_string().contains("did you mean `log.level`?"));
    assert!(
        answer
            .to_string()
            .contains("can't be changed while the node runs")
    );
    assert_eq!(node.set(json!({ "raftstore.store-pool-size": 0 })).0, 400);
    assert_eq!(node.json("/config"), before);
    assert!(!node.folder.path().join("data/online.toml").exists());
}

#[test]
fn ctl_shows_and_sets_items_of_all_nodes() {
    let node = Node::start();
    // Placement may not have heard yet where its status server is.
    until("its registration", WITHIN, || {
        let shown = node.ctl(&["config", "node", "show"]);
        shown.status.success().then_some(())
    });
    let set = node.ctl(&["config", "node", "set", "raftstore.store-pool-size", "3"]);
    assert!(set.status.success(), "{set:?}");
    let shown = node.ctl(&["config", "node", "show", "raftstore.store-pool-size"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        text.contains("raftstore.store-pool-size") && text.contains('3'),
        "{text}"
    );
    let refused = node.ctl(&["config", "node", "set", "server.addr", "h:1"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("can't be changed"),
        "{text}"
    );
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let check = |flags: &[&str]| {
        let mut command = Command::new(KONTIKI);
        command
            .args(["server", "--check-config", "--data-dir", &data])
            .args(flags);
        command.output().unwrap()
    };
    let fine = check(&[]);
    assert!(fine.status.success() && String::from_utf8_lossy(&fine.stderr).contains("is fine"));
    assert_eq!(check(&["--addr", "nowhere"]).status.code(), Some(2));
    assert!(!folder.path().join("data").exists());
}
