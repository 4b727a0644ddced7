//! Three nodes on threads in one process, over engines in memory and a network of function calls.
//!
//! What depends on timing waits for a condition with a deadline; nothing sleeps for luck.

mod cluster;
mod consistency;
mod merge;
mod watch;

use cluster::{Cluster, DEADLINE, data_region, put, until};
use engine::mem::Disk;
use engine::{Cf, KvEngine};
use futures::FutureExt;
use node::snap::SnapshotDir;
use placement::{Request, Response};
use raftstore::{Outcome, RequestContext, RequestError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::RegionId;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_are_all_read_back_and_survive_a_restart_of_all_nodes() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Arc::new(Cluster::start(&disks));
    let writers = (0..16).map(|writer| {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            for n in 0..50 {
                let outcome = cluster.write(put(format!("{writer:02}-{n:02}"))).await;
                assert_eq!(outcome, Outcome::Written);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let before = cluster.scan().await;
    assert_eq!(before.len(), 800);
    assert!(before.iter().all(|(key, value)| key == value));
    Arc::into_inner(cluster).unwrap().stop().await;

    let cluster = Cluster::start(&disks);
    assert_eq!(cluster.scan().await, before);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_reads_at_once_under_its_lease_and_the_others_by_asking_it() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    cluster.write(put("k".to_owned())).await;
    until(async || {
        let mut at_once = cluster
            .handles()
            .filter_map(|handle| handle.read(data_region()).now_or_never()?.ok());
        let snapshot = at_once.next()?;
        assert_eq!(snapshot.get(Cf::Default, b"k").unwrap().unwrap(), "k");
        Some(())
    })
    .await;
    let mut refused = 0;
    for handle in cluster.handles() {
        let plain = handle.get(data_region(), Cf::Default, b"k").await;
        refused += usize::from(matches!(plain, Err(RequestError::NotLeader { .. })));
        let of_any = RequestContext {
            replica_read: true,
            ..data_region()
        };
        let found = until(async || {
            let read = handle.get(of_any.clone(), Cf::Default, b"k").await;
            read.ok()
        });
        assert_eq!(found.await.unwrap().unwrap(), "k");
    }
    assert!(refused >= 1, "one leads");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_placement_driver_serves_where_its_region_leads_and_goes_on_after_a_restart() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let mut last_id = 0;
    let mut last_timestamp = types::Timestamp::ZERO;
    for _ in 0..3 {
        let cluster = Cluster::start(&disks);
        for _ in 0..5 {
            match cluster.ask_placement(Request::AllocId).await {
                Response::Id(id) => {
                    assert!(id > last_id, "{id} after {last_id}");
                    last_id = id;
                }
                other => panic!("unexpected {other:?}"),
            }
            match cluster.ask_placement(Request::Tso { count: 3 }).await {
                Response::Timestamps { last, count: 3 } => {
                    assert!(last > last_timestamp);
                    last_timestamp = last;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        let key = b"k".to_vec();
        match cluster.ask_placement(Request::GetRegion { key }).await {
            Response::Region(Some(route)) => assert_eq!(route.region.id, RegionId::FIRST_DATA),
            other => panic!("unexpected {other:?}"),
        }
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_refuse_writes_stop_nobody_and_are_forgotten_once_there_is_room() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Arc::new(Cluster::start(&disks));
    cluster.write(put("before".to_owned())).await;
    disks.iter().for_each(|disk| disk.set_full(true));
    let hanging = tokio::spawn({
        let cluster = Arc::clone(&cluster);
        async move { cluster.write(put("hanging".to_owned())).await }
    });
    let start = Instant::now();
    loop {
        let writes = cluster.handles().map(async |handle| {
            let write = handle.write(data_region(), put("refused".to_owned()));
            tokio::time::timeout(Duration::from_millis(50), write).await
        });
        let results = futures::future::join_all(writes).await;
        if results
            .iter()
            .any(|result| matches!(result, Ok(Err(RequestError::DiskFull))))
        {
            break;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "nobody says that the disk is full"
        );
    }
    disks.iter().for_each(|disk| disk.set_full(false));
    hanging.await.unwrap();
    let found = cluster.scan().await;
    assert!(found.iter().any(|(key, _)| key == b"hanging"));
    Arc::into_inner(cluster).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_full_stops_when_it_is_asked_to() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    cluster.write(put("before".to_owned())).await;
    disks.iter().for_each(|disk| disk.set_full(true));
    for handle in cluster.handles() {
        let write = handle.write(data_region(), put("given up".to_owned()));
        let _ = tokio::time::timeout(Duration::from_millis(50), write).await;
    }
    cluster.stop().await;
    disks.iter().for_each(|disk| disk.set_full(false));
    let cluster = Cluster::start(&disks);
    cluster.write(put("after".to_owned())).await;
    let found = cluster.scan().await;
    assert!(found.iter().any(|(key, _)| key == b"before"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_longer_than_the_log_reaches_back_gets_a_snapshot() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    cluster.write(put("before".to_owned())).await;
    let away = cluster.follower().await;
    *cluster.cut_off.0.lock().unwrap() = Some(away);
    for n in 0..200 {
        cluster.write(put(format!("{n:04}"))).await;
    }
    let start = Instant::now();
    while cluster.log_begins((away + 1) % 3) < 100 {
        assert!(start.elapsed() < DEADLINE, "the log is not cut");
        cluster.write(put("again".to_owned())).await;
    }
    assert!(cluster.log_begins(away) < 100);
    *cluster.cut_off.0.lock().unwrap() = None;
    let (kv, _, files) = &cluster.stored[away];
    while kv.get(Cf::Default, b"z0199").unwrap().is_none() {
        assert!(start.elapsed() < DEADLINE, "it does not catch up");
        cluster.write(put("meanwhile".to_owned())).await;
    }
    while !files.list().unwrap().is_empty() {
        assert!(start.elapsed() < DEADLINE, "the file stays");
        cluster.write(put("meanwhile".to_owned())).await;
    }
    let before = cluster.scan().await;
    assert!(before.len() >= 202);
    cluster.stop().await;
    let cluster = Cluster::start(&disks);
    assert_eq!(cluster.scan().await, before);
    cluster.stop().await;
}
