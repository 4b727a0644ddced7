//! How a cluster stands at one moment, as placement has it.

use bench::{Error, Result};
use client::{Client, RegionInfo};
use std::collections::BTreeMap;
use std::fmt;

const REPLICAS: usize = 3;

/// How a cluster stands.
pub struct View {
    regions: Vec<RegionInfo>,
    /// Replicas and leaders of each store that has not left.
    shares: BTreeMap<u64, (usize, usize)>,
}

impl View {
    /// Asks for it.
    ///
    /// # Errors
    /// The client's, and Regions that don't tile the key space.
    pub async fn of(client: &Client) -> Result<Self> {
        let mut regions = client.regions().await?;
        regions.sort_by(|a, b| a.region.range.start.cmp(&b.region.range.start));
        let ends = regions.iter().map(|info| &info.region.range.end);
        let starts = regions.iter().map(|info| &info.region.range.start).skip(1);
        let is_whole = regions
            .first()
            .is_some_and(|info| info.region.range.start.is_empty())
            && regions
                .last()
                .is_some_and(|info| info.region.range.end.is_empty());
        if !is_whole || ends.zip(starts).any(|(end, start)| end != start) {
            return Err(Error::NotTiled);
        }
        let stores = client.stores().await?;
        let alive = stores.iter().filter(|store| store.state != "Tombstone");
        let mut shares: BTreeMap<_, _> = alive.map(|store| (store.id.get(), (0, 0))).collect();
        for info in &regions {
            for peer in &info.region.peers {
                shares.entry(peer.store_id.get()).or_default().0 += 1;
            }
            if let Some(leader) = info.leader {
                shares.entry(leader.store_id.get()).or_default().1 += 1;
            }
        }
        Ok(Self { regions, shares })
    }

    /// How many.
    pub fn regions(&self) -> usize {
        self.regions.len()
    }

    /// How many that have not left.
    pub fn stores(&self) -> usize {
        self.shares.len()
    }

    /// Whether each Region has three replicas and a leader.
    pub fn is_whole(&self) -> bool {
        let is_whole =
            |info: &RegionInfo| info.region.peers.len() == REPLICAS && info.leader.is_some();
        self.regions.iter().all(is_whole)
    }

    /// Replicas there.
    pub fn replicas_on(&self, store: u64) -> usize {
        self.shares.get(&store).map_or(0, |share| share.0)
    }

    /// Whether no store differs from the mean by more, in replicas and in leaders.
    pub fn is_balanced(&self, percent: usize) -> bool {
        let is_even = |counts: Vec<usize>| {
            let (sum, stores) = (counts.iter().sum::<usize>(), counts.len());
            // Both sides times the number of stores.
            let differs = |count: &usize| (count * stores).abs_diff(sum) * 100 > sum * percent;
            !counts.iter().any(differs)
        };
        is_even(self.shares.values().map(|share| share.0).collect())
            && is_even(self.shares.values().map(|share| share.1).collect())
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |part: fn(&(usize, usize)) -> usize| {
            let parts = self.shares.values().map(|share| part(share).to_string());
            parts.collect::<Vec<_>>().join("/")
        };
        let (replicas, leaders) = (list(|share| share.0), list(|share| share.1));
        write!(
            f,
            "{} Regions, replicas {replicas}, leaders {leaders}",
            self.regions()
        )
    }
}
