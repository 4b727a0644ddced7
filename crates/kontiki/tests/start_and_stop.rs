//! Nodes from their start to their end, as an operator sees them: what is refused, what is said
//! meanwhile, and how they stop.

use e2e::{Answer, Process, free_ports, until};
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const KONTIKI: &str = env!("CARGO_BIN_EXE_kontiki");
const WITHIN: Duration = Duration::from_secs(60);

fn get(address: &str, path: &str) -> Option<Answer> {
    Answer::to(&format!("GET {path}"), address, "", "")
}

fn signal(process: &Process, name: &str) {
    let pid = process.pid().to_string();
    let sent = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(sent.success());
}

/// Some first members of a cluster: their addresses and status addresses, and a folder for all.
struct Cluster {
    addresses: Vec<String>,
    status: Vec<String>,
    folder: TempDir,
    /// The configuration file of all.
    config: String,
}

impl Cluster {
    fn new(nodes: usize) -> Self {
        let ports = free_ports(2 * nodes).unwrap();
        let address = |port: &u16| format!("127.0.0.1:{port}");
        Self {
            addresses: ports[..nodes].iter().map(address).collect(),
            status: ports[nodes..].iter().map(address).collect(),
            folder: tempfile::tempdir().unwrap(),
            config: "raftstore.raft-base-tick-interval = \"50ms\"\n".to_owned(),
        }
    }

    fn list(&self) -> String {
        let member = |(number, address): (usize, &String)| format!("n{}={address}", number + 1);
        let members: Vec<String> = self.addresses.iter().enumerate().map(member).collect();
        members.join(",")
    }

    fn data_dir(&self, node: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("n{}", node + 1))
    }

    /// Starts a node with these flags besides.
    fn start(&self, node: usize, flags: &[&str]) -> Process {
        let name = format!("n{}", node + 1);
        let config = self.folder.path().join(format!("{name}.toml"));
        fs::write(&config, &self.config).unwrap();
        let mut args: Vec<OsString> = vec!["server".into(), "--name".into(), name.clone().into()];
        args.extend(["--config".into(), config.into()]);
        args.extend(["--addr".into(), self.addresses[node].clone().into()]);
        args.extend(["--status-addr".into(), self.status[node].clone().into()]);
        args.extend(["--data-dir".into(), self.data_dir(node).into()]);
        args.extend(["--initial-cluster".into(), self.list().into()]);
        args.extend(flags.iter().map(OsString::from));
        let log = self.folder.path().join(format!("{name}.log"));
        Process::spawn(&name, Path::new(KONTIKI), &args, &log).unwrap()
    }

    fn until_stage(&self, node: usize, stage: &str) {
        until(stage, WITHIN, || {
            let answer = get(&self.status[node], "/ready")?;
            answer.text().contains(stage).then_some(())
        });
    }
}

/// What a process said that has given up.
fn refused(mut process: Process) -> String {
    let status = process.wait(WITHIN).unwrap();
    let output = process.output();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(!output.contains("panicked"), "{output}");
    output
}

#[test]
fn a_node_shows_its_status_from_its_start_on_and_stops_when_it_is_asked_to() {
    let cluster = Cluster::new(1);
    let mut process = cluster.start(0, &[]);
    cluster.until_stage(0, "serving");
    let status = &cluster.status[0];
    assert_eq!(get(status, "/ready").unwrap().code, 200);
    let answer = get(status, "/status").unwrap();
    assert_eq!(answer.code, 200);
    let body = answer.json();
    assert_eq!(body["name"], "n1");
    assert_eq!(body["store_id"], 1);
    assert!(body["cluster_id"].as_u64().unwrap() > 0);
    let config = get(status, "/config").unwrap().json();
    assert_eq!(config["server"]["status-addr"], status.as_str());
    assert_eq!(get(status, "/metrics").unwrap().code, 200);
    assert_eq!(get(status, "/nothing").unwrap().code, 404);
    let ended = process.terminate(WITHIN).unwrap();
    assert!(ended.success(), "{}", process.output());
    assert!(process.output().contains("stopped"), "{}", process.output());
}

#[test]
fn a_start_ends_when_it_is_asked_to_and_says_meanwhile_where_it_is() {
    let cluster = Cluster::new(2);
    // Takes connections and says nothing, as a node that is starting does.
    let _silent = TcpListener::bind(&cluster.addresses[1]).unwrap();
    let mut process = cluster.start(0, &[]);
    cluster.until_stage(0, "asking the other members");
    assert_eq!(get(&cluster.status[0], "/ready").unwrap().code, 503);
    let ended = process.terminate(WITHIN).unwrap();
    let output = process.output();
    assert!(ended.success(), "{output}");
    assert!(output.contains("stopped before it served"), "{output}");
}

#[test]
fn a_taken_status_port_is_named_before_anything_is_written() {
    let cluster = Cluster::new(1);
    let _taken = TcpListener::bind(&cluster.status[0]).unwrap();
    let output = refused(cluster.start(0, &[]));
    assert!(output.contains(&cluster.status[0]), "{output}");
    assert!(output.contains("--status-addr"), "{output}");
    assert!(!cluster.data_dir(0).exists());
}

#[test]
fn a_first_member_whose_directory_was_emptied_is_refused_while_the_others_know_it() {
    let cluster = Cluster::new(3);
    let mut nodes: Vec<Process> = (0..3).map(|node| cluster.start(node, &[])).collect();
    // It has registered as soon as placement knows when it started.
    until("the registration of store 3", WITHIN, || {
        let answers = cluster.addresses.iter();
        let mut answers = answers.filter_map(|address| get(address, "/pd/api/v1/stores"));
        let body = answers.find(|answer| answer.code == 200)?.json();
        let stores = body["stores"].as_array()?;
        let third = stores.iter().find(|store| store["store"]["id"] == 3)?;
        (third["store"]["start_timestamp"].as_u64()? > 0).then_some(())
    });
    nodes[2].terminate(WITHIN).unwrap();
    fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    let output = refused(cluster.start(2, &[]));
    let expected = "has data already, and this directory is empty";
    assert!(output.contains(expected), "{output}");
    assert!(output.contains("store 3 of cluster"), "{output}");
}

#[test]
fn members_that_were_told_different_things_do_not_form_a_cluster() {
    let cluster = Cluster::new(2);
    let _first = cluster.start(0, &["--initial-cluster-token", "one"]);
    cluster.until_stage(0, "serving");
    let output = refused(cluster.start(1, &["--initial-cluster-token", "another"]));
    assert!(output.contains("the cluster token"), "{output}");
}

#[test]
fn a_directory_of_another_member_stays_as_it_was() {
    let mut cluster = Cluster::new(2);
    let mut first = cluster.start(0, &[]);
    cluster.until_stage(0, "serving");
    first.terminate(WITHIN).unwrap();
    // As if two machines had exchanged their disks; and the logs would be moved to the other engine.
    fs::rename(cluster.data_dir(0), cluster.data_dir(1)).unwrap();
    cluster.config.push_str("raft-engine.enable = false\n");
    let logs = cluster.data_dir(1).join("raft-engine");
    let before = fs::read_dir(&logs).unwrap().count();
    let output = refused(cluster.start(1, &[]));
    assert!(output.contains("belongs to member \"n1\""), "{output}");
    assert_eq!(fs::read_dir(&logs).unwrap().count(), before);
    assert!(!cluster.data_dir(1).join("raft-rocks").exists());
}

struct Playground {
    process: Process,
    endpoint: String,
    status: String,
}

impl Playground {
    fn start(nodes: usize, folder: &Path, flags: &[&str]) -> Self {
        let ports = free_ports(2 * nodes).unwrap();
        let (port, status) = (ports[0], ports[nodes]);
        let mut args: Vec<OsString> = vec!["playground".into()];
        args.extend(["--nodes".into(), nodes.to_string().into()]);
        args.extend(["--port".into(), port.to_string().into()]);
        args.extend(["--status-port".into(), status.to_string().into()]);
        args.extend(flags.iter().map(OsString::from));
        let log = folder.join(format!("{port}.log"));
        let process = Process::spawn("playground", Path::new(KONTIKI), &args, &log).unwrap();
        Self {
            process,
            endpoint: format!("127.0.0.1:{port}"),
            status: format!("127.0.0.1:{status}"),
        }
    }

    fn until_it_says(&mut self, text: &str) -> String {
        until(text, WITHIN, || {
            let ended = self.process.ended();
            let output = self.process.output();
            assert!(output.contains(text) || ended.is_none(), "{output}");
            output.contains(text).then_some(output)
        })
    }

    fn ctl(&self, args: &[&str]) -> String {
        let mut command = Command::new(KONTIKI);
        command.args(["ctl", "--pd", &self.endpoint, "--timeout", "30s"]);
        let output = command.args(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn a_playground_can_move_to_other_ports_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let flags = ["--data-dir", data.as_str()];
    let mut first = Playground::start(3, folder.path(), &flags);
    first.until_it_says("Ready.");
    first.ctl(&["raw", "put", "kept", "yes"]);
    assert!(first.process.terminate(WITHIN).unwrap().success());
    let mut second = Playground::start(3, folder.path(), &flags);
    assert_ne!(first.endpoint, second.endpoint);
    second.until_it_says("Ready.");
    assert_eq!(second.ctl(&["raw", "get", "kept"]), "kept\tyes\n");
    until("the new address of store 1", WITHIN, || {
        let stores = second.ctl(&["store"]);
        stores.contains(&second.endpoint).then_some(())
    });
}

#[test]
fn a_playground_greets_with_its_status_ports_and_a_closed_terminal_ends_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut playground = Playground::start(2, folder.path(), &[]);
    let output = playground.until_it_says("Ready.");
    assert!(output.contains(&playground.status), "{output}");
    assert_eq!(get(&playground.status, "/ready").unwrap().code, 200);
    let temporary = temporary_folder(&output);
    assert!(Path::new(&temporary).is_dir(), "{temporary}");
    signal(&playground.process, "-HUP");
    let status = playground.process.wait(WITHIN).unwrap();
    assert!(status.success(), "{}", playground.process.output());
    assert!(!Path::new(&temporary).exists());
}

#[test]
fn an_impatient_end_leaves_no_temporary_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut playground = Playground::start(1, folder.path(), &[]);
    let temporary = temporary_folder(&playground.until_it_says("data in "));
    signal(&playground.process, "-TERM");
    signal(&playground.process, "-TERM");
    // The first may have been enough.
    let status = playground.process.wait(WITHIN).unwrap();
    assert!(matches!(status.code(), Some(0 | 130)), "{status:?}");
    assert!(!Path::new(&temporary).exists());
}

fn temporary_folder(output: &str) -> String {
    let (_, rest) = output.split_once("data in ").unwrap();
    rest.split_once(" (removed").unwrap().0.to_owned()
}
