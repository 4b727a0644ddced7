//! `ctl local raft-log`: the entries of a log, in words.
//!
//! **Why no values.** A log is looked at to learn what was done and when. Values are what its users would not like
//! to see in a report; their sizes tell enough.
//!
//! **Invariants.** Entries are printed as they are read, some of them at a time. One that can't be decoded is
//! printed with the reason, and those behind it, too.
//!
//! **Not here.** Decoding (`raftstore::EntryContent`).

use super::super::encoding::Encoding;
use super::super::output::Printer;
use crate::error::{Error, Result};
use engine::{Cf, RaftLog};
use node::local::LocalError;
use raftstore::{Admin, Command, EntryContent, Mutation, PeerChange, PeerChangeKind};
use serde_json::{Value, json};
use types::{LogEntry, RegionId};

const FETCH_BYTES: u64 = 1 << 20;
/// So many commands of an entry stand in a line for people.
const SHOWN_MAX: usize = 16;

/// Which entries, and how.
pub(super) struct Wanted {
    /// Whose.
    pub(super) region: RegionId,
    /// From this one on; from the first, if not given.
    pub(super) from: Option<u64>,
    /// Up to this one, itself included; up to the last, if not given.
    pub(super) to: Option<u64>,
    /// How keys are written.
    pub(super) encoding: Encoding,
    /// Whether all commands of an entry are shown, however many they are.
    pub(super) all: bool,
}

/// Prints them.
pub(super) fn show<L: RaftLog>(log: &L, wanted: &Wanted, printer: &mut Printer) -> Result<()> {
    let failed = |source| {
        Error::Local(LocalError::Engine {
            doing: "reading a Raft log",
            source,
        })
    };
    let region = wanted.region;
    let Some((first, last)) = log.bounds(region).map_err(failed)? else {
        let known = log.regions().map_err(failed)?;
        return match known.contains(&region) {
            // It may all be compacted.
            true => Ok(()),
            false => Err(LocalError::NoRegion(region).into()),
        };
    };
    let mut next = wanted.from.unwrap_or(first).max(first);
    let last = wanted.to.unwrap_or(last).min(last);
    while next <= last {
        let entries = log.fetch(region, next, last + 1, FETCH_BYTES);
        for entry in entries.map_err(failed)? {
            printer.line(&fields(&entry, wanted))?;
            next = entry.index + 1;
        }
    }
    Ok(())
}

fn fields(entry: &LogEntry, wanted: &Wanted) -> Vec<(&'static str, Value)> {
    let (kind, epoch, mut commands) = match EntryContent::read(entry) {
        Ok(EntryContent::Empty) => ("empty", None, Vec::new()),
        Ok(EntryContent::Commands { epoch, commands }) => {
            let lists = commands.iter();
            let lists = lists.flat_map(|command| describe(command, wanted.encoding));
            ("commands", Some(epoch), lists.collect())
        }
        Ok(EntryContent::Membership { epoch, changes }) => {
            let changes: Vec<String> = match changes.is_empty() {
                true => vec!["leave the joint configuration".to_owned()],
                false => changes.iter().map(peer_change).collect(),
            };
            ("membership", Some(epoch), changes)
        }
        Err(error) => ("undecodable", None, vec![error.to_string()]),
    };
    let count = commands.len();
    if count > SHOWN_MAX && !wanted.all {
        commands.truncate(SHOWN_MAX);
        commands.push(format!("and {} more", count - SHOWN_MAX));
    }
    let what = match wanted.all {
        true => json!(commands),
        false => json!(commands.join("; ")),
    };
    let epoch = epoch.map(|epoch| format!("{}.{}", epoch.conf_ver, epoch.version));
    vec![
        ("index", json!(entry.index)),
        ("term", json!(entry.term)),
        ("kind", json!(kind)),
        ("epoch", json!(epoch)),
        ("size_bytes", json!(entry.data.len())),
        ("what", what),
    ]
}

/// A command in words; one for each of its mutations.
fn describe(command: &Command, encoding: Encoding) -> Vec<String> {
    match command {
        Command::Write(mutations) => {
            let each = mutations.iter();
            each.map(|mutation| describe_mutation(mutation, encoding))
                .collect()
        }
        Command::CompareAndSwap { key, value, .. } => vec![format!(
            "compare-and-swap {} ({} bytes)",
            encoding.encode(key),
            value.len()
        )],
        Command::Admin(admin) => vec![describe_admin(admin, encoding)],
    }
}

fn describe_mutation(mutation: &Mutation, encoding: Encoding) -> String {
    let of = |cf: &Cf| match cf {
        Cf::Default => String::new(),
        other => format!(" in {}", other.name()),
    };
    match mutation {
        Mutation::Put { cf, key, value } => {
            let (key, bytes) = (encoding.encode(key), value.len());
            format!("put {key} ({bytes} bytes){}", of(cf))
        }
        Mutation::Delete { cf, key } => format!("delete {}{}", encoding.encode(key), of(cf)),
        Mutation::DeleteRange { cf, start, end } => {
            let (start, end) = (encoding.encode(start), encoding.encode(end));
            format!("delete-range [{start}, {end}){}", of(cf))
        }
    }
}

fn describe_admin(admin: &Admin, encoding: Encoding) -> String {
    match admin {
        Admin::Split(cuts) => {
            let cut = |cut: &raftstore::Cut| {
                format!("at {} into {}", encoding.encode(&cut.key), cut.region_id)
            };
            let cuts: Vec<String> = cuts.iter().map(cut).collect();
            format!("split {}", cuts.join(", "))
        }
        Admin::CompactLog { index, term } => format!("compact-log {index} (term {term})"),
        Admin::PrepareMerge(target) => format!("prepare-merge into {}", target.id),
        Admin::SealMerge { index } => format!("seal-merge {index}"),
        Admin::CommitMerge(source) => format!("commit-merge of {}", source.region.id),
        Admin::RefuseMerge { source_id } => format!("refuse-merge of {source_id}"),
        Admin::RollbackMerge { index, .. } => format!("rollback-merge {index}"),
        Admin::ComputeHash => "compute-hash".to_owned(),
        Admin::VerifyHash(verdict) => {
            let (index, deviating) = (verdict.index, verdict.deviating.len());
            format!("verify-hash at {index}: {deviating} deviate")
        }
    }
}

fn peer_change(change: &PeerChange) -> String {
    let kind = match change.kind {
        PeerChangeKind::AddVoter => "add-voter",
        PeerChangeKind::AddLearner => "add-learner",
        PeerChangeKind::Remove => "remove",
    };
    format!("{kind} {}@{}", change.peer_id, change.store_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use types::{PeerId, StoreId};

    fn key(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn commands_are_told_with_their_keys_and_without_their_values() {
        let write = Command::Write(vec![
            Mutation::Put {
                cf: Cf::Default,
                key: key("a\n"),
                value: key("secret"),
            },
            Mutation::Delete {
                cf: Cf::Lock,
                key: key("b"),
            },
            Mutation::DeleteRange {
                cf: Cf::Default,
                start: key("c"),
                end: key(""),
            },
        ]);
        let expected = [
            "put a\\n (6 bytes)",
            "delete b in lock",
            "delete-range [c, )",
        ];
        assert_eq!(describe(&write, Encoding::Escaped), expected);
        let swap = Command::CompareAndSwap {
            key: key("k"),
            expected: Some(key("old secret")),
            value: key("new"),
            now_ms: 1,
        };
        assert_eq!(
            describe(&swap, Encoding::Hex),
            ["compare-and-swap 6b (3 bytes)"]
        );
    }

    #[test]
    fn commands_about_the_region_are_told() {
        let cut = raftstore::Cut {
            key: key("m"),
            region_id: RegionId(9),
            peer_ids: Vec::new(),
        };
        let told = |admin| describe_admin(&admin, Encoding::Escaped);
        assert_eq!(told(Admin::Split(vec![cut])), "split at m into 9");
        let compact = Admin::CompactLog { index: 4, term: 2 };
        assert_eq!(told(compact), "compact-log 4 (term 2)");
        let change = PeerChange {
            kind: PeerChangeKind::AddLearner,
            peer_id: PeerId(41),
            store_id: StoreId(4),
        };
        assert_eq!(peer_change(&change), "add-learner 41@4");
    }

    #[test]
    fn an_entry_that_can_not_be_decoded_is_told_with_the_reason() {
        let entry = LogEntry {
            index: 9,
            term: 3,
            data: key("\u{7f}nonsense"),
            ..LogEntry::default()
        };
        let wanted = Wanted {
            region: RegionId(2),
            from: None,
            to: None,
            encoding: Encoding::Escaped,
            all: false,
        };
        let fields = fields(&entry, &wanted);
        assert_eq!(fields[2], ("kind", json!("undecodable")));
        assert_eq!(fields[5], ("what", json!("unknown command version: 127")));
    }
}
