//! What is persisted, how it is laid out, and how it is loaded.
//!
//! | key | value (version 1) |
//! |---|---|
//! | `c` | cluster id; there is one exactly when the cluster has been bootstrapped |
//! | `i` | ids below this number may have been given out |
//! | `t` | timestamps below this millisecond may have been given out |
//! | `g` | garbage collection safe point |
//! | `o` | settings that were set by request: names and values |
//! | `d` | the schedulers that run, by name; none: the default ones |
//! | `s` + store id, 8 bytes big-endian | a store's description |
//! | `r` + Region id, 8 bytes big-endian | a Region's shape |
//!
//! **Why changes.** The state changes by [`Change`]s only, and each is one persisted pair. So what
//! is in memory after a write, and what a new leader loads, are made by the same function.
//!
//! **Invariants.** A pair that this version does not know is an error, never skipped. Windows and
//! the safe point never go back.
//!
//! **Not here.** When a change is written (`ledger`), and whether it is allowed (each concern's own
//! module).

use crate::Error;
use crate::codec::{ReadResult, Reader, Writer};
use crate::error::Result;
use crate::routes::Routes;
use crate::schedulers::SchedulerName;
use crate::settings::{Overrides, Settings};
use crate::stores::{Store, StoreState, Stores};
use std::sync::Arc;
use types::{ClusterId, Epoch, KeyRange, Peer, PeerId, PeerRole, Region, RegionId, StoreId};

const VERSION: u8 = 1;
const CLUSTER: &[u8] = b"c";
const ID_LIMIT: &[u8] = b"i";
const TSO_LIMIT: &[u8] = b"t";
const SAFE_POINT: &[u8] = b"g";
const SETTINGS: &[u8] = b"o";
const SCHEDULERS: &[u8] = b"d";
const STORE: u8 = b's';
const REGION: u8 = b'r';

/// The byte of each state of a store.
const STORE_STATES: [(StoreState, u8); 3] = [
    (StoreState::Up, 0),
    (StoreState::Offline, 1),
    (StoreState::Tombstone, 2),
];

/// A persisted pair, or the absence of its value.
pub(crate) type Pair = (Vec<u8>, Option<Vec<u8>>);

/// The whole persisted state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable {
    /// The cluster's id, once it has been bootstrapped.
    pub(crate) cluster_id: Option<ClusterId>,
    /// Exclusive bound of the ids that may have been given out.
    pub(crate) id_limit: u64,
    /// Exclusive bound, in milliseconds, of the timestamps that may have been given out.
    pub(crate) tso_limit_ms: u64,
    /// The garbage collection safe point.
    pub(crate) safe_point: u64,
    /// What was set by request.
    pub(crate) overrides: Arc<Overrides>,
    /// The schedulers that run, if that was ever changed.
    pub(crate) schedulers: Option<Arc<Vec<SchedulerName>>>,
    /// All stores.
    pub(crate) stores: Stores,
    /// The shapes of all Regions.
    pub(crate) routes: Routes,
}

/// One change of the state.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// The cluster begins.
    Cluster(ClusterId),
    /// Ids below this may be given out.
    IdLimit(u64),
    /// Timestamps below this millisecond may be given out.
    TsoLimit(u64),
    /// The safe point moves.
    SafePoint(u64),
    /// Settings are set.
    Settings(Arc<Overrides>),
    /// Others schedule.
    Schedulers(Arc<Vec<SchedulerName>>),
    /// A store is new or described anew.
    Store(Arc<Store>),
    /// A tombstone is forgotten.
    RemoveStore(StoreId),
    /// A Region is new or has a new shape.
    Region(Arc<Region>),
    /// Others have taken over a Region's range.
    RemoveRegion(RegionId),
}

impl Durable {
    /// The state that these pairs describe.
    pub(crate) fn load(pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<Self> {
        let mut state = Durable::default();
        for (key, value) in pairs {
            let unusable = |reason: &str| Error::StateUnusable {
                key: key.escape_ascii().to_string(),
                reason: reason.to_string(),
            };
            let change = Change::decode(key, value).map_err(unusable)?;
            if let Change::Region(region) = &change
                && !state.routes.has_room_for(region)
            {
                return Err(unusable("it overlaps another Region"));
            }
            state.apply(&change);
        }
        Ok(state)
    }

    /// The pair that persists, in this state, what `change` is about.
    pub(crate) fn pair_about(&self, change: &Change) -> Pair {
        let current = match change {
            Change::Cluster(_) => self.cluster_id.map(Change::Cluster),
            Change::IdLimit(_) => Some(Change::IdLimit(self.id_limit)),
            Change::TsoLimit(_) => Some(Change::TsoLimit(self.tso_limit_ms)),
            Change::SafePoint(_) => Some(Change::SafePoint(self.safe_point)),
            Change::Settings(_) => {
                (!self.overrides.is_empty()).then(|| Change::Settings(Arc::clone(&self.overrides)))
            }
            Change::Schedulers(_) => self.schedulers.clone().map(Change::Schedulers),
            Change::Store(store) => self.stores.get(store.id).ok().cloned().map(Change::Store),
            Change::RemoveStore(id) => self.stores.get(*id).ok().cloned().map(Change::Store),
            Change::Region(region) => self.routes.by_id(region.id).cloned().map(Change::Region),
            Change::RemoveRegion(id) => self.routes.by_id(*id).cloned().map(Change::Region),
        };
        current.map_or_else(|| (change.encode().0, None), |current| current.encode())
    }

    /// Makes a change that is allowed.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Cluster(id) => self.cluster_id = Some(*id),
            Change::IdLimit(limit) => {
                assert!(*limit >= self.id_limit, "the window of ids went back");
                self.id_limit = *limit;
            }
            Change::TsoLimit(limit_ms) => {
                assert!(
                    *limit_ms >= self.tso_limit_ms,
                    "the window of timestamps went back"
                );
                self.tso_limit_ms = *limit_ms;
            }
            Change::SafePoint(safe_point) => {
                assert!(*safe_point >= self.safe_point, "the safe point went back");
                self.safe_point = *safe_point;
            }
            Change::Settings(overrides) => self.overrides = Arc::clone(overrides),
            Change::Schedulers(names) => self.schedulers = Some(Arc::clone(names)),
            Change::Store(store) => self.stores.put(store.clone()),
            Change::RemoveStore(id) => self.stores.remove(*id),
            Change::Region(region) => self.routes.put(region.clone()),
            Change::RemoveRegion(id) => self.routes.remove(*id),
        }
    }
}

impl Change {
    /// The pair that persists the change.
    pub(crate) fn encode(&self) -> Pair {
        match self {
            Change::Cluster(id) => (CLUSTER.to_vec(), Some(encode_number(id.get()))),
            Change::IdLimit(limit) => (ID_LIMIT.to_vec(), Some(encode_number(*limit))),
            Change::TsoLimit(limit_ms) => (TSO_LIMIT.to_vec(), Some(encode_number(*limit_ms))),
            Change::SafePoint(safe_point) => {
                (SAFE_POINT.to_vec(), Some(encode_number(*safe_point)))
            }
            Change::Settings(overrides) => (SETTINGS.to_vec(), Some(encode_overrides(overrides))),
            Change::Schedulers(names) => (SCHEDULERS.to_vec(), Some(encode_schedulers(names))),
            Change::Store(store) => (id_key(STORE, store.id.get()), Some(encode_store(store))),
            Change::RemoveStore(id) => (id_key(STORE, id.get()), None),
            Change::Region(region) => {
                (id_key(REGION, region.id.get()), Some(encode_region(region)))
            }
            Change::RemoveRegion(id) => (id_key(REGION, id.get()), None),
        }
    }

    fn decode(key: &[u8], value: &[u8]) -> ReadResult<Self> {
        if let Some((&tag @ (STORE | REGION), id)) = key.split_first() {
            let id = u64::from_be_bytes(id.try_into().map_err(|_| "the key is not an id")?);
            let mut reader = Reader::new(value, VERSION)?;
            let change = if tag == STORE {
                Change::Store(Arc::new(read_store(StoreId(id), &mut reader)?))
            } else {
                Change::Region(Arc::new(read_region(RegionId(id), &mut reader)?))
            };
            reader.finish()?;
            return Ok(change);
        }
        if key == SETTINGS || key == SCHEDULERS {
            let mut reader = Reader::new(value, VERSION)?;
            let change = if key == SETTINGS {
                Change::Settings(Arc::new(read_overrides(&mut reader)?))
            } else {
                Change::Schedulers(Arc::new(reader.list(read_scheduler)?))
            };
            reader.finish()?;
            return Ok(change);
        }
        let make: fn(u64) -> Change = match key {
            CLUSTER => |id| Change::Cluster(ClusterId(id)),
            ID_LIMIT => Change::IdLimit,
            TSO_LIMIT => Change::TsoLimit,
            SAFE_POINT => Change::SafePoint,
            _ => return Err("the key is unknown, a newer version may have written it"),
        };
        let mut reader = Reader::new(value, VERSION)?;
        let number = reader.number()?;
        reader.finish()?;
        Ok(make(number))
    }
}

fn id_key(tag: u8, id: u64) -> Vec<u8> {
    let mut key = vec![tag];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

fn encode_number(number: u64) -> Vec<u8> {
    Writer::new(VERSION).number(number).finish()
}

fn encode_overrides(overrides: &Overrides) -> Vec<u8> {
    let pairs: Vec<_> = overrides.iter().collect();
    let writer = Writer::new(VERSION).list(&pairs, |to, (name, text)| {
        to.bytes(name.as_bytes()).bytes(text.as_bytes())
    });
    writer.finish()
}

fn read_overrides(reader: &mut Reader<'_>) -> ReadResult<Overrides> {
    let pairs = reader.list(|from| Ok((from.string()?, from.string()?)))?;
    let overrides = pairs.into_iter().collect();
    let known = Settings::default().with(&overrides);
    known.map_err(|_| "it has a setting or a value that is unknown")?;
    Ok(overrides)
}

fn encode_schedulers(names: &[SchedulerName]) -> Vec<u8> {
    let writer = Writer::new(VERSION);
    let writer = writer.list(names, |to, name| to.bytes(name.to_string().as_bytes()));
    writer.finish()
}

fn read_scheduler(reader: &mut Reader<'_>) -> ReadResult<SchedulerName> {
    SchedulerName::parse(&reader.string()?).map_err(|_| "it names a scheduler that is unknown")
}

fn encode_store(store: &Store) -> Vec<u8> {
    let state = STORE_STATES.iter().find(|(state, _)| *state == store.state);
    Writer::new(VERSION)
        .byte(state.expect("every state has its byte").1)
        .number(store.start_time_s)
        .bytes(store.address.as_bytes())
        .bytes(store.status_address.as_bytes())
        .bytes(store.version.as_bytes())
        .list(&store.labels, |to, (key, value)| {
            to.bytes(key.as_bytes()).bytes(value.as_bytes())
        })
        .finish()
}

fn read_store(id: StoreId, reader: &mut Reader<'_>) -> ReadResult<Store> {
    let byte = reader.byte()?;
    let state = STORE_STATES.iter().find(|(_, known)| *known == byte);
    let (state, _) = state.ok_or("the store's state is unknown")?;
    Ok(Store {
        id,
        state: *state,
        start_time_s: reader.number()?,
        address: reader.string()?,
        status_address: reader.string()?,
        version: reader.string()?,
        labels: reader.list(|from| Ok((from.string()?, from.string()?)))?,
    })
}

fn encode_region(region: &Region) -> Vec<u8> {
    Writer::new(VERSION)
        .number(region.epoch.conf_ver)
        .number(region.epoch.version)
        .bytes(&region.range.start)
        .bytes(&region.range.end)
        .list(&region.peers, |to, peer| {
            let role = match peer.role {
                PeerRole::Voter => 0,
                PeerRole::Learner => 1,
                PeerRole::IncomingVoter => 2,
                PeerRole::DemotingVoter => 3,
            };
            to.byte(role)
                .number(peer.id.get())
                .number(peer.store_id.get())
        })
        .finish()
}

fn read_region(id: RegionId, reader: &mut Reader<'_>) -> ReadResult<Region> {
    let epoch = Epoch {
        conf_ver: reader.number()?,
        version: reader.number()?,
    };
    let range = KeyRange {
        start: reader.bytes()?.to_vec(),
        end: reader.bytes()?.to_vec(),
    };
    if range.is_empty() {
        return Err("the Region's range is empty");
    }
    let peers = reader.list(|from| {
        let role = match from.byte()? {
            0 => PeerRole::Voter,
            1 => PeerRole::Learner,
            2 => PeerRole::IncomingVoter,
            3 => PeerRole::DemotingVoter,
            _ => return Err("a peer's role is unknown"),
        };
        Ok(Peer {
            id: PeerId(from.number()?),
            store_id: StoreId(from.number()?),
            role,
        })
    })?;
    Ok(Region {
        id,
        range,
        epoch,
        peers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn store() -> Store {
        Store {
            id: StoreId(4),
            address: "127.0.0.1:20160".to_string(),
            status_address: "127.0.0.1:20180".to_string(),
            version: "0.1.0".to_string(),
            labels: vec![("zone".to_string(), "z1".to_string())],
            start_time_s: 1_700_000_000,
            state: StoreState::Offline,
        }
    }

    fn region() -> Region {
        let peer = |id, role| Peer {
            id: PeerId(id),
            store_id: StoreId(id + 10),
            role,
        };
        Region {
            id: RegionId(7),
            range: KeyRange {
                start: b"a".to_vec(),
                end: vec![],
            },
            epoch: Epoch {
                conf_ver: 3,
                version: 9,
            },
            peers: vec![
                peer(1, PeerRole::Voter),
                peer(2, PeerRole::Learner),
                peer(3, PeerRole::IncomingVoter),
                peer(4, PeerRole::DemotingVoter),
            ],
        }
    }

    fn overrides() -> Overrides {
        Overrides::from([("max-replicas".to_string(), "5".to_string())])
    }

    fn changes() -> Vec<Change> {
        vec![
            Change::Cluster(ClusterId(5)),
            Change::IdLimit(1_000),
            Change::TsoLimit(77),
            Change::SafePoint(8),
            Change::Store(Arc::new(store())),
            Change::Region(Arc::new(region())),
            Change::Settings(Arc::new(overrides())),
            Change::Schedulers(Arc::new(vec![SchedulerName::EvictLeader(StoreId(4))])),
        ]
    }

    /// The pairs in `input`, each with the lengths of key and value before it; a key once.
    fn pairs_in(mut input: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs = std::collections::BTreeMap::new();
        while let [key_bytes, value_bytes, rest @ ..] = input {
            let (key, rest) = rest.split_at(rest.len().min((*key_bytes).into()));
            let (value, rest) = rest.split_at(rest.len().min((*value_bytes).into()));
            pairs.insert(key.to_vec(), value.to_vec());
            input = rest;
        }
        pairs.into_iter().collect()
    }

    #[test]
    fn fuzz_persisted_state() {
        let encode = |pairs: &[(Vec<u8>, Vec<u8>)]| -> Vec<u8> {
            let pair = |(key, value): &(Vec<u8>, Vec<u8>)| {
                [&[key.len() as u8, value.len() as u8][..], key, value].concat()
            };
            pairs.iter().flat_map(pair).collect()
        };
        let mut target = fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "persisted-state")
            .words(["max-replicas", "evict-leader-scheduler-4"])
            .allocates(64 << 10, 256)
            .seed(encode(&pairs()));
        for pair in pairs() {
            target = target.seed(encode(&[pair]));
        }
        target.run(|input| {
            let pairs = pairs_in(input);
            let mut outcomes = Vec::new();
            for (key, value) in &pairs {
                let change = Change::decode(key, value);
                if let Ok(change) = &change {
                    let (key, value) = change.encode();
                    let value = value.expect("a loaded change has a value");
                    let again = Change::decode(&key, &value).map(|again| again.encode());
                    assert_eq!(again, Ok((key, Some(value))));
                }
                outcomes.push(change.map(|change| std::mem::discriminant(&change)));
            }
            let loaded = Durable::load(&pairs).map(|state| state.routes.len());
            assert!(loaded.is_err() || outcomes.iter().all(|outcome| outcome.is_ok()));
            (outcomes, loaded.ok())
        });
    }

    fn pairs() -> Vec<(Vec<u8>, Vec<u8>)> {
        let pair = |change: &Change| {
            let (key, value) = change.encode();
            (key, value.unwrap())
        };
        changes().iter().map(pair).collect()
    }

    #[test]
    fn a_loaded_state_is_the_one_that_was_persisted() {
        let state = Durable::load(&pairs()).unwrap();
        assert_eq!(state.cluster_id, Some(ClusterId(5)));
        assert_eq!(
            (state.id_limit, state.tso_limit_ms, state.safe_point),
            (1_000, 77, 8)
        );
        assert_eq!(**state.stores.get(StoreId(4)).unwrap(), store());
        assert_eq!(**state.routes.by_id(RegionId(7)).unwrap(), region());
        assert_eq!(*state.overrides, overrides());
        let names = state.schedulers.as_deref();
        assert_eq!(names, Some(&vec![SchedulerName::EvictLeader(StoreId(4))]));
        assert_eq!(
            Change::RemoveRegion(RegionId(7)).encode(),
            (pairs()[5].0.clone(), None)
        );
    }

    #[test]
    fn every_cut_of_every_value_is_refused() {
        for (key, value) in pairs() {
            for len in 0..value.len() {
                let cut = Durable::load(&[(key.clone(), value[..len].to_vec())]);
                assert!(
                    matches!(cut, Err(Error::StateUnusable { .. })),
                    "{key:?} cut to {len}"
                );
            }
            let longer = [&value[..], &[0]].concat();
            assert!(Durable::load(&[(key, longer)]).is_err());
        }
    }

    #[test]
    fn newer_versions_unknown_keys_and_overlaps_are_refused() {
        let refused = |key: &[u8], value: &[u8]| {
            let error = Durable::load(&[(key.to_vec(), value.to_vec())]).unwrap_err();
            error.to_string()
        };
        let newer = [&[2][..], &[0; 8]].concat();
        assert!(refused(b"c", &newer).ends_with("it has an unknown version"));
        assert!(refused(b"new", &[1]).contains("key \"new\""));
        assert!(refused(b"s12", &[1]).ends_with("the key is not an id"));
        let setting = [&[1][..], &[0, 0, 0, 0, 0, 0, 0, 1], &[0; 16]].concat();
        assert!(refused(b"o", &setting).ends_with("a value that is unknown"));
        assert!(refused(b"d", &setting[..17]).ends_with("a scheduler that is unknown"));
        let mut pairs = pairs();
        let (_, value) = pairs[5].clone();
        pairs.push((id_key(REGION, 8), value));
        let error = Durable::load(&pairs).unwrap_err();
        assert!(error.to_string().ends_with("it overlaps another Region"));
    }

    proptest! {
        #[test]
        fn arbitrary_pairs_never_panic(tag in 0usize..8, at in any::<usize>(), byte in any::<u8>()) {
            let (key, mut value) = pairs().swap_remove(tag);
            let at = at % value.len();
            value[at] = byte;
            if let Ok(state) = Durable::load(&[(key, value)]) {
                state.routes.check_invariants();
            }
        }
    }
}
