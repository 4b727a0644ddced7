//! How a Region has last taken a neighbour in, as its record and its snapshots say it.
//!
//! **Why.** A replica of the target may need a snapshot from behind a merge that it has yet to apply: its
//! leader joined later, and its log begins there. The source's replica beside it holds a part of the range
//! then, and the snapshot has to take it in as the entry would have done.
//!
//! **Whose source is there.** Ids of Peers are never used twice, so whoever holds the Region in a shape from
//! before the merge and is a member of the snapshot was one at the merge. The source had a replica beside it
//! then, which acknowledged the entry that began the merge; nobody but this replica ends it (`store`).
//!
//! **Invariants.** A replica that has yet to apply the last merge has the one before in its log: the next is
//! proposed only when all have it. So one source at most is taken in by a snapshot.
//!
//! ```text
//! last_merge := version:u8=2  index  term  region_version  commit                  as in `admin`
//! ```
//!
//! **Not here.** The waiting (`apply::merge`), and the installation (`node::snap`).

use crate::admin::MergeSource;
use crate::codec::{DecodeError, Reader, put_varint};
use crate::op::merge::SourceWish;
use crate::state::{MergedInto, RegionRecord, Tombstone};
use bytes::Bytes;
use types::keys::{self, LOCAL_REGION_KEY_BYTES};
use types::{RegionId, StoreId};

const VERSION: u8 = 2;

/// The last merge in which a Region was the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastMerge {
    /// The index and the term of the entry that did it.
    pub place: (u64, u64),
    /// The version of the Region's epoch right after it.
    pub version: u64,
    /// Whom it took in.
    pub source: MergeSource,
}

/// A source that a snapshot takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeIn {
    /// What the installation waits for.
    pub wish: SourceWish,
    /// What is left of the source's replica.
    pub tombstone: Tombstone,
}

impl TakeIn {
    /// What becomes of the source's records, in the batch in which its data becomes the target's: this one
    /// is set.
    pub fn tombstone_record(&self) -> ([u8; LOCAL_REGION_KEY_BYTES], Vec<u8>) {
        let record = RegionRecord::Tombstone(self.tombstone).encode();
        (keys::region_state_key(self.tombstone.region_id), record)
    }

    /// And these go.
    pub fn dead_records(&self) -> [[u8; LOCAL_REGION_KEY_BYTES]; 2] {
        let id = self.tombstone.region_id;
        [keys::apply_state_key(id), keys::quarantine_key(id)]
    }
}

impl LastMerge {
    /// The source's replica on this store, for a replica of `target` that a snapshot carries over the merge.
    pub(crate) fn take_in(&self, target: RegionId, store: StoreId) -> Option<TakeIn> {
        let MergeSource {
            region,
            index,
            term,
            ..
        } = &self.source;
        Some(TakeIn {
            wish: SourceWish {
                target_id: target,
                source_id: region.id,
                index: *index,
                term: *term,
            },
            tombstone: Tombstone {
                region_id: region.id,
                epoch: region.epoch,
                peer_id: region.peer_on(store)?.id,
                merged_into: Some(MergedInto {
                    region_id: target,
                    version: self.version,
                }),
            },
        })
    }

    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for number in [self.place.0, self.place.1, self.version] {
            put_varint(&mut out, number);
        }
        self.source.put(&mut out);
        out
    }

    /// Decodes what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn decode(record: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(record);
        match reader.byte()? {
            VERSION => {}
            other => {
                return Err(DecodeError::Unknown {
                    what: "version of a last merge",
                    value: u64::from(other),
                });
            }
        }
        let place = (reader.varint()?, reader.varint()?);
        let version = reader.varint()?;
        let source = MergeSource::read(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            place,
            version,
            source,
        })
    }
}
