//! What every [`KvEngine`] does. Each function panics where an engine does something else.
//!
//! **Not here.** Timing and performance.

use super::KvPlace;
use crate::{Cf, Durability, Error, Files, KvBatch, KvEngine, KvIterator, KvSnapshot};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;

type Pair = (Vec<u8>, Vec<u8>);

fn put(engine: &impl KvEngine, cf: Cf, pairs: &[(&str, &str)]) {
    let mut batch = engine.batch();
    for (key, value) in pairs {
        batch.put(cf, key.as_bytes(), value.as_bytes());
    }
    engine
        .write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
}

fn get(engine: &impl KvEngine, cf: Cf, key: &str) -> Option<String> {
    let value = engine.get(cf, key.as_bytes()).expect("the read succeeds");
    value.map(|value| String::from_utf8(value.to_vec()).expect("the test wrote text"))
}

fn forward(iter: &mut impl KvIterator) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut valid = iter.seek_to_first().expect("the seek succeeds");
    while valid {
        pairs.push((iter.key().to_vec(), iter.value().to_vec()));
        valid = iter.next().expect("the step succeeds");
        assert_eq!(valid, iter.valid());
    }
    pairs
}

fn backward(iter: &mut impl KvIterator) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut valid = iter.seek_to_last().expect("the seek succeeds");
    while valid {
        pairs.push((iter.key().to_vec(), iter.value().to_vec()));
        valid = iter.prev().expect("the step succeeds");
        assert_eq!(valid, iter.valid());
    }
    pairs
}

fn keys(snapshot: &impl KvSnapshot, cf: Cf, lower: &str, upper: &str) -> Vec<String> {
    let (lower, upper) = (lower.as_bytes(), upper.as_bytes());
    let mut iter = snapshot.iter(cf, lower, upper).expect("the iterator opens");
    let pairs = forward(&mut iter);
    pairs
        .into_iter()
        .map(|(key, _)| String::from_utf8(key).expect("the test wrote text"))
        .collect()
}

/// `put` replaces, `delete` removes, an empty value is a value.
pub fn a_key_holds_the_value_put_last<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    assert_eq!(get(&engine, Cf::Default, "a"), None);
    put(&engine, Cf::Default, &[("a", "1"), ("b", "")]);
    put(&engine, Cf::Default, &[("a", "2")]);
    assert_eq!(get(&engine, Cf::Default, "a").as_deref(), Some("2"));
    assert_eq!(get(&engine, Cf::Default, "b").as_deref(), Some(""));
    let mut batch = engine.batch();
    batch.delete(Cf::Default, b"a");
    batch.delete(Cf::Default, b"never there");
    engine
        .write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    assert_eq!(get(&engine, Cf::Default, "a"), None);
}

/// The same key lives once in every family, and deletes stay in theirs.
pub fn families_are_separate<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    for cf in Cf::ALL {
        put(&engine, cf, &[("k", cf.name())]);
    }
    let mut batch = engine.batch();
    batch.delete(Cf::Lock, b"k");
    batch.delete_range(Cf::Raft, b"", b"z");
    engine
        .write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    assert_eq!(get(&engine, Cf::Default, "k").as_deref(), Some("default"));
    assert_eq!(get(&engine, Cf::Write, "k").as_deref(), Some("write"));
    assert_eq!(get(&engine, Cf::Lock, "k"), None);
    assert_eq!(get(&engine, Cf::Raft, "k"), None);
    let snapshot = engine.snapshot();
    assert_eq!(keys(&snapshot, Cf::Write, "", ""), ["k"]);
    assert!(keys(&snapshot, Cf::Lock, "", "").is_empty());
}

/// Later operations of a batch win over earlier ones.
pub fn a_batch_is_applied_in_order_over_all_families<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    let mut batch = engine.batch();
    batch.put(Cf::Default, b"a", b"1");
    batch.put(Cf::Default, b"a", b"2");
    batch.put(Cf::Write, b"b", b"1");
    batch.delete(Cf::Write, b"b");
    batch.delete(Cf::Lock, b"c");
    batch.put(Cf::Lock, b"c", b"1");
    engine
        .write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
    assert_eq!(get(&engine, Cf::Default, "a").as_deref(), Some("2"));
    assert_eq!(get(&engine, Cf::Write, "b"), None);
    assert_eq!(get(&engine, Cf::Lock, "c").as_deref(), Some("1"));
}

/// `write` leaves the batch empty; its size counts what was put since.
pub fn a_written_batch_is_empty_and_can_be_used_again<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    let mut batch = engine.batch();
    assert!(batch.is_empty());
    engine
        .write(&mut batch, Durability::Synced)
        .expect("an empty write succeeds");
    batch.put(Cf::Default, b"a", &[7; 1000]);
    assert!(!batch.is_empty());
    assert!(batch.size_bytes() >= 1000, "{}", batch.size_bytes());
    engine
        .write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    assert!(batch.is_empty());
    assert!(batch.size_bytes() < 1000, "{}", batch.size_bytes());
    batch.put(Cf::Default, b"b", b"2");
    engine
        .write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    assert_eq!(get(&engine, Cf::Default, "b").as_deref(), Some("2"));
    assert_eq!(keys(&engine.snapshot(), Cf::Default, "", ""), ["a", "b"]);
}

/// `clear` forgets operations, and a refused range with them.
pub fn a_cleared_batch_writes_nothing<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    let mut batch = engine.batch();
    batch.put(Cf::Default, b"a", b"1");
    batch.delete_range(Cf::Default, b"z", b"a");
    batch.clear();
    assert!(batch.is_empty());
    engine
        .write(&mut batch, Durability::Buffered)
        .expect("nothing is left to refuse");
    assert_eq!(get(&engine, Cf::Default, "a"), None);
}

/// `[start, end)`, and equal bounds take nothing.
pub fn delete_range_takes_its_start_and_leaves_its_end<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    put(
        &engine,
        Cf::Default,
        &[("a", "1"), ("b", "1"), ("bb", "1"), ("c", "1"), ("d", "1")],
    );
    let mut batch = engine.batch();
    batch.delete_range(Cf::Default, b"b", b"c");
    batch.delete_range(Cf::Default, b"d", b"d");
    engine
        .write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    assert_eq!(get(&engine, Cf::Default, "b"), None);
    assert_eq!(
        keys(&engine.snapshot(), Cf::Default, "", ""),
        ["a", "c", "d"]
    );
    assert_eq!(
        backward(
            &mut engine
                .snapshot()
                .iter(Cf::Default, b"", b"")
                .expect("opens")
        )
        .len(),
        3
    );
}

/// In one batch, what is put after a delete-range stays.
pub fn delete_range_hides_earlier_puts_of_its_batch_only<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    let mut batch = engine.batch();
    batch.put(Cf::Default, b"a", b"before");
    batch.put(Cf::Default, b"b", b"before");
    batch.delete_range(Cf::Default, b"a", b"c");
    batch.put(Cf::Default, b"b", b"after");
    engine
        .write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    assert_eq!(get(&engine, Cf::Default, "a"), None);
    assert_eq!(get(&engine, Cf::Default, "b").as_deref(), Some("after"));
}

/// An inverted range and an empty end are refused; the batch stays as it was.
pub fn a_range_that_is_none_is_refused_and_nothing_is_written<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    for (start, end) in [("b", "a"), ("b", ""), ("", "")] {
        let mut batch = engine.batch();
        batch.put(Cf::Default, b"k", b"1");
        batch.delete_range(Cf::Default, start.as_bytes(), end.as_bytes());
        let error = engine
            .write(&mut batch, Durability::Synced)
            .expect_err("not a range");
        assert!(matches!(error, Error::InvalidRange { .. }), "{error:?}");
        assert!(!batch.is_empty());
        assert_eq!(get(&engine, Cf::Default, "k"), None);
    }
}

/// Bounds are half-open; an empty upper bound is none.
pub fn an_iterator_walks_its_bounds_both_ways<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    put(
        &engine,
        Cf::Default,
        &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")],
    );
    let snapshot = engine.snapshot();
    for (lower, upper, wanted) in [
        ("", "", "abcd"),
        ("b", "", "bcd"),
        ("b", "d", "bc"),
        ("", "c", "ab"),
        ("aa", "cc", "bc"),
        ("e", "", ""),
    ] {
        let mut iter = snapshot
            .iter(Cf::Default, lower.as_bytes(), upper.as_bytes())
            .expect("the iterator opens");
        assert!(!iter.valid(), "it stands nowhere before a seek");
        let there = forward(&mut iter);
        let mut back = backward(&mut iter);
        back.reverse();
        assert_eq!(there, back, "[{lower}, {upper})");
        let found: Vec<u8> = there.into_iter().flat_map(|(key, _)| key).collect();
        assert_eq!(found, wanted.as_bytes(), "[{lower}, {upper})");
    }
}

/// A seek never leaves the bounds, whatever it is asked for.
pub fn seeks_stop_at_the_bounds<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    put(
        &engine,
        Cf::Default,
        &[("a", "1"), ("b", "2"), ("d", "4"), ("e", "5"), ("f", "6")],
    );
    let snapshot = engine.snapshot();
    let mut iter = snapshot
        .iter(Cf::Default, b"b", b"f")
        .expect("the iterator opens");
    for (key, wanted) in [
        ("", Some("b")),
        ("b", Some("b")),
        ("c", Some("d")),
        ("e", Some("e")),
        ("ea", None),
        ("f", None),
        ("z", None),
    ] {
        assert_eq!(
            iter.seek(key.as_bytes()).expect("the seek succeeds"),
            wanted.is_some(),
            "seek {key}"
        );
        assert_eq!(
            iter.valid().then(|| iter.key()),
            wanted.map(str::as_bytes),
            "seek {key}"
        );
    }
    for (key, wanted) in [
        ("", None),
        ("a", None),
        ("b", Some("b")),
        ("c", Some("b")),
        ("d", Some("d")),
        ("f", Some("e")),
        ("z", Some("e")),
    ] {
        let found = iter
            .seek_for_prev(key.as_bytes())
            .expect("the seek succeeds");
        assert_eq!(found, wanted.is_some(), "seek_for_prev {key}");
        assert_eq!(
            iter.valid().then(|| iter.key()),
            wanted.map(str::as_bytes),
            "seek_for_prev {key}"
        );
    }
    assert!(iter.seek(b"d").expect("the seek succeeds"));
    assert!(iter.prev().expect("the step succeeds"));
    assert_eq!((iter.key(), iter.value()), (&b"b"[..], &b"2"[..]));
    assert!(iter.next().expect("the step succeeds"));
    assert_eq!((iter.key(), iter.value()), (&b"d"[..], &b"4"[..]));
}

/// Stepping over either end ends there; only a seek comes back.
pub fn an_iterator_that_stands_nowhere_stays_there<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    put(&engine, Cf::Default, &[("a", "1"), ("b", "2")]);
    let snapshot = engine.snapshot();
    let mut iter = snapshot
        .iter(Cf::Default, b"", b"")
        .expect("the iterator opens");
    assert!(!iter.next().expect("the step succeeds"));
    assert!(!iter.prev().expect("the step succeeds"));
    assert!(iter.seek_to_last().expect("the seek succeeds"));
    assert!(!iter.next().expect("the step succeeds"));
    assert!(!iter.prev().expect("the step succeeds"));
    assert!(!iter.valid());
    assert!(iter.seek_to_first().expect("the seek succeeds"));
    assert!(!iter.prev().expect("the step succeeds"));
    assert!(!iter.next().expect("the step succeeds"));
    assert!(iter.seek(b"b").expect("the seek succeeds"));
    assert_eq!(iter.value(), b"2");
}

/// Inverted and equal bounds hold no keys.
pub fn an_inverted_or_empty_range_iterates_nothing<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    put(&engine, Cf::Default, &[("a", "1"), ("b", "2"), ("c", "3")]);
    let snapshot = engine.snapshot();
    for (lower, upper) in [("c", "a"), ("b", "b"), ("z", "y")] {
        let mut iter = snapshot
            .iter(Cf::Default, lower.as_bytes(), upper.as_bytes())
            .expect("the iterator opens");
        assert!(forward(&mut iter).is_empty(), "[{lower}, {upper})");
        assert!(backward(&mut iter).is_empty(), "[{lower}, {upper})");
        assert!(!iter.seek(b"b").expect("the seek succeeds"));
        assert!(!iter.seek_for_prev(b"b").expect("the seek succeeds"));
        assert_eq!(
            engine
                .approximate_size(Cf::Default, lower.as_bytes(), upper.as_bytes())
                .expect("estimates"),
            0
        );
    }
}

/// 0x00, 0xff and the empty key are keys like others.
pub fn binary_keys_are_ordered_by_bytes<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    let sorted: [&[u8]; 6] = [b"", b"\0", b"\0\xff", b"\x7f", b"\xff", b"\xff\xff\xff"];
    let mut batch = engine.batch();
    for key in sorted.iter().rev() {
        batch.put(Cf::Default, key, key);
    }
    engine
        .write(&mut batch, Durability::Buffered)
        .expect("the write succeeds");
    let snapshot = engine.snapshot();
    let mut iter = snapshot
        .iter(Cf::Default, b"", b"")
        .expect("the iterator opens");
    let found: Vec<Vec<u8>> = forward(&mut iter).into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, sorted);
    assert!(
        iter.seek_for_prev(b"\xff\xff\xff\xff")
            .expect("the seek succeeds")
    );
    assert_eq!(iter.key(), b"\xff\xff\xff");
    assert_eq!(
        engine.get(Cf::Default, b"").expect("the read succeeds"),
        Some(Bytes::new())
    );
}

/// Neither puts, deletes nor delete-ranges after it show in a snapshot.
pub fn a_snapshot_does_not_see_later_writes<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    put(
        &engine,
        Cf::Default,
        &[("a", "old"), ("b", "old"), ("c", "old")],
    );
    let snapshot = engine.snapshot();
    put(&engine, Cf::Default, &[("a", "new"), ("d", "new")]);
    let mut batch = engine.batch();
    batch.delete(Cf::Default, b"b");
    batch.delete_range(Cf::Default, b"c", b"d");
    engine
        .write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
    let clone = snapshot.clone();
    drop(snapshot);
    assert_eq!(keys(&clone, Cf::Default, "", ""), ["a", "b", "c"]);
    assert_eq!(
        clone.get(Cf::Default, b"a").expect("reads"),
        Some(Bytes::from_static(b"old"))
    );
    assert_eq!(clone.get(Cf::Default, b"d").expect("reads"), None);
    assert_eq!(keys(&engine.snapshot(), Cf::Default, "", ""), ["a", "d"]);
}

/// A snapshot on another thread needs no engine handle.
pub fn a_snapshot_outlives_the_engine_handle<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    put(&engine, Cf::Write, &[("a", "1"), ("b", "2")]);
    let snapshot = engine.snapshot();
    drop(engine);
    let reader = std::thread::spawn(move || keys(&snapshot, Cf::Write, "", ""));
    assert_eq!(reader.join().expect("the reader ends well"), ["a", "b"]);
}

/// What was synced, and all before it, is there for the next process.
pub fn synced_writes_are_there_after_reopening<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    put(&engine, Cf::Default, &[("a", "buffered"), ("gone", "1")]);
    let mut batch = engine.batch();
    batch.put(Cf::Lock, b"b", b"synced");
    batch.put(Cf::Raft, b"c", b"synced");
    batch.delete_range(Cf::Default, b"g", b"h");
    engine
        .write(&mut batch, Durability::Synced)
        .expect("the write succeeds");
    drop((batch, engine));
    let engine = place.open();
    assert_eq!(get(&engine, Cf::Default, "a").as_deref(), Some("buffered"));
    assert_eq!(get(&engine, Cf::Lock, "b").as_deref(), Some("synced"));
    assert_eq!(get(&engine, Cf::Raft, "c").as_deref(), Some("synced"));
    assert_eq!(get(&engine, Cf::Default, "gone"), None);
}

/// `sync` does for buffered writes what a synced write does.
pub fn sync_keeps_what_was_buffered<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    put(&engine, Cf::Default, &[("a", "1")]);
    engine.sync().expect("the sync succeeds");
    engine.sync().expect("a second sync succeeds");
    drop(engine);
    assert_eq!(get(&place.open(), Cf::Default, "a").as_deref(), Some("1"));
}

/// More data, a larger estimate; a part is no larger than the whole.
pub fn the_approximate_size_grows_with_the_data<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    assert_eq!(
        engine
            .approximate_size(Cf::Default, b"", b"")
            .expect("estimates"),
        0
    );
    let value = incompressible(1 << 10);
    let mut sizes = Vec::new();
    for round in 0..3_u32 {
        let mut batch = engine.batch();
        for i in 0..1024_u32 {
            let key = (round * 1024 + i).to_be_bytes();
            batch.put(Cf::Default, &key, &value[i as usize % 64..]);
        }
        engine
            .write(&mut batch, Durability::Synced)
            .expect("the write succeeds");
        sizes.push(
            engine
                .approximate_size(Cf::Default, b"", b"")
                .expect("estimates"),
        );
    }
    assert!(
        sizes[0] > 0 && sizes[0] < sizes[1] && sizes[1] < sizes[2],
        "{sizes:?}"
    );
    let half = engine
        .approximate_size(Cf::Default, &0_u32.to_be_bytes(), &1024_u32.to_be_bytes())
        .expect("estimates");
    assert!(half > 0 && half < sizes[2], "{half} of {}", sizes[2]);
    assert_eq!(
        engine
            .approximate_size(Cf::Lock, b"", b"")
            .expect("estimates"),
        0
    );
}

/// A compaction on request changes nothing for readers, and drops what was removed.
pub fn a_compaction_changes_no_reading_and_leaves_no_removals<P: KvPlace>() {
    let place = P::fresh();
    let engine = place.open();
    let value = incompressible(1 << 10);
    let rows = |numbers: std::ops::Range<u32>| {
        let mut batch = engine.batch();
        for number in numbers {
            batch.put(Cf::Default, &number.to_be_bytes(), &value);
        }
        batch
    };
    let write = |mut batch| {
        let written = engine.write(&mut batch, Durability::Synced);
        written.expect("the write succeeds");
    };
    let compact = |end: &[u8], is_wanted: bool| {
        let compacted = engine.compact(Cf::Default, b"", end, &|| is_wanted);
        compacted.expect("the compaction succeeds");
    };
    write(rows(0..1_000));
    compact(b"", true);
    let before = engine.snapshot();
    let mut removals = engine.batch();
    for number in 0..100_u32 {
        removals.delete(Cf::Default, &number.to_be_bytes());
    }
    removals.delete_range(
        Cf::Default,
        &500_u32.to_be_bytes(),
        &1_000_u32.to_be_bytes(),
    );
    write(removals);
    compact(b"", false);
    compact(b"", true);
    let there = |number: u32| {
        let found = engine.get(Cf::Default, &number.to_be_bytes());
        found.expect("a read").is_some()
    };
    for number in 0..1_000_u32 {
        let seen = before.get(Cf::Default, &number.to_be_bytes());
        assert!(seen.expect("a read").is_some(), "{number}");
        assert_eq!(there(number), (100..500).contains(&number), "{number}");
    }
    drop(before);
    compact(&2_000_u32.to_be_bytes(), true);
    let files = engine.files(Cf::Default, b"", b"").expect("a list");
    assert_eq!(files.removals, 0, "{files:?}");
    assert!(files.entries <= 400, "{files:?}");
    let others = engine.files(Cf::Default, &600_u32.to_be_bytes(), b"");
    assert_eq!(others.expect("a list"), Files::default());
    assert!((0..1_000).all(|number| there(number) == (100..500).contains(&number)));
}

fn incompressible(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, Vec<u8>, Vec<u8>),
    Delete(usize, Vec<u8>),
    DeleteRange(usize, Vec<u8>, Vec<u8>),
    Write(bool),
    Reopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(
        prop_oneof![Just(0_u8), Just(b'a'), Just(b'b'), Just(255_u8)],
        0..4,
    )
}

fn step() -> impl Strategy<Value = Step> {
    let cf = 0..Cf::ALL.len();
    prop_oneof![
        8 => (cf.clone(), key(), key()).prop_map(|(cf, key, value)| Step::Put(cf, key, value)),
        3 => (cf.clone(), key()).prop_map(|(cf, key)| Step::Delete(cf, key)),
        2 => (cf, key(), key()).prop_map(|(cf, start, end)| Step::DeleteRange(cf, start, end)),
        6 => any::<bool>().prop_map(Step::Write),
        1 => Just(Step::Reopen),
    ]
}

type Model = [BTreeMap<Vec<u8>, Vec<u8>>; 4];

/// Random histories of puts, deletes, delete-ranges and reopenings, read back through bounded
/// iterators, seeks and gets, agree with sorted maps.
pub fn a_random_history_reads_like_a_sorted_map<P: KvPlace>() {
    let history = proptest::collection::vec(step(), 1..80);
    let bounds = proptest::collection::vec((key(), key(), key()), 4);
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&(history, bounds), |(history, bounds)| {
            let place = P::fresh();
            let (engine, model) = replay(&place, history);
            check_against(&engine, &model, &bounds)
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

fn replay<P: KvPlace>(place: &P, history: Vec<Step>) -> (P::Engine, Model) {
    let mut engine = place.open();
    let mut batch = engine.batch();
    let mut model = Model::default();
    let mut pending = model.clone();
    for step in history {
        match step {
            Step::Put(cf, key, value) => {
                batch.put(Cf::ALL[cf], &key, &value);
                pending[cf].insert(key, value);
            }
            Step::Delete(cf, key) => {
                batch.delete(Cf::ALL[cf], &key);
                pending[cf].remove(&key);
            }
            Step::DeleteRange(cf, a, b) => {
                let (start, end) = if a <= b { (a, b) } else { (b, a) };
                if end.is_empty() {
                    continue;
                }
                batch.delete_range(Cf::ALL[cf], &start, &end);
                pending[cf].retain(|key, _| *key < start || *key >= end);
            }
            Step::Write(synced) => {
                let durability = if synced {
                    Durability::Synced
                } else {
                    Durability::Buffered
                };
                engine
                    .write(&mut batch, durability)
                    .expect("the write succeeds");
                model = pending.clone();
            }
            Step::Reopen => {
                drop((batch, engine));
                engine = place.open();
                batch = engine.batch();
                pending = model.clone();
            }
        }
    }
    (engine, model)
}

fn check_against<E: KvEngine>(
    engine: &E,
    model: &Model,
    bounds: &[(Vec<u8>, Vec<u8>, Vec<u8>)],
) -> Result<(), TestCaseError> {
    let snapshot = engine.snapshot();
    for cf in Cf::ALL {
        let map = &model[cf.position()];
        for (lower, upper, probe) in bounds {
            let within: Vec<Pair> = map
                .iter()
                .filter(|(key, _)| *key >= lower && (upper.is_empty() || *key < upper))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let mut iter = snapshot.iter(cf, lower, upper).expect("the iterator opens");
            prop_assert_eq!(&forward(&mut iter), &within);
            let mut back = backward(&mut iter);
            back.reverse();
            prop_assert_eq!(&back, &within);
            iter.seek(probe).expect("the seek succeeds");
            let after = within.iter().find(|(key, _)| key >= probe);
            prop_assert_eq!(
                iter.valid().then(|| iter.key().to_vec()),
                after.map(|(key, _)| key.clone())
            );
            iter.seek_for_prev(probe).expect("the seek succeeds");
            let before = within.iter().rfind(|(key, _)| key <= probe);
            prop_assert_eq!(
                iter.valid().then(|| iter.key().to_vec()),
                before.map(|(key, _)| key.clone())
            );
            let value = engine.get(cf, probe).expect("the read succeeds");
            prop_assert_eq!(value.as_deref(), map.get(probe).map(Vec::as_slice));
        }
    }
    Ok(())
}
