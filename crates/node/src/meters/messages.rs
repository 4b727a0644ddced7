//! The kinds of messages between stores, as they are counted.

use raft::eraftpb::MessageType;
use raftstore::RaftMessage;

metrics::label! {"kind":
    /// What a message between stores is for.
    pub(crate) enum MessageKind {
        /// Entries, and commit indexes.
        Append = "append",
        /// Their acknowledgement, or refusal.
        AppendResponse = "append-response",
        /// A leader's sign of life, which also confirms reads.
        Heartbeat = "heartbeat",
        /// The answer to it.
        HeartbeatResponse = "heartbeat-response",
        /// A campaign's question, or the one before it.
        Vote = "vote",
        /// The answer to it.
        VoteResponse = "vote-response",
        /// A snapshot's description.
        Snapshot = "snapshot",
        /// A replica asks its leader for a read, or is answered.
        ReadIndex = "read-index",
        /// A leader hands its leadership over.
        Transfer = "transfer",
        /// What stores and replicas say beside Raft: hibernation, merges, farewells.
        Beside = "beside",
    }
}

impl MessageKind {
    /// That of a message.
    pub(crate) fn of(message: &RaftMessage) -> Self {
        if message.is_tombstone || message.extra.is_some() {
            return Self::Beside;
        }
        match message.message.get_msg_type() {
            MessageType::MsgAppend => Self::Append,
            MessageType::MsgAppendResponse => Self::AppendResponse,
            MessageType::MsgHeartbeat => Self::Heartbeat,
            MessageType::MsgHeartbeatResponse => Self::HeartbeatResponse,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => Self::Vote,
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
                Self::VoteResponse
            }
            MessageType::MsgSnapshot => Self::Snapshot,
            MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => Self::ReadIndex,
            MessageType::MsgTimeoutNow | MessageType::MsgTransferLeader => Self::Transfer,
            // These are a replica's own, and are not sent.
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgPropose
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum => Self::Beside,
        }
    }
}
