//! The applier: what committed entries do to the key-value state of one Region.
//!
//! Every replica runs the same entries in the same order and must come to the same state, so nothing
//! here looks at a clock or at who leads; a command that needs the time carries it.
//!
//! **Crash.** All writes of one round, and the index they bring the Region to, are one atomic batch
//! ([`Applier::finish_round`] adds the index): after a crash the log is replayed from exactly there.
//! Replies are released by the caller after that batch is written.
//!
//! **Invariants.** Entries come without gaps. The applied index never goes back. A command that was
//! checked against another epoch than the Region's present one has no effect.
//!
//! **Not here.** The engine: the applier writes through [`ApplyStore`]. Known gap: changes of
//! membership and shape (no replica proposes them yet) are refused as an error.

use crate::codec::DecodeError;
use crate::command::{BatchReader, Logged, Mutation, Outcome};
use crate::effect::{ApplyEntry, Reply};
use crate::error::RequestError;
use crate::state::encode_apply_state;
use bytes::Bytes;
use engine::Cf;
use thiserror::Error;
use types::{
    ApplyState, CodecError, EntryKind, LogEntry, RawValue, Region, RequestId, Space, keys,
};

#[cfg(test)]
mod tests;

/// The key-value state as the applier sees it.
pub trait ApplyStore {
    /// From here on [`Self::get`] shows every write. What was written before this call is consistent
    /// with the indexes that were written with it, so the store may write it out.
    fn begin_reads(&mut self) -> engine::Result<()>;
    /// The value of an engine key.
    fn get(&mut self, cf: Cf, key: &[u8]) -> engine::Result<Option<Bytes>>;
    /// Sets an engine key.
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]);
    /// Removes an engine key.
    fn delete(&mut self, cf: Cf, key: &[u8]);
    /// Removes the engine keys in `[start, end)`, a real range.
    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]);
}

/// The answer to one request.
pub type Answer = (RequestId, Result<Reply, RequestError>);

/// Why an entry could not be applied. The replica contradicts its log: the store must stop.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The entry can't be read.
    #[error("entry {index} can't be read")]
    Entry {
        /// Its index.
        index: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A stored value can't be read.
    #[error("a value that entry {index} reads is damaged")]
    Value {
        /// The entry's index.
        index: u64,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// The engine failed.
    #[error("reading for entry {index}")]
    Engine {
        /// The entry's index.
        index: u64,
        /// Why.
        #[source]
        source: engine::Error,
    },
    /// A kind of entry that this program does not apply.
    #[error("entry {index} is a change of membership, which this version does not know")]
    Unsupported {
        /// Its index.
        index: u64,
    },
}

/// Applies the log of one Region.
#[derive(Debug)]
pub struct Applier {
    region: Region,
    space: Space,
    state: ApplyState,
    is_dirty: bool,
    /// Reused for engine keys.
    key: Vec<u8>,
}

impl Applier {
    /// An applier that continues at `state`.
    pub fn new(region: Region, state: ApplyState) -> Self {
        Self {
            space: Space::of(region.id),
            region,
            state,
            is_dirty: false,
            key: Vec::new(),
        }
    }

    /// The Region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// How far it has come, the current round included.
    pub fn state(&self) -> ApplyState {
        self.state
    }

    /// Applies entries that follow the last ones.
    pub fn apply(
        &mut self,
        entries: Vec<ApplyEntry>,
        store: &mut impl ApplyStore,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ApplyError> {
        for ApplyEntry { entry, requests } in entries {
            assert_eq!(
                entry.index,
                self.state.applied_index + 1,
                "a gap in the entries of Region {}",
                self.region.id
            );
            let (index, term) = (entry.index, entry.term);
            self.apply_entry(entry, requests, store, answers)?;
            self.state.applied_index = index;
            self.state.applied_term = term;
            self.is_dirty = true;
        }
        Ok(())
    }

    /// Adds the applied index to the round's batch, unless it is there. To be called before another
    /// Region writes to the same batch.
    pub fn finish_round(&mut self, store: &mut impl ApplyStore) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        let key = keys::apply_state_key(self.region.id);
        store.put(Cf::Raft, &key, &encode_apply_state(&self.state));
    }

    fn apply_entry(
        &mut self,
        entry: LogEntry,
        requests: Vec<RequestId>,
        store: &mut impl ApplyStore,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ApplyError> {
        let index = entry.index;
        if entry.kind != EntryKind::Normal {
            return Err(ApplyError::Unsupported { index });
        }
        if entry.data.is_empty() {
            // A new leader's first entry.
            assert!(requests.is_empty(), "nobody asks for an empty entry");
            return Ok(());
        }
        let unreadable = |source| ApplyError::Entry { index, source };
        let mut reader = BatchReader::open(entry.data).map_err(unreadable)?;
        if reader.reads() {
            self.begin_reads(index, store)?;
        }
        let is_current = reader.epoch().version == self.region.epoch.version;
        let mut requests = requests.into_iter();
        while let Some(command) = reader.next().map_err(unreadable)? {
            let result = match is_current {
                true => Ok(Reply::Command(self.execute(
                    index,
                    command,
                    &mut reader,
                    store,
                )?)),
                false => {
                    reader.skip(&command).map_err(unreadable)?;
                    Err(RequestError::EpochNotMatch {
                        current: vec![self.region.clone()],
                    })
                }
            };
            if let Some(request) = requests.next() {
                answers.push((request, result));
            }
        }
        assert!(
            requests.next().is_none(),
            "more requests than commands in entry {index}"
        );
        Ok(())
    }

    /// Closes what the round has written so far with the index it belongs to: a command that reads
    /// would not come to the same result if it were replayed over its own effect.
    fn begin_reads(&mut self, index: u64, store: &mut impl ApplyStore) -> Result<(), ApplyError> {
        self.finish_round(store);
        store
            .begin_reads()
            .map_err(|source| ApplyError::Engine { index, source })
    }

    fn execute(
        &mut self,
        index: u64,
        command: Logged,
        reader: &mut BatchReader,
        store: &mut impl ApplyStore,
    ) -> Result<Outcome, ApplyError> {
        match command {
            Logged::Write { mutations } => {
                for _ in 0..mutations {
                    let mutation = reader.mutation();
                    let mutation =
                        mutation.map_err(|source| ApplyError::Entry { index, source })?;
                    self.mutate(&mutation, store);
                }
                Ok(Outcome::Written)
            }
            Logged::CompareAndSwap {
                key,
                expected,
                value,
                now_ms,
            } => {
                let key = self.engine_key(&key);
                let stored = store
                    .get(Cf::Default, key)
                    .map_err(|source| ApplyError::Engine { index, source })?;
                let previous = present_value(stored, now_ms / 1000)
                    .map_err(|source| ApplyError::Value { index, source })?;
                let succeeded = previous == expected;
                if succeeded {
                    store.put(Cf::Default, key, &value);
                }
                Ok(Outcome::Swapped {
                    succeeded,
                    previous,
                })
            }
        }
    }

    fn mutate(&mut self, mutation: &Mutation, store: &mut impl ApplyStore) {
        match mutation {
            Mutation::Put { cf, key, value } => store.put(*cf, self.engine_key(key), value),
            Mutation::Delete { cf, key } => store.delete(*cf, self.engine_key(key)),
            Mutation::DeleteRange { cf, start, end } => {
                let end = self.space.end_key(end);
                let start = self.engine_key(start);
                if start < end.as_slice() {
                    store.delete_range(*cf, start, &end);
                }
            }
        }
    }

    fn engine_key(&mut self, key: &[u8]) -> &[u8] {
        self.key.clear();
        self.space.key_into(key, &mut self.key);
        &self.key
    }
}

fn present_value(stored: Option<Bytes>, now_s: u64) -> Result<Option<Bytes>, CodecError> {
    let Some(stored) = stored else {
        return Ok(None);
    };
    let value = RawValue::decode(&stored)?;
    Ok((!value.is_expired(now_s)).then_some(value.user_value))
}
