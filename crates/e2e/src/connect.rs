//! Clients of a cluster, as soon as it serves; and which of its nodes leads.

use crate::{Cluster, Error, Result};
use client::{Client, Config};
use proto::kvrpcpb;
use proto::tikvpb::tikv_client::TikvClient;
use std::time::{Duration, Instant};
use tikv_client::RawClient;
use tonic::transport::Channel;

/// A cluster that does not serve within this time is broken.
pub const SERVES_WITHIN: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(20);
/// A key that no test uses.
const PROBE: &str = "\u{1}probe";

/// Our own client, once the cluster takes a write.
pub async fn own_client(cluster: &Cluster, config: Config) -> Result<Client> {
    let endpoints = cluster.endpoints();
    until_serving(async || {
        let client = Client::connect(&endpoints, config.clone()).await?;
        client.put(PROBE.as_bytes(), "written".into()).await?;
        Ok::<_, client::Error>(client)
    })
    .await
}

/// The official client of TiKV, once the cluster takes a write.
pub async fn official_client(cluster: &Cluster, config: tikv_client::Config) -> Result<RawClient> {
    let endpoints = cluster.endpoints();
    until_serving(async || {
        let client = RawClient::new_with_config(endpoints.clone(), config.clone()).await?;
        client.put(PROBE.to_owned(), "written").await?;
        Ok::<_, tikv_client::Error>(client)
    })
    .await
}

async fn until_serving<C, E: std::error::Error>(
    attempt: impl AsyncFn() -> std::result::Result<C, E>,
) -> Result<C> {
    let deadline = Instant::now() + SERVES_WITHIN;
    loop {
        match attempt().await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => {
                return Err(Error::NotServing {
                    after: SERVES_WITHIN,
                    last: error.to_string(),
                });
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// A client of one store, for requests made by hand.
pub fn store_client(address: &str) -> TikvClient<Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .expect("host and port make a URL");
    TikvClient::new(
        endpoint
            .connect_timeout(Duration::from_secs(1))
            .connect_lazy(),
    )
}

/// The node that leads the Region of `key` under API V1, asked of the stores themselves: what the
/// placement driver knows may be older. `None` if none of them leads at this moment.
pub async fn leader_of(cluster: &Cluster, client: &Client, key: &[u8]) -> Option<usize> {
    Some(leader_context(cluster, client, key).await?.0)
}

/// The same, and what a correct request to that leader carries.
pub async fn leader_context(
    cluster: &Cluster,
    client: &Client,
    key: &[u8],
) -> Option<(usize, kvrpcpb::Context)> {
    let regions = client.regions().await.ok()?;
    let region = &regions
        .iter()
        .find(|info| info.region.range.contains(key))?
        .region;
    let stores = client.stores().await.ok()?;
    for peer in &region.peers {
        let store = stores.iter().find(|store| store.id == peer.store_id)?;
        let context = kvrpcpb::Context {
            region_id: region.id.get(),
            region_epoch: Some(region.epoch.into()),
            peer: Some((*peer).into()),
            cluster_id: client.cluster_id().get(),
            ..Default::default()
        };
        let get = kvrpcpb::RawGetRequest {
            context: Some(context),
            key: key.to_vec().into(),
            ..Default::default()
        };
        let mut request = tonic::Request::new(get);
        request.set_timeout(Duration::from_millis(500));
        let answer = store_client(&store.address).raw_get(request).await;
        if answer.is_ok_and(|answer| answer.get_ref().region_error.is_none()) {
            return Some((cluster.node_at(&store.address)?, context));
        }
    }
    None
}
