//! Log GC: how much of its log a Region lets go of, and when each replica really does.
//!
//! **The leader decides.** At every few ticks it looks how far the slowest follower has come. What all
//! have is of no use to anybody but a replica that lost it; a follower that is far behind holds the
//! log back only up to a bound in entries or bytes, and needs a snapshot beyond it. The decision is
//! replicated as an admin command, so that every replica truncates at the same entry.
//!
//! **A replica acts** in two steps. When the command is applied, its log in memory begins behind the
//! entry at once. On disk the entries stay until the key-value engine, whose writes are buffered, has
//! synced the command's effect: up to there the log can rebuild what a crash loses, and afterwards the
//! truncated index on disk names a log that is still whole.
//!
//! **A snapshot under way** holds the log back at its index for a while, past the bound: were the log
//! cut behind it meanwhile, its follower would need the next one, and so on for ever.
//!
//! **Before a Region sleeps** it lets go of what would otherwise wait for more: an idle log is then so short that it
//! costs an engine next to nothing.
//!
//! **Invariants.** Nothing is cut that is not applied. Nothing is cut on disk whose effect is not
//! durable in the key-value engine.
//!
//! **Not here.** Giving the space back (`RaftLog::purge`), which the node has done now and then.

use crate::admin::Admin;
use crate::command::Command;
use crate::effect::Effect;
use crate::peer::Peer;
use std::collections::VecDeque;

/// How long logs may grow. Names and defaults follow TiKV's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGcOptions {
    /// Ticks between a leader's looks (`raft-log-gc-tick-interval`).
    pub interval_ticks: u64,
    /// Entries that all replicas have, below which it does not pay (`raft-log-gc-threshold`).
    pub threshold: u64,
    /// Entries that a slow follower may hold back (`raft-log-gc-count-limit`): 3/4 of the split size
    /// at 1 KiB each.
    pub count_max: u64,
    /// Bytes that a slow follower may hold back (`raft-log-gc-size-limit`): 3/4 of the split size.
    pub bytes_max: u64,
    /// By how much a snapshot under way may have both exceeded.
    pub snapshot_factor: u64,
    /// How long it may, in ticks.
    pub snapshot_patience_ticks: u64,
}

impl Default for LogGcOptions {
    fn default() -> Self {
        Self {
            interval_ticks: 3,
            threshold: 50,
            count_max: 196_608,
            bytes_max: 192 << 20,
            snapshot_factor: 4,
            snapshot_patience_ticks: 600,
        }
    }
}

/// So many entries, or bytes, pay before a Region sleeps.
const IDLE_THRESHOLD: u64 = 8;
const IDLE_BYTES: u64 = 512;

/// A leader's log, and who needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    truncated: u64,
    applied: u64,
    /// About the bytes of all entries.
    bytes: u64,
    /// The lowest index that some replica is known to have.
    slowest: u64,
    /// Where the followers go on that have been sent a snapshot.
    snapshots: Option<u64>,
    /// Whether the Region will soon sleep.
    is_drowsy: bool,
}

/// The last entry to let go of; none if that does not pay now.
fn decide(extent: Extent, options: &LogGcOptions) -> Option<u64> {
    let Extent {
        truncated,
        applied,
        bytes,
        slowest,
        snapshots,
        is_drowsy,
    } = extent;
    let count = applied - truncated;
    let is_over = |factor: u64| {
        count >= options.count_max.saturating_mul(factor)
            || bytes >= options.bytes_max.saturating_mul(factor)
    };
    let wanted = match is_over(1) {
        // Half of it stays for those who are only somewhat behind.
        true => slowest.max(truncated + count.div_ceil(2)),
        false => slowest,
    };
    let held = snapshots.filter(|_| !is_over(options.snapshot_factor));
    let index = wanted.min(applied).min(held.unwrap_or(u64::MAX));
    let gain = index.saturating_sub(truncated);
    let pays = gain >= options.threshold || (is_over(1) && gain > 0);
    // What lets go of one entry is another one.
    let pays_idle = gain > 1 && (gain >= IDLE_THRESHOLD || bytes >= IDLE_BYTES);
    (pays || (is_drowsy && pays_idle)).then_some(index)
}

/// A replica's truncations that are applied and not yet cut on disk.
#[derive(Default)]
pub(crate) struct Cuts {
    /// The command's own index, and the last index that it lets go of.
    waiting: VecDeque<(u64, u64)>,
    /// A term, and an index that is not before the last command that this replica proposed in it.
    proposed: (u64, u64),
}

impl Cuts {
    /// The key-value engine has synced the effect of all entries up to `applied`: what may go.
    fn synced(&mut self, applied: u64) -> Option<u64> {
        let durable = self.waiting.partition_point(|(at, _)| *at <= applied);
        let cut = self.waiting.drain(..durable).next_back();
        if self.waiting.is_empty() {
            self.waiting.shrink_to_fit();
        }
        cut.map(|(_, cut)| cut)
    }

    /// The log begins anew.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl Peer {
    /// One tick has passed.
    pub(crate) fn compact_now_and_then(&mut self, out: &mut Vec<Effect>) {
        let options = &self.options.log_gc;
        self.sending.tick(options.snapshot_patience_ticks);
        self.log_gc_due_ticks = self.log_gc_due_ticks.saturating_sub(1);
        if self.log_gc_due_ticks > 0 || !self.is_leader() {
            return;
        }
        self.log_gc_due_ticks = options.interval_ticks;
        if let Some((index, term)) = self.log_to_compact() {
            self.flush_batch(out);
            let command = Command::Admin(Admin::CompactLog { index, term });
            self.proposals.push_own(self.region.epoch, &command);
            self.flush_batch(out);
            self.cuts.proposed = (self.term(), self.raw.raft.raft_log.last_index());
        }
    }

    /// Whether a command that was proposed in this term is not applied yet.
    pub(crate) fn may_be_cutting(&self) -> bool {
        let (term, index) = self.cuts.proposed;
        term == self.term() && index > self.applied_index
    }

    /// The entry behind which a leader wants the log to begin, and its term.
    fn log_to_compact(&mut self) -> Option<(u64, u64)> {
        // The replicas of a source must come to the entry that began the merge without a snapshot, and
        // those of a target to the one that takes it in.
        if self.merging().is_some() || self.may_be_committing() || !self.knows_its_log() {
            return None;
        }
        let options = &self.options.log_gc;
        let progress = self.raw.raft.prs();
        let matched = |id: u64| progress.get(id).map_or(0, |progress| progress.matched);
        self.sending.matched(|peer| matched(peer.get()));
        let store = self.raw.store();
        let extent = Extent {
            truncated: store.truncated_index(),
            applied: self.applied_index,
            bytes: store.log_bytes(),
            slowest: progress.iter().map(|(id, _)| matched(*id)).min()?,
            snapshots: self.sending.lowest_index(),
            is_drowsy: self.is_nearly_asleep(),
        };
        let mut index = decide(extent, options)?;
        // A snapshot over a merge can't be installed by who does not have it in the log (`op::merge`).
        if extent.slowest < self.merges.committed.0 {
            index = index.min(extent.slowest);
        }
        if index <= extent.truncated {
            return None;
        }
        let term = store.term_at(index)?;
        Some((index, term))
    }

    /// The command at `at` was applied: the log begins behind `index`.
    pub(crate) fn compact_log(&mut self, at: u64, index: u64, term: u64, out: &mut Vec<Effect>) {
        if !self.raw.mut_store().compact_to(index, term) {
            return;
        }
        self.cuts.waiting.push_back((at, index));
        let region_id = self.region.id;
        out.push(Effect::SyncKv {
            region_id,
            applied_index: at,
        });
    }

    /// The key-value engine has synced the effect of all entries up to `applied_index`.
    pub(crate) fn kv_synced(&mut self, applied_index: u64, out: &mut Vec<Effect>) {
        if let Some(index) = self.cuts.synced(applied_index) {
            out.push(Effect::CompactLog {
                region_id: self.region.id,
                up_to: index + 1,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> LogGcOptions {
        LogGcOptions {
            threshold: 10,
            count_max: 100,
            bytes_max: 1000,
            ..LogGcOptions::default()
        }
    }

    const SMALL: Extent = Extent {
        truncated: 5,
        applied: 60,
        bytes: 500,
        slowest: 60,
        snapshots: None,
        is_drowsy: false,
    };

    #[test]
    fn what_all_replicas_have_goes_once_there_is_enough_of_it() {
        let at = |slowest| decide(Extent { slowest, ..SMALL }, &options());
        assert_eq!(at(60), Some(60));
        assert_eq!(at(15), Some(15));
        assert_eq!(at(14), None, "below the threshold");
        assert_eq!(at(0), None, "a follower has nothing");
        assert_eq!(at(99), Some(60), "not what is not applied");
    }

    #[test]
    fn a_follower_far_behind_holds_back_so_many_entries_or_bytes() {
        let slow = Extent {
            slowest: 3,
            ..SMALL
        };
        let long = Extent {
            applied: 105,
            ..slow
        };
        let large = Extent {
            bytes: 1000,
            ..slow
        };
        assert_eq!(decide(slow, &options()), None);
        assert_eq!(decide(long, &options()), Some(55));
        assert_eq!(decide(large, &options()), Some(33));
        let nearly = Extent {
            slowest: 90,
            ..long
        };
        assert_eq!(decide(nearly, &options()), Some(90));
    }

    #[test]
    fn a_snapshot_under_way_holds_the_log_back_to_a_higher_bound() {
        let long = Extent {
            applied: 205,
            slowest: 3,
            snapshots: Some(40),
            ..SMALL
        };
        assert_eq!(decide(long, &options()), Some(40));
        let longer = Extent {
            applied: 405,
            ..long
        };
        assert_eq!(decide(longer, &options()), Some(205));
    }

    #[test]
    fn a_region_that_will_sleep_lets_go_of_less() {
        let at = |applied, bytes| {
            let extent = Extent {
                applied,
                bytes,
                is_drowsy: true,
                ..SMALL
            };
            decide(extent, &options())
        };
        assert_eq!(at(12, 100), None);
        assert_eq!(at(13, 100), Some(13), "many");
        assert_eq!(at(7, 900), Some(7), "large");
        assert_eq!(at(6, 900), None, "the command itself");
    }

    #[test]
    fn a_cut_waits_for_the_sync_of_its_own_command() {
        let mut cuts = Cuts::default();
        cuts.waiting.extend([(20, 10), (30, 25), (40, 35)]);
        assert_eq!(cuts.synced(19), None);
        assert_eq!(cuts.synced(30), Some(25));
        assert_eq!(cuts.synced(30), None);
        assert_eq!(cuts.synced(40), Some(35));
    }
}
