//! What our operations are in raft-engine.
//!
//! **Why an encoder is kept.** A round writes every few milliseconds; its buffers serve the next one.
//!
//! **Not here.** Whether an operation may be written: the walk over the batch knows.

use crate::convert::{EntryExt, to_raft};
use engine::bounds::Bounds;
use engine::codec;
use engine::log_batch::LogOperation;
use raft::eraftpb::Entry;
use raft_engine::{Command, LogBatch, Result};

pub(crate) const HARD_STATE_KEY: &[u8] = b"h";
pub(crate) const APPLY_STATE_KEY: &[u8] = b"a";
/// The first index of a Region's log, or the highest number while it holds no entries.
pub(crate) const FIRST_INDEX_KEY: &[u8] = b"f";

/// A batch of raft-engine's, and what it takes to fill it.
#[derive(Default)]
pub(crate) struct Encoder {
    pub(crate) batch: LogBatch,
    pub(crate) entries: Vec<Entry>,
}

impl Encoder {
    /// Adds `operation` on a log with these bounds before and after it.
    pub(crate) fn add(
        &mut self,
        operation: LogOperation<'_>,
        before: Bounds,
        after: Bounds,
    ) -> Result<()> {
        let Self { batch, entries } = self;
        match operation {
            LogOperation::Append(region, new) => {
                entries.clear();
                entries.extend(new.iter().map(to_raft));
                batch.add_entries::<EntryExt>(region.get(), entries)?;
            }
            LogOperation::HardState(region, state) => {
                let value = codec::encode_hard_state(&state);
                batch.put(region.get(), HARD_STATE_KEY.to_vec(), value)?;
            }
            LogOperation::ApplyState(region, state) => {
                let value = codec::encode_apply_state(&state);
                batch.put(region.get(), APPLY_STATE_KEY.to_vec(), value)?;
            }
            LogOperation::Compact(region, index) if before != after => {
                batch.add_command(region.get(), Command::Compact { index });
            }
            LogOperation::Compact(..) => {}
            LogOperation::Remove(region) => batch.add_command(region.get(), Command::Clean),
        }
        let first = |bounds: Bounds| bounds.map_or(u64::MAX, |(first, _)| first);
        if let LogOperation::Append(region, _) | LogOperation::Compact(region, _) = operation
            && first(before) != first(after)
        {
            let value = first(after).to_be_bytes().to_vec();
            batch.put(region.get(), FIRST_INDEX_KEY.to_vec(), value)?;
        }
        Ok(())
    }
}

/// The index in the value at [`FIRST_INDEX_KEY`].
pub(crate) fn decode_index(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}
