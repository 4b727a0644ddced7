//! What entries do to the state, over a map instead of an engine.

use super::*;
use crate::admin::PeerChangeKind;
use crate::apply::map::Map;
use crate::command::{BatchEncoder, Command};
use crate::op::consistency::Hash;
use crate::peer::conf_change_data;
use std::sync::Arc;
use types::{KeyRange, Peer, PeerId, raw_value};

/// Keeps the state as of the last `begin_reads`.
#[derive(Default)]
struct Written {
    now: Map,
    at_reads: Option<Map>,
}

impl ApplyStore for Written {
    fn begin_reads(&mut self) -> engine::Result<()> {
        self.at_reads = Some(self.now.clone());
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

    fn pin(&mut self, wish: HashWish) {
        self.now.pin(wish);
    }
}

const EPOCH: Epoch = Epoch {
    conf_ver: 1,
    version: 1,
};

fn voter(id: u64) -> Peer {
    Peer {
        id: PeerId(id),
        store_id: StoreId(id),
        ..Peer::default()
    }
}

fn applier() -> Applier {
    let region = Region {
        id: RegionId(2),
        range: KeyRange::default(),
        epoch: EPOCH,
        peers: [1, 2, 3].map(voter).into(),
    };
    let state = ApplyState {
        applied_index: 5,
        applied_term: 5,
        truncated_index: 5,
        truncated_term: 5,
    };
    Applier::new(region, StoreId(1), state)
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
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let write = Command::Write(vec![put("a", "1"), put("b", "2")]);
    applier
        .apply(vec![entry(6, EPOCH, &[write])], &mut map, &mut out)
        .unwrap();
    applier.finish_round(&mut map);
    assert_eq!(map.get(Cf::Default, b"za").unwrap().unwrap(), "1");
    assert_eq!(map.applied_index(), Some(6));
    assert_eq!(
        out.answers,
        [(RequestId(60), Ok(Reply::Command(Outcome::Written)))]
    );
}

#[test]
fn a_swap_sees_the_writes_before_it_and_an_expired_value_as_absent() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let commands = [
        swap("k", None, raw_value::encode(b"v1", Some(100)), 50_000),
        swap("k", None, raw_value::encode(b"no", None), 50_000),
        swap("k", Some("v1"), raw_value::encode(b"v2", Some(60)), 59_999),
        swap("k", None, raw_value::encode(b"v3", None), 60_000),
    ];
    applier
        .apply(vec![entry(6, EPOCH, &commands)], &mut map, &mut out)
        .unwrap();
    let outcomes: Vec<_> = out.answers.iter().map(outcome).collect();
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
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let old = Epoch {
        version: 0,
        ..EPOCH
    };
    let write = Command::Write(vec![put("a", "1")]);
    applier
        .apply(vec![entry(6, old, &[write])], &mut map, &mut out)
        .unwrap();
    assert!(map.0.is_empty());
    assert!(matches!(
        out.answers[0].1,
        Err(RequestError::EpochNotMatch { .. })
    ));
    assert_eq!(applier.state().applied_index, 6, "but it is applied");
}

#[test]
fn a_range_deletion_to_the_end_stays_inside_the_client_key_space() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
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
        .apply(vec![entry(6, EPOCH, &[write])], &mut map, &mut out)
        .unwrap();
    let left: Vec<_> = map.0.keys().map(|(_, key)| key.as_slice()).collect();
    assert_eq!(left, [&b"za"[..], b"{outside"]);
}

#[test]
fn an_entry_that_cannot_be_read_is_an_error_that_names_it() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let mut damaged = entry(6, EPOCH, &[]);
    damaged.entry.data = Bytes::from_static(b"\x01\x00\x01\x01\x09");
    let result = applier.apply(vec![damaged], &mut map, &mut out);
    assert!(matches!(result, Err(ApplyError::Entry { index: 6, .. })));
}

#[test]
#[should_panic(expected = "a gap in the entries")]
fn a_gap_in_the_log_stops_the_replica() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let _ = applier.apply(vec![entry(7, EPOCH, &[])], &mut map, &mut out);
}

#[test]
fn what_is_written_out_before_a_read_carries_the_index_it_belongs_to() {
    let (mut applier, mut store, mut out) = (applier(), Written::default(), Applied::default());
    let write = Command::Write(vec![put("a", "1")]);
    let swap = swap("k", None, raw_value::encode(b"v", None), 0);
    let entries = vec![
        entry(6, EPOCH, std::slice::from_ref(&write)),
        entry(7, EPOCH, &[write, swap]),
    ];
    applier.apply(entries, &mut store, &mut out).unwrap();
    let mut at_reads = store.at_reads.unwrap();
    assert_eq!(at_reads.applied_index(), Some(6));
    assert_eq!(at_reads.get(Cf::Default, b"zk").unwrap(), None);
}

fn split(key: &'static str, region: u64) -> Command {
    Command::Admin(Admin::Split(vec![Cut {
        key: key.into(),
        region_id: RegionId(region),
        peer_ids: [1, 2, 3].map(|id| PeerId(region * 10 + id)).into(),
    }]))
}

fn record(map: &mut Map, region: u64) -> Option<RegionRecord> {
    let key = keys::region_state_key(RegionId(region));
    let record = map.get(Cf::Raft, &key).unwrap();
    record.map(|record| RegionRecord::decode(record).unwrap())
}

#[test]
fn a_split_writes_both_shapes_and_what_was_proposed_before_it_has_no_effect_after_it() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let late = Command::Write(vec![put("a", "1")]);
    let entries = vec![
        entry(6, EPOCH, &[split("m", 5)]),
        entry(7, EPOCH, &[late]),
        entry(8, EPOCH, &[split("p", 6)]),
    ];
    applier.apply(entries, &mut map, &mut out).unwrap();
    applier.finish_round(&mut map);
    let Some(RegionRecord::Normal(new)) = record(&mut map, 5) else {
        panic!("the new Region has a state");
    };
    assert_eq!(
        (&new.range.start[..], &new.range.end[..]),
        (&b""[..], &b"m"[..])
    );
    let kept = applier.region().clone();
    assert_eq!(
        record(&mut map, 2),
        Some(RegionRecord::Normal(kept.clone()))
    );
    assert_eq!(record(&mut map, 6), None);
    let key = keys::apply_state_key(RegionId(5));
    assert!(map.get(Cf::Raft, &key).unwrap().is_some());
    assert_eq!(out.changes.len(), 1);
    assert_eq!(out.changes[0].index, 6);
    assert_eq!(out.changes[0].change, Change::Split(vec![new, kept]));
    for answer in &out.answers[1..] {
        assert!(matches!(answer.1, Err(RequestError::EpochNotMatch { .. })));
    }
}

fn removal(index: u64, peer: u64) -> ApplyEntry {
    let asked = PeerChanges {
        epoch: EPOCH,
        changes: vec![PeerChange {
            kind: PeerChangeKind::Remove,
            peer_id: PeerId(peer),
            store_id: StoreId(peer),
        }],
    };
    ApplyEntry {
        entry: LogEntry {
            index,
            term: 6,
            kind: EntryKind::ConfChangeV2,
            data: conf_change_data(&asked),
        },
        requests: vec![RequestId(index)],
    }
}

#[test]
fn a_removed_replica_applies_nothing_more_and_keeps_its_data_until_it_is_destroyed() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let write = || Command::Write(vec![put("a", "1")]);
    let entries = vec![
        entry(6, EPOCH, &[write()]),
        removal(7, 1),
        entry(8, EPOCH, &[split("m", 5)]),
    ];
    applier.apply(entries, &mut map, &mut out).unwrap();
    applier.finish_round(&mut map);
    let last = out.answers.last().expect("everybody is answered");
    assert_eq!(last.1, Err(RequestError::Undetermined), "members apply it");
    let data = Space::Data.key(b"a");
    let kept = map.get(Cf::Default, &data).unwrap();
    assert!(kept.is_some(), "its Peer may still allow reads");
    assert_eq!(map.applied_index(), Some(6), "a crash removes it again");
    let tombstone = Tombstone {
        merged_into: None,
        region_id: RegionId(2),
        epoch: Epoch {
            conf_ver: 2,
            ..EPOCH
        },
        peer_id: PeerId(1),
    };
    applier.destroy(tombstone, &mut map);
    applier.finish_round(&mut map);
    let expected = Some(RegionRecord::Tombstone(tombstone));
    assert_eq!(record(&mut map, 2), expected);
    assert_eq!(map.0.len(), 1, "neither data nor a new Region");
}

#[test]
fn a_change_of_membership_is_answered_with_the_shape_and_happens_once() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let entries = vec![removal(6, 3), removal(7, 2)];
    applier.apply(entries, &mut map, &mut out).unwrap();
    let Ok(Reply::Command(Outcome::Changed(region))) = &out.answers[0].1 else {
        panic!("unexpected {:?}", out.answers[0]);
    };
    assert_eq!(region.peers.len(), 2);
    assert_eq!(region.epoch.conf_ver, 2);
    assert!(matches!(
        out.answers[1].1,
        Err(RequestError::EpochNotMatch { .. })
    ));
}

#[test]
fn a_log_is_cut_once_at_each_entry_and_never_at_one_to_come() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let compact = |index| Command::Admin(Admin::CompactLog { index, term: 6 });
    let old_epoch = Epoch::default();
    let entries = vec![
        entry(6, EPOCH, &[compact(6)]),
        entry(7, old_epoch, &[compact(6)]),
        entry(8, EPOCH, &[compact(6)]),
        entry(9, EPOCH, &[compact(5)]),
    ];
    applier.apply(entries, &mut map, &mut out).unwrap();
    let change = Change::CompactLog { index: 6, term: 6 };
    let expected = RegionChange {
        region_id: RegionId(2),
        index: 7,
        change,
    };
    assert_eq!(out.changes, [expected], "its epoch does not matter");
    let state = applier.state();
    assert_eq!((state.truncated_index, state.truncated_term), (6, 6));
}

#[test]
fn an_applier_goes_on_behind_a_snapshot() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let mut region = applier.region().clone();
    region.range.end = b"m".to_vec();
    let state = ApplyState {
        applied_index: 90,
        applied_term: 7,
        truncated_index: 90,
        truncated_term: 7,
    };
    applier.restore(region.clone(), state);
    applier.finish_round(&mut map);
    assert!(map.0.is_empty(), "the state is on disk already");
    let write = Command::Write(vec![put("a", "1")]);
    let entries = vec![entry(91, EPOCH, &[write])];
    applier.apply(entries, &mut map, &mut out).unwrap();
    assert_eq!(applier.region(), &region);
    assert!(out.answers[0].1.is_ok());
}

fn left_neighbour() -> crate::MergeSource {
    crate::MergeSource {
        region: Region {
            id: RegionId(9),
            range: KeyRange {
                start: vec![],
                end: b"b".to_vec(),
            },
            epoch: Epoch {
                conf_ver: 2,
                version: 8,
            },
            peers: [1, 2, 3].map(voter).into(),
        },
        index: 40,
        term: 6,
        before: (0, 0),
    }
}

/// A Region behind `b`, at its first entry.
fn right_applier() -> Applier {
    let mut applier = applier();
    Arc::make_mut(&mut applier.region).range.start = b"b".to_vec();
    applier
}

#[test]
fn a_target_keeps_what_comes_behind_a_commit_until_its_source_is_ready() {
    let commit = || Command::Admin(Admin::CommitMerge(Box::new(left_neighbour())));
    let merged = Epoch {
        version: 9,
        ..EPOCH
    };
    // The second life replays what the first one has not written.
    for _life in 0..2 {
        let (mut applier, mut map) = (right_applier(), Map::default());
        let mut out = Applied::default();
        let entries = vec![
            entry(6, EPOCH, &[Command::Write(vec![put("c", "1")])]),
            entry(7, EPOCH, &[commit()]),
            entry(8, merged, &[Command::Write(vec![put("a", "2")])]),
        ];
        applier.apply(entries, &mut map, &mut out).unwrap();
        applier.finish_round(&mut map);
        assert_eq!(map.applied_index(), Some(6));
        let behind = entry(9, EPOCH, &[Command::Write(vec![put("c", "3")])]);
        applier.apply(vec![behind], &mut map, &mut out).unwrap();
        assert_eq!(applier.state().applied_index, 6, "it waits");
        let wish = out.wishes.pop().expect("it says for whom");
        assert_eq!((wish.source_id, wish.index), (RegionId(9), 40));
        let ready = |wish, quarantine| ReadySource { wish, quarantine };
        let other = ready(SourceWish { index: 41, ..wish }, None);
        applier.source_is_ready(other, &mut map, &mut out).unwrap();
        assert_eq!(applier.state().applied_index, 6, "for another entry");
        let found = Quarantine {
            peer_id: PeerId(1),
            index: 39,
            found: Hash(8),
            agreed: Hash(7),
        };
        map.put(
            Cf::Raft,
            &keys::quarantine_key(RegionId(9)),
            &found.encode(),
        );
        let ready = ready(wish, Some(found));
        applier.source_is_ready(ready, &mut map, &mut out).unwrap();
        applier.finish_round(&mut map);
        assert_eq!(map.applied_index(), Some(9));
        assert_eq!(quarantine(&mut map, 9), None, "it goes with the source");
        assert_eq!(quarantine(&mut map, 2), Some(found), "and is the target's");
        assert_eq!(applier.region().range, KeyRange::default());
        assert_eq!(map.get(Cf::Default, b"za").unwrap().unwrap(), "2");
        assert_eq!(map.get(Cf::Default, b"zc").unwrap().unwrap(), "1");
        let Some(RegionRecord::Tombstone(tombstone)) = record(&mut map, 9) else {
            panic!("the source has a tombstone");
        };
        let into = tombstone
            .merged_into
            .map(|into| (into.region_id, into.version));
        let target = applier.region();
        assert_eq!(into, Some((target.id, target.epoch.version)));
        assert_eq!(tombstone.peer_id, PeerId(1));
    }
}

#[test]
fn a_commit_for_an_epoch_that_has_passed_has_no_effect_and_waits_for_nobody() {
    let (mut applier, mut map, mut out) = (right_applier(), Map::default(), Applied::default());
    let refuse = Command::Admin(Admin::RefuseMerge {
        source_id: RegionId(9),
    });
    let commit = Command::Admin(Admin::CommitMerge(Box::new(left_neighbour())));
    let entries = vec![entry(6, EPOCH, &[refuse]), entry(7, EPOCH, &[commit])];
    applier.apply(entries, &mut map, &mut out).unwrap();
    assert_eq!(applier.state().applied_index, 7);
    assert_eq!(applier.region().range.start, b"b");
    assert!(out.wishes.is_empty());
    assert_eq!(record(&mut map, 9), None);
}

#[test]
fn a_source_that_is_taken_in_applies_nothing_behind_the_entry_that_began_it() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let (mut source, target) = (left_neighbour().region, right_applier().region().clone());
    source.epoch = EPOCH;
    source.id = RegionId(2);
    applier.region = Arc::new(source);
    let target = Region {
        id: RegionId(7),
        ..target
    };
    let prepare = Command::Admin(Admin::PrepareMerge(Box::new(target)));
    let entries = vec![entry(6, EPOCH, &[prepare])];
    applier.apply(entries, &mut map, &mut out).unwrap();
    applier.finish_round(&mut map);
    assert!(matches!(
        record(&mut map, 2),
        Some(RegionRecord::Merging(..))
    ));
    let wish = SourceWish {
        target_id: RegionId(7),
        source_id: RegionId(2),
        index: 6,
        term: 6,
    };
    assert_eq!(applier.fulfils(), None);
    applier.freeze(wish);
    let quarantine = None;
    assert_eq!(applier.fulfils(), Some(ReadySource { wish, quarantine }));
    let rollback = Command::Admin(Admin::RollbackMerge {
        index: 6,
        unless_sealed: false,
    });
    let behind = entry(7, applier.region().epoch, &[rollback]);
    applier.apply(vec![behind], &mut map, &mut out).unwrap();
    applier.finish_round(&mut map);
    assert_eq!(map.applied_index(), Some(6));
}

#[test]
fn the_first_of_a_seal_and_a_rollback_that_needs_none_decides() {
    let seal = || Admin::SealMerge { index: 6 };
    let rollback = |unless_sealed| Admin::RollbackMerge {
        index: 6,
        unless_sealed,
    };
    let merging = |admins: [Admin; 2]| {
        let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
        applier.region = Arc::new(Region {
            epoch: EPOCH,
            id: RegionId(2),
            ..left_neighbour().region
        });
        let target = Region {
            id: RegionId(7),
            ..right_applier().region().clone()
        };
        let prepare = Admin::PrepareMerge(Box::new(target));
        let admins = std::iter::once(prepare).chain(admins);
        for (index, admin) in (6..).zip(admins) {
            let entries = vec![entry(index, EPOCH, &[Command::Admin(admin)])];
            applier.apply(entries, &mut map, &mut out).unwrap();
        }
        applier.merging().map(|merging| merging.is_sealed)
    };
    assert_eq!(merging([seal(), rollback(true)]), Some(true));
    assert_eq!(merging([rollback(true), seal()]), None);
    assert_eq!(merging([seal(), rollback(false)]), None, "it was refused");
}

#[test]
fn a_view_is_pinned_behind_what_came_before_and_closed_with_its_index() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let hash = || Command::Admin(Admin::ComputeHash);
    let write = |value| Command::Write(vec![put("a", value)]);
    let entries = vec![
        entry(6, EPOCH, &[write("1")]),
        entry(7, EPOCH, &[hash()]),
        entry(8, EPOCH, &[write("2")]),
        entry(9, EPOCH, &[hash()]),
        entry(10, EPOCH, &[write("1")]),
        entry(11, EPOCH, &[hash()]),
    ];
    applier.apply(entries, &mut map, &mut out).unwrap();
    let [(7, first), (9, second), (11, third)] = map.1[..] else {
        panic!("unexpected {:?}", map.1);
    };
    assert_eq!(first, third, "the index is no part of it");
    assert_ne!(first, second);
    assert_eq!(map.applied_index(), Some(10), "and not of the last entry");
    let told = out
        .changes
        .iter()
        .map(|change| (change.index, &change.change));
    let expected = [7, 9, 11].map(|index| (index, &Change::Hashing));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

fn verify(named: u64) -> Command {
    Command::Admin(Admin::VerifyHash(Verdict {
        index: 5,
        agreed: Hash(7),
        deviating: vec![(PeerId(named), Hash(8))],
    }))
}

fn quarantine(map: &mut Map, region: u64) -> Option<Quarantine> {
    let key = keys::quarantine_key(RegionId(region));
    let record = map.get(Cf::Raft, &key).unwrap()?;
    Some(Quarantine::decode(record).unwrap())
}

#[test]
fn who_is_named_is_quarantined_with_what_is_cut_off_later_and_answers_nothing() {
    let (mut applier, mut map, mut out) = (applier(), Map::default(), Applied::default());
    let write = || Command::Write(vec![put("a", "1")]);
    let entries = vec![
        entry(6, EPOCH, &[verify(2)]),
        entry(7, EPOCH, &[write()]),
        entry(8, EPOCH, &[verify(1)]),
        entry(9, EPOCH, &[write()]),
        entry(10, EPOCH, &[split("m", 5)]),
    ];
    applier.apply(entries, &mut map, &mut out).unwrap();
    applier.finish_round(&mut map);
    let results: Vec<_> = out
        .answers
        .iter()
        .map(|(_, result)| result.is_ok())
        .collect();
    assert_eq!(results, [true, true, false, false, false]);
    let undetermined = Err(RequestError::Undetermined);
    assert_eq!(out.answers.last().unwrap().1, undetermined);
    let found = quarantine(&mut map, 2).unwrap();
    assert_eq!((found.peer_id, found.index), (PeerId(1), 5));
    assert_eq!((found.found, found.agreed), (Hash(8), Hash(7)));
    let part = applier.region().peers[0].id;
    let cut_off = quarantine(&mut map, 5).expect("what is cut off may be damaged");
    assert_ne!(cut_off.peer_id, part);
    assert_eq!(cut_off.agreed, Hash(7));
    let tombstone = Tombstone {
        region_id: RegionId(2),
        epoch: EPOCH,
        peer_id: PeerId(1),
        merged_into: None,
    };
    applier.destroy(tombstone, &mut map);
    assert_eq!(quarantine(&mut map, 2), None, "it goes with the replica");
}
