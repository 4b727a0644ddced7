//! Damage at random places of RocksDB's files: those of the Raft logs, and the tables of the key-value
//! engine. Some hundred cases with every test run, and `ROT_CASES=2000` makes it as many
//! (`docs/reliability.md`).

use engine::conformance::rot::{
    Damage, Outcome, RotPlace, Table, asked, copy_of, damage_logs, files_of,
};
use engine::{Cf, Durability, Error, KvBatch, KvEngine, KvIterator, KvSnapshot};
use engine_rocks::{RocksKv, RocksLog, RocksOptions};
use fuzz::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const BLOCK_BYTES: usize = 32 << 10;

fn options(write_buffer_bytes: usize) -> RocksOptions {
    RocksOptions {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes,
        ..RocksOptions::default()
    }
}

fn is_lock(name: &str) -> bool {
    matches!(name, "LOCK" | "STORE-LOCK")
}

struct Logs;

impl RotPlace for Logs {
    type Log = RocksLog;

    fn open(directory: &Path, size: u64) -> engine::Result<RocksLog> {
        let write_buffer_bytes = [64 << 10, 1 << 20][size as usize % 2];
        RocksLog::open(directory, &options(write_buffer_bytes))
    }

    fn is_lock(name: &str) -> bool {
        is_lock(name)
    }

    /// Of the write-ahead log and of the list of files, which have the same form.
    fn ends(name: &str, content: &[u8]) -> Vec<u64> {
        let mut ends = Vec::new();
        let mut at = 0;
        while name.ends_with(".log") || name.starts_with("MANIFEST-") {
            if BLOCK_BYTES - at % BLOCK_BYTES < 7 {
                at += BLOCK_BYTES - at % BLOCK_BYTES;
            }
            let Some(header) = content.get(at..at + 7) else {
                break;
            };
            ends.push(at as u64);
            at += 7 + usize::from(u16::from_le_bytes([header[4], header[5]]));
        }
        ends
    }
}

#[test]
fn no_damage_to_the_raft_logs_loses_what_was_synced_without_a_word() {
    let (cases, seed) = asked();
    let table = damage_logs::<Logs>(cases, seed);
    table.check(seed);
    assert!(table.total(Outcome::Refused) > cases / 3);
    assert!(table.total(Outcome::Whole) > 0);
}

type Model = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

/// A key-value engine whose data is in tables of several levels, and what is in it.
fn tables(rng: &mut Rng) -> (TempDir, Model) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let kv = RocksKv::open(directory.path(), &options(64 << 10)).expect("the engine opens");
    let mut model = Model::new();
    for _ in 0..400 {
        let mut batch = kv.batch();
        for _ in 0..10 {
            let cf = rng.index(Cf::ALL.len());
            let key = format!("key-{:04}", rng.below(2_000)).into_bytes();
            if rng.percent(15) {
                batch.delete(Cf::ALL[cf], &key);
                model.remove(&(cf, key));
            } else {
                // Some of it compresses, and some does not.
                let random = rng.index(200);
                let mut value = rng.bytes(random);
                value.resize(value.len() + rng.index(200), b'v');
                batch.put(Cf::ALL[cf], &key, &value);
                model.insert((cf, key), value);
            }
        }
        kv.write(&mut batch, Durability::Buffered)
            .expect("the write succeeds");
    }
    kv.flush().expect("the flush succeeds");
    kv.sync().expect("the sync succeeds");
    (copy_of(directory.path(), is_lock), model)
}

/// Reads all of it, by point and by range.
fn read(kv: &RocksKv, model: &Model) -> Result<Outcome, Error> {
    let mut refused = None;
    for ((cf, key), value) in model {
        match kv.get(Cf::ALL[*cf], key) {
            Ok(Some(found)) if found == value => {}
            Ok(_) => return Ok(Outcome::Lost),
            Err(error) => refused = Some(error),
        }
    }
    let snapshot = kv.snapshot();
    for cf in 0..Cf::ALL.len() {
        match scan(&snapshot, cf, model) {
            Ok(true) => {}
            Ok(false) => return Ok(Outcome::Lost),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) => Err(error),
        None => Ok(Outcome::Whole),
    }
}

/// Whether a scan shows what is in the model, up to its end or to an error.
fn scan(snapshot: &impl KvSnapshot, cf: usize, model: &Model) -> Result<bool, Error> {
    let mut wanted = model.iter().filter(|((of, _), _)| *of == cf);
    let mut iter = snapshot.iter(Cf::ALL[cf], b"", b"")?;
    let mut stands = iter.seek_to_first()?;
    while stands {
        let Some(((_, key), value)) = wanted.next() else {
            return Ok(false);
        };
        if iter.key() != key || iter.value() != value {
            return Ok(false);
        }
        stands = iter.next()?;
    }
    Ok(wanted.next().is_none())
}

fn judge(directory: &Path, model: &Model) -> (Outcome, String) {
    let kv = match RocksKv::open(directory, &options(64 << 10)) {
        Ok(kv) => kv,
        Err(error) => {
            let outcome = Outcome::of_error(&error, Outcome::Refused);
            return (outcome, error.to_string());
        }
    };
    match read(&kv, model) {
        Ok(outcome) => (outcome, String::new()),
        Err(error) => {
            let outcome = Outcome::of_error(&error, Outcome::RefusedRead);
            (outcome, error.to_string())
        }
    }
}

/// Damages files of the key-value engine that `is_hit`.
fn damage_tables(cases: u64, seed: u64, is_hit: fn(&str) -> bool) -> Table {
    let mut rng = Rng::new(seed);
    let (sample, model) = tables(&mut rng);
    assert_eq!(
        judge(copy_of(sample.path(), is_lock).path(), &model).0,
        Outcome::Whole
    );
    let mut table = Table::default();
    for _ in 0..cases {
        let copy = copy_of(sample.path(), is_lock);
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let mut files = files_of(copy.path());
        files.retain(|path| is_hit(&name(path)));
        let file = rng.pick(&files);
        let content = fs::read(file).expect("the file is readable");
        let damage = Damage::draw(&mut rng, &content, &Logs::ends(&name(file), &content));
        damage.inflict(&mut rng, file);
        let (outcome, said) = judge(copy.path(), &model);
        table.count(file, damage, outcome, &said);
    }
    table
}

#[test]
fn no_damage_to_a_table_makes_a_read_answer_anything_but_the_value_or_an_error() {
    let (cases, seed) = asked();
    let table = damage_tables(cases, seed, |name| name.ends_with(".sst"));
    table.check(seed);
    assert!(table.total(Outcome::Refused) > 0);
    assert!(table.total(Outcome::RefusedRead) > 0);
}

#[test]
fn no_damage_to_the_list_of_tables_makes_the_engine_forget_some() {
    let (cases, seed) = asked();
    let is_list = |name: &str| name.starts_with("MANIFEST-") || name == "CURRENT";
    let table = damage_tables(cases / 4, seed, is_list);
    table.check(seed);
    assert!(table.total(Outcome::Refused) > 0);
}
