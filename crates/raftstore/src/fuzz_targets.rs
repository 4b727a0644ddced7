//! What was written to a log or to a state record, damaged: no decoder panics or allocates more than its
//! input explains, and what one lets in reads back from its own encoding.
//!
//! **Not here.** Raft messages: `server` has what comes before their decoder as well.

use crate::admin::PeerChanges;
use crate::command::{BatchEncoder, BatchReader};
use crate::op::consistency::{Hash, Quarantine, Word};
use crate::state::{
    MergedInto, Merging, RegionRecord, Tombstone, decode_apply_state, decode_epoch, decode_shape,
    encode_apply_state, encode_epoch, encode_shape,
};
use crate::{Admin, Command, Cut, DecodeError, LastMerge, MergeSource, Mutation, SnapshotMeta};
use bytes::Bytes;
use engine::Cf;
use fuzz::{Counting, Target};
use std::mem::discriminant;
use types::{ApplyState, Epoch, KeyRange, Peer, PeerId, Region, RegionId, StoreId};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A command can be one byte, and takes more than a hundred in the lists that are compared here, which double.
/// Who applies an entry reads its commands one by one.
const ALLOCATED_FACTOR: usize = 512;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name).allocates(16 << 10, ALLOCATED_FACTOR)
}

fn region() -> Region {
    let peer = |id| Peer {
        id: PeerId(id),
        store_id: StoreId(id + 100),
        ..Peer::default()
    };
    Region {
        id: RegionId(7),
        range: KeyRange {
            start: b"a".to_vec(),
            end: b"m".to_vec(),
        },
        epoch: Epoch {
            conf_ver: 3,
            version: 300,
        },
        peers: vec![peer(1), peer(2), peer(3)],
    }
}

fn commands() -> Vec<Command> {
    let bytes = Bytes::from_static;
    vec![
        Command::Write(vec![
            Mutation::Put {
                cf: Cf::Default,
                key: bytes(b"key"),
                value: bytes(b"value"),
            },
            Mutation::Delete {
                cf: Cf::Lock,
                key: bytes(b"k"),
            },
            Mutation::DeleteRange {
                cf: Cf::Write,
                start: bytes(b"a"),
                end: bytes(b"b"),
            },
        ]),
        Command::CompareAndSwap {
            key: bytes(b"key"),
            expected: Some(bytes(b"before")),
            value: bytes(b"after"),
            now_ms: 1_700_000_000_000,
        },
        Command::Admin(Admin::Split(vec![Cut {
            key: bytes(b"f"),
            region_id: RegionId(8),
            peer_ids: vec![PeerId(11), PeerId(12)],
        }])),
        Command::Admin(Admin::CompactLog { index: 70, term: 6 }),
        Command::Admin(Admin::PrepareMerge(Box::new(region()))),
        Command::Admin(Admin::SealMerge { index: 71 }),
        Command::Admin(Admin::ComputeHash),
    ]
}

fn encode(epoch: Epoch, commands: &[Command]) -> Vec<u8> {
    let mut encoder = BatchEncoder::default();
    encoder.begin(epoch);
    commands.iter().for_each(|command| encoder.push(command));
    encoder.take()
}

fn decode(data: Bytes) -> Result<(Epoch, Vec<Command>), DecodeError> {
    let mut reader = BatchReader::open(data)?;
    let commands = reader.commands()?;
    Ok((reader.epoch(), commands))
}

/// Passes over all commands, as for an entry that is not executed.
fn skip(data: Bytes) -> Result<(), DecodeError> {
    let mut reader = BatchReader::open(data)?;
    while let Some(logged) = reader.next()? {
        reader.skip(&logged)?;
    }
    Ok(())
}

#[test]
fn fuzz_commands() {
    let epoch = Epoch {
        conf_ver: 2,
        version: 500,
    };
    let mut target = target("commands").seed(encode(epoch, &commands()));
    for command in commands() {
        target = target.seed(encode(epoch, &[command]));
    }
    target.run(|input| {
        let data = Bytes::copy_from_slice(input);
        let decoded = decode(data.clone());
        assert_eq!(skip(data).is_ok(), decoded.is_ok());
        if let Ok((epoch, commands)) = &decoded {
            let again = decode(encode(*epoch, commands).into());
            assert_eq!(again.as_ref(), decoded.as_ref());
        }
        decoded
            .map(|(_, commands)| commands.iter().map(discriminant).collect::<Vec<_>>())
            .map_err(|error| format!("{error:?}"))
    });
}

/// Decodes by one of the decoders, and checks the way back.
fn there_and_back<T: PartialEq + std::fmt::Debug>(
    record: &Bytes,
    decode: impl Fn(Bytes) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Result<(), DecodeError> {
    let decoded = decode(record.clone())?;
    assert_eq!(decode(encode(&decoded).into()).as_ref(), Ok(&decoded));
    Ok(())
}

fn check_record(kind: u8, record: &Bytes) -> Result<(), DecodeError> {
    match kind {
        0 => there_and_back(record, RegionRecord::decode, RegionRecord::encode),
        1 => there_and_back(record, decode_epoch, |epoch| encode_epoch(*epoch)),
        2 => there_and_back(record, LastMerge::decode, LastMerge::encode),
        3 => there_and_back(record, decode_apply_state, encode_apply_state),
        4 => there_and_back(record, decode_shape, encode_shape),
        5 => there_and_back(record, SnapshotMeta::decode, SnapshotMeta::encode),
        6 => there_and_back(record, Quarantine::decode, Quarantine::encode),
        _ => there_and_back(record, PeerChanges::decode, PeerChanges::encode),
    }
}

const KINDS: u8 = 8;

#[test]
fn fuzz_state_records() {
    let merging = Merging {
        target: region(),
        index: 900,
        term: 8,
        is_sealed: true,
    };
    let tombstone = Tombstone {
        region_id: RegionId(7),
        epoch: region().epoch,
        peer_id: PeerId(70),
        merged_into: Some(MergedInto {
            region_id: RegionId(8),
            version: 301,
        }),
    };
    let last_merge = LastMerge {
        place: (8, 5),
        version: 3,
        source: MergeSource {
            region: region(),
            index: u64::MAX,
            term: 7,
            before: (6, 4),
        },
    };
    let meta = SnapshotMeta {
        region: region(),
        index: 9,
        term: 6,
        last_merge: Some(Box::new(last_merge.clone())),
    };
    let quarantine = Quarantine {
        peer_id: PeerId(3),
        index: 77,
        found: Hash(1),
        agreed: Hash(u128::MAX),
    };
    let seeds = [
        (0, RegionRecord::Normal(region()).encode()),
        (0, RegionRecord::Merging(region(), merging).encode()),
        (0, RegionRecord::Tombstone(tombstone).encode()),
        (1, encode_epoch(region().epoch)),
        (2, last_merge.encode()),
        (3, encode_apply_state(&ApplyState::default())),
        (4, encode_shape(&region())),
        (5, meta.encode()),
        (6, quarantine.encode()),
    ];
    let mut target = target("state-records");
    for (kind, record) in seeds {
        assert_eq!(check_record(kind, &record.clone().into()), Ok(()), "{kind}");
        target = target.seed([vec![kind], record].concat());
    }
    target.seed([7, 1, 1, 1, 1, 0, 9, 9]).run(|input| {
        let (kind, record) = input.split_first()?;
        let kind = kind % KINDS;
        let checked = check_record(kind, &Bytes::copy_from_slice(record));
        Some((kind, format!("{checked:?}")))
    });
}

#[test]
fn fuzz_words_of_consistency() {
    let words = [None, Some(Hash(7))].map(|hash| Word::Hashed { index: 9, hash });
    let mut target = target("words-of-consistency");
    for word in words.into_iter().chain([Word::MergeRefused { index: 9 }]) {
        target = target.seed(word.encode());
    }
    target.run(|input| {
        let word = Word::decode(&Bytes::copy_from_slice(input));
        if let Some(word) = &word {
            assert_eq!(Word::decode(&word.encode().into()).as_ref(), Some(word));
        }
        word.map(|word| discriminant(&word))
    });
}
