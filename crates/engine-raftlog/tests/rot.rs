//! Damage at random places of real log files. Some hundred cases with every test run, and
//! `ROT_CASES=2000` makes it as many (`docs/reliability.md`).

use engine::conformance::rot::{Outcome, RotPlace, asked, damage_logs};
use engine_raftlog::{RaftLogEngine, RaftLogOptions};
use std::path::Path;

/// A file's header; the first record follows.
const HEADER_BYTES: usize = 69;

struct RaftEngine;

impl RotPlace for RaftEngine {
    type Log = RaftLogEngine;

    fn open(directory: &Path, size: u64) -> engine::Result<RaftLogEngine> {
        let file_bytes = [512, 4 << 10, 16 << 10, 128 << 20][size as usize % 4];
        let options = RaftLogOptions {
            file_bytes,
            purge_threshold_bytes: 3 * file_bytes,
            recovery_threads: 2,
            compression_threshold_bytes: if size >= 4 { 200 } else { 0 },
            idle_purges: 0,
        };
        RaftLogEngine::open(directory, &options)
    }

    fn is_lock(name: &str) -> bool {
        matches!(name, "LOCK" | "STORE-LOCK")
    }

    fn ends(name: &str, content: &[u8]) -> Vec<u64> {
        let mut ends = Vec::new();
        let mut at = HEADER_BYTES;
        while (name.ends_with(".raftlog") || name.ends_with(".rewrite")) && at <= content.len() {
            ends.push(at as u64);
            let Some(first) = content[at..].first_chunk() else {
                break;
            };
            match u64::from_be_bytes(*first) >> 8 {
                0 => break,
                length => at = at.saturating_add(length as usize),
            }
        }
        ends
    }
}

#[test]
fn no_damage_to_the_files_loses_what_was_synced_without_a_word() {
    let (cases, seed) = asked();
    let table = damage_logs::<RaftEngine>(cases, seed);
    table.check(seed);
    assert!(table.total(Outcome::Refused) > cases / 3);
    assert!(table.total(Outcome::Whole) > 0);
}
