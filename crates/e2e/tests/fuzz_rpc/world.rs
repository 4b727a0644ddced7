//! The node under test: what it knows itself by, and whether it still serves.
//!
//! **Not here.** What it is sent.

use crate::grammar::Known;
use client::{Client, Config};
use e2e::{Cluster, Options, own_client, store_client};
use proto::tikvpb::tikv_client::TikvClient;
use proto::{kvrpcpb, metapb};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Scheduling and splits may be under way when a good client comes.
const SERVES_WITHIN: Duration = Duration::from_secs(20);
const KEY: &[u8] = b"good/key";

/// One store.
pub struct World {
    pub cluster: Cluster,
    pub client: Client,
    store: TikvClient<Channel>,
    cluster_id: u64,
    written: u32,
}

impl World {
    pub async fn start() -> World {
        let cluster = Cluster::start(1, Options::default()).unwrap();
        let client = own_client(&cluster, Config::default()).await.unwrap();
        let store = store_client(&cluster.endpoints()[0]);
        let cluster_id = client.cluster_id().get();
        World {
            cluster,
            client,
            store,
            cluster_id,
            written: 0,
        }
    }

    /// The Region of a key, as the store itself tells it to somebody with an epoch of long ago: placement
    /// may have been told anything.
    async fn region(&mut self, key: &[u8]) -> Option<metapb::Region> {
        // The ids of Regions are small here; a split gives the next ones.
        for region_id in 2..400 {
            let context = kvrpcpb::Context {
                region_id,
                region_epoch: Some(metapb::RegionEpoch::default()),
                peer: None,
                cluster_id: self.cluster_id,
                ..Default::default()
            };
            let get = kvrpcpb::RawGetRequest {
                context: Some(context),
                key: key.to_vec().into(),
                ..Default::default()
            };
            let answer = self.store.raw_get(get).await.ok()?.into_inner();
            let stale = answer.region_error.and_then(|error| error.epoch_not_match);
            let regions = stale.map(|stale| stale.current_regions).unwrap_or_default();
            let holds = |region: &metapb::Region| {
                let end = &region.end_key[..];
                &region.start_key[..] <= key && (end.is_empty() || key < end)
            };
            if let Some(region) = regions.into_iter().find(holds) {
                return Some(region);
            }
        }
        None
    }

    /// What a correct request about the key carries now.
    async fn context(&mut self, key: &[u8]) -> Option<kvrpcpb::Context> {
        let region = self.region(key).await?;
        Some(kvrpcpb::Context {
            region_id: region.id,
            region_epoch: region.region_epoch,
            peer: region.peers.iter().find(|peer| peer.store_id == 1).copied(),
            cluster_id: self.cluster_id,
            ..Default::default()
        })
    }

    /// Values that pass the node's first checks.
    pub async fn known(&mut self) -> Known {
        let context = self.context(KEY).await.expect("the node serves");
        let region = self.region(KEY).await.expect("the node serves");
        let (epoch, peer) = (context.region_epoch.unwrap(), context.peer.unwrap());
        let mut known = Known::default();
        for (name, values) in [
            ("cluster_id", vec![self.cluster_id]),
            ("region_id", vec![context.region_id]),
            ("peer_id", vec![peer.id]),
            ("metapb.Region.id", vec![context.region_id, 1]),
            ("metapb.Peer.id", vec![peer.id]),
            ("metapb.Store.id", vec![1, 77]),
            ("pdpb.RegionHeartbeatRequest.term", vec![100, u64::MAX]),
            ("down_seconds", vec![0, u64::MAX]),
            ("store_id", vec![1]),
            ("conf_ver", vec![epoch.conf_ver]),
            ("version", vec![epoch.version]),
            ("role", vec![0]),
            ("api_version", vec![0]),
            ("keyspace_id", vec![0]),
            ("term", vec![0]),
            ("limit", vec![1, 10, 1_000, u64::from(u32::MAX)]),
            ("count", vec![1, 100]),
            ("retry_limit", vec![0, 1]),
            ("ttl", vec![0, 1, 3_600]),
            ("ttls", vec![0, 3_600]),
            ("max_execution_duration_ms", vec![0, 1_000]),
        ] {
            known.numbers.insert(name, values);
        }
        let keys: Vec<Vec<u8>> = [&b""[..], b"a", b"fuzz/1", b"fuzz/2", b"fuzz/3", b"z"]
            .map(<[u8]>::to_vec)
            .into();
        for name in [
            "key",
            "keys",
            "start_key",
            "end_key",
            "split_key",
            "split_keys",
            "prev_keys",
        ] {
            known.bytes.insert(name, keys.clone());
        }
        known
            .bytes
            .insert("metapb.Region.start_key", vec![region.start_key.to_vec()]);
        known
            .bytes
            .insert("metapb.Region.end_key", vec![region.end_key.to_vec()]);
        known
            .bytes
            .insert("cf", vec![Vec::new(), b"default".to_vec()]);
        known.bytes.insert("service", vec![Vec::new()]);
        known.bytes.insert("address", vec![b"127.0.0.1:1".to_vec()]);
        known
    }

    /// The process lives, has not panicked, and a correct write is done and read back.
    pub async fn still_serves(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + SERVES_WITHIN;
        loop {
            let node = self.cluster.node(0).expect("it was started");
            if let Some(status) = node.ended() {
                return Err(format!("the node has ended: {status}"));
            }
            if node.output().contains("panicked") {
                return Err("the node has panicked".to_owned());
            }
            match self.write_and_read().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn write_and_read(&mut self) -> Result<(), String> {
        self.written += 1;
        let value = format!("value {}", self.written);
        let context = self.context(KEY).await.ok_or("no Region has the key")?;
        let put = kvrpcpb::RawPutRequest {
            context: Some(context),
            key: KEY.to_vec().into(),
            value: value.clone().into(),
            ..Default::default()
        };
        let get = kvrpcpb::RawGetRequest {
            context: Some(context),
            key: KEY.to_vec().into(),
            ..Default::default()
        };
        let failed = |status: tonic::Status| status.to_string();
        let put = self.store.raw_put(put).await.map_err(failed)?.into_inner();
        if put.region_error.is_some() || !put.error.is_empty() {
            return Err(format!("{put:?}"));
        }
        let got = self.store.raw_get(get).await.map_err(failed)?.into_inner();
        match got.value == value {
            true => Ok(()),
            false => Err(format!("{got:?} where {value} was written")),
        }
    }
}
