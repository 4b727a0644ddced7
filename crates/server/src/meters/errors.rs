//! The kinds of errors that requests are answered with.

use super::Method;
use proto::errorpb;

metrics::label! {"kind":
    /// What kind of error an answer holds.
    pub(crate) enum ErrorKind {
        /// Another replica leads.
        NotLeader = "not-leader",
        /// The Region has another shape by now.
        EpochNotMatch = "epoch-not-match",
        /// It has no replica here.
        RegionNotFound = "region-not-found",
        /// The key is another Region's.
        KeyNotInRegion = "key-not-in-region",
        /// A bound was reached.
        ServerIsBusy = "server-is-busy",
        /// Leadership changed in between, or the store stops.
        StaleCommand = "stale-command",
        /// It was meant for another store or replica.
        Misdirected = "misdirected",
        /// It does not fit into an entry.
        TooLarge = "too-large",
        /// The disk is full.
        DiskFull = "disk-full",
        /// The request itself is at fault, its outcome is not known, or the engine failed.
        Other = "other",
        /// The call as a whole was refused: a gRPC status.
        Status = "status",
    }
}

impl ErrorKind {
    /// Whether a method's answers can hold it. Those of placement carry their errors as statuses, or in
    /// headers that are not looked into.
    pub(super) fn is_of(self, method: Method) -> bool {
        (self == Self::Status) == method.is_of_placement()
    }
}

/// That of an error about a Region.
pub(crate) fn kind_of_region_error(error: &errorpb::Error) -> ErrorKind {
    let kinds = [
        (error.not_leader.is_some(), ErrorKind::NotLeader),
        (error.epoch_not_match.is_some(), ErrorKind::EpochNotMatch),
        (error.region_not_found.is_some(), ErrorKind::RegionNotFound),
        (error.key_not_in_region.is_some(), ErrorKind::KeyNotInRegion),
        (error.server_is_busy.is_some(), ErrorKind::ServerIsBusy),
        (error.stale_command.is_some(), ErrorKind::StaleCommand),
        (error.store_not_match.is_some(), ErrorKind::Misdirected),
        (error.mismatch_peer_id.is_some(), ErrorKind::Misdirected),
        (error.raft_entry_too_large.is_some(), ErrorKind::TooLarge),
        (error.disk_full.is_some(), ErrorKind::DiskFull),
    ];
    let found = kinds.into_iter().find(|(is_set, _)| *is_set);
    found.map_or(ErrorKind::Other, |(_, kind)| kind)
}
