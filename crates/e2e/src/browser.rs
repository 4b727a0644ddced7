//! A headless Chromium, driven by the DevTools protocol: what a person would see of a page, and do on it.
//!
//! **Why over pipes.** Chromium speaks the protocol over two of its files as well as over a socket; the files need no
//! client of another protocol, and no port.
//!
//! **Invariants.** It ends with the [`Browser`]. What a page logs as an error, and what it throws, is kept.
//!
//! **Not here.** Installing it: who has none can't run these tests, and is told so.

use crate::process::Process;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where a program of this kind is found, by the names that distributions give it.
const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// For one answer of the browser, and for what a page is waited for.
const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A browser with one page.
pub struct Browser {
    to: File,
    answers: Receiver<Value>,
    next: u64,
    session: Option<String>,
    problems: Vec<String>,
    _process: Process,
    _folder: TempDir,
}

/// The program: `KONTIKI_CHROMIUM`, or what is installed; none if nothing is.
pub fn chromium() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("KONTIKI_CHROMIUM") {
        return Some(path.into());
    }
    let folders = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&folders)
        .flat_map(|folder| NAMES.iter().map(move |name| folder.join(name)));
    places.find(|path| path.is_file())
}

impl Browser {
    /// Starts `program` with an empty page of this size.
    ///
    /// # Errors
    /// It can't be started.
    ///
    /// # Panics
    /// It does not answer.
    pub fn start(program: &Path, (width, height): (u32, u32)) -> Result<Self> {
        let failed = |source| Error::Spawn {
            program: program.to_owned(),
            source,
        };
        let folder = tempfile::tempdir().map_err(failed)?;
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        Command::new("mkfifo")
            .args([&to, &from])
            .status()
            .map_err(failed)?;
        let script = "exec \"$0\" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --hide-scrollbars --remote-debugging-pipe --user-data-dir=\"$1/profile\" about:blank \
                      3<\"$1/to\" 4>\"$1/from\"";
        let args = [
            "-c".into(),
            script.into(),
            program.into(),
            folder.path().into(),
        ];
        let log = folder.path().join("log");
        let process = Process::spawn("chromium", Path::new("/bin/sh"), &args, &log)?;
        let to = File::options().write(true).open(&to).map_err(failed)?;
        let from = File::open(&from).map_err(failed)?;
        let mut browser = Self {
            to,
            answers: listen(from),
            next: 0,
            session: None,
            problems: Vec::new(),
            _process: process,
            _folder: folder,
        };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let page = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", page);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.call("Emulation.setDeviceMetricsOverride", size);
        Ok(browser)
    }

    /// Asks the browser, and returns what it answers.
    ///
    /// # Panics
    /// It answers with an error, or not at all.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let sent = write!(self.to, "{message}\0").and_then(|()| self.to.flush());
        sent.expect("the browser runs");
        let deadline = Instant::now() + WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut answer = match self.answers.recv_timeout(left) {
                Ok(answer) => answer,
                Err(_) => panic!("the browser does not answer {method}"),
            };
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.note(&answer);
        }
    }

    /// Keeps what an event says that is wrong.
    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let problem = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => params["exceptionDetails"].to_string(),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                params["entry"].to_string()
            }
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => params.to_string(),
            _ => return,
        };
        self.problems.push(problem);
    }

    /// What was wrong on the page since this was asked last.
    pub fn problems(&mut self) -> Vec<String> {
        // What has happened is told before this is answered.
        self.evaluate("1");
        std::mem::take(&mut self.problems)
    }

    /// Goes to a page, or to another place in the same one.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression on the page; of a promise, what comes of it.
    ///
    /// # Panics
    /// It throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", asked);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is something, and returns that.
    ///
    /// # Panics
    /// It takes too long; with what is on the page.
    pub fn until(&mut self, expression: &str) -> Value {
        let deadline = Instant::now() + WITHIN;
        loop {
            let value = self.evaluate(expression);
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            if Instant::now() > deadline {
                let text = self.evaluate("document.body.innerText");
                panic!(
                    "{expression} took too long; the page says: {text}; it logged: {:?}",
                    self.problems
                );
            }
            std::thread::sleep(POLL);
        }
    }

    /// Has the page believe that its reader prefers `light` or `dark`.
    pub fn prefer(&mut self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [feature] }),
        );
    }

    /// The page as a WebP picture, in base64.
    pub fn screenshot(&mut self) -> String {
        let shot = self.call(
            "Page.captureScreenshot",
            json!({ "format": "webp", "quality": 80 }),
        );
        shot["data"].as_str().unwrap_or_default().to_owned()
    }
}

/// Reads messages for as long as the browser writes any.
fn listen(from: File) -> Receiver<Value> {
    let (sender, answers) = channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut message = Vec::new();
        while matches!(from.read_until(0, &mut message), Ok(length) if length > 0) {
            message.pop();
            let read = serde_json::from_slice(&message).unwrap_or_default();
            message.clear();
            if sender.send(read).is_err() {
                return;
            }
        }
    });
    answers
}
