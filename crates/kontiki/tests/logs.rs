//! The logs of a real node: their format, files, what is hidden, and what a full disk does to them; and how they are
//! searched.

use e2e::{LoneNode, until};
use proto::diagnosticspb::diagnostics_client::DiagnosticsClient;
use proto::diagnosticspb::{LogLevel, SearchLogRequest, ServerInfoRequest, ServerInfoType};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(60);
/// In hexadecimal 7365637265742D6B6579.
const KEY: &str = "secret-key";
const KEY_HEX: &str = "7365637265742D6B6579";

fn set(node: &LoneNode, items: &Value) {
    let answer = node.set(items);
    assert_eq!(answer.code, 200, "{}", answer.text());
}

fn lost_lines(node: &LoneNode) -> f64 {
    node.series()["kontiki_log_lost_lines_total{log=\"normal\"}"]
}

/// Has it log many lines: whoever speaks nonsense to its status port is worth one at `debug`.
fn chatter(node: &LoneNode, lines: usize) {
    for _ in 0..lines {
        let mut stranger = TcpStream::connect(&node.status).unwrap();
        stranger.write_all(b"nonsense\r\n\r\n").unwrap();
        let _ = stranger.read_to_end(&mut Vec::new());
    }
}

#[test]
fn a_log_has_tidbs_format_and_is_json_where_it_is_wanted() {
    let node = LoneNode::start("log.file.filename = \"{}/k.log\"");
    let log = until("a line", WITHIN, || {
        let log = node.read("k.log");
        log.contains("serving").then_some(log)
    });
    // A program with failpoints says so before.
    let first = log
        .lines()
        .find(|line| line.contains("[starting]"))
        .unwrap();
    let (head, fields) = first.split_once("] [node.rs:").unwrap();
    assert!(
        head.starts_with("[20") && head.ends_with(" +00:00] [INFO"),
        "{first}"
    );
    assert!(
        fields.contains("] [starting] [name=n1] [version="),
        "{first}"
    );
    for line in log.lines() {
        assert!(logs::parse(line).is_some(), "{line}");
    }
    drop(node);
    let node = LoneNode::start("log.format = \"json\"\nlog.file.filename = \"{}/k.log\"");
    let log = until("a line", WITHIN, || {
        let log = node.read("k.log");
        log.contains("serving").then_some(log)
    });
    let first = log.lines().find(|line| line.contains("starting")).unwrap();
    let first: Value = serde_json::from_str(first).unwrap();
    assert_eq!(
        (&first["message"], &first["level"]),
        (&"starting".into(), &"INFO".into())
    );
}

#[test]
fn slow_requests_are_logged_apart_with_keys_as_the_setting_says_both_changed_online() {
    let node = LoneNode::start(
        "slow-log-file = \"{}/slow.log\"\nslow-log-threshold = \"0s\"\nlog.file.filename = \"{}/k.log\"\n\
         log.level = \"error\"",
    );
    node.put(KEY);
    assert_eq!(node.read("slow.log"), "");
    // The least there is; where failpoints are built in, as in the workspace's tests, every write takes longer.
    let _ = node.send("PUT /fail/engine_raftlog::sync::begin", "sleep(3)");
    set(
        &node,
        &json!({ "slow-log-threshold": "1ms", "security.redact-info-log": "on" }),
    );
    let slow = |mark: &str| {
        until(mark, WITHIN, || {
            node.put(KEY);
            let log = node.read("slow.log");
            let line = log.lines().find(|line| line.contains(mark))?;
            Some(line.to_owned())
        })
    };
    let hidden = slow("[method=RawPut]");
    assert!(
        hidden.contains("[key=?]") && hidden.contains("[region=2]"),
        "{hidden}"
    );
    assert!(hidden.contains("[took_ms="), "{hidden}");
    assert!(!node.read("slow.log").contains(KEY_HEX));
    set(&node, &json!({ "security.redact-info-log": "marker" }));
    slow(&format!("[key=‹{KEY_HEX}›]"));
    set(&node, &json!({ "security.redact-info-log": "off" }));
    slow(&format!("[key={KEY_HEX}]"));
    let round = slow("[\"a round\"]");
    assert!(
        round.contains("[step_ms=") && round.contains("[write_ms="),
        "{round}"
    );
    let write = slow("[\"a write\"]");
    for stage in ["[queue_ms=", "[replicate_ms=", "[apply_ms="] {
        assert!(write.contains(stage), "{write}");
    }
    assert!(
        !node.read("k.log").contains("a request"),
        "the slow log is its own"
    );
}

#[test]
fn a_log_is_rotated_by_size_and_kept_by_count() {
    let mut node = LoneNode::start(
        "log.file.filename = \"{}/logs/k.log\"\nlog.file.max-size = 1\nlog.file.max-backups = 2",
    );
    let rotated = |node: &LoneNode| -> Vec<String> {
        let entries = fs::read_dir(node.path("logs")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("k-20")).collect();
        names.sort_unstable();
        names
    };
    // Nobody wants to log a mebibyte: it is as if it had been logged before.
    let filler = "[2001/01/01 00:00:00.000 +00:00] [INFO] [a.rs:1] [filler]\n".repeat(19_000);
    let mut seen = rotated(&node);
    for _ in 0..4 {
        node.process = None;
        let mut log = fs::OpenOptions::new()
            .append(true)
            .open(node.path("logs/k.log"))
            .unwrap();
        log.write_all(filler.as_bytes()).unwrap();
        node.begin();
        seen = until("a rotation", WITHIN, || {
            let now = rotated(&node);
            (now != seen).then_some(now)
        });
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(node.read("logs/k.log").len() < filler.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_files_of_a_log_are_searched_over_grpc_and_http_and_hostile_patterns_are_refused() {
    let node = LoneNode::start("log.file.filename = \"{}/k.log\"");
    let rotated = node.path("k-2001-01-01T00-00-00.000.log");
    let old = "[2000/12/31 23:59:59.000 +00:00] [WARN] [old.rs:1] [\"an old line\"] [n=1]\n";
    fs::write(rotated, old).unwrap();
    let mut client = DiagnosticsClient::connect(format!("http://{}", node.address))
        .await
        .unwrap();
    let mut search = async |request: SearchLogRequest| {
        let mut stream = client.search_log(request).await?.into_inner();
        let mut found = Vec::new();
        while let Some(batch) = stream.message().await? {
            found.extend(batch.messages);
        }
        Ok::<_, tonic::Status>(found)
    };
    let all = search(SearchLogRequest::default()).await.unwrap();
    assert_eq!(
        (all[0].level(), all[0].time),
        (LogLevel::Warn, 978_307_199_000)
    );
    assert_eq!(all[0].message, "[old.rs:1] [\"an old line\"] [n=1]");
    assert!(all.len() > 3 && all.iter().any(|line| line.message.contains("[serving]")));
    let since = SearchLogRequest {
        start_time: 1_000_000_000_000,
        levels: vec![LogLevel::Info as i32],
        patterns: vec!["stage".to_owned(), r"took=\S+".to_owned()],
        ..SearchLogRequest::default()
    };
    let found = search(since).await.unwrap();
    assert!(
        found.len() >= 3
            && found
                .iter()
                .all(|line| line.message.contains("passed a stage"))
    );
    let hostile = SearchLogRequest {
        patterns: vec!["((a{100}){100}){100}".to_owned()],
        ..SearchLogRequest::default()
    };
    assert_eq!(
        search(hostile).await.unwrap_err().code(),
        tonic::Code::InvalidArgument
    );
    let body = node.json("/diagnosis/log?level=warn&pattern=old&end=1000000000000");
    assert_eq!(body["messages"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&body["messages"][0]["level"], &body["is_complete"]),
        (&"WARN".into(), &true.into())
    );
    assert_eq!(node.json("/diagnosis/log?limit=1")["is_complete"], false);
    assert_eq!(node.get("/diagnosis/log?pattern=%28").unwrap().code, 400);
    assert_eq!(node.get("/diagnosis/log?target=slow").unwrap().code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_and_the_clock_are_told_over_grpc_and_http() {
    let node = LoneNode::start("");
    let mut client = DiagnosticsClient::connect(format!("http://{}", node.address))
        .await
        .unwrap();
    let request = ServerInfoRequest {
        tp: ServerInfoType::All as i32,
    };
    let items = client
        .server_info(request)
        .await
        .unwrap()
        .into_inner()
        .items;
    for kind in ["cpu", "memory", "disk", "net", "system"] {
        assert!(
            items
                .iter()
                .any(|item| item.tp == kind && !item.pairs.is_empty()),
            "{kind} in {items:?}"
        );
    }
    let load = node.json("/diagnosis/server-info?type=load");
    let items = load["items"].as_array().unwrap();
    assert!(
        items
            .iter()
            .any(|item| item["name"] == "usage" && item["pairs"]["idle"].is_string())
    );
    assert_eq!(
        node.get("/diagnosis/server-info?type=all").unwrap().code,
        400
    );
    assert!(node.json("/diagnosis/clock")["now_ms"].as_u64().unwrap() > 1_700_000_000_000);
}

#[test]
fn a_log_on_a_full_disk_stops_nobody_and_what_is_lost_is_counted() {
    let node = LoneNode::start("log.file.filename = \"/dev/full\"\nlog.level = \"debug\"");
    // What the start has logged.
    until("loss", WITHIN, || (lost_lines(&node) >= 5.0).then_some(()));
    node.put(KEY);
    let before = lost_lines(&node);
    chatter(&node, 10);
    until("a count", WITHIN, || {
        (lost_lines(&node) >= before + 10.0).then_some(())
    });
    node.put(KEY);
}

/// A small disk of its own; gone with this.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None where this process may not mount anything.
    fn mount(kib: u32) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "kontiki-logs"]);
        let done = mount.arg(disk.0.path()).output();
        done.is_ok_and(|done| done.status.success()).then_some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Fails where nothing was mounted.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_log_goes_on_when_its_disk_has_room_again_and_says_what_it_lacks() {
    let Some(disk) = SmallDisk::mount(256) else {
        println!("left out: this process may not mount a small disk (root may)");
        return;
    };
    let log = disk.0.path().join("k.log");
    let node = LoneNode::start(&format!(
        "log.file.filename = \"{}\"\nlog.level = \"debug\"",
        log.display()
    ));
    let filler = disk.0.path().join("filler");
    // The disk takes what it can.
    let _ = fs::write(&filler, vec![b'x'; 1 << 20]);
    until("loss", WITHIN, || {
        chatter(&node, 50);
        (lost_lines(&node) > 0.0).then_some(())
    });
    node.put(KEY);
    fs::remove_file(&filler).unwrap();
    let text = until("room", WITHIN, || {
        chatter(&node, 1);
        let text = fs::read_to_string(&log).unwrap();
        text.contains("lines of the log were lost").then_some(text)
    });
    assert!(text.contains("No space left on device"), "{text}");
    let torn = text
        .lines()
        .filter(|line| logs::parse(line).is_none())
        .count();
    assert!(torn <= 1, "one line at the most was cut short");
}
