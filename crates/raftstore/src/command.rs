//! What a log entry says: a versioned batch of typed commands.
//!
//! **Why our own encoding.** Entries outlive the protocol that brought them, and the apply path must
//! not depend on a client's protobuf. **Why a batch.** All proposals that a Region receives within
//! one poller round share one entry: one header, one Raft message field, one log record.
//!
//! ```text
//! entry  := version:u8=1  flags:u8  conf_ver:varint  version:varint  command*
//! write  := 1  count:varint  mutation*
//! cas    := 2  key:bytes  has_expected:u8 [expected:bytes]  value:bytes  now_ms:varint
//! mutation := (kind | cf << 4):u8  key:bytes  [value:bytes | end:bytes]
//! ```
//!
//! Tags from 3 on are those of [`Admin`]. The only flag, 1, says that a command of the batch reads the state before it writes: the applier
//! has to know that before it begins.
//!
//! **Invariants.** Decoding what was encoded yields the same commands; byte strings of a decoded
//! command are slices of the entry. The epoch is the one that every command of the batch was
//! checked against when it was proposed.
//!
//! **Not here.** What a command does (`apply`).

use crate::admin::Admin;
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use bytes::Bytes;
use engine::Cf;
use types::{Epoch, Region};

const VERSION: u8 = 1;
const FLAG_READS: u8 = 1;
const FLAGS_AT: usize = 1;
const TAG_WRITE: u8 = 1;
const TAG_COMPARE_AND_SWAP: u8 = 2;
const KIND_PUT: u8 = 1;
const KIND_DELETE: u8 = 2;
const KIND_DELETE_RANGE: u8 = 3;

/// One change of one column family. Keys are as clients address them, without the engine's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Sets `key` to `value`.
    Put {
        /// The family.
        cf: Cf,
        /// The key.
        key: Bytes,
        /// The value as it is stored.
        value: Bytes,
    },
    /// Removes `key`, if it is there.
    Delete {
        /// The family.
        cf: Cf,
        /// The key.
        key: Bytes,
    },
    /// Removes all keys in `[start, end)`; both bounds lie within the Region.
    DeleteRange {
        /// The family.
        cf: Cf,
        /// The first key that goes.
        start: Bytes,
        /// The first key that stays; empty for the end of the key space.
        end: Bytes,
    },
}

/// Something a Region is asked to do, decided in log order on every replica alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// All of the mutations, atomically.
    Write(Vec<Mutation>),
    /// Sets `key` in the default family if its present user value equals `expected`.
    CompareAndSwap {
        /// The key.
        key: Bytes,
        /// The user value that must be there; `None`: there must be none.
        expected: Option<Bytes>,
        /// The new value as it is stored (see `types::raw_value`).
        value: Bytes,
        /// The proposer's wall clock, milliseconds since the Unix epoch: decides on every replica
        /// alike whether the present value has expired.
        now_ms: u64,
    },
    /// Something about the Region itself, asked for by the cluster.
    Admin(Admin),
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The mutations are visible to every later read.
    Written,
    /// Whether the swap took place, and the user value that was there before.
    Swapped {
        /// Whether `expected` matched.
        succeeded: bool,
        /// The user value found.
        previous: Option<Bytes>,
    },
    /// The Regions that the Region has become, in the order of their keys.
    Split(Vec<Region>),
    /// The Region is as asked, and this is its shape.
    Changed(Region),
}

/// Encodes a batch of commands into one entry's data.
#[derive(Debug, Default)]
pub(crate) struct BatchEncoder {
    data: Vec<u8>,
}

impl BatchEncoder {
    /// Begins a batch under `epoch`.
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        assert!(self.data.is_empty(), "the last batch was not taken");
        self.data.extend([VERSION, 0]);
        put_varint(&mut self.data, epoch.conf_ver);
        put_varint(&mut self.data, epoch.version);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn push(&mut self, command: &Command) {
        let out = &mut self.data;
        out.reserve(command.size_bytes());
        match command {
            Command::Write(mutations) => {
                out.push(TAG_WRITE);
                put_varint(out, mutations.len() as u64);
                for mutation in mutations {
                    put_mutation(out, mutation);
                }
            }
            Command::CompareAndSwap {
                key,
                expected,
                value,
                now_ms,
            } => {
                out[FLAGS_AT] |= FLAG_READS;
                out.push(TAG_COMPARE_AND_SWAP);
                put_bytes(out, key);
                out.push(u8::from(expected.is_some()));
                if let Some(expected) = expected {
                    put_bytes(out, expected);
                }
                put_bytes(out, value);
                put_varint(out, *now_ms);
            }
            Command::Admin(admin) => admin.put(out),
        }
    }

    /// The encoded batch; the encoder is empty afterwards.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.data)
    }
}

fn put_mutation(out: &mut Vec<u8>, mutation: &Mutation) {
    match mutation {
        Mutation::Put { cf, key, value } => {
            out.push(KIND_PUT | (cf_number(*cf) << 4));
            put_bytes(out, key);
            put_bytes(out, value);
        }
        Mutation::Delete { cf, key } => {
            out.push(KIND_DELETE | (cf_number(*cf) << 4));
            put_bytes(out, key);
        }
        Mutation::DeleteRange { cf, start, end } => {
            out.push(KIND_DELETE_RANGE | (cf_number(*cf) << 4));
            put_bytes(out, start);
            put_bytes(out, end);
        }
    }
}

const fn cf_number(cf: Cf) -> u8 {
    match cf {
        Cf::Default => 0,
        Cf::Lock => 1,
        Cf::Write => 2,
        Cf::Raft => 3,
    }
}

fn cf_of(number: u8) -> Result<Cf, DecodeError> {
    match number {
        0 => Ok(Cf::Default),
        1 => Ok(Cf::Lock),
        2 => Ok(Cf::Write),
        other => Err(DecodeError::Unknown {
            what: "column family",
            value: u64::from(other),
        }),
    }
}

/// A command as an entry has it. A write's mutations are read one by one: gathered, they would cost an
/// allocation for each command of each replica.
#[derive(Debug)]
pub(crate) enum Logged {
    /// So many mutations follow, to be taken with [`BatchReader::mutation`] before the next command.
    Write { mutations: u64 },
    /// As [`Command::CompareAndSwap`].
    CompareAndSwap {
        key: Bytes,
        expected: Option<Bytes>,
        value: Bytes,
        now_ms: u64,
    },
    /// As [`Command::Admin`].
    Admin(Admin),
}

/// Reads the commands of one entry, one after the other.
pub(crate) struct BatchReader {
    epoch: Epoch,
    reads: bool,
    reader: Reader,
}

impl BatchReader {
    /// Opens an entry's data, which must not be empty.
    pub(crate) fn open(data: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        match reader.byte()? {
            VERSION => {}
            other => {
                return Err(DecodeError::Unknown {
                    what: "command version",
                    value: u64::from(other),
                });
            }
        }
        let flags = reader.byte()?;
        if flags & !FLAG_READS != 0 {
            return Err(DecodeError::Unknown {
                what: "command flags",
                value: u64::from(flags),
            });
        }
        let epoch = Epoch {
            conf_ver: reader.varint()?,
            version: reader.varint()?,
        };
        Ok(Self {
            epoch,
            reads: flags & FLAG_READS != 0,
            reader,
        })
    }

    /// Whether the first command has this tag.
    pub(crate) fn begins_with(&self, tag: u8) -> bool {
        self.reader.peek() == Some(tag)
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether a command of the batch reads the state.
    pub(crate) fn reads(&self) -> bool {
        self.reads
    }

    /// The next command.
    pub(crate) fn next(&mut self) -> Result<Option<Logged>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        match self.reader.byte()? {
            TAG_WRITE => Ok(Some(Logged::Write {
                mutations: self.reader.varint()?,
            })),
            TAG_COMPARE_AND_SWAP => self.read_compare_and_swap().map(Some),
            tag => match Admin::read(tag, &mut self.reader)? {
                Some(admin) => Ok(Some(Logged::Admin(admin))),
                None => Err(DecodeError::Unknown {
                    what: "command",
                    value: u64::from(tag),
                }),
            },
        }
    }

    /// All commands that are left, with all of each: for those who don't execute them one by one.
    pub(crate) fn commands(&mut self) -> Result<Vec<Command>, DecodeError> {
        let mut commands = Vec::new();
        while let Some(logged) = self.next()? {
            commands.push(match logged {
                Logged::Write { mutations } => {
                    // The number is read from the entry: nothing is reserved for it.
                    let mut all = Vec::new();
                    for _ in 0..mutations {
                        all.push(self.mutation()?);
                    }
                    Command::Write(all)
                }
                Logged::CompareAndSwap {
                    key,
                    expected,
                    value,
                    now_ms,
                } => Command::CompareAndSwap {
                    key,
                    expected,
                    value,
                    now_ms,
                },
                Logged::Admin(admin) => Command::Admin(admin),
            });
        }
        Ok(commands)
    }

    /// The next of the mutations that [`Logged::Write`] announced.
    pub(crate) fn mutation(&mut self) -> Result<Mutation, DecodeError> {
        let tag = self.reader.byte()?;
        let cf = cf_of(tag >> 4)?;
        let first = self.reader.bytes()?;
        match tag & 0x0f {
            KIND_PUT => Ok(Mutation::Put {
                cf,
                key: first,
                value: self.reader.bytes()?,
            }),
            KIND_DELETE => Ok(Mutation::Delete { cf, key: first }),
            KIND_DELETE_RANGE => Ok(Mutation::DeleteRange {
                cf,
                start: first,
                end: self.reader.bytes()?,
            }),
            other => Err(DecodeError::Unknown {
                what: "mutation",
                value: u64::from(other),
            }),
        }
    }

    /// Passes over what belongs to a command that is not executed.
    pub(crate) fn skip(&mut self, command: &Logged) -> Result<(), DecodeError> {
        match command {
            Logged::Write { mutations } => (0..*mutations).try_for_each(|_| {
                self.mutation()?;
                Ok(())
            }),
            Logged::CompareAndSwap { .. } | Logged::Admin(_) => Ok(()),
        }
    }

    fn read_compare_and_swap(&mut self) -> Result<Logged, DecodeError> {
        let key = self.reader.bytes()?;
        let expected = match self.reader.byte()? {
            0 => None,
            _ => Some(self.reader.bytes()?),
        };
        Ok(Logged::CompareAndSwap {
            key,
            expected,
            value: self.reader.bytes()?,
            now_ms: self.reader.varint()?,
        })
    }
}

impl Mutation {
    /// The smallest range that the mutation touches: `(start, end)`, where `end` is `None` for a
    /// single key.
    pub(crate) fn touches(&self) -> (&Bytes, Option<&Bytes>) {
        match self {
            Mutation::Put { key, .. } | Mutation::Delete { key, .. } => (key, None),
            Mutation::DeleteRange { start, end, .. } => (start, Some(end)),
        }
    }

    fn size_bytes(&self) -> usize {
        const OVERHEAD: usize = 16;
        OVERHEAD
            + match self {
                Mutation::Put { key, value, .. } => key.len() + value.len(),
                Mutation::Delete { key, .. } => key.len(),
                Mutation::DeleteRange { start, end, .. } => start.len() + end.len(),
            }
    }
}

impl Command {
    /// An upper bound on the bytes that the command takes in a log entry.
    pub fn size_bytes(&self) -> usize {
        const OVERHEAD: usize = 48;
        OVERHEAD
            + match self {
                Command::Write(mutations) => mutations.iter().map(Mutation::size_bytes).sum(),
                Command::CompareAndSwap {
                    key,
                    expected,
                    value,
                    ..
                } => key.len() + value.len() + expected.as_ref().map_or(0, Bytes::len),
                Command::Admin(admin) => admin.size_bytes(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn cf() -> impl Strategy<Value = Cf> {
        prop_oneof![Just(Cf::Default), Just(Cf::Lock), Just(Cf::Write)]
    }

    fn mutation() -> impl Strategy<Value = Mutation> {
        prop_oneof![
            (cf(), bytes(), bytes()).prop_map(|(cf, key, value)| Mutation::Put { cf, key, value }),
            (cf(), bytes()).prop_map(|(cf, key)| Mutation::Delete { cf, key }),
            (cf(), bytes(), bytes()).prop_map(|(cf, start, end)| Mutation::DeleteRange {
                cf,
                start,
                end
            }),
        ]
    }

    fn command() -> impl Strategy<Value = Command> {
        prop_oneof![
            proptest::collection::vec(mutation(), 0..5).prop_map(Command::Write),
            (
                bytes(),
                proptest::option::of(bytes()),
                bytes(),
                any::<u64>()
            )
                .prop_map(|(key, expected, value, now_ms)| Command::CompareAndSwap {
                    key,
                    expected,
                    value,
                    now_ms
                }),
            bytes().prop_map(|key| Command::Admin(Admin::Split(vec![crate::Cut {
                key,
                region_id: types::RegionId(7),
                peer_ids: vec![types::PeerId(8)],
            }]))),
        ]
    }

    fn read_all(data: Bytes) -> Result<Vec<Command>, DecodeError> {
        BatchReader::open(data)?.commands()
    }

    proptest! {
        #[test]
        fn a_batch_reads_back_as_it_was_written(
            commands in proptest::collection::vec(command(), 0..6),
            conf_ver: u64,
            version: u64,
        ) {
            let epoch = Epoch { conf_ver, version };
            let mut encoder = BatchEncoder::default();
            encoder.begin(epoch);
            let header = encoder.size_bytes();
            for command in &commands {
                encoder.push(command);
            }
            let bound: usize = commands.iter().map(Command::size_bytes).sum();
            prop_assert!(encoder.size_bytes() <= header + bound);
            let data = Bytes::from(encoder.take());
            prop_assert_eq!(BatchReader::open(data.clone()).unwrap().epoch(), epoch);
            prop_assert_eq!(read_all(data).unwrap(), commands);
        }

        #[test]
        fn arbitrary_entries_never_panic(data: Vec<u8>) {
            let _ = read_all(data.into());
        }
    }

    #[test]
    fn an_entry_of_another_version_is_refused() {
        assert_eq!(
            read_all(Bytes::from_static(&[9, 0, 0])),
            Err(DecodeError::Unknown {
                what: "command version",
                value: 9
            })
        );
    }
}
