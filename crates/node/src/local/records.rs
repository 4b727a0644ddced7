//! Reading all of a directory: every entry of a log, and every pair of a family.
//!
//! **Why.** The engines check a block or a record when somebody reads it. What nobody reads rots unseen.
//!
//! **Invariants.** One Region's entries, or one pair, are in memory at a time, up to a bound in bytes.
//!
//! **Not here.** The checksums themselves: the engines have them.

use engine::{Cf, KvEngine, KvIterator, KvSnapshot, RaftLog};
use raftstore::EntryContent;
use types::RegionId;

const FETCH_BYTES: u64 = 1 << 20;

/// What was read of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCount {
    /// Entries.
    pub entries: u64,
    /// Their data. Bytes.
    pub bytes: u64,
}

/// Reads a Region's log from its first entry to its last.
///
/// # Errors
/// What is wrong with it: an entry that can't be read, is not where it should be, or has a term before that of
/// the one before it.
pub fn read_log<L: RaftLog>(log: &L, region: RegionId) -> Result<LogCount, String> {
    let failed = |error: engine::Error| format!("its Raft log can't be read: {error}");
    let mut count = LogCount::default();
    let Some((first, last)) = log.bounds(region).map_err(failed)? else {
        return Ok(count);
    };
    let (mut next, mut term) = (first, 0);
    while next <= last {
        let read = log.fetch(region, next, last.saturating_add(1), FETCH_BYTES);
        let entries = read.map_err(failed)?;
        if entries.is_empty() {
            return Err(format!("entry {next} of its Raft log is missing"));
        }
        for entry in entries {
            if entry.index != next {
                let found = entry.index;
                return Err(format!(
                    "its Raft log has entry {found} in the place of {next}"
                ));
            }
            if entry.term < term {
                return Err(format!(
                    "entry {next} of its Raft log has term {}, behind one of term {term}",
                    entry.term
                ));
            }
            if let Err(error) = EntryContent::read(&entry) {
                return Err(format!(
                    "entry {next} of its Raft log can't be decoded: {error}"
                ));
            }
            term = entry.term;
            count.entries += 1;
            count.bytes += entry.data.len() as u64;
            next += 1;
        }
    }
    Ok(count)
}

/// What was read of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyCount {
    /// Pairs.
    pub pairs: u64,
    /// Their keys and values. Bytes.
    pub bytes: u64,
}

/// Reads every pair of a family.
///
/// # Errors
/// The engine's, at the first block that is damaged or can't be read.
pub fn read_family<K: KvEngine>(kv: &K, cf: Cf) -> engine::Result<FamilyCount> {
    let snapshot = kv.snapshot();
    let mut iter = snapshot.iter(cf, b"", b"")?;
    let mut count = FamilyCount::default();
    let mut valid = iter.seek_to_first()?;
    while valid {
        count.pairs += 1;
        count.bytes += (iter.key().len() + iter.value().len()) as u64;
        valid = iter.next()?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::mem::Disk;
    use engine::{Durability, KvBatch, RaftLogBatch};
    use types::LogEntry;

    const REGION: RegionId = RegionId(2);

    fn read(entries: &[(u64, u64, &'static [u8])]) -> Result<LogCount, String> {
        let log = Disk::new().open_log("log").unwrap();
        let entry = |(index, term, data): &(u64, u64, &'static [u8])| LogEntry {
            index: *index,
            term: *term,
            data: bytes::Bytes::from_static(data),
            ..LogEntry::default()
        };
        let entries: Vec<LogEntry> = entries.iter().map(entry).collect();
        let mut batch = log.batch();
        batch.append(REGION, &entries);
        log.write(&mut batch, Durability::Synced).unwrap();
        read_log(&log, REGION)
    }

    #[test]
    fn a_whole_log_is_counted() {
        // A batch of no commands.
        let batch = &[1, 0, 1, 1];
        let count = read(&[(6, 5, b""), (7, 5, batch), (8, 6, b"")]).unwrap();
        assert_eq!((count.entries, count.bytes), (3, 4));
    }

    #[test]
    fn a_term_that_goes_back_and_an_entry_that_says_nothing_known_are_found() {
        let said = read(&[(6, 5, b""), (7, 4, b"")]).unwrap_err();
        assert!(
            said.contains("entry 7") && said.contains("term 4"),
            "{said}"
        );
        let said = read(&[(6, 5, b""), (7, 5, b"\xffnonsense")]).unwrap_err();
        assert!(
            said.contains("entry 7") && said.contains("decoded"),
            "{said}"
        );
    }

    #[test]
    fn every_pair_of_a_family_is_read() {
        let kv = Disk::new().open_kv("kv").unwrap();
        let mut batch = kv.batch();
        batch.put(Cf::Default, b"za", b"123");
        batch.put(Cf::Default, b"zb", b"");
        batch.put(Cf::Write, b"zc", b"");
        kv.write(&mut batch, Durability::Synced).unwrap();
        let count = read_family(&kv, Cf::Default).unwrap();
        assert_eq!((count.pairs, count.bytes), (2, 7));
    }
}
