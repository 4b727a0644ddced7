//! Consistency check: all replicas hash what the Region holds at the same index, and those that hold
//! something else than most of them are *quarantined*.
//!
//! **How.** The leader proposes [`Admin::ComputeHash`](crate::Admin::ComputeHash). Every applier pins a
//! view at that entry ([`HashWish`]), which is hashed beside it; the followers send their hashes to the
//! leader. When all have come, or those that are missing are silent or take too long, the leader counts
//! ([`Report`]). If more than half of *all* replicas agree and some differ, it proposes
//! [`Admin::VerifyHash`](crate::Admin::VerifyHash) with what was agreed on and who differs: each replica
//! that finds itself named is quarantined from that entry on. Without such a majority nobody knows who is
//! right, and the difference is only reported.
//!
//! **Why not the leader's hash**, as in TiKV: the leader may be the one whose data is damaged. What it
//! decides by is not, and it names itself like any other.
//!
//! **What it can't tell.** A snapshot carries what is wrong with its sender to its receiver: if that makes a
//! majority before anybody looks, the replica that is right is quarantined.
//!
//! **What a quarantined replica does.** Its log is not in doubt, only what it made of it: it goes on to
//! acknowledge, to vote and to apply, since a quorum may need it. It serves no read, sends no snapshot,
//! answers no command with what it found, and gives up its leadership to another that has its log.
//! It leads again only where nobody else can, to bring another as far as it is. It stays in quarantine
//! whatever happens to its data, until it is removed. What is cut off from it is quarantined as well, and so
//! is what takes it in by a merge.
//!
//! **The hash** is XXH3 of 128 bits (the `twox-hash` crate): what is looked for is accidents, which it tells
//! apart as well as a cryptographic hash does, at the speed of memory. The hashes of the standard
//! library, `ahash` and `fxhash` promise no stable values, a CRC is too short for this many pairs.
//!
//! **Invariants.** What is hashed depends on the log up to the index alone. At no time is a majority of a
//! Region's replicas quarantined by one check. Every asker hears how it ended.
//!
//! **Not here.** Pinning views and reading them at a bounded rate (`node::consistency`).

use crate::codec::{DecodeError, Reader, put_varint};
use crate::state::encode_shape;
use bytes::Bytes;
use engine::Cf;
use std::collections::BTreeMap;
use std::fmt;
use twox_hash::XxHash3_128;
use types::{Peer, PeerId, Region, RegionId, RequestId};

/// The families whose pairs count, in the order in which they are hashed.
pub const FAMILIES: [Cf; 3] = [Cf::Default, Cf::Lock, Cf::Write];

const RECORD_VERSION: u8 = 1;

/// What a replica holds, in short.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub u128);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes what a Region holds: its shape, then its pairs in the order of families and keys.
pub struct RegionHasher(XxHash3_128);

impl RegionHasher {
    /// Before the first pair of a Region with this shape.
    pub fn new(region: &Region) -> Self {
        let mut hasher = Self(XxHash3_128::with_seed(0));
        hasher.put(&encode_shape(region));
        hasher
    }

    /// The next pair.
    pub fn see(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.0.write(&[cf.position() as u8]);
        self.put(key);
        self.put(value);
    }

    /// After the last pair.
    pub fn finish(&self) -> Hash {
        Hash(self.0.finish_128())
    }

    /// With its length, so that no two sequences give the same bytes.
    fn put(&mut self, bytes: &[u8]) {
        self.0.write(&(bytes.len() as u64).to_le_bytes());
        self.0.write(bytes);
    }
}

/// A replica is to be hashed as it is behind an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashWish {
    /// Its shape there.
    pub region: Region,
    /// The entry: its answer, [`Input::Hashed`](crate::peer::Input::Hashed), carries it back.
    pub index: u64,
}

/// What a check has found against some replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The entry at which all were hashed.
    pub index: u64,
    /// The hash of more than half of them.
    pub agreed: Hash,
    /// The others that have answered, and their hashes.
    pub deviating: Vec<(PeerId, Hash)>,
}

impl Verdict {
    /// The quarantines that it brings.
    pub(crate) fn quarantines(&self) -> impl Iterator<Item = Quarantine> {
        self.deviating.iter().map(|(peer_id, found)| Quarantine {
            peer_id: *peer_id,
            index: self.index,
            found: *found,
            agreed: self.agreed,
        })
    }
}

/// Why a replica is quarantined. As a record:
///
/// ```text
/// quarantine := version:u8=1  peer_id  index  found:u128be  agreed:u128be
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Which replica: a later one on the same store is not.
    pub peer_id: PeerId,
    /// The entry at which it was hashed: of this Region, or of the one that it was cut off from or took in.
    pub index: u64,
    /// Its hash there.
    pub found: Hash,
    /// That of most.
    pub agreed: Hash,
}

impl Quarantine {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![RECORD_VERSION];
        put_varint(&mut out, self.peer_id.get());
        put_varint(&mut out, self.index);
        put_hash(&mut out, self.found);
        put_hash(&mut out, self.agreed);
        out
    }

    /// What [`Self::encode`] wrote.
    ///
    /// # Errors
    /// It wrote something else.
    pub fn decode(record: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(record);
        match reader.byte()? {
            RECORD_VERSION => {}
            other => {
                return Err(DecodeError::Unknown {
                    what: "quarantine version",
                    value: u64::from(other),
                });
            }
        }
        let quarantine = Self {
            peer_id: PeerId(reader.varint()?),
            index: reader.varint()?,
            found: read_hash(&mut reader)?,
            agreed: read_hash(&mut reader)?,
        };
        reader.finish()?;
        Ok(quarantine)
    }
}

pub(crate) fn put_hash(out: &mut Vec<u8>, hash: Hash) {
    out.extend(hash.0.to_be_bytes());
}

pub(crate) fn read_hash(reader: &mut Reader) -> Result<Hash, DecodeError> {
    let mut bytes = [0; size_of::<u128>()];
    for byte in &mut bytes {
        *byte = reader.byte()?;
    }
    Ok(Hash(u128::from_be_bytes(bytes)))
}

/// How a check has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The Region.
    pub region_id: RegionId,
    /// The entry at which its replicas were hashed.
    pub index: u64,
    /// The hash of more than half of all replicas, if there is one.
    pub agreed: Option<Hash>,
    /// Each replica with its hash; without where none came.
    pub hashes: Vec<(Peer, Option<Hash>)>,
}

impl Report {
    fn of(region: &Region, index: u64, heard: &BTreeMap<PeerId, Option<Hash>>) -> Self {
        let hash = |peer: &Peer| heard.get(&peer.id).copied().flatten();
        let hashes: Vec<_> = region.peers.iter().map(|p| (*p, hash(p))).collect();
        let mut counts: BTreeMap<Hash, usize> = BTreeMap::new();
        for hash in hashes.iter().filter_map(|(_, hash)| *hash) {
            *counts.entry(hash).or_default() += 1;
        }
        let majority = counts.iter().find(|(_, count)| **count * 2 > hashes.len());
        Self {
            region_id: region.id,
            index,
            agreed: majority.map(|(hash, _)| *hash),
            hashes,
        }
    }

    /// Whether two replicas hold different things.
    pub fn differs(&self) -> bool {
        let mut known = self.hashes.iter().filter_map(|(_, hash)| *hash);
        known
            .next()
            .is_some_and(|first| known.any(|hash| hash != first))
    }

    /// What follows, if it is known who is wrong.
    pub fn verdict(&self) -> Option<Verdict> {
        let agreed = self.agreed?;
        let differs = |(peer, hash): &(Peer, Option<Hash>)| {
            hash.filter(|hash| *hash != agreed)
                .map(|hash| (peer.id, hash))
        };
        let deviating: Vec<_> = self.hashes.iter().filter_map(differs).collect();
        (!deviating.is_empty()).then_some(Verdict {
            index: self.index,
            agreed,
            deviating,
        })
    }
}

/// A check that a leader has begun.
#[derive(Debug)]
pub(crate) struct Check {
    /// Its entry.
    index: u64,
    /// As it is at the entry; none before that is applied here.
    region: Option<Region>,
    /// Who has answered; none: it can't tell.
    heard: BTreeMap<PeerId, Option<Hash>>,
    age_ticks: u64,
    pub(crate) request: RequestId,
}

impl Check {
    pub(crate) fn new(index: u64, request: RequestId) -> Self {
        Self {
            index,
            region: None,
            heard: BTreeMap::new(),
            age_ticks: 0,
            request,
        }
    }

    /// The entry at `index` was applied here.
    pub(crate) fn begin(&mut self, index: u64, region: &Region) {
        if index == self.index {
            self.region = Some(region.clone());
        }
    }

    /// A replica has answered.
    pub(crate) fn hear(&mut self, from: PeerId, index: u64, hash: Option<Hash>) {
        if index == self.index {
            self.heard.entry(from).or_insert(hash);
        }
    }

    /// A replica gets a snapshot that holds all up to this entry: if that of the check is among them, it will never
    /// come to it.
    pub(crate) fn pass_over(&mut self, to: PeerId, last_index: u64) {
        if self.index <= last_index {
            self.heard.entry(to).or_insert(None);
        }
    }

    pub(crate) fn tick(&mut self) {
        self.age_ticks += 1;
    }

    /// How it has ended, if it has: everybody has answered who is not silent, or there was time enough.
    pub(crate) fn end(
        &self,
        patience_ticks: u64,
        is_silent: impl Fn(PeerId) -> bool,
    ) -> Option<Report> {
        let region = self.region.as_ref()?;
        let mut ids = region.peers.iter().map(|peer| peer.id);
        let is_complete = ids.all(|id| self.heard.contains_key(&id) || is_silent(id));
        let is_over = is_complete || self.age_ticks >= patience_ticks;
        is_over.then(|| Report::of(region, self.index, &self.heard))
    }
}

/// What a replica tells its leader. It travels in the context of Raft's answer to a heartbeat, where
/// raft-rs would take no notice of it, and is as long as no context of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Its hash at an entry, or that it has none.
    Hashed { index: u64, hash: Option<Hash> },
    /// That it is quarantined.
    Quarantined(Quarantine),
    /// That a target's log has decided against the merge which this entry began (`op::merge`).
    MergeRefused { index: u64 },
}

const WORD_HASHED: u8 = 1;
const WORD_UNHASHED: u8 = 2;
const WORD_QUARANTINED: u8 = 3;
const WORD_MERGE_REFUSED: u8 = 4;
const WORD_MARK: &[u8] = b"consistency";

impl Word {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = WORD_MARK.to_vec();
        match self {
            Self::Hashed { index, hash } => {
                out.push(match hash {
                    Some(_) => WORD_HASHED,
                    None => WORD_UNHASHED,
                });
                out.extend(index.to_be_bytes());
                if let Some(hash) = hash {
                    put_hash(&mut out, *hash);
                }
            }
            Self::Quarantined(quarantine) => {
                out.push(WORD_QUARANTINED);
                out.extend(quarantine.encode());
            }
            Self::MergeRefused { index } => {
                out.push(WORD_MERGE_REFUSED);
                out.extend(index.to_be_bytes());
            }
        }
        out
    }

    /// None: it is something else.
    pub(crate) fn decode(context: &Bytes) -> Option<Self> {
        let (kind, body) = context.strip_prefix(WORD_MARK)?.split_first()?;
        let rest = context.slice_ref(body);
        let place = || body.first_chunk().map(|index| u64::from_be_bytes(*index));
        match *kind {
            WORD_QUARANTINED => Quarantine::decode(rest).ok().map(Self::Quarantined),
            WORD_MERGE_REFUSED if rest.len() == size_of::<u64>() => {
                Some(Self::MergeRefused { index: place()? })
            }
            WORD_UNHASHED if rest.len() == size_of::<u64>() => Some(Self::Hashed {
                index: place()?,
                hash: None,
            }),
            WORD_HASHED => {
                let index = place()?;
                let mut reader = Reader::new(rest.slice(size_of::<u64>()..));
                let hash = read_hash(&mut reader).ok()?;
                reader.is_empty().then_some(Self::Hashed {
                    index,
                    hash: Some(hash),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
