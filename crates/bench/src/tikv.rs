//! Kontiki (or the echo server) as a target of the workload, through the official `tikv-client`.
//!
//! One [`TikvTarget`] is one client: it holds one connection to each store that it talks to, which
//! for a single Region is one to the leader.

use crate::{Error, Result};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tikv_client::{BoundRange, Key, RawClient};
use workload::Target;

/// A client of its own, used by many tasks.
pub struct TikvTarget(RawClient);

const RETRY: Duration = Duration::from_millis(50);

/// Connects as soon as the cluster serves a write.
pub async fn connect(
    store: &'static str,
    endpoints: &[String],
    within: Duration,
) -> Result<Arc<TikvTarget>> {
    let deadline = Instant::now() + within;
    while let Err(error) = probe(endpoints).await {
        if Instant::now() > deadline {
            let last = error.to_string();
            return Err(Error::NotServing {
                store,
                after: within,
                last,
            });
        }
        tokio::time::sleep(RETRY).await;
    }
    let client = RawClient::new(endpoints.to_vec()).await?;
    Ok(Arc::new(TikvTarget(client)))
}

async fn probe(endpoints: &[String]) -> tikv_client::Result<()> {
    let client = RawClient::new(endpoints.to_vec()).await?;
    client.put("probe".to_owned(), "written").await
}

impl Target for TikvTarget {
    type Error = tikv_client::Error;

    async fn put(&self, key: Bytes, value: Bytes) -> tikv_client::Result<()> {
        self.0.put(Vec::from(key), value).await
    }

    async fn get(&self, key: Bytes) -> tikv_client::Result<bool> {
        Ok(self.0.get(Vec::from(key)).await?.is_some())
    }

    async fn scan(&self, start: Bytes, limit: u32) -> tikv_client::Result<usize> {
        let range = BoundRange::from(Key::from(Vec::from(start))..);
        Ok(self.0.scan(range, limit).await?.len())
    }
}
