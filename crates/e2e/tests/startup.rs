//! Starts that must not succeed: each ends at once, with a message that says what to change.

use client::Config;
use e2e::{Cluster, Options, Process, free_ports, kontiki_binary, own_client};
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Replaces the value of an option on a command line.
fn replace(args: &mut [OsString], option: &str, value: OsString) {
    let at = args
        .iter()
        .position(|arg| arg == option)
        .expect("the option is there");
    args[at + 1] = value;
}

/// Runs a server that is expected to give up, and returns what it said.
fn refused(args: &[OsString]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut process = Process::spawn("refused", &kontiki_binary().unwrap(), args, &log).unwrap();
    let status = process.wait(ENDS_WITHIN).unwrap();
    let output = process.output();
    assert!(
        !status.success(),
        "it should have refused to start: {output}"
    );
    assert!(!output.contains("panicked"), "{output}");
    output
}

/// One node that has served, and a configuration file that it could be started with.
async fn one_node() -> (Cluster, tempfile::NamedTempFile) {
    let cluster = Cluster::start(1, Options::default()).unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    (cluster, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_directory_is_refused_and_the_first_goes_on() {
    let (cluster, config) = one_node().await;
    let mut args = cluster.args(0, config.path());
    let address = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    replace(&mut args, "--addr", address.clone().into());
    replace(
        &mut args,
        "--initial-cluster",
        format!("n1={address}").into(),
    );
    let output = refused(&args);
    let data_dir = cluster.data_dir(0);
    assert!(output.contains(&*data_dir.to_string_lossy()), "{output}");
    own_client(&cluster, Config::default()).await.unwrap();
}

#[test]
fn an_unknown_configuration_key_is_refused_and_the_nearest_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("kontiki.toml");
    fs::write(&config, "[storage]\napi-versoin = 1\n").unwrap();
    let address = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    let args: Vec<OsString> = vec![
        "server".into(),
        "--addr".into(),
        address.into(),
        "--data-dir".into(),
        dir.path().join("data").into(),
        "--config".into(),
        config.into(),
    ];
    let output = refused(&args);
    assert!(
        output.contains("api-versoin") && output.contains("api-version"),
        "{output}"
    );
    assert!(!dir.path().join("data").exists(), "nothing was created");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_api_version_than_the_clusters_is_refused() {
    let (mut cluster, config) = one_node().await;
    cluster.stop_node(0, ENDS_WITHIN).unwrap();
    fs::write(config.path(), "[storage]\napi-version = 2\n").unwrap();
    let output = refused(&cluster.args(0, config.path()));
    assert!(output.contains("api-version"), "{output}");
    cluster.start_node(0).unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_cluster_is_refused() {
    let (mut cluster, config) = one_node().await;
    cluster.stop_node(0, ENDS_WITHIN).unwrap();
    let other = free_ports(2).unwrap();
    let mut args = cluster.args(0, config.path());
    let members = format!(
        "n1={},n2=127.0.0.1:{},n3=127.0.0.1:{}",
        cluster.endpoints()[0],
        other[0],
        other[1]
    );
    replace(&mut args, "--initial-cluster", members.into());
    let output = refused(&args);
    assert!(output.contains("cluster"), "{output}");
    cluster.start_node(0).unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
}
