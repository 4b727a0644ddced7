//! Replicas that are compared in the background, and one on whose disk a value is damaged.

use crate::cluster::{Cluster, data_region, put, until};
use engine::mem::Disk;
use engine::{Cf, Durability, KvBatch, KvEngine};
use raftstore::{RequestContext, RequestError};
use types::RegionId;

impl Cluster {
    /// A node's value of a key becomes another one.
    async fn damage(&self, position: usize, key: &[u8]) {
        let kv = &self.stored[position].0;
        let key = [b"z", key].concat();
        // A follower applies what others have acknowledged.
        until(async || kv.get(Cf::Default, &key).unwrap()).await;
        let mut batch = kv.batch();
        batch.put(Cf::Default, &key, b"damaged");
        kv.write(&mut batch, Durability::Buffered).unwrap();
    }

    /// A node finds out that its replica is damaged, and nobody else's is.
    async fn await_quarantine(&self, position: usize) {
        let handle = self.handles().nth(position).unwrap();
        let found = until(async || handle.quarantined().pop()).await;
        assert_eq!(found.0, RegionId::FIRST_DATA);
        assert_ne!(found.1.found, found.1.agreed);
        let quarantined = self.handles().map(|handle| handle.quarantined().len());
        assert_eq!(quarantined.sum::<usize>(), 1);
    }

    /// A node refuses reads of its replica, once it has heard of a leader.
    async fn await_refusal(&self, position: usize) {
        let handle = self.handles().nth(position).unwrap();
        let context = RequestContext {
            replica_read: true,
            ..data_region()
        };
        until(async || match handle.read(context.clone()).await {
            Err(RequestError::Quarantined { .. }) => Some(()),
            _ => None,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_damaged_on_a_disk_is_found_and_its_replica_serves_nobody_any_more() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let mut cluster = Cluster::start(&disks);
    cluster.write(put("k".to_owned())).await;
    let pairs = cluster.scan().await;
    let damaged = cluster.follower().await;
    cluster.damage(damaged, &pairs[0].0).await;
    for _life in 0..2 {
        cluster.await_quarantine(damaged).await;
        assert_eq!(cluster.scan().await, pairs, "others serve");
        cluster.await_refusal(damaged).await;
        cluster.stop().await;
        cluster = Cluster::start(&disks);
    }
    cluster.stop().await;
}
