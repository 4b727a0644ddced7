//! Raft messages between stores: the envelope that names Region and replicas, and the check that a
//! message from the network passes before it may reach raft-rs.
//!
//! **Why the check.** raft-rs trusts its peers and panics on messages that contradict themselves;
//! a damaged or foreign message must be an error, not a crash.
//!
//! **Not here.** What can only be judged beside a log (`peer::receive`). The envelope's form on the
//! wire (`server`), which before anything is decoded here bounds the body's size and refuses groups:
//! rust-protobuf 2 follows nested groups without a limit (RUSTSEC-2024-0437).

use crate::op::hibernate::Extra;
use crate::op::snapshot::SnapshotMeta;
use crate::state::{MergedInto, Tombstone};
use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{EntryType, Message, MessageType};
use thiserror::Error;
use types::{Epoch, KeyRange, Peer, RegionId};

/// A message from one replica of a Region to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RaftMessage {
    /// The Region.
    pub region_id: RegionId,
    /// The sender.
    pub from: Peer,
    /// The receiver.
    pub to: Peer,
    /// The Region's epoch as the sender knows it.
    pub epoch: Epoch,
    /// The Region's range as the sender knows it, where the message may have to create its receiver.
    pub range: Option<KeyRange>,
    /// The receiver is no replica of the Region any more: there is nothing else in the message.
    pub is_tombstone: bool,
    /// Something beside Raft: there is nothing else in the message.
    pub extra: Option<Extra>,
    /// With [`Self::is_tombstone`]: the Region was merged, into this one.
    pub merged_into: Option<MergedInto>,
    /// Raft's own message.
    pub message: Message,
}

/// Why a Raft message was not let in.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The body is not a Raft message.
    #[error("not a Raft message")]
    Malformed(#[source] protobuf::ProtobufError),
    /// The body says something that no correct replica says.
    #[error("a Raft message that no replica sends: {0}")]
    Invalid(&'static str),
}

/// No log grows to this index and no election comes to this term; a message that names a higher one
/// is damaged. A term is kept on disk and counted up from, so that letting one in near the end of the
/// numbers would be found out at a campaign, again after every restart.
const NUMBER_MAX: u64 = u64::MAX / 4;

/// A change of membership is decoded by rust-protobuf, which follows nested groups as deep as they
/// go: so deep can't be much.
const CONF_CHANGE_BYTES_MAX: usize = 4 << 10;

/// More than what replicas know their questions for the commit index by.
const READ_CONTEXT_BYTES_MAX: usize = 64;

/// A slice keeps all of the buffer it came in, which may be that of a whole batch of messages, for as
/// long as the entry is cached: what is smaller than this is copied out.
const SLICE_BYTES_MIN: usize = 64 << 10;

impl RaftMessage {
    /// Raft's message as bytes, without the envelope.
    pub fn encode_body(&self) -> Vec<u8> {
        self.message
            .write_to_bytes()
            .expect("a Raft message in memory always encodes")
    }

    /// Decodes and checks Raft's message from the network, for an envelope that has none yet. Large
    /// entries are slices of `body`.
    pub fn decode_body(self, body: &Bytes) -> Result<Self, MessageError> {
        let mut message =
            Message::parse_from_carllerche_bytes(body).map_err(MessageError::Malformed)?;
        for entry in message.mut_entries() {
            if entry.data.len() < SLICE_BYTES_MIN {
                entry.data = Bytes::copy_from_slice(&entry.data);
            }
        }
        let range = self.range.filter(|_| creates(&message));
        let message = Self {
            message,
            range,
            ..self
        };
        message.check()?;
        Ok(message)
    }

    /// Tells a replica that its Region, known here in `epoch`, has gone on without it.
    pub(crate) fn farewell(region_id: RegionId, from: Peer, to: Peer, epoch: Epoch) -> Self {
        Self {
            region_id,
            from,
            to,
            epoch,
            is_tombstone: true,
            ..Self::default()
        }
    }

    /// Tells a replica that its Region was merged, as this tombstone knows; none if it says nothing of that.
    pub(crate) fn farewell_of_merged(tombstone: &Tombstone, from: Peer, to: Peer) -> Option<Self> {
        let merged_into = Some(tombstone.merged_into?);
        let farewell = Self::farewell(tombstone.region_id, from, to, tombstone.epoch);
        Some(Self {
            merged_into,
            ..farewell
        })
    }

    /// Says something beside Raft.
    pub(crate) fn extra(
        (region_id, epoch): (RegionId, Epoch),
        from: Peer,
        to: Peer,
        extra: Extra,
    ) -> Self {
        Self {
            region_id,
            from,
            to,
            epoch,
            extra: Some(extra),
            ..Self::default()
        }
    }

    /// What it says from store to store, if it does.
    pub fn between_stores(&self) -> Option<Extra> {
        self.extra.filter(|extra| extra.is_of_stores())
    }

    /// Whether a store that has no replica of the Region may create one for this message: a
    /// candidate asks for votes, or a leader has not heard of a log there.
    pub(crate) fn may_create(&self) -> bool {
        creates(&self.message)
    }

    /// An estimate of the memory that the message holds, in bytes.
    pub fn size_bytes(&self) -> usize {
        const OVERHEAD: usize = 192;
        const ENTRY_OVERHEAD: usize = 96;
        let entries = self.message.get_entries();
        let data: usize = entries.iter().map(|e| e.data.len() + e.context.len()).sum();
        let snapshot = self.message.get_snapshot().data.len();
        OVERHEAD + entries.len() * ENTRY_OVERHEAD + data + self.message.context.len() + snapshot
    }

    fn check(&self) -> Result<(), MessageError> {
        use MessageType::*;
        let message = &self.message;
        let fail = |what| Err(MessageError::Invalid(what));
        if let Some(extra) = self.extra {
            return self.check_extra(extra);
        }
        if self.is_tombstone || self.merged_into.is_some() {
            return self.check_farewell();
        }
        if message.from != self.from.id.get() || message.to != self.to.id.get() {
            return fail("envelope and body name different replicas");
        }
        if message.from == 0 || message.to == 0 || message.from == message.to {
            return fail("sender or receiver is missing");
        }
        match message.get_msg_type() {
            MsgAppend
            | MsgAppendResponse
            | MsgRequestVote
            | MsgRequestVoteResponse
            | MsgHeartbeat
            | MsgHeartbeatResponse
            | MsgTimeoutNow
            | MsgRequestPreVote
            | MsgRequestPreVoteResponse
            | MsgSnapshot => {}
            // raft-rs treats the question as one of the leader itself: without a term.
            MsgReadIndex | MsgReadIndexResp => return self.check_read_index(),
            MsgHup | MsgBeat | MsgPropose | MsgUnreachable | MsgSnapStatus | MsgCheckQuorum
            | MsgTransferLeader => {
                return fail("a type that stores do not exchange");
            }
        }
        if message.term == 0 {
            return fail("no term");
        }
        let numbers = [
            message.term,
            message.index,
            message.commit,
            message.reject_hint,
        ];
        if numbers.iter().any(|number| *number > NUMBER_MAX) {
            return fail("a term or an index beyond any log");
        }
        if message.log_term > message.term || message.commit_term > message.term {
            return fail("a log of terms to come");
        }
        self.check_snapshot()?;
        self.check_entries()
    }

    fn check_entries(&self) -> Result<(), MessageError> {
        let message = &self.message;
        let fail = |what| Err(MessageError::Invalid(what));
        // raft-rs takes term 0 for that of every entry it does not have.
        if message.get_msg_type() == MessageType::MsgAppend && message.log_term == 0 {
            return fail("an append behind an entry without a term");
        }
        let (mut index, mut term) = (message.index, message.log_term);
        for entry in message.get_entries() {
            if entry.index != index + 1 || entry.term < term || entry.term > message.term {
                return fail("entries that do not follow one another");
            }
            let is_conf_change = entry.get_entry_type() != EntryType::EntryNormal;
            if is_conf_change && entry.data.len() > CONF_CHANGE_BYTES_MAX {
                return fail("a change of membership larger than any");
            }
            (index, term) = (entry.index, entry.term);
        }
        Ok(())
    }

    /// A question for the commit index, or its answer. Its one entry is no part of a log: it holds what
    /// the asker knows the question by, which the leader has to keep until a quorum has answered.
    fn check_read_index(&self) -> Result<(), MessageError> {
        let message = &self.message;
        let is_question = message.get_msg_type() == MessageType::MsgReadIndex;
        let numbers = [message.term, message.index];
        let [entry] = message.get_entries() else {
            return Err(MessageError::Invalid(
                "a read index without its one context",
            ));
        };
        if entry.data.is_empty() || entry.data.len() > READ_CONTEXT_BYTES_MAX {
            return Err(MessageError::Invalid(
                "a read index with no or a long context",
            ));
        }
        if is_question != (message.term == 0) || numbers.iter().any(|number| *number > NUMBER_MAX) {
            return Err(MessageError::Invalid(
                "a read index of no possible term or index",
            ));
        }
        Ok(())
    }
}

impl RaftMessage {
    fn check_farewell(&self) -> Result<(), MessageError> {
        match (self.is_tombstone, &self.message) {
            (true, message) if *message == Message::default() => Ok(()),
            (true, _) => Err(MessageError::Invalid("a farewell that says more")),
            (false, _) => Err(MessageError::Invalid(
                "it speaks of a merge and is no farewell",
            )),
        }
    }

    fn check_extra(&self, extra: Extra) -> Result<(), MessageError> {
        let fail = |what| Err(MessageError::Invalid(what));
        if self.is_tombstone || self.message != Message::default() {
            return fail("it says something beside Raft, and more");
        }
        let ids = [self.region_id.get(), self.from.id.get(), self.to.id.get()];
        match extra {
            Extra::StorePing | Extra::StorePong if ids != [0; 3] => {
                fail("it is from store to store, and names a Region")
            }
            Extra::StorePing | Extra::StorePong => Ok(()),
            _ if ids.contains(&0) => fail("sender or receiver is missing"),
            Extra::HibernateRequest { index } | Extra::HibernateResponse { index }
                if index > NUMBER_MAX =>
            {
                fail("a sleep at an index beyond any log")
            }
            _ => Ok(()),
        }
    }

    fn check_snapshot(&self) -> Result<(), MessageError> {
        let message = &self.message;
        let fail = |what| Err(MessageError::Invalid(what));
        if message.request_snapshot != 0 {
            return fail("it asks for a snapshot, which no store does");
        }
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        if is_snapshot != message.has_snapshot() {
            return fail("a snapshot without its message, or the other way round");
        }
        if !is_snapshot {
            return Ok(());
        }
        let meta = SnapshotMeta::of_message(self).map_err(MessageError::Invalid)?;
        match meta.index > NUMBER_MAX {
            true => fail("a snapshot of an index beyond any log"),
            false => Ok(()),
        }
    }
}

/// See [`RaftMessage::may_create`].
pub(crate) fn creates(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => true,
        MessageType::MsgHeartbeat => message.commit == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::eraftpb::Entry;
    use types::{PeerId, StoreId};

    fn peer(id: u64) -> Peer {
        Peer {
            id: PeerId(id),
            store_id: StoreId(id),
            ..Peer::default()
        }
    }

    fn append(entries: &[(u64, u64)]) -> RaftMessage {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.from, message.to, message.term) = (1, 2, 7);
        (message.index, message.log_term) = (10, 5);
        for (index, term) in entries {
            let mut entry = Entry::default();
            (entry.index, entry.term) = (*index, *term);
            message.mut_entries().push(entry);
        }
        RaftMessage {
            region_id: RegionId(2),
            from: peer(1),
            to: peer(2),
            message,
            ..RaftMessage::default()
        }
    }

    fn envelope(message: &RaftMessage) -> RaftMessage {
        RaftMessage {
            message: Message::default(),
            ..message.clone()
        }
    }

    fn round_trip(message: &RaftMessage) -> Result<RaftMessage, MessageError> {
        envelope(message).decode_body(&message.encode_body().into())
    }

    #[test]
    fn a_correct_append_reads_back() {
        let message = append(&[(11, 5), (12, 7)]);
        assert_eq!(round_trip(&message).unwrap(), message);
    }

    #[test]
    fn only_a_large_entry_keeps_the_buffer_that_it_came_in() {
        let mut message = append(&[(11, 5), (12, 5)]);
        for (entry, len) in message.message.mut_entries().iter_mut().zip([1, 1 << 20]) {
            entry.data = vec![7; len].into();
        }
        let body = Bytes::from(message.encode_body());
        let found = envelope(&message).decode_body(&body).unwrap();
        assert_eq!(found, message);
        let inside = |entry: &Entry| body.as_ptr_range().contains(&entry.data.as_ptr());
        let inside: Vec<_> = found.message.get_entries().iter().map(inside).collect();
        assert_eq!(inside, [false, true]);
    }

    #[test]
    fn what_no_replica_sends_is_refused() {
        let mut cases = vec![append(&[(12, 5)]), append(&[(11, 4)]), append(&[(11, 8)])];
        let changes: [fn(&mut Message); 8] = [
            |message| message.set_msg_type(MessageType::MsgHup),
            |message| message.from = 9,
            |message| message.term = 0,
            |message| message.term = u64::MAX,
            |message| message.index = u64::MAX,
            |message| message.log_term = 0,
            |message| message.log_term = 8,
            |message| message.request_snapshot = 1,
        ];
        for change in changes {
            let mut case = append(&[]);
            change(&mut case.message);
            cases.push(case);
        }
        for case in cases {
            assert!(
                matches!(round_trip(&case), Err(MessageError::Invalid(_))),
                "{case:?}"
            );
        }
    }

    #[test]
    fn a_read_index_has_one_short_context_and_a_term_in_its_answer_only() {
        let read_index = |kind, term, contexts: &[usize]| {
            let mut case = append(&[]);
            case.message.set_msg_type(kind);
            (case.message.term, case.message.log_term) = (term, 0);
            for len in contexts {
                case.message.mut_entries().push(Entry {
                    data: vec![7; *len].into(),
                    ..Entry::default()
                });
            }
            round_trip(&case).is_ok()
        };
        use MessageType::{MsgReadIndex, MsgReadIndexResp};
        assert!(read_index(MsgReadIndex, 0, &[24]));
        assert!(read_index(MsgReadIndexResp, 7, &[24]));
        assert!(!read_index(MsgReadIndex, 7, &[24]));
        assert!(!read_index(MsgReadIndexResp, 0, &[24]));
        assert!(!read_index(MsgReadIndexResp, u64::MAX, &[24]));
        for contexts in [&[][..], &[0], &[65], &[24, 24]] {
            assert!(!read_index(MsgReadIndex, 0, contexts), "{contexts:?}");
            assert!(!read_index(MsgReadIndexResp, 7, contexts), "{contexts:?}");
        }
    }

    #[test]
    fn what_is_said_beside_raft_is_said_alone_and_by_whom_it_is_for() {
        let place = (RegionId(2), Epoch::default());
        let of = |extra| RaftMessage::extra(place, peer(1), peer(2), extra);
        let (asks, wakes) = (Extra::HibernateRequest { index: 7 }, Extra::WakeUp);
        for right in [of(asks), of(wakes)] {
            assert_eq!(round_trip(&right).unwrap(), right);
        }
        let store = |id| Peer {
            store_id: StoreId(id),
            ..Peer::default()
        };
        let nowhere = (RegionId::default(), Epoch::default());
        let ping = RaftMessage::extra(nowhere, store(1), store(2), Extra::StorePing);
        assert_eq!(round_trip(&ping).unwrap(), ping);
        let mut more = of(asks);
        more.message.term = 7;
        let farewell = RaftMessage {
            is_tombstone: true,
            ..of(asks)
        };
        let far = of(Extra::HibernateResponse { index: u64::MAX });
        let nobody = RaftMessage::extra(nowhere, store(1), store(2), wakes);
        for wrong in [more, farewell, far, nobody, of(Extra::StorePong)] {
            assert!(round_trip(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let body = Bytes::from_static(&[0xff; 16]);
        let result = RaftMessage::default().decode_body(&body);
        assert!(matches!(result, Err(MessageError::Malformed(_))));
    }
}
