//! Options that are changed while the Peer lives.
//!
//! **Invariants.** What leases, elections and raft-rs itself were set up with stays: replicas rely on each
//! other's.
//!
//! **Not here.** Which configuration items may be changed online, and whether their values make sense.

use super::{Peer, PeerOptions};
use std::sync::Arc;

impl Peer {
    /// Goes by these options from now on. What is due later than they say is due earlier.
    pub(super) fn set_options(&mut self, options: Arc<PeerOptions>) {
        let kept = |options: &PeerOptions| {
            let (min, max) = (options.election_ticks_min, options.election_ticks_max);
            let bounds = (
                options.append_bytes_max,
                options.inflight_appends_max,
                options.uncommitted_bytes_max,
                options.apply_bytes_max,
            );
            (options.tick, options.heartbeat_ticks, min, max, bounds)
        };
        assert_eq!(kept(&self.options), kept(&options), "these are for good");
        self.report_due_ticks = self.report_due_ticks.min(options.report_ticks);
        self.log_gc_due_ticks = self.log_gc_due_ticks.min(options.log_gc.interval_ticks);
        self.options = options;
    }
}
