//! What the nodes show of themselves, and how they are changed while they run.

use super::cluster::{Cluster, data_region, options, put, until};
use engine::Cf;
use engine::mem::Disk;
use metrics::{Collect, Page};
use node::{FAMILIES, NodeOptions};
use raftstore::RequestContext;
use std::collections::BTreeMap;
use std::time::Duration;
use types::RegionId;

/// Series by their names and labels, summed over all nodes.
fn series(cluster: &Cluster) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for handle in cluster.handles() {
        let mut page = Page::default();
        handle.collect(&mut page);
        let text = page.render();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap();
        }
    }
    sums
}

/// What has to move when there are writes and reads.
const MOVES: &[&str] = &[
    "kontiki_actor_messages_total{system=\"peer\"}",
    "kontiki_actor_messages_total{system=\"apply\"}",
    "kontiki_actor_batch_fsms_count{system=\"peer\"}",
    "kontiki_actor_round_seconds_sum{system=\"peer\"}",
    "kontiki_actor_end_seconds_count{system=\"apply\"}",
    "kontiki_raft_leadership_changes_total{role=\"leader\"}",
    "kontiki_raft_leadership_changes_total{role=\"follower\"}",
    "kontiki_raft_proposals_total",
    "kontiki_raft_appended_entries_total",
    "kontiki_raft_appended_bytes_total",
    "kontiki_raft_committed_entries_total",
    "kontiki_raft_applied_entries_total",
    "kontiki_raft_answered_commands_total",
    "kontiki_raft_sent_messages_total{kind=\"append\"}",
    "kontiki_raft_sent_messages_total{kind=\"append-response\"}",
    "kontiki_raft_sent_messages_total{kind=\"vote\"}",
    "kontiki_raft_received_messages_total{kind=\"append\"}",
    "kontiki_raft_received_messages_total{kind=\"vote-response\"}",
    "kontiki_write_stage_seconds_count{stage=\"queue\"}",
    "kontiki_write_stage_seconds_count{stage=\"replicate\"}",
    "kontiki_write_stage_seconds_count{stage=\"apply\"}",
    "kontiki_write_stage_seconds_count{stage=\"all\"}",
    "kontiki_reads_total{path=\"lease\"}",
    "kontiki_reads_total{path=\"replica\"}",
    "kontiki_read_wait_seconds_count{path=\"replica\"}",
    "kontiki_raftlog_write_seconds_count",
    "kontiki_raftlog_written_bytes_total",
    "kontiki_raftlog_sync_seconds_count",
    "kontiki_kv_write_seconds_count",
    "kontiki_kv_written_bytes_total",
    "kontiki_regions",
    "kontiki_region_leaders",
    "kontiki_memory_limit_bytes{component=\"mailboxes\"}",
    "kontiki_placement_leader",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_family_is_shown_and_those_of_writes_and_reads_move() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    for n in 0..64 {
        cluster.write(put(format!("{n:04}"))).await;
    }
    let replica_read = RequestContext {
        replica_read: true,
        ..data_region()
    };
    until(async || {
        for handle in cluster.handles() {
            for context in [data_region(), replica_read.clone()] {
                let _ = handle.get(context, Cf::Default, b"0001").await;
            }
        }
        let series = series(&cluster);
        let moved = |name: &str| series.get(name).is_some_and(|value| *value > 0.0);
        MOVES.iter().all(|name| moved(name)).then_some(())
    })
    .await;
    let series = series(&cluster);
    let missing: Vec<_> = FAMILIES
        .iter()
        .map(|desc| desc.name)
        .filter(|name| !series.keys().any(|series| series.starts_with(name)))
        // No operator has ended.
        .filter(|name| *name != "kontiki_placement_ended_operators_total")
        .collect();
    assert_eq!(missing, [] as [&str; 0]);
    assert_eq!(series["kontiki_placement_leader"], 1.0);
    assert_eq!(series["kontiki_regions"], 6.0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_counted_on_both_sides() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    cluster.write(put("before".to_owned())).await;
    let away = cluster.follower().await;
    *cluster.cut_off.0.lock().unwrap() = Some(away);
    while cluster.log_begins((away + 1) % 3) < 100 {
        cluster.write(put("again".to_owned())).await;
    }
    *cluster.cut_off.0.lock().unwrap() = None;
    until(async || {
        cluster.write(put("meanwhile".to_owned())).await;
        let series = series(&cluster);
        [
            "kontiki_snapshots_sent_total{result=\"ok\"}",
            "kontiki_snapshot_sent_bytes_total",
            "kontiki_snapshots_received_total",
            "kontiki_snapshot_received_bytes_total",
            "kontiki_snapshot_install_seconds_count",
        ]
        .iter()
        .all(|name| series[*name] > 0.0)
        .then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_and_its_actors_are_shown() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    cluster.write(put("k".to_owned())).await;
    let mut leaders = 0;
    for handle in cluster.handles() {
        // Two of three have acknowledged the write.
        let found = until(async || {
            let found = handle.inspect(RegionId::FIRST_DATA).unwrap().unwrap();
            found.applied.is_some().then_some(found)
        })
        .await;
        leaders += usize::from(found.leads);
        assert!(found.peer.unwrap().rounds > 0);
        assert!(handle.inspect(RegionId(77)).unwrap().is_none());
        let [(_, peers), (_, appliers)] = handle.actors(1);
        assert_eq!((peers.slowest.len(), appliers.busiest.len()), (1, 1));
    }
    assert_eq!(leaders, 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_changed_while_it_is_written_to_and_loses_nothing() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    for (round, size) in [3, 1, 2].into_iter().enumerate() {
        let mut wanted: NodeOptions = options(1);
        wanted.peer_pool.pool_size = size;
        wanted.apply_pool.pool_size = size;
        wanted.peer_pool.reschedule_duration = Duration::from_millis(size as u64);
        wanted.mailbox_bytes_max = size << 20;
        wanted.peer.report_ticks = size as u64;
        let controls = cluster.controls();
        let change = tokio::task::spawn_blocking(move || {
            controls
                .iter()
                .for_each(|control| control.apply(&wanted).unwrap());
        });
        for n in 0..40 {
            cluster.write(put(format!("{round}-{n:02}"))).await;
        }
        change.await.unwrap();
        let series = series(&cluster);
        let all = 3.0 * size as f64;
        assert_eq!(series["kontiki_actor_pollers{system=\"peer\"}"], all);
        assert_eq!(series["kontiki_actor_pollers{system=\"apply\"}"], all);
        let limit = series["kontiki_memory_limit_bytes{component=\"mailboxes\"}"];
        assert_eq!(limit, all * f64::from(1 << 20));
    }
    assert_eq!(cluster.scan().await.len(), 120);
    cluster.stop().await;
}
