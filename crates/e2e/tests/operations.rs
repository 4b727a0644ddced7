//! `docs/operations.md`, from its first command to its last, on real processes.
//!
//! What differs from the page: ports, the folder, ticks that are short enough not to wait for, and a capacity, since
//! nothing is moved to a store whose disk is nearly full.

use e2e::{Process, free_ports, kontiki_binary};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const PAGE: &str = include_str!("../../../docs/operations.md");
const WITHIN: Duration = Duration::from_secs(600);
/// The addresses on the page, by their ports.
const PORTS: [&str; 14] = [
    "2379", "2380", "2381", "2382", "2384", "2385", "2386", "20180", "20181", "20182", "20183",
    "20185", "20186", "20187",
];
/// Elections and reports in fractions of a second; room on any disk.
const QUICK: &str = "level = \"info\"\n[raftstore]\nraft-base-tick-interval = \"100ms\"\n\
                     pd-heartbeat-tick-interval = \"1s\"\npd-store-heartbeat-tick-interval = \"500ms\"\n\
                     capacity = \"2GiB\"";

/// The commands of the page, in one script.
fn commands() -> String {
    let blocks = PAGE.split("```sh\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split("```").next().unwrap_or(""))
        .collect();
    blocks.concat()
}

/// `kontiki` on the path: the program under test, which ends when the shell does.
fn put_on_path(folder: &Path) {
    let program = kontiki_binary().unwrap();
    let script = format!(
        "#!/bin/sh\nexec setpriv --pdeathsig KILL '{}' \"$@\"\n",
        program.display()
    );
    let path = folder.join("kontiki");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display().to_string();
    put_on_path(folder.path());
    let mut script = commands().replace("/var/lib/kontiki", &root);
    for (written, port) in PORTS.iter().zip(free_ports(PORTS.len()).unwrap()) {
        script = script.replace(
            &format!("127.0.0.1:{written}"),
            &format!("127.0.0.1:{port}"),
        );
    }
    script = script.replace("level = \"info\"", QUICK);
    let first = script
        .split("127.0.0.1:")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap()
        .to_owned();
    let script = script.replace(
        "kontiki ctl ",
        &format!("kontiki ctl --pd 127.0.0.1:{first} --timeout 60s "),
    );
    let head = format!("set -eux\ncd '{root}'\nPATH='{root}':$PATH\n");
    let end = "[ -s profile.svg ]\nkill $N5 $N6 $N7\nwait\necho THE END\n";
    fs::write(folder.path().join("script"), format!("{head}{script}{end}")).unwrap();
    let args = [folder.path().join("script").into()];
    let log = folder.path().join("output");
    let mut shell = Process::spawn("bash", Path::new("/bin/bash"), &args, &log).unwrap();
    let ended = shell.wait(WITHIN).unwrap();
    let said = shell.output();
    assert!(
        ended.success() && said.trim_end().ends_with("THE END"),
        "{said}"
    );
    // Before the backup, after it was put back, and after most nodes were lost.
    let told: Vec<&str> = said
        .lines()
        .filter(|line| *line == "greeting\thello")
        .collect();
    assert_eq!(told.len(), 3, "{said}");
}
