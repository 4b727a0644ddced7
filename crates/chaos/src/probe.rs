//! Whether the cluster serves, and since when: each Region is written and read.
//!
//! **Invariants.** A Region counts as served with the first write and read that both begin after the moment from
//! which time is counted. The probes have clients of their own, which lose little time on a node that is silent.
//!
//! **Not here.** The load: it goes on beside this.

use crate::layout::{GROUPS, probe_key};
use crate::{Error, Result};
use bytes::Bytes;
use client::{Client, Config};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a probe waits for an answer before it asks elsewhere.
const ATTEMPT: Duration = Duration::from_millis(200);
/// A silent node costs one as placement's leader, one as a member of placement, and one as a Region's leader.
const ATTEMPTS: u32 = 6;
const RETRY: Duration = Duration::from_millis(10);

/// One client for each Region.
pub struct Probes(Vec<Client>);

impl Probes {
    /// Probes of a cluster that serves.
    pub async fn connect(endpoints: &[String]) -> Result<Probes> {
        let config = Config {
            attempt_timeout: ATTEMPT,
            deadline: ATTEMPT * ATTEMPTS,
            ..Config::default()
        };
        let mut probes = Vec::with_capacity(GROUPS);
        while probes.len() < GROUPS {
            probes.push(Client::connect(endpoints, config.clone()).await?);
        }
        Ok(Probes(probes))
    }

    /// The time from `since` until every Region was served.
    ///
    /// # Errors
    /// One of them was not within that time.
    pub async fn until_served(&self, since: Instant, within: Duration) -> Result<Duration> {
        let mut probes = JoinSet::new();
        for (group, client) in self.0.iter().enumerate() {
            probes.spawn(until_group_is_served(client.clone(), group, since + within));
        }
        let mut longest = Duration::ZERO;
        while let Some(probe) = probes.join_next().await {
            let served_at = probe
                .expect("a probe does not panic")
                .map_err(|last| Error::Outage { within, last })?;
            longest = longest.max(served_at - since);
        }
        Ok(longest)
    }
}

/// When the Region was served; what was heard last, if it was not.
async fn until_group_is_served(
    client: Client,
    group: usize,
    deadline: Instant,
) -> std::result::Result<Instant, String> {
    let key = probe_key(group);
    loop {
        let served = async {
            client.put(&key, Bytes::from_static(b"probe")).await?;
            client.get(&key).await
        };
        match served.await {
            Ok(_) => return Ok(Instant::now()),
            Err(error) if Instant::now() > deadline => {
                return Err(format!("Region of group {group}: {error}"));
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}
