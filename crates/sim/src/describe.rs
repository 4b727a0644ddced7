//! What a trace says of messages and writes, for people.
//!
//! **Invariant.** Only what is the same in every run of a seed: no addresses, no order of hash maps.

use engine::Durability;
use raft::eraftpb::{Message, MessageType};
use raftstore::RaftMessage;
use std::fmt::{self, Write};
use types::{HardState, LogEntry, RegionId};

/// A message of one replica to another, in a few words.
pub(crate) struct Spoken<'a>(pub(crate) &'a RaftMessage);

impl fmt::Display for Spoken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RaftMessage {
            region_id,
            from,
            to,
            extra,
            merged_into,
            message,
            ..
        } = self.0;
        write!(f, "r{region_id} p{}>p{} ", from.id, to.id)?;
        match (merged_into, extra) {
            (Some(into), _) => write!(f, "you were merged into r{}", into.region_id),
            _ if self.0.is_tombstone => write!(f, "you were removed"),
            (None, Some(extra)) => write!(f, "{extra:?}"),
            (None, None) => write_raft(f, message),
        }
    }
}

fn write_raft(f: &mut fmt::Formatter<'_>, message: &Message) -> fmt::Result {
    let kind = format!("{:?}", message.get_msg_type());
    let kind = kind.strip_prefix("Msg").unwrap_or(&kind);
    write!(f, "{kind} t{}", message.term)?;
    let entries = message.get_entries();
    match message.get_msg_type() {
        MessageType::MsgAppend => {
            write!(f, " after {}@t{}", message.index, message.log_term)?;
            if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
                write!(f, " entries {}..={}", first.index, last.index)?;
            }
            write!(f, " commit {}", message.commit)?;
        }
        MessageType::MsgHeartbeat => write!(f, " commit {}", message.commit)?,
        _ => write!(f, " index {}", message.index)?,
    }
    match message.reject {
        true => write!(f, " refused, hint {}", message.reject_hint),
        false => Ok(()),
    }
}

/// A write to an engine: what was in it, and what came of it.
pub(crate) struct Written {
    pub(crate) engine: &'static str,
    pub(crate) durability: Durability,
    pub(crate) contents: String,
    pub(crate) has_succeeded: bool,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let durability = match (self.has_succeeded, self.durability) {
            (false, _) => "failed to write",
            (true, Durability::Synced) => "wrote and synced",
            (true, Durability::Buffered) => "wrote, unsynced,",
        };
        write!(f, "{durability} {}:{}", self.engine, self.contents)
    }
}

/// What is in a batch for a Raft log.
#[derive(Default)]
pub(crate) struct LogContents(String);

impl LogContents {
    pub(crate) fn append(&mut self, region: RegionId, entries: &[LogEntry]) {
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            let (first, last, term) = (first.index, last.index, last.term);
            self.say(format_args!(" r{region} {first}..={last}@t{term}"));
        }
    }

    pub(crate) fn hard_state(&mut self, region: RegionId, state: &HardState) {
        let HardState { term, vote, commit } = state;
        self.say(format_args!(
            " r{region} t{term} vote {vote} commit {commit}"
        ));
    }

    pub(crate) fn say(&mut self, what: fmt::Arguments<'_>) {
        self.0.write_fmt(what).expect("a string takes all");
    }

    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Peer, PeerId};

    #[test]
    fn an_append_says_what_it_brings_and_a_refusal_that_it_is_one() {
        let peer = |id| Peer {
            id: PeerId(id),
            ..Peer::default()
        };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.term, message.index, message.log_term) = (7, 4, 6);
        (message.commit, message.reject) = (3, false);
        message.mut_entries().push(raft::eraftpb::Entry {
            index: 5,
            ..raft::eraftpb::Entry::default()
        });
        let mut spoken = RaftMessage {
            region_id: RegionId(2),
            from: peer(21),
            to: peer(22),
            message,
            ..RaftMessage::default()
        };
        assert_eq!(
            Spoken(&spoken).to_string(),
            "r2 p21>p22 Append t7 after 4@t6 entries 5..=5 commit 3"
        );
        spoken.message.set_msg_type(MessageType::MsgAppendResponse);
        spoken.message.reject = true;
        assert_eq!(
            Spoken(&spoken).to_string(),
            "r2 p21>p22 AppendResponse t7 index 4 refused, hint 0"
        );
        spoken.is_tombstone = true;
        assert_eq!(Spoken(&spoken).to_string(), "r2 p21>p22 you were removed");
    }
}
