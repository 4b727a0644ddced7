//! One store, and how to ask it correctly and wrongly.

use bytes::Bytes;
use client::{ApiVersion, Client, Config};
use e2e::{Cluster, Options, own_client, store_client};
use proto::kvrpcpb;
use proto::tikvpb::tikv_client::TikvClient;
use tonic::Status;
use tonic::transport::Channel;

/// One store, and what a correct request to it looks like.
pub struct World {
    pub cluster: Cluster,
    pub client: Client,
    pub store: TikvClient<Channel>,
    pub context: kvrpcpb::Context,
    /// What keys begin with: mode and keyspace under API V2.
    prefix: &'static [u8],
}

impl World {
    /// Under API V1.
    pub async fn start() -> World {
        Self::start_with(Options::default(), Config::default()).await
    }

    /// Under API V2.
    pub async fn start_v2() -> World {
        let options = Options {
            api_version: 2,
            ..Options::default()
        };
        let config = Config {
            api_version: ApiVersion::V2,
            ..Config::default()
        };
        let mut world = Self::start_with(options, config).await;
        world.context.api_version = kvrpcpb::ApiVersion::V2.into();
        world.prefix = b"r\0\0\0";
        world
    }

    async fn start_with(options: Options, config: Config) -> World {
        let cluster = Cluster::start(1, options).unwrap();
        let client = own_client(&cluster, config).await.unwrap();
        // Under API V2 it is the one that holds the raw keys of keyspace DEFAULT.
        let region = client.regions().await.unwrap().remove(0).region;
        let context = kvrpcpb::Context {
            region_id: region.id.get(),
            region_epoch: Some(region.epoch.into()),
            peer: Some(region.peers[0].into()),
            cluster_id: client.cluster_id().get(),
            ..Default::default()
        };
        let store = store_client(&cluster.endpoints()[0]);
        World {
            cluster,
            client,
            store,
            context,
            prefix: b"",
        }
    }

    /// Reads a key; for what the context brings.
    pub async fn get(&mut self, context: kvrpcpb::Context) -> kvrpcpb::RawGetResponse {
        let key = Bytes::from_static(b"k");
        let get = kvrpcpb::RawGetRequest {
            context: Some(context),
            key,
            ..Default::default()
        };
        self.store.raw_get(get).await.unwrap().into_inner()
    }

    /// Writes a pair with the correct context.
    pub async fn put(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Result<kvrpcpb::RawPutResponse, Status> {
        let context = Some(self.context);
        let (key, value) = (key.into(), value.into());
        let put = kvrpcpb::RawPutRequest {
            context,
            key,
            value,
            ..Default::default()
        };
        Ok(self.store.raw_put(put).await?.into_inner())
    }

    /// The same store takes a correct write, and has not said that it panicked.
    pub async fn still_serves(&mut self) {
        let key = [self.prefix, b"still"].concat();
        let answer = self.put(key, b"serving".to_vec()).await.unwrap();
        assert_eq!((answer.region_error, answer.error.as_str()), (None, ""));
        let node = self.cluster.node(0).unwrap();
        assert!(node.ended().is_none());
        assert!(!node.output().contains("panicked"), "{}", node.output());
    }
}
