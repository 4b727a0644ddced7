//! The status server of a real process: every route beside those of `operate`, and what it stands.

use e2e::{LoneNode, Process, until};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

const KONTIKI: &str = env!("CARGO_BIN_EXE_kontiki");
const WITHIN: Duration = Duration::from_secs(60);
/// Readers that read nothing.
const DEAF: usize = 100;

#[test]
fn routes_that_tikvs_operators_know_are_there_and_others_say_that_they_are_not() {
    let node = LoneNode::start("");
    assert_eq!(node.get("/engine_type").unwrap().text(), "raft-kv");
    let full = node.get("/config?full=true").unwrap().json();
    assert_eq!(full["server"]["addr"], node.address.as_str());
    let debug = node.send("PUT /log-level", "{\"log_level\":\"debug\"}");
    assert_eq!(debug.code, 200, "{}", debug.text());
    assert_eq!(node.get("/config").unwrap().json()["log"]["level"], "debug");
    assert!(!node.path("data/online.toml").exists());
    assert_eq!(
        node.send("PUT /log-level", "{\"log_level\":\"loud\"}").code,
        400
    );
    assert_eq!(node.send("PUT /log-level", "{}").code, 400);
    let nothing = node.get("/async_tasks").unwrap();
    assert_eq!(nothing.code, 404);
    assert!(
        nothing.json()["error"]
            .as_str()
            .unwrap()
            .contains("/async_tasks")
    );
}

/// Every route, with what it answers at a node that serves; those that need more have tests of their own.
const ROUTES: &[(&str, &str, u16, &str)] = &[
    ("GET", "/", 200, "href=\"/metrics\""),
    ("GET", "/status", 200, "\"store_id\":1"),
    ("GET", "/ready", 200, "serving"),
    ("GET", "/config", 200, "store-pool-size"),
    ("POST", "/config", 200, "changed"),
    ("GET", "/config/items", 200, "raftstore.store-pool-size"),
    ("GET", "/metrics", 200, "kontiki_build_info"),
    ("GET", "/debug/actors", 200, "busiest"),
    ("GET", "/region/{id}", 200, "removals"),
    ("POST", "/compact", 200, "took_ms"),
    ("GET", "/engine_type", 200, "raft-kv"),
    ("PUT", "/log-level", 400, "log_level"),
    ("PUT", "/config/reload", 200, "changed"),
    ("PUT", "/pause_grpc", 200, "true"),
    ("PUT", "/resume_grpc", 200, "false"),
    ("GET", "/fail", 200, ""),
    ("PUT", "/fail/{name}", 200, ""),
    ("DELETE", "/fail/{name}", 200, ""),
    ("GET", "/diagnosis/log", 404, "log.file.filename"),
    ("GET", "/diagnosis/server-info", 200, "cpu-logical-cores"),
    ("GET", "/diagnosis/clock", 200, "ms"),
    ("GET", "/debug/pprof/profile", 200, ""),
    ("GET", "/debug/pprof/heap", 503, "heap_activate"),
    ("PUT", "/debug/pprof/heap_activate", 200, "true"),
    ("PUT", "/debug/pprof/heap_deactivate", 200, "false"),
    ("GET", "/debug/pprof/cmdline", 200, "--data-dir"),
    ("GET", "/debug/pprof/symbol", 200, "num_symbols"),
    ("POST", "/debug/pprof/symbol", 400, "address"),
    ("GET", "/console", 308, ""),
    ("GET", "/console/", 200, "app.js"),
    ("GET", "/console/app.js", 200, "import"),
    ("GET", "/console/api/map", 200, "regions"),
    ("GET", "/console/api/series", 200, "stores"),
    ("GET", "/console/api/pd/stores", 200, "count"),
    ("GET", "/console/api/store/{id}/ready", 200, "serving"),
];

#[test]
fn every_route_answers_as_it_should() {
    let node = LoneNode::start("");
    until("the store", WITHIN, || {
        let stores = node.get("/console/api/pd/stores")?.json();
        (stores["stores"][0]["store"]["status_address"] != "").then_some(())
    });
    let json = "Content-Type: application/json\r\n";
    // A program of a release has none.
    let has_failpoints = node.get("/fail").unwrap().code != 501;
    for (method, route, code, said) in ROUTES {
        let code = match route.starts_with("/fail") && !has_failpoints {
            true => 501,
            false => *code,
        };
        let path = route.replace("{id}", "1");
        let path = path.replace("{name}", "kontiki::stop::begin");
        let (path, body) = match (*method, *route) {
            ("POST", "/config") => (path, "{\"raftstore.store-pool-size\": 3}"),
            ("POST", "/compact") => (path, "{}"),
            ("PUT", "/log-level") => (path, "{}"),
            ("PUT", "/fail/{name}") => (path, "off"),
            ("POST", "/debug/pprof/symbol") => (path, "main"),
            ("GET", "/debug/pprof/profile") => (path + "?seconds=1", ""),
            _ => (path, ""),
        };
        let answer = node.ask(&format!("{method} {path}"), json, body).unwrap();
        let text = answer.text();
        assert_eq!(answer.code, code, "{method} {path}: {text}");
        assert!(text.contains(said), "{method} {path}: {text}");
    }
}

#[test]
fn a_changed_file_is_taken_up_while_the_node_runs() {
    let node = LoneNode::start("");
    node.configure("raftstore.store-pool-size = 3");
    let reloaded = node.send("PUT /config/reload", "");
    assert_eq!(
        reloaded.json()["changed"],
        json!({ "raftstore.store-pool-size": 3 })
    );
    let pollers = "kontiki_actor_pollers{system=\"peer\"} 3\n";
    assert!(node.get("/metrics").unwrap().text().contains(pollers));
    node.configure("raft-engine.enable = false");
    let refused = node.send("PUT /config/reload", "");
    assert_eq!(refused.code, 400);
    assert!(
        refused.text().contains("raft-engine.enable"),
        "{}",
        refused.text()
    );
    node.configure("raftstore.store-pool-size = \"many\"");
    assert_eq!(node.send("PUT /config/reload", "").code, 400);
    let shown = node.get("/config").unwrap().json();
    assert_eq!(shown["raftstore"]["store-pool-size"], 3);
}

#[test]
fn clients_are_held_off_while_the_node_is_paused() {
    let node = LoneNode::start("");
    assert!(node.ctl(&["raw", "put", "k", "v"]).status.success());
    assert_eq!(
        node.send("PUT /pause_grpc", "").json(),
        json!({ "paused": true })
    );
    assert!(
        !node
            .ctl(&["--timeout", "1s", "raw", "get", "k"])
            .status
            .success()
    );
    assert_eq!(node.get("/ready").unwrap().code, 200);
    assert!(node.ctl(&["store"]).status.success(), "placement goes on");
    assert_eq!(
        node.send("PUT /resume_grpc", "").json(),
        json!({ "paused": false })
    );
    assert!(node.ctl(&["raw", "get", "k"]).status.success());
}

#[test]
fn processor_time_is_shown_as_a_flame_graph_and_for_pprof_one_at_a_time() {
    let node = LoneNode::start("");
    let load = [
        "bench",
        "put",
        "--pd",
        &node.address,
        "--clients",
        "4",
        "--keys",
        "100",
    ];
    let args: Vec<OsString> = [&load[..], &["--duration", "120s", "--warm-up", "0s"]]
        .concat()
        .iter()
        .map(OsString::from)
        .collect();
    let log = node.path("bench");
    let _load = Process::spawn("bench", Path::new(KONTIKI), &args, &log).unwrap();
    let (svg, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| node.get("/debug/pprof/profile?seconds=2&frequency=199"));
        std::thread::sleep(Duration::from_millis(500));
        let second = node.get("/debug/pprof/profile?seconds=1").unwrap();
        (first.join().unwrap().unwrap(), second)
    });
    assert_eq!((svg.code, second.code), (200, 409));
    assert!(svg.head.contains("image/svg+xml") && svg.text().starts_with("<svg"));
    // On a busy machine the load gets few samples, and time in the system is not among them.
    let under_load = |accept: &str| {
        until("a sample of the load", WITHIN, || {
            let request = "GET /debug/pprof/profile?seconds=1&frequency=199";
            let answer = node.ask(request, accept, "")?;
            answer.text().contains("batch_system").then_some(answer)
        })
    };
    let svg = under_load("Accept: */*\r\n");
    assert!(svg.text().starts_with("<svg"), "{}", svg.text());
    let pprof = under_load("");
    assert!(pprof.head.contains("application/octet-stream"));
    assert!(pprof.text().contains("nanoseconds"));
    assert_eq!(
        node.get("/debug/pprof/profile?seconds=0").unwrap().code,
        400
    );
}

#[test]
fn memory_is_shown_by_where_it_was_asked_for_once_that_is_looked_at() {
    let node = LoneNode::start("");
    let before = node.get("/debug/pprof/heap").unwrap();
    assert_eq!(before.code, 503);
    assert!(before.text().contains("heap_activate"), "{}", before.text());
    let switch = |to: &str| {
        let answer = node.send(&format!("PUT /debug/pprof/heap_{to}"), "");
        answer.json()["active"].clone()
    };
    assert_eq!(switch("activate"), true);
    let svg = until("a sample", WITHIN, || {
        node.put("k");
        node.get("/debug/pprof/heap")
            .filter(|answer| answer.code == 200)
    });
    assert!(svg.text().starts_with("<svg"));
    let raw = node.get("/debug/pprof/heap?format=jemalloc").unwrap();
    assert!(raw.text().starts_with("heap_v2/"));
    let pprof = node.get("/debug/pprof/heap?format=pprof").unwrap();
    assert!(pprof.text().contains("inuse_space"));
    assert_eq!(switch("deactivate"), false);
}

#[test]
fn the_process_says_how_it_was_called_and_what_its_addresses_are() {
    let node = LoneNode::start("");
    let line = node.get("/debug/pprof/cmdline").unwrap().text();
    assert!(line.split('\0').any(|arg| arg == "--data-dir"), "{line}");
    assert_eq!(
        node.get("/debug/pprof/symbol").unwrap().text(),
        "num_symbols: 1\n"
    );
    let symbol = node.ask("POST /debug/pprof/symbol", "", "0x1").unwrap();
    assert_eq!(symbol.text(), "0x1\t0x1\n");
    let nonsense = node.ask("POST /debug/pprof/symbol", "", "main").unwrap();
    assert_eq!(nonsense.code, 400);
}

#[test]
fn scrapers_that_never_read_and_bodies_that_never_come_keep_nobody_from_an_answer() {
    let node = LoneNode::start("");
    let deaf: Vec<TcpStream> = (0..DEAF)
        .map(|_| {
            let mut stream = TcpStream::connect(&node.status).unwrap();
            // More answers than the kernel keeps for somebody.
            let many = "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n".repeat(200);
            stream.write_all(many.as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut without_body = TcpStream::connect(&node.status).unwrap();
    let head = "POST /config HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n";
    without_body.write_all(head.as_bytes()).unwrap();
    let since = Instant::now();
    assert_eq!(node.get("/ready").unwrap().code, 200);
    assert_eq!(node.get("/status").unwrap().code, 200);
    println!(
        "answered in {:?} beside {DEAF} that do not read",
        since.elapsed()
    );
    assert!(since.elapsed() < Duration::from_secs(5));
    let mut answer = String::new();
    without_body.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    drop(deaf);
}

#[test]
fn a_page_from_elsewhere_changes_nothing() {
    let node = LoneNode::start("");
    let change = |origin: &str, body: &str| {
        let headers = format!("Content-Type: application/json\r\n{origin}");
        node.ask("POST /config", &headers, body).unwrap().code
    };
    let body = "{\"raftstore.store-pool-size\": 3}";
    assert_eq!(change("Origin: http://elsewhere.example\r\n", body), 403);
    assert_eq!(change("Origin: null\r\n", body), 403);
    let own = format!("Origin: http://{}\r\n", node.status);
    assert_eq!(change(&own, body), 200);
    let paused = node.ask(
        "PUT /pause_grpc",
        "Origin: http://elsewhere.example\r\n",
        "",
    );
    assert_eq!(paused.unwrap().code, 403);
    let form = "Content-Type: text/plain\r\n";
    let moved = node
        .ask("POST /console/api/pd/operators", form, "{}")
        .unwrap();
    assert_eq!(moved.code, 415);
}

#[test]
fn the_console_reaches_what_placement_names_and_nothing_else() {
    let node = LoneNode::start("");
    let page = node.get("/console/").unwrap();
    assert!(page.code == 200 && page.head.contains("default-src 'self'"));
    assert_eq!(node.get("/console").unwrap().code, 308);
    let stores = until("the store", WITHIN, || {
        let stores = node.get("/console/api/pd/stores")?.json();
        // Before it has said for itself where its status server is, it is known as the cluster began.
        let is_told = stores["stores"][0]["store"]["status_address"] != "";
        (stores["count"] == 1 && is_told).then_some(stores)
    });
    assert_eq!(
        stores["stores"][0]["store"]["status_address"],
        node.status.as_str()
    );
    assert_eq!(
        node.get("/console/api/store/1/status").unwrap().json()["store_id"],
        1
    );
    assert_eq!(node.get("/console/api/map").unwrap().json()["regions"], 1);
    let series = node
        .get("/console/api/series?of=kontiki_regions")
        .unwrap()
        .json();
    assert!(
        series["stores"]["1"]["series"]["kontiki_regions"].is_number(),
        "{series}"
    );
    for path in [
        "/console/api/store/9/status",
        "/console/api/store/1/debug/pprof/cmdline",
        "/console/api/store/1/region/x",
    ] {
        assert_eq!(node.get(path).unwrap().code, 404, "{path}");
    }
}

#[test]
fn a_panic_of_the_last_run_is_told_once() {
    let mut node = LoneNode::prepare("");
    let data = node.path("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("PANIC"), "as planned (thread peer-0)\n").unwrap();
    node.begin();
    let told = &node.get("/status").unwrap().json()["last_panic"];
    assert_eq!(told, "as planned (thread peer-0)");
    let log = node.output();
    assert!(log.contains("ended in a panic: as planned"), "{log}");
    node.process = None;
    node.begin();
    assert_eq!(
        node.get("/status").unwrap().json()["last_panic"],
        Value::Null
    );
    assert!(data.join("PANIC.reported").exists());
}
