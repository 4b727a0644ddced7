//! One real node, as those see it who ask its status port.
//!
//! **Panics.** What a test can't go on without is not an error here: it panics, and says what it was.
//!
//! **Not here.** Several nodes (`cluster`).

use crate::{Process, free_ports, kontiki_binary};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What `found` finds.
///
/// # Panics
/// It finds nothing within this time.
pub fn until<T>(what: &str, within: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} took too long");
        std::thread::sleep(POLL);
    }
}

/// An answer over HTTP/1.1.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200, say.
    pub code: u16,
    /// The first line, and the headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Of one request on a connection of its own, with these headers, each with its line's end; none if
    /// nobody listens.
    pub fn to(request: &str, address: &str, headers: &str, body: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(address).ok()?;
        let length = body.len();
        let request = format!(
            "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        Some(Self {
            code: head.get(9..12)?.parse().ok()?,
            head,
            body: answer[end + 4..].to_vec(),
        })
    }

    /// The body, if it is a text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// As metrics, by their names and labels.
    pub fn series(&self) -> BTreeMap<String, f64> {
        let page = self.text();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        let parsed = pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
        parsed.collect()
    }

    /// The body, if it is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A node, its folder, and its process while it runs.
pub struct LoneNode {
    /// Where clients ask.
    pub address: String,
    /// Where operators ask.
    pub status: String,
    /// None before its life and between two of them.
    pub process: Option<Process>,
    folder: TempDir,
}

impl LoneNode {
    /// That runs, with these lines of configuration besides.
    pub fn start(items: &str) -> Self {
        let mut node = Self::prepare(items);
        node.begin();
        node
    }

    /// That was never started.
    pub fn prepare(items: &str) -> Self {
        let ports = free_ports(2).expect("there are free ports");
        let node = Self {
            address: format!("127.0.0.1:{}", ports[0]),
            status: format!("127.0.0.1:{}", ports[1]),
            process: None,
            folder: tempfile::tempdir().expect("there is a temporary folder"),
        };
        node.configure(items);
        node
    }

    /// Writes its file: short ticks, and these lines, in which `{}` stands for its folder.
    pub fn configure(&self, items: &str) {
        let items = items.replace("{}", &self.folder.path().display().to_string());
        let tick = "raftstore.raft-base-tick-interval = \"50ms\"";
        let written = fs::write(self.path("kontiki.toml"), format!("{tick}\n{items}\n"));
        written.expect("its file can be written");
    }

    /// Starts it, and waits until it is ready.
    pub fn begin(&mut self) {
        let config = self.path("kontiki.toml");
        let mut args: Vec<OsString> = vec!["server".into(), "--config".into(), config.into()];
        args.extend(["--addr".into(), self.address.clone().into()]);
        args.extend(["--status-addr".into(), self.status.clone().into()]);
        args.extend(["--data-dir".into(), self.path("data").into()]);
        let program = kontiki_binary().expect("it is built");
        let process = Process::spawn("n1", &program, &args, &self.path("output"));
        self.process = Some(process.expect("it starts"));
        until("the start", STARTS_WITHIN, || {
            (self.get("/ready")?.code == 200).then_some(())
        });
    }

    /// Of a file in its folder: `data`, `kontiki.toml`, or one that a test made.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Such a file; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What it has written to its output.
    pub fn output(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(String::new, Process::output)
    }

    /// The status server's answer to `GET /path`, say.
    pub fn ask(&self, request: &str, headers: &str, body: &str) -> Option<Answer> {
        Answer::to(request, &self.status, headers, body)
    }

    /// That to a `GET`.
    pub fn get(&self, path: &str) -> Option<Answer> {
        self.ask(&format!("GET {path}"), "Accept: */*\r\n", "")
    }

    /// That to a body of JSON.
    pub fn send(&self, request: &str, body: &str) -> Answer {
        let json = "Content-Type: application/json\r\n";
        self.ask(request, json, body).expect("it listens")
    }

    /// A page of JSON.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path).expect("it listens");
        assert_eq!(answer.code, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Sets items while it runs.
    pub fn set(&self, items: &Value) -> Answer {
        self.send("POST /config", &items.to_string())
    }

    /// Its metrics, by their names and labels.
    pub fn series(&self) -> BTreeMap<String, f64> {
        self.get("/metrics").expect("it listens").series()
    }

    /// What `kontiki ctl` says of it.
    pub fn ctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(kontiki_binary().expect("it is built"));
        command.args(["ctl", "--pd", &self.address]).args(args);
        command.output().expect("it runs")
    }

    /// Writes a key.
    pub fn put(&self, key: &str) {
        let output = self.ctl(&["raw", "put", key, "v"]);
        assert!(output.status.success(), "{output:?}");
    }
}
