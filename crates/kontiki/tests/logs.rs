//! The logs of a real node: their format, files, what is hidden, and what a full disk does to them; and how they are
//! searched.

use e2e::{Process, free_ports};
use proto::diagnosticspb::diagnostics_client::DiagnosticsClient;
use proto::diagnosticspb::{LogLevel, SearchLogRequest, ServerInfoRequest, ServerInfoType};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const KONTIKI: &str = env!("CARGO_BIN_EXE_kontiki");
const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// In hexadecimal 7365637265742D6B6579.
const KEY: &str = "secret-key";
const KEY_HEX: &str = "7365637265742D6B6579";

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
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
    /// With these lines of configuration, in which `{}` stands for a folder of its own.
    fn start(items: &str) -> Self {
        let ports = free_ports(2).unwrap();
        let mut node = Self {
            address: format!("127.0.0.1:{}", ports[0]),
            status: format!("127.0.0.1:{}", ports[1]),
            folder: tempfile::tempdir().unwrap(),
            process: None,
        };
        let items = items.replace("{}", &node.folder.path().display().to_string());
        let tick = "raftstore.raft-base-tick-interval = \"50ms\"";
        fs::write(node.path("kontiki.toml"), format!("{tick}\n{items}\n")).unwrap();
        node.begin();
        node
    }

    fn begin(&mut self) {
        let config = self.path("kontiki.toml");
        let mut args: Vec<OsString> = vec!["server".into(), "--config".into(), config.into()];
        args.extend(["--addr".into(), self.address.clone().into()]);
        args.extend(["--status-addr".into(), self.status.clone().into()]);
        args.extend(["--data-dir".into(), self.path("data").into()]);
        let process = Process::spawn("n1", Path::new(KONTIKI), &args, &self.path("output"));
        self.process = Some(process.unwrap());
        until("the start", || (self.get("/ready")?.0 == 200).then_some(()));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

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

    fn set(&self, items: Value) {
        let (code, body) = self.ask("POST /config", &items.to_string()).unwrap();
        assert_eq!(code, 200, "{body}");
    }

    fn put(&self, key: &str) {
        let mut command = Command::new(KONTIKI);
        command.args(["ctl", "--pd", &self.address, "raw", "put", key, "v"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn lost_lines(&self) -> f64 {
        let (_, page) = self.get("/metrics").unwrap();
        let name = "kontiki_log_lost_lines_total{log=\"normal\"} ";
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse().unwrap()
    }

    /// Has it log many lines: whoever speaks nonsense to its status port is worth one at `debug`.
    fn chatter(&self, lines: usize) {
        for _ in 0..lines {
            let mut stranger = TcpStream::connect(&self.status).unwrap();
            stranger.write_all(b"nonsense\r\n\r\n").unwrap();
            let _ = stranger.read_to_end(&mut Vec::new());
        }
    }
}

#[test]
fn a_log_has_tidbs_format_and_is_json_where_it_is_wanted() {
    let node = Node::start("log.file.filename = \"{}/k.log\"");
    let log = until("a line", || {
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
    let node = Node::start("log.format = \"json\"\nlog.file.filename = \"{}/k.log\"");
    let log = until("a line", || {
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
    let node = Node::start(
        "slow-log-file = \"{}/slow.log\"\nslow-log-threshold = \"0s\"\nlog.file.filename = \"{}/k.log\"\n\
         log.level = \"error\"",
    );
    node.put(KEY);
    assert_eq!(node.read("slow.log"), "");
    // The least there is; where failpoints are built in, as in the workspace's tests, every write takes longer.
    let _ = node.ask("PUT /fail/engine_raftlog::sync::begin", "sleep(3)");
    node.set(json!({ "slow-log-threshold": "1ms", "security.redact-info-log": "on" }));
    let slow = |mark: &str| {
        until(mark, || {
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
    node.set(json!({ "security.redact-info-log": "marker" }));
    slow(&format!("[key=‹{KEY_HEX}›]"));
    node.set(json!({ "security.redact-info-log": "off" }));
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
    let mut node = Node::start(
        "log.file.filename = \"{}/logs/k.log\"\nlog.file.max-size = 1\nlog.file.max-backups = 2",
    );
    let rotated = |node: &Node| -> Vec<String> {
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
        seen = until("a rotation", || {
            let now = rotated(&node);
            (now != seen).then_some(now)
        });
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(node.read("logs/k.log").len() < filler.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_files_of_a_log_are_searched_over_grpc_and_http_and_hostile_patterns_are_refused() {
    let node = Node::start("log.file.filename = \"{}/k.log\"");
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
    assert_eq!(node.get("/diagnosis/log?pattern=%28").unwrap().0, 400);
    assert_eq!(node.get("/diagnosis/log?target=slow").unwrap().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_and_the_clock_are_told_over_grpc_and_http() {
    let node = Node::start("");
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
    assert_eq!(node.get("/diagnosis/server-info?type=all").unwrap().0, 400);
    assert!(node.json("/diagnosis/clock")["now_ms"].as_u64().unwrap() > 1_700_000_000_000);
}

#[test]
fn a_log_on_a_full_disk_stops_nobody_and_what_is_lost_is_counted() {
    let node = Node::start("log.file.filename = \"/dev/full\"\nlog.level = \"debug\"");
    // What the start has logged.
    until("loss", || (node.lost_lines() >= 5.0).then_some(()));
    node.put(KEY);
    let before = node.lost_lines();
    node.chatter(10);
    until("a count", || {
        (node.lost_lines() >= before + 10.0).then_some(())
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
    let node = Node::start(&format!(
        "log.file.filename = \"{}\"\nlog.level = \"debug\"",
        log.display()
    ));
    let filler = disk.0.path().join("filler");
    // The disk takes what it can.
    let _ = fs::write(&filler, vec![b'x'; 1 << 20]);
    until("loss", || {
        node.chatter(50);
        (node.lost_lines() > 0.0).then_some(())
    });
    node.put(KEY);
    fs::remove_file(&filler).unwrap();
    let text = until("room", || {
        node.chatter(1);
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
