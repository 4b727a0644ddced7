//! Placement steered by `kontiki ctl` on real processes.

use client::Client;
use e2e::{Cluster, Options, kontiki_binary, own_client};
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const NODES: usize = 4;

/// Reports that come often, so that what was asked for is seen soon.
fn options() -> Options {
    Options {
        status: true,
        extra: "raftstore.pd-heartbeat-tick-interval = \"500ms\"\n\
                raftstore.pd-store-heartbeat-tick-interval = \"500ms\"\n"
            .to_owned(),
        ..Options::default()
    }
}

/// The JSON objects that a command prints, a line each, as text: its fields are looked for in it.
fn json(cluster: &Cluster, args: &[&str]) -> Vec<String> {
    let printed = ctl(cluster, &[args, &["--output", "json"]].concat());
    printed.lines().map(str::to_owned).collect()
}

fn ctl(cluster: &Cluster, args: &[&str]) -> String {
    cluster.ctl(args).unwrap_or_else(|error| panic!("{error}"))
}

/// The one line that a command which fails says.
fn refused(cluster: &Cluster, args: &[&str]) -> String {
    let error = cluster.ctl(args).unwrap_err().to_string();
    let said: Vec<&str> = error
        .lines()
        .filter(|line| line.starts_with("kontiki: "))
        .collect();
    assert_eq!(said.len(), 1, "{error}");
    said[0].to_owned()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A field of a flat JSON object, without its quotes.
fn field<'a>(object: &'a str, name: &str) -> &'a str {
    let start = format!("\"{name}\":");
    let (_, rest) = object.split_once(&start).expect(name);
    let end = rest.find([',', '}']).expect("an object ends");
    rest[..end].trim_matches('"')
}

/// The Region of all keys, and the stores of its peers, its leader's first; none, if it has no leader.
fn region(cluster: &Cluster) -> (String, Vec<String>) {
    let found = json(cluster, &["region", "key", "k"]);
    let id = field(&found[0], "id").to_owned();
    let store = |peer: &str| peer.split_once('@').map(|(_, store)| store.to_owned());
    let leader = store(field(&found[0], "leader"));
    let (_, peers) = found[0].split_once("\"peers\":[").expect("peers");
    let peers = peers.split(']').next().expect("a list ends");
    let peers = peers
        .split(',')
        .filter_map(|peer| store(peer.trim_matches('"')));
    let Some(leader) = leader else {
        return (id, Vec::new());
    };
    let mut stores: Vec<String> = peers.filter(|store| *store != leader).collect();
    stores.insert(0, leader);
    (id, stores)
}

fn state(cluster: &Cluster, store: &str) -> String {
    field(&json(cluster, &["store", store])[0], "state").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_steered_from_the_command_line() {
    let mut cluster = Cluster::start(NODES, options()).unwrap();
    let client = own_client(&cluster, client::Config::default())
        .await
        .unwrap();
    client.put(b"k", "v".into()).await.unwrap();
    settings_are_set_online(&cluster);
    any_node_will_do(&cluster.endpoints());
    removed_rows_leave_the_files(&cluster, &client).await;
    a_scheduler_is_paused(&cluster);
    a_leader_is_moved(&cluster);
    a_store_is_drained(&mut cluster);
    assert_eq!(client.get(b"k").await.unwrap(), Some("v".into()));
}

fn settings_are_set_online(cluster: &Cluster) {
    // A machine whose disk is nearly full is no reason to move nothing.
    for (name, value) in [
        ("low-space-percent", "99"),
        ("store-limit-add-peer", "600"),
        ("store-limit-remove-peer", "600"),
        ("leader-schedule-limit", "0"),
    ] {
        let set = ctl(cluster, &["config", "placement", "set", name, value]);
        assert!(
            set.lines().nth(1).is_some_and(|line| line.ends_with(value)),
            "{set}"
        );
    }
    let limits = ctl(cluster, &["store", "limit"]);
    assert!(limits.contains("600") && !limits.contains("15"), "{limits}");
    let unknown = refused(cluster, &["config", "placement", "set", "max-replica", "3"]);
    assert!(
        unknown.contains("did you mean \"max-replicas\"?"),
        "{unknown}"
    );
}

/// Placement's leader is found from each of them.
fn any_node_will_do(endpoints: &[String]) {
    for endpoint in endpoints {
        let mut command = Command::new(kontiki_binary().unwrap());
        let output = command.args(["ctl", "--pd", endpoint, "store"]).output();
        let stores = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(stores.lines().count(), 1 + NODES, "{stores}");
        assert!(stores.starts_with("ID"), "{stores}");
    }
}

/// Rows that were removed are in the files until these are compacted.
async fn removed_rows_leave_the_files(cluster: &Cluster, client: &Client) {
    const ROWS: u64 = 2_000;
    let pair = |row: u64| (format!("row/{row:04}").into(), "value".into());
    let pairs: Vec<_> = (0..ROWS).map(pair).collect();
    client.batch_put(&pairs).await.unwrap();
    let (id, stores) = region(cluster);
    let replicas: Vec<&str> = stores.iter().map(String::as_str).collect();
    let compact = || {
        json(
            cluster,
            &[&["store", "compact"], replicas.as_slice()].concat(),
        )
    };
    let entries = |replica: &String| field(replica, "entries").parse::<u64>().unwrap();
    let properties = || json(cluster, &["region", "properties", &id]);
    // A follower has a row a moment after its leader.
    until("rows in all files", || {
        compact();
        properties()
            .iter()
            .map(entries)
            .filter(|&entries| entries >= ROWS)
            .count()
            == stores.len()
    });
    for row in 0..ROWS {
        let key = format!("row/{row:04}");
        client.delete(key.as_bytes()).await.unwrap();
    }
    until("files without removed rows", || {
        let done = compact();
        assert_eq!(done.len(), stores.len());
        let is_clean =
            |replica: &String| entries(replica) < ROWS / 10 && field(replica, "removals") == "0";
        let shown = properties();
        assert_eq!(shown.len(), stores.len());
        shown.iter().all(is_clean)
    });
    let said = refused(cluster, &["store", "compact", "77"]);
    assert!(said.contains("there is no store 77"), "{said}");
    let said = refused(
        cluster,
        &["store", "compact", &stores[0], "--start", "b", "--end", "a"],
    );
    assert!(said.contains("behind"), "{said}");
}

fn a_scheduler_is_paused(cluster: &Cluster) {
    let name = "balance-region-scheduler";
    let shown = || {
        let schedulers = ctl(cluster, &["scheduler", "show"]);
        let line = schedulers.lines().find(|line| line.starts_with(name));
        line.expect(name).to_owned()
    };
    ctl(cluster, &["scheduler", "pause", name, "10m"]);
    assert!(shown().contains("paused   9m"), "{}", shown());
    ctl(cluster, &["scheduler", "resume", name]);
    assert!(shown().contains("running"), "{}", shown());
    let unknown = refused(
        cluster,
        &["scheduler", "pause", "balance-regions-scheduler", "1m"],
    );
    assert!(
        unknown.contains("did you mean \"balance-region-scheduler\"?"),
        "{unknown}"
    );
    // It would move replicas while this test counts them.
    ctl(cluster, &["scheduler", "pause", name, "10m"]);
}

fn a_leader_is_moved(cluster: &Cluster) {
    until("Region with three peers and a leader", || {
        region(cluster).1.len() == 3
    });
    let (id, stores) = region(cluster);
    let to = &stores[1];
    ctl(cluster, &["operator", "add", "transfer-leader", &id, to]);
    until("leader on the other store", || {
        region(cluster).1.first() == Some(to)
    });
    until("operator in the history", || {
        let history = json(cluster, &["operator", "history"]);
        let of = |line: &&String| field(line, "desc") == "admin-transfer-leader";
        history
            .iter()
            .find(of)
            .is_some_and(|line| field(line, "status") == "Finished")
    });
    let nowhere = refused(cluster, &["operator", "add", "transfer-leader", &id, "99"]);
    assert!(nowhere.contains("the store has no replica"), "{nowhere}");
}

fn a_store_is_drained(cluster: &mut Cluster) {
    let (_, stores) = region(cluster);
    let drained = ctl(cluster, &["store", "drain", &stores[0], "--wait"]);
    assert!(
        drained.starts_with(&format!("store {} has left", stores[0])),
        "{drained}"
    );
    assert_eq!(state(cluster, &stores[0]), "Tombstone");
    let (_, now) = region(cluster);
    assert!(now.len() == 3 && !now.contains(&stores[0]), "{now:?}");
    let reason = format!(
        "kontiki: refused: store {} can't be drained: too few stores would be left: 2 for 3 replicas \
         of each region",
        stores[1]
    );
    // A new placement leader has to hear of the stores before it counts on them.
    until("refusal with its reason", || {
        refused(cluster, &["store", "drain", &stores[1]]) == reason
    });
    assert_eq!(state(cluster, &stores[1]), "Up");
    let left = json(cluster, &["store", &stores[0]]);
    let node = cluster.node_at(field(&left[0], "address"));
    cluster.kill_node(node.expect("a store is a node"));
    ctl(cluster, &["store", "remove-tombstone"]);
    let gone = refused(cluster, &["store", &stores[0]]);
    assert!(gone.contains("not found"), "{gone}");
}
