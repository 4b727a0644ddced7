//! What a poller counts by itself until its round is over.
//!
//! **Why.** A round has many messages; the node's cells, which all pollers share, are touched once for it.

use super::{Cells, MessageKind};
use metrics::{ByLabel, is_on};
use raftstore::{ApplyTask, LogWrite};
use std::mem::take;

/// Of a round of Peers.
#[derive(Default)]
pub(crate) struct PeerCounts {
    pub(crate) proposals: u64,
    appended: u64,
    appended_bytes: u64,
    committed: u64,
    pub(crate) sent: ByLabel<MessageKind, u64>,
    pub(crate) received: ByLabel<MessageKind, u64>,
}

impl PeerCounts {
    pub(crate) fn persists(&mut self, write: &LogWrite) {
        self.appended += write.entries.len() as u64;
        let bytes = write.entries.iter().map(|entry| entry.data.len() as u64);
        self.appended_bytes += bytes.sum::<u64>();
    }

    pub(crate) fn commits(&mut self, task: &ApplyTask) {
        self.committed += task.entries.len() as u64;
    }

    /// Adds everything to the node's cells; begins anew.
    pub(crate) fn flush(&mut self, cells: &Cells) {
        if is_on() {
            cells.proposals.add(self.proposals);
            cells.appended.add(self.appended);
            cells.appended_bytes.add(self.appended_bytes);
            cells.committed.add(self.committed);
        }
        (self.proposals, self.appended) = (0, 0);
        (self.appended_bytes, self.committed) = (0, 0);
        for (counts, sums) in [
            (&mut self.sent, &cells.sent),
            (&mut self.received, &cells.received),
        ] {
            for (kind, count) in counts.iter_mut() {
                let count = take(count);
                if is_on() {
                    sums.of(kind).add(count);
                }
            }
        }
    }
}

/// Of a round of appliers.
#[derive(Default)]
pub(crate) struct ApplyCounts {
    pub(crate) applied: u64,
    pub(crate) answered: u64,
}

impl ApplyCounts {
    /// Adds everything to the node's cells; begins anew.
    pub(crate) fn flush(&mut self, cells: &Cells) {
        if is_on() {
            cells.applied.add(self.applied);
            cells.answered.add(self.answered);
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::LogEntry;

    #[test]
    fn a_round_is_counted_once() {
        let (mut counts, cells) = (PeerCounts::default(), Cells::default());
        counts.proposals = 2;
        *counts.sent.of_mut(MessageKind::Append) += 3;
        let entry = LogEntry {
            data: vec![0; 10].into(),
            ..LogEntry::default()
        };
        counts.persists(&LogWrite {
            region_id: types::RegionId(2),
            entries: vec![entry],
            hard_state: None,
            number: 1,
        });
        counts.flush(&cells);
        counts.flush(&cells);
        assert_eq!((cells.proposals.get(), cells.appended.get()), (2, 1));
        assert_eq!(cells.appended_bytes.get(), 10);
        assert_eq!(cells.sent.of(MessageKind::Append).get(), 3);
        assert_eq!(cells.received.of(MessageKind::Append).get(), 0);
    }
}
