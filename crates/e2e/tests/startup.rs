//! Starts that must not succeed: each ends at once, with a message that says what to change.

use client::Config;
use e2e::{Cluster, NO_STATUS, Options, free_ports, own_client, refused};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
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

/// A configuration file with these lines.
fn config_file(lines: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{NO_STATUS}\n{lines}\n")).unwrap();
    file
}

/// One node that has served.
async fn one_node() -> Cluster {
    let cluster = Cluster::start(1, Options::default()).unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_directory_is_refused_and_the_first_goes_on() {
    let cluster = one_node().await;
    let config = config_file("");
    let mut args = cluster.args(0, config.path());
    let address = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    replace(&mut args, "--addr", address.clone().into());
    replace(
        &mut args,
        "--initial-cluster",
        format!("n1={address}").into(),
    );
    let output = refused(&args);
    let expected = format!(
        "the data folder {} can't be used: another process is using it",
        cluster.data_dir(0).display()
    );
    assert!(output.contains(&expected), "{output}");
    own_client(&cluster, Config::default()).await.unwrap();
}

/// The command line of a server alone, with this configuration file.
fn alone(config: &Path, data: &Path) -> Vec<OsString> {
    let address = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    let mut args: Vec<OsString> = vec!["server".into()];
    args.extend(["--addr".into(), address.into()]);
    args.extend(["--data-dir".into(), data.into()]);
    args.extend(["--config".into(), config.into()]);
    args
}

#[test]
fn every_problem_of_a_configuration_is_reported_with_its_line_and_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = config_file("storage.api-versoin = 1\nstorage.api-version = 3");
    let output = refused(&alone(config.path(), &data));
    for problem in [
        ":2: unknown key `storage.api-versoin`: did you mean `storage.api-version`?",
        ":3: storage.api-version: 3 is not a version: 1 or 2",
    ] {
        let problem = format!("{}{problem}", config.path().display());
        assert!(output.contains(&problem), "{output}");
    }
    assert!(!data.exists(), "nothing was created");
}

#[test]
fn a_file_in_the_place_of_the_data_directory_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::write(&data, "in the way").unwrap();
    let output = refused(&alone(config_file("").path(), &data));
    let expected = format!("the data folder {} can't be used", data.display());
    assert!(output.contains(&expected), "{output}");
    assert_eq!(fs::read(&data).unwrap(), b"in the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_api_version_than_the_clusters_is_refused() {
    let mut cluster = one_node().await;
    cluster.stop_node(0, ENDS_WITHIN).unwrap();
    let config = config_file("storage.api-version = 2");
    let output = refused(&cluster.args(0, config.path()));
    let expected = "bootstrapped with storage.api-version = 1, and it can't be changed to 2";
    assert!(output.contains(expected), "{output}");
    cluster.start_node(0).unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_cluster_is_refused() {
    let mut cluster = one_node().await;
    let config = config_file("");
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
    assert!(
        output.contains("the data directory belongs to cluster")
            && output.contains("the list of first members"),
        "{output}"
    );
    cluster.start_node(0).unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_store_is_refused() {
    let mut cluster = Cluster::start(3, Options::default()).unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
    cluster.stop_node(0, ENDS_WITHIN).unwrap();
    cluster.stop_node(1, ENDS_WITHIN).unwrap();
    let config = config_file("");
    let mut args = cluster.args(0, config.path());
    replace(&mut args, "--data-dir", cluster.data_dir(1).into());
    let output = refused(&args);
    let expected = "the data directory belongs to member \"n2\"";
    assert!(output.contains(expected), "{output}");
    cluster.start_all().unwrap();
    own_client(&cluster, Config::default()).await.unwrap();
}
