//! Two Regions that placement has merge.

use crate::cluster::{Cluster, data_region, put, until};
use engine::mem::Disk;
use engine::{Cf, KvEngine};
use placement::{Control, OperatorRequest, Request, Response};
use raftstore::state::RegionRecord;
use raftstore::{Outcome, RequestContext};
use types::{Region, RegionId, keys};

impl Cluster {
    /// The Regions of data, as placement knows them.
    async fn regions(&self) -> Vec<Region> {
        let request = Request::ScanRegions {
            start: vec![],
            end: vec![],
            limit: 0,
        };
        match self.ask_placement(request).await {
            Response::Regions(routes) => {
                let regions = routes.iter().map(|route| Region::clone(&route.region));
                regions.collect()
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// How whoever can answers for a key.
    async fn route(&self, key: &str) -> RequestContext {
        let regions = self.regions().await;
        let region = regions.iter().find(|it| it.range.contains(key.as_bytes()));
        let region = region.expect("Regions tile the key space");
        RequestContext {
            region_id: region.id,
            epoch: region.epoch,
            ..data_region()
        }
    }

    async fn write_routed(&self, key: &str) {
        until(async || {
            let context = self.route(key).await;
            for handle in self.handles() {
                let write = handle.write(context.clone(), put(key.to_owned())).await;
                if write == Ok(Outcome::Written) {
                    return Some(());
                }
            }
            None
        })
        .await;
    }

    async fn read_routed(&self, key: &str) -> Option<Vec<u8>> {
        until(async || {
            let context = self.route(key).await;
            for handle in self.handles() {
                if let Ok(read) = handle
                    .get(context.clone(), Cf::Default, key.as_bytes())
                    .await
                {
                    return Some(read.expect("it can be read").map(|value| value.to_vec()));
                }
            }
            None
        })
        .await
    }

    async fn split_at(&self, key: &str) {
        until(async || {
            let context = self.route(key).await;
            for handle in self.handles() {
                let keys = vec![key.as_bytes().to_vec()];
                if handle.split(context.clone(), keys).await.is_ok() {
                    return Some(());
                }
            }
            None
        })
        .await;
    }

    /// Asks for the merge until placement knows one Region.
    async fn merge(&self, source: RegionId, target: RegionId) {
        until(async || {
            if self.regions().await.len() == 1 {
                return Some(());
            }
            let merge = OperatorRequest::Merge { source, target };
            let request = Request::Control(Box::new(Control::AddOperator(merge)));
            for handle in self.handles() {
                // Refused while they are busy, or not known well enough yet.
                let _ = handle.placement().call(request.clone()).await;
            }
            None
        })
        .await;
    }

    /// Ready when the Region has ended on all nodes.
    async fn await_end(&self, region: RegionId) {
        until(async || {
            let ended = self.stored.iter().all(|(kv, ..)| {
                let record = kv.get(Cf::Raft, &keys::region_state_key(region)).unwrap();
                let record = record.map(|record| RegionRecord::decode(record).unwrap());
                matches!(record, Some(RegionRecord::Tombstone(it)) if it.merged_into.is_some())
            });
            ended.then_some(())
        })
        .await;
    }
}

fn key(n: usize) -> String {
    format!("{n:02}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_regions_merge_as_placement_says_and_serve_as_one_also_after_a_restart() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::placed(&disks);
    for n in 0..20 {
        cluster.write_routed(&key(n)).await;
    }
    cluster.split_at(&key(10)).await;
    let [left, right] = until(async || {
        let regions = cluster.regions().await;
        <[Region; 2]>::try_from(regions).ok()
    })
    .await;
    for n in 20..30 {
        cluster.write_routed(&key(n)).await;
    }
    cluster.merge(left.id, right.id).await;
    for n in (0..30).rev() {
        let value = cluster.read_routed(&key(n)).await;
        assert_eq!(value, Some(key(n).into_bytes()));
    }
    cluster.await_end(left.id).await;
    for n in [5, 40] {
        cluster.write_routed(&key(n)).await;
    }
    cluster.stop().await;
    let cluster = Cluster::placed(&disks);
    for n in (0..30).chain([40]) {
        let value = cluster.read_routed(&key(n)).await;
        assert_eq!(value, Some(key(n).into_bytes()));
    }
    cluster.write_routed(&key(6)).await;
    assert_eq!(cluster.regions().await.len(), 1);
    cluster.stop().await;
}
