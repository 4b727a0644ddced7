//! The stores of the cluster: what they registered, and which of them may.
//!
//! **Invariants.**
//! - No two stores have the same address, so an address always leads to the store meant.
//! - A store has a start time exactly when it has registered: until then it only stands in the list of
//!   first members, and whoever comes under its id has not been there before.
//! - A label that was set by request stays when the store registers again, unless it registers another
//!   value of it.
//! - A tombstone never comes back to life, and its address is free for others.
//!
//! **Not here.** Whether a store is alive: that is derived from heartbeats, and not persisted. Taking
//! a store out of service: `service`.

use crate::Error;
use crate::error::Result;
use crate::message::Now;
use crate::state::{Change, Durable};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::StoreId;

const TEXT_BYTES_MAX: usize = 1_024;
const LABELS_MAX: usize = 64;

/// Whether a store has been heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// Lately. A new leader takes all stores to be alive at first.
    Connected,
    /// Not for a while; it may come back.
    Disconnected,
    /// For so long that its replicas should be replaced.
    Down,
}

/// Whether a store is in service. Persisted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StoreState {
    /// It is.
    #[default]
    Up,
    /// It is being drained: its replicas are moved to other stores.
    Offline,
    /// It was drained and has left.
    Tombstone,
}

/// A store as it registered itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// Allocated by the placement driver, or given at bootstrap.
    pub id: StoreId,
    /// Where clients and other stores reach it, `host:port`.
    pub address: String,
    /// Where its status server is, `host:port`; empty for none.
    pub status_address: String,
    /// The version of its program.
    pub version: String,
    /// Where it is (`zone`, `rack`, `host`), as key and value.
    pub labels: Vec<(String, String)>,
    /// When its process started, in seconds since the Unix epoch; zero until it registers.
    pub start_time_s: u64,
    /// Whether it is in service. Not the store's own to say: what it registers keeps what is known.
    pub state: StoreState,
}

impl Store {
    pub(crate) fn size_bytes(&self) -> usize {
        let labels: usize = self
            .labels
            .iter()
            .map(|(key, value)| 48 + key.len() + value.len())
            .sum();
        self.address.len() + self.status_address.len() + self.version.len() + labels
    }

    /// Whether the store has ever been there.
    pub fn is_registered(&self) -> bool {
        self.start_time_s > 0
    }

    pub(crate) fn invalid(&self, reason: &'static str) -> Error {
        Error::InvalidStore {
            store_id: self.id,
            reason,
        }
    }

    /// The value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn check(&self) -> Result<()> {
        let invalid = |reason| Err(self.invalid(reason));
        let texts = [&self.address, &self.status_address, &self.version];
        let labels = self.labels.iter().flat_map(|(key, value)| [key, value]);
        if self.id.get() == 0 {
            invalid("its id is zero")
        } else if self.address.is_empty() {
            invalid("it has no address")
        } else if self.labels.len() > LABELS_MAX {
            invalid("it has more than 64 labels")
        } else if texts
            .into_iter()
            .chain(labels)
            .any(|text| text.len() > TEXT_BYTES_MAX)
        {
            invalid("its description has a text of more than 1024 bytes")
        } else {
            Ok(())
        }
    }
}

/// All stores, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stores(BTreeMap<StoreId, Arc<Store>>);

impl Stores {
    /// One store.
    pub(crate) fn get(&self, id: StoreId) -> Result<&Arc<Store>> {
        self.0.get(&id).ok_or(Error::StoreNotFound(id))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Store>> {
        self.0.values()
    }

    pub(crate) fn put(&mut self, store: Arc<Store>) {
        self.0.insert(store.id, store);
    }

    pub(crate) fn remove(&mut self, id: StoreId) {
        self.0.remove(&id);
    }
}

/// What registering `store` changes: nothing if it is known just so. Ids from `first_free_id` on were
/// not given out: a store that took one would be overwritten by the one that is given it later.
pub(crate) fn plan_put(
    state: &Durable,
    first_free_id: u64,
    now: Now,
    mut store: Store,
) -> Result<Option<Change>> {
    store.check()?;
    if store.id.get() >= first_free_id {
        return Err(store.invalid("its id was never allocated"));
    }
    let known = state.stores.get(store.id).ok();
    store.state = known.map_or(StoreState::Up, |known| known.state);
    if store.state == StoreState::Tombstone {
        return Err(Error::StoreTombstone(store.id));
    }
    if !store.is_registered() {
        let known_s = known.map_or(0, |known| known.start_time_s);
        let now_s = (now.wall_ms / 1_000).max(1);
        store.start_time_s = if known_s > 0 { known_s } else { now_s };
    }
    if let Some(known) = known {
        store.labels = merged(&known.labels, &store.labels);
        store.check()?;
    }
    let taken = |other: &&Arc<Store>| {
        let has_left = other.state == StoreState::Tombstone;
        other.id != store.id && other.address == store.address && !has_left
    };
    if let Some(other) = state.stores.iter().find(taken) {
        return Err(Error::StoreAddressTaken {
            address: store.address,
            store_id: other.id,
        });
    }
    if known.is_some_and(|known| **known == store) {
        return Ok(None);
    }
    Ok(Some(Change::Store(Arc::new(store))))
}

/// What setting labels of a store changes: nothing if it has them already.
pub(crate) fn plan_label(
    state: &Durable,
    id: StoreId,
    labels: &[(String, String)],
) -> Result<Option<Change>> {
    let known = state.stores.get(id)?;
    if known.state == StoreState::Tombstone {
        return Err(Error::StoreTombstone(id));
    }
    if labels.iter().any(|(name, _)| name.is_empty()) {
        return Err(known.invalid("a label has no name"));
    }
    let store = Store {
        labels: merged(&known.labels, labels),
        ..Store::clone(known)
    };
    store.check()?;
    let is_new = **known != store;
    Ok(is_new.then(|| Change::Store(Arc::new(store))))
}

/// Labels by name, with the newer value of each; an empty one removes it.
fn merged(known: &[(String, String)], newer: &[(String, String)]) -> Vec<(String, String)> {
    let all = known.iter().chain(newer).cloned();
    let labels: BTreeMap<String, String> = all.collect();
    let labels = labels.into_iter();
    labels.filter(|(_, value)| !value.is_empty()).collect()
}
