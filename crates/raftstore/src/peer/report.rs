//! What a leader tells the placement driver, and when: now and then, and at once where the driver waits
//! for something, such as a new shape, or a learner that has caught up.
//!
//! **Not here.** How large the Region is, and how much is read and written, which the node knows.

use super::Peer;
use crate::effect::{Effect, RegionHeartbeat};
use std::time::Duration;
use types::{PeerId, Region};

impl Peer {
    pub(super) fn count_down_to_report(&mut self) {
        self.report_due_ticks = self.report_due_ticks.saturating_sub(1);
        if self.is_leader() && !self.reported_pending.is_empty() {
            let pending = self.pending_peers();
            if pending != self.reported_pending {
                self.report_due_ticks = 0;
            }
        }
    }

    pub(super) fn report(&mut self, out: &mut Vec<Effect>) {
        if !self.is_leader() || self.report_due_ticks > 0 {
            return;
        }
        self.report_due_ticks = self.options.report_ticks;
        let down_peers = self.others().filter(|id| self.is_down(*id)).collect();
        self.reported_pending = self.pending_peers();
        out.push(Effect::Heartbeat(RegionHeartbeat {
            region: Region::clone(&self.region),
            leader: self.me,
            term: self.term(),
            down_peers,
            pending_peers: self.reported_pending.clone(),
            measured: self.measured(),
            quarantined_peers: self.quarantined_peers(),
        }));
    }

    /// The time that a report speaks of. What is left of a second is the next one's.
    fn measured(&mut self) -> Duration {
        let passed = self.measured_since.until(self.now);
        let measured = Duration::from_secs(passed.as_secs());
        self.measured_since = self.measured_since.after(measured);
        measured
    }

    pub(super) fn heard_from(&mut self, peer: PeerId) {
        if self.is_leader() {
            self.heard.insert(peer, self.ticks);
        }
    }

    /// While the Region sleeps its store knows who is down.
    fn is_down(&self, id: PeerId) -> bool {
        let store = self.region.peer(id).map(|peer| peer.store_id);
        self.is_unheard(id, self.options.down_ticks)
            || store.is_some_and(|store| self.hibernation.down().contains(&store))
    }

    /// Whether this leader has heard nothing of a follower for so many ticks.
    pub(super) fn is_unheard(&self, peer: PeerId, ticks: u64) -> bool {
        let heard = self.heard.get(&peer).copied().unwrap_or(self.led_since);
        self.ticks - heard >= ticks
    }

    fn others(&self) -> impl Iterator<Item = PeerId> {
        let ids = self.region.peers.iter().map(|peer| peer.id);
        ids.filter(|id| *id != self.me.id)
    }

    /// Who can't be sent the log, since it begins too late for them.
    fn pending_peers(&self) -> Vec<PeerId> {
        let truncated = self.raw.store().truncated_index();
        let needs_snapshot = |id: &PeerId| {
            let progress = self.raw.raft.prs().get(id.get());
            progress.is_none_or(|progress| progress.matched < truncated)
        };
        self.others().filter(needs_snapshot).collect()
    }
}
