//! Between our log entries and raft-engine's.
//!
//! **Why raft's `Entry`.** raft-engine stores protobuf messages; raft's own is one, and it shares
//! its data instead of copying it.
//!
//! **Not here.** Hard state and apply state: `engine::codec` has them.

use raft::eraftpb::{Entry, EntryType};
use raft_engine::MessageExt;
use types::{EntryKind, LogEntry};

/// Tells raft-engine where an entry's index is.
pub(crate) struct EntryExt;

impl MessageExt for EntryExt {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

pub(crate) fn to_raft(entry: &LogEntry) -> Entry {
    Entry {
        entry_type: match entry.kind {
            EntryKind::Normal => EntryType::EntryNormal,
            EntryKind::ConfChange => EntryType::EntryConfChange,
            EntryKind::ConfChangeV2 => EntryType::EntryConfChangeV2,
        },
        term: entry.term,
        index: entry.index,
        data: entry.data.clone(),
        ..Entry::default()
    }
}

pub(crate) fn from_raft(entry: Entry) -> LogEntry {
    LogEntry {
        index: entry.index,
        term: entry.term,
        kind: match entry.entry_type {
            EntryType::EntryNormal => EntryKind::Normal,
            EntryType::EntryConfChange => EntryKind::ConfChange,
            EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
        },
        data: entry.data,
    }
}
