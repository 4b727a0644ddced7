//! A node as operators see it on its status port: metrics, Regions, actors, and changes while it runs.

use e2e::{LoneNode, until};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const KONTIKI: &str = env!("CARGO_BIN_EXE_kontiki");
const WITHIN: Duration = Duration::from_secs(60);
/// Within this time a change is in effect.
const EFFECT: Duration = Duration::from_secs(1);

fn start() -> LoneNode {
    LoneNode::start("raftstore.pd-store-heartbeat-tick-interval = \"200ms\"")
}

fn set(node: &LoneNode, items: &Value) -> (u16, Value) {
    let answer = node.set(items);
    (answer.code, answer.json())
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
    let node = start();
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
    assert_eq!(node.get("/metrics/").unwrap().code, 404);
}

#[test]
fn regions_actors_and_the_start_are_shown() {
    let node = start();
    node.put("k");
    let region = node.json("/region/2");
    assert_eq!(
        (&region["state"], &region["leads_here"]),
        (&"normal".into(), &true.into())
    );
    assert!(region["log"]["applied_index"].as_u64().unwrap() > 0);
    assert_eq!(node.get("/region/77").unwrap().code, 404);
    let actors = node.json("/debug/actors?limit=1");
    assert_eq!(actors["peer"]["busiest"].as_array().unwrap().len(), 1);
    assert_eq!(actors["apply"]["slowest"].as_array().unwrap().len(), 1);
    let ready = node.json("/ready?verbose");
    assert_eq!(ready["passed"].as_array().unwrap().len(), 4);
    let page = node.get("/").unwrap();
    let text = page.text();
    assert!(page.code == 200 && text.contains("serving") && text.contains("href=\"/metrics\""));
    assert!(node.output().contains("passed a stage of the start"));
}

#[test]
fn items_of_every_kind_are_changed_at_once_and_remembered_by_the_next_start() {
    let mut node = start();
    // Placement shows nothing before it leads.
    let gauge = |node: &LoneNode, name: &str| node.series().get(name).copied().unwrap_or_default();
    let pollers = "kontiki_actor_pollers{system=\"peer\"}";
    assert!([1.0, 2.0].contains(&gauge(&node, pollers)));
    let (code, answer) = set(
        &node,
        &json!({
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
        }),
    );
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
        (is_in_effect && node.output().contains("DEBUG")).then_some(())
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
    ("storage.flow-control.enable", "false"),
    ("storage.flow-control.memtables-threshold", "2"),
    ("storage.flow-control.l0-files-threshold", "30"),
    (
        "storage.flow-control.hard-pending-compaction-bytes-limit",
        "256GiB",
    ),
    (
        "storage.flow-control.soft-pending-compaction-bytes-limit",
        "64GiB",
    ),
    ("quota.foreground-write-bandwidth", "1GiB"),
    ("quota.foreground-read-bandwidth", "2GiB"),
    ("quota.max-delay-duration", "100ms"),
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
    ("tracing.sample-one-in", "10"),
];

#[test]
fn every_online_item_can_be_changed_and_is_in_force_at_the_next_start() {
    let mut node = start();
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
        let (code, answer) = set(&node, &json!({ *key: [] }));
        assert_eq!(code, 400, "{key}: {answer}");
        assert_eq!(node.json("/config").pointer(&at(key)).cloned(), before);
        let (code, answer) = set(&node, &json!({ *key: value }));
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
    let node = start();
    let before = node.json("/config");
    let (code, answer) = set(
        &node,
        &json!({
            "raftstore.store-pool-size": 4,
            "raftstore.raft-base-tick-interval": "1s",
            "log.levl": "debug",
        }),
    );
    assert_eq!(code, 400);
    let problems = answer["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{answer}");
    assert!(answer.to_string().contains("did you mean `log.level`?"));
    assert!(
        answer
            .to_string()
            .contains("can't be changed while the node runs")
    );
    assert_eq!(
        set(&node, &json!({ "raftstore.store-pool-size": 257 })).0,
        400
    );
    assert_eq!(node.json("/config"), before);
    assert!(!node.path("data/online.toml").exists());
}

#[test]
fn ctl_shows_and_sets_items_of_all_nodes() {
    let node = start();
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
