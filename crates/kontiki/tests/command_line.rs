//! The program as a person calls it: what it prints, and how it ends.

use std::path::Path;
use std::process::{Command, Output};

fn kontiki(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kontiki"))
        .args(args)
        .output()
        .expect("the program starts")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// An address that nobody listens on: bound once, and given back.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn help_names_every_command() {
    let output = kontiki(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for command in ["server", "playground", "ctl", "bench", "sim"] {
        assert!(text.contains(command), "{command} in {text}");
    }
}

#[test]
fn a_failpoint_that_can_not_be_set_is_refused_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kontiki"))
        .args(["server", "--addr", &free_address(), "--status-addr", ""])
        .args([
            "--data-dir",
            &folder.path().join("data").display().to_string(),
        ])
        .env("KONTIKI_FAILPOINTS", "nobody=off")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let errors = errors(&output);
    assert!(errors.contains("failpoint"), "{errors}");
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_config_with_errors_is_refused_with_all_of_them_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[server]\naddres = \"127.0.0.1:1\"\n\n[raftstore]\nraft-base-tick-interval = \"1 fortnight\"\n";
    let config = write(folder.path(), "kontiki.toml", text);
    let output = kontiki(&["server", "--config", &config, "--addr", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = errors(&output);
    assert!(errors.contains("has 3 problems"), "{errors}");
    assert!(
        errors.contains("kontiki.toml:2: unknown key `server.addres`: did you mean `server.addr`?")
    );
    assert!(errors.contains("kontiki.toml:5: raftstore.raft-base-tick-interval: `1 fortnight`"));
    assert!(errors.contains("--addr: server.addr: `nowhere`"));
}

#[test]
fn a_list_of_members_or_a_name_that_makes_no_sense_is_refused_with_code_2() {
    for (flags, expected) in [
        (
            ["--initial-cluster", ","],
            "--initial-cluster: cluster.initial-cluster: \"\"",
        ),
        (
            ["--initial-cluster", "n1=h:1,,"],
            "is not of the form name=host:port",
        ),
        (
            ["--initial-cluster", "n2=h:1"],
            "`n1` is not in `cluster.initial-cluster`",
        ),
        (["--name", ""], "--name: cluster.name: \"\" is no name"),
        (
            ["--name", "a,b"],
            "--name: cluster.name: \"a,b\" is no name",
        ),
        (
            ["--initial-cluster-token", ""],
            "--initial-cluster-token: cluster.token: is empty",
        ),
    ] {
        let output = kontiki(&["server", flags[0], flags[1]]);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        let errors = errors(&output);
        assert!(errors.contains(expected), "{flags:?}: {errors}");
    }
}

#[test]
fn a_misspelt_flag_is_refused_with_code_2() {
    let output = kontiki(&["server", "--adr", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("--addr"), "{}", errors(&output));
}

#[test]
fn ctl_says_that_nobody_answers() {
    let address = free_address();
    let output = kontiki(&[
        "ctl",
        "--pd",
        &address,
        "--timeout",
        "200ms",
        "raw",
        "get",
        "a",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains(&address), "{}", errors(&output));
}

#[test]
fn ctl_refuses_an_address_that_is_none() {
    let output = kontiki(&["ctl", "--pd", "http://", "member"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("host:port"), "{}", errors(&output));
}

#[test]
fn a_simulated_seed_leaves_the_same_trace_in_every_process() {
    let play = |seed: &str| {
        let output = kontiki(&["sim", "--seed", seed, "--fault-phase-ms", "500"]);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().last().unwrap().to_owned()
    };
    let trace = play("7");
    assert!(trace.starts_with("trace ") && trace.len() == "trace ".len() + 16);
    assert_eq!(play("7"), trace);
    assert_ne!(play("8"), trace);
}

#[test]
fn a_trace_says_who_sent_what_to_whom_and_what_was_synced() {
    let flags = ["--seed", "7", "--trace", "--fault-phase-ms", "200"];
    let output = kontiki(&[&["sim"], &flags[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "s1>s2 r2",
        "AppendResponse",
        "wrote and synced log:",
        "trace ",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn a_simulation_that_finds_a_violation_says_how_to_replay_it_and_ends_with_code_1() {
    let output = kontiki(&[
        "sim",
        "--seeds",
        "50",
        "--start",
        "3",
        "--planted",
        "lost-answer",
        "--faults",
        "none",
        "--fault-phase-ms",
        "500",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let errors = errors(&output);
    assert!(errors.contains("kontiki sim --seed "), "{errors}");
    assert!(errors.contains("--planted lost-answer"), "{errors}");
}
