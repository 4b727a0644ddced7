//! What entries do to the state, over a map instead of an engine.

use super::*;
use crate::command::{BatchEncoder, Command};
use crate::state::decode_apply_state;
use std::collections::BTreeMap;
use types::{Epoch, KeyRange, RegionId, raw_value};

#[derive(Default)]
struct Map(BTreeMap<(Cf, Vec<u8>), Bytes>);

impl Map {
    fn applied_index(&mut self) -> Option<u64> {
        let state = self.get(Cf::Raft, &keys::apply_state_key(RegionId(2)));
        let state = state.unwrap()?;
        Some(decode_apply_state(state).unwrap().applied_index)
    }
}

/// Keeps the state as of the last `begin_reads`.
#[derive(Default)]
struct Written {
    now: Map,
    at_reads: Option<Map>,
}

impl ApplyStore for Written {
    fn begin_reads(&mut self) -> engine::Result<()> {
        self.at_reads = Some(Map(self.now.0.clone()));
        Ok(())
    }

    fn get(&mut self, cf: Cf, key: &[u8]) -> engine::Result<Option<Bytes>> {
        self.now.get(cf, key)
    }

    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.now.put(cf, key, value);
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.now.delete(cf, key);
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        self.now.delete_range(cf, start, end);
    }
}

impl ApplyStore for Map {
    fn begin_reads(&mut self) -> engine::Result<()> {
        Ok(())
    }

    fn get(&mut self, cf: Cf, key: &[u8]) -> engine::Result<Option<Bytes>> {
        Ok(self.0.get(&(cf, key.to_vec())).cloned())
    }

    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.0
            .insert((cf, key.to_vec()), Bytes::copy_from_slice(value));
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.0.remove(&(cf, key.to_vec()));
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        self.0
            .retain(|(at, key), _| *at != cf || &key[..] < start || &key[..] >= end);
    }
}

const EPOCH: Epoch = Epoch {
    conf_ver: 1,
    version: 1,
};

fn applier() -> Applier {
    let region = Region {
        id: RegionId(2),
        range: KeyRange::default(),
        epoch: EPOCH,
        peers: vec![],
    };
    let state = ApplyState {
        applied_index: 5,
        applied_term: 5,
        truncated_index: 5,
        truncated_term: 5,
    };
    Applier::new(region, state)
}

fn entry(index: u64, epoch: Epoch, commands: &[Command]) -> ApplyEntry {
    let mut encoder = BatchEncoder::default();
    encoder.begin(epoch);
    for command in commands {
        encoder.push(command);
    }
    ApplyEntry {
        entry: LogEntry {
            index,
            term: 6,
            data: encoder.take().into(),
            ..LogEntry::default()
        },
        requests: (0..commands.len() as u64)
            .map(|n| RequestId(index * 10 + n))
            .collect(),
    }
}

fn put(key: &'static str, value: &'static str) -> Mutation {
    Mutation::Put {
        cf: Cf::Default,
        key: key.into(),
        value: value.into(),
    }
}

fn swap(
    key: &'static str,
    expected: Option<&'static str>,
    stored: Vec<u8>,
    now_ms: u64,
) -> Command {
    Command::CompareAndSwap {
        key: key.into(),
        expected: expected.map(Bytes::from),
        value: stored.into(),
        now_ms,
    }
}

fn outcome(answer: &Answer) -> (bool, Option<&[u8]>) {
    match &answer.1 {
        Ok(Reply::Command(Outcome::Swapped {
            succeeded,
            previous,
        })) => (*succeeded, previous.as_deref()),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn the_writes_of_a_round_and_its_index_are_in_one_batch() {
    let (mut applier, mut map, mut answers) = (applier(), Map::default(), vec![]);
    let write = Command::Write(vec![put("a", "1"), put("b", "2")]);
    applier
        .apply(vec![entry(6, EPOCH, &[write])], &mut map, &mut answers)
        .unwrap();
    applier.finish_round(&mut map);
    assert_eq!(map.get(Cf::Default, b"za").unwrap().unwrap(), "1");
    assert_eq!(map.applied_index(), Some(6));
    assert_eq!(
        answers,
        [(RequestId(60), Ok(Reply::Command(Outcome::Written)))]
    );
}

#[test]
fn a_swap_sees_the_writes_before_it_and_an_expired_value_as_absent() {
    let (mut applier, mut map, mut answers) = (applier(), Map::default(), vec![]);
    let commands = [
        swap("k", None, raw_value::encode(b"v1", Some(100)), 50_000),
        swap("k", None, raw_value::encode(b"no", None), 50_000),
        swap("k", Some("v1"), raw_value::encode(b"v2", Some(60)), 59_999),
        swap("k", None, raw_value::encode(b"v3", None), 60_000),
    ];
    applier
        .apply(vec![entry(6, EPOCH, &commands)], &mut map, &mut answers)
        .unwrap();
    let outcomes: Vec<_> = answers.iter().map(outcome).collect();
    assert_eq!(
        outcomes,
        [
            (true, None),
            (false, Some(&b"v1"[..])),
            (true, Some(&b"v1"[..])),
            (true, None),
        ]
    );
}

#[test]
fn a_command_of_another_epoch_has_no_effect() {
    let (mut applier, mut map, mut answers) = (applier(), Map::default(), vec![]);
    let old = Epoch {
        version: 0,
        ..EPOCH
    };
    let write = Command::Write(vec![put("a", "1")]);
    applier
        .apply(vec![entry(6, old, &[write])], &mut map, &mut answers)
        .unwrap();
    assert!(map.0.is_empty());
    assert!(matches!(
        answers[0].1,
        Err(RequestError::EpochNotMatch { .. })
    ));
    assert_eq!(applier.state().applied_index, 6, "but it is applied");
}

#[test]
fn a_range_deletion_to_the_end_stays_inside_the_client_key_space() {
    let (mut applier, mut map, mut answers) = (applier(), Map::default(), vec![]);
    map.put(Cf::Default, b"{outside", b"stays");
    let write = Command::Write(vec![
        put("a", "1"),
        put("b", "2"),
        Mutation::DeleteRange {
            cf: Cf::Default,
            start: "b".into(),
            end: Bytes::new(),
        },
    ]);
    applier
        .apply(vec![entry(6, EPOCH, &[write])], &mut map, &mut answers)
        .unwrap();
    let left: Vec<_> = map.0.keys().map(|(_, key)| key.as_slice()).collect();
    assert_eq!(left, [&b"za"[..], b"{outside"]);
}

#[test]
fn an_entry_that_cannot_be_read_is_an_error_that_names_it() {
    let (mut applier, mut map, mut answers) = (applier(), Map::default(), vec![]);
    let mut damaged = entry(6, EPOCH, &[]);
    damaged.entry.data = Bytes::from_static(b"\x01\x00\x01\x01\x09");
    let result = applier.apply(vec![damaged], &mut map, &mut answers);
    assert!(matches!(result, Err(ApplyError::Entry { index: 6, .. })));
}

#[test]
#[should_panic(expected = "a gap in the entries")]
fn a_gap_in_the_log_stops_the_replica() {
    let (mut applier, mut map, mut answers) = (applier(), Map::default(), vec![]);
    let _ = applier.apply(vec![entry(7, EPOCH, &[])], &mut map, &mut answers);
}

#[test]
fn what_is_written_out_before_a_read_carries_the_index_it_belongs_to() {
    let (mut applier, mut store, mut answers) = (applier(), Written::default(), vec![]);
    let write = Command::Write(vec![put("a", "1")]);
    let swap = swap("k", None, raw_value::encode(b"v", None), 0);
    let entries = vec![
        entry(6, EPOCH, std::slice::from_ref(&write)),
        entry(7, EPOCH, &[write, swap]),
    ];
    applier.apply(entries, &mut store, &mut answers).unwrap();
    let mut at_reads = store.at_reads.unwrap();
    assert_eq!(at_reads.applied_index(), Some(6));
    assert_eq!(at_reads.get(Cf::Default, b"zk").unwrap(), None);
}
