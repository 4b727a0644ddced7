//! The families that a node shows.

use metrics::Desc;

macro_rules! families {
    ($($ident:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $ident: Desc = Desc::$kind($name, $help).by(&[$($label),*]);)*

        /// All of them.
        pub static FAMILIES: &[&Desc] = &[$(&$ident),*];
    };
}

families! {
    ACTORS = gauge "kontiki_actor_fsms" ["system"]
        "Actors of a batch system: Peers, or appliers.";
    READY = gauge "kontiki_actor_ready" ["system"]
        "Actors that wait for a poller.";
    POLLERS = gauge "kontiki_actor_pollers" ["system"]
        "Threads of a batch system, as it is configured.";
    BATCH = histogram "kontiki_actor_batch_fsms" ["system"]
        "Actors in a round of a poller.";
    ROUND = histogram "kontiki_actor_round_seconds" ["system"]
        "How long a round of a poller took.";
    END = histogram "kontiki_actor_end_seconds" ["system"]
        "How long the end of a round took: the write of the Raft log, or of the key-value engine.";
    HANDLED = counter "kontiki_actor_messages_total" ["system"]
        "Messages that actors handled.";
    REFUSED = counter "kontiki_actor_refused_messages_total" ["system"]
        "Messages that were refused since a mailbox, or all of them together, were full.";
    RESCHEDULED = counter "kontiki_actor_rescheduled_total" ["system", "reason"]
        "Actors that were moved to another poller: after a long time with one, since another had nothing to do, or for their priority.";

    REGIONS = gauge "kontiki_regions" []
        "Regions with a replica on this store.";
    LEADERS = gauge "kontiki_region_leaders" []
        "Regions that are led on this store.";
    ASLEEP = gauge "kontiki_regions_hibernating" []
        "Regions whose replica on this store sleeps.";
    LEADERSHIPS = counter "kontiki_raft_leadership_changes_total" ["role"]
        "Replicas here that became a leader, or heard of another one or none.";
    PROPOSALS = counter "kontiki_raft_proposals_total" []
        "Commands that Peers were given to propose.";
    APPENDED = counter "kontiki_raft_appended_entries_total" []
        "Entries written to Raft logs here, as a leader or as a follower.";
    APPENDED_BYTES = counter "kontiki_raft_appended_bytes_total" []
        "Bytes of these entries.";
    COMMITTED = counter "kontiki_raft_committed_entries_total" []
        "Entries that were committed, as known here, and handed to appliers.";
    APPLIED = counter "kontiki_raft_applied_entries_total" []
        "Entries that were applied here.";
    ANSWERED = counter "kontiki_raft_answered_commands_total" []
        "Commands that were applied here and for which somebody here waited.";
    STAGES = histogram "kontiki_write_stage_seconds" ["stage"]
        "Where a write spends its time: waiting for its Peer, for a quorum, for its applier; and all of it. One write in sixteen is timed.";
    SENT = counter "kontiki_raft_sent_messages_total" ["kind"]
        "Messages to other stores.";
    RECEIVED = counter "kontiki_raft_received_messages_total" ["kind"]
        "Messages from other stores that Peers handled.";
    LOST = counter "kontiki_raft_lost_messages_total" ["reason"]
        "Messages between stores that came to nothing.";
    SLOW_SCORE = gauge "kontiki_store_slow_score" []
        "How slow the Raft log's disk is: 1 is fast; placement takes leaders away from a store whose score is high.";
    DISK_FULL = gauge "kontiki_store_disk_full" []
        "1 while the disk is full and writes are refused, else 0.";

    READS = counter "kontiki_reads_total" ["path"]
        "Reads of a Region, by how they were allowed.";
    READ_WAIT = histogram "kontiki_read_wait_seconds" ["path"]
        "How long reads without a lease waited to be allowed.";

    MEMORY = gauge "kontiki_memory_bytes" ["component"]
        "Memory that a component holds, as it counts itself.";
    MEMORY_LIMIT = gauge "kontiki_memory_limit_bytes" ["component"]
        "What a component may hold before it refuses, waits or lets go.";
    MEMORY_USAGE_LIMIT = gauge "kontiki_memory_usage_limit_bytes" []
        "What the process may have (memory-usage-limit).";
    MEMORY_BASE = gauge "kontiki_memory_base_bytes" []
        "What the process has, or its caches will have, beyond what the components count: as it was seen last.";
    MEMORY_FREE = gauge "kontiki_memory_free_bytes" []
        "What is left of the limit. New work waits when a sixteenth of the limit is left.";
    MEMORY_WAITS = counter "kontiki_memory_waits_total" ["result"]
        "Requests that waited for room in memory, and were admitted or refused.";
    FLOW_PACED = gauge "kontiki_flow_control_active" []
        "1 while the engine is behind and clients' writes are slowed down, else 0.";
    FLOW_RATE = gauge "kontiki_flow_control_bytes_per_second" []
        "What clients may write while they are slowed down.";
    FLOW_WAITS = counter "kontiki_flow_control_waits_total" ["result"]
        "Writes that came while the engine was behind, and were admitted or refused.";
    QUOTA_DELAYS = counter "kontiki_quota_delays_total" ["kind"]
        "Requests that were delayed by a quota.";

    SNAPSHOTS_SENT = counter "kontiki_snapshots_sent_total" ["result"]
        "Snapshots that were sent to other stores.";
    SNAPSHOTS_SENT_BYTES = counter "kontiki_snapshot_sent_bytes_total" []
        "Bytes of snapshots that were sent.";
    SNAPSHOTS_RECEIVED = counter "kontiki_snapshots_received_total" []
        "Snapshots that were received whole.";
    SNAPSHOTS_RECEIVED_BYTES = counter "kontiki_snapshot_received_bytes_total" []
        "Bytes of snapshots that were received.";
    SNAPSHOTS_ACTIVE = gauge "kontiki_snapshots_active" ["direction"]
        "Snapshots that are being sent or received, or are pinned to be sent.";
    SNAPSHOT_INSTALL = histogram "kontiki_snapshot_install_seconds" []
        "How long it took to install a snapshot; the count is that of the installations.";

    PLACEMENT_LEADS = gauge "kontiki_placement_leader" []
        "1 where the placement driver leads, else 0. The other families of placement are shown there only.";
    PLACEMENT_STORES = gauge "kontiki_placement_stores" ["state"]
        "Stores of the cluster.";
    PLACEMENT_REGIONS = gauge "kontiki_placement_regions" []
        "Regions of the cluster that have reported to this leader.";
    PLACEMENT_RUNNING = gauge "kontiki_placement_operators" ["kind"]
        "Operators at work.";
    PLACEMENT_ENDED = counter "kontiki_placement_ended_operators_total" ["kind", "result"]
        "Operators that have ended since this leader was elected.";
    PLACEMENT_HEARTBEATS = counter "kontiki_placement_heartbeats_total" ["of"]
        "Reports of stores and Regions since this leader was elected.";
}
