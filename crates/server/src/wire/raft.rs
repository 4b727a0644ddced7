//! What stores say to each other beside Raft, as `raft_serverpb` has it.
//!
//! **Invariants.** From the wire nothing panics; what no store of ours says is refused with the reason.
//!
//! **Not here.** Raft's own messages, which travel as bytes. Which replica may say what
//! (`raftstore::RaftMessage`).

use proto::raft_serverpb::{ExtraMessage, ExtraMessageType};
use raftstore::Extra;

/// For the wire.
pub(crate) fn extra_to_wire(extra: Extra) -> ExtraMessage {
    let (kind, index) = match extra {
        Extra::HibernateRequest { index } => (ExtraMessageType::MsgHibernateRequest, index),
        Extra::HibernateResponse { index } => (ExtraMessageType::MsgHibernateResponse, index),
        Extra::WakeUp => (ExtraMessageType::MsgRegionWakeUp, 0),
        Extra::StorePing => (ExtraMessageType::MsgAvailabilityRequest, 0),
        Extra::StorePong => (ExtraMessageType::MsgAvailabilityResponse, 0),
    };
    ExtraMessage {
        r#type: kind as i32,
        index,
    }
}

/// From the wire.
pub(crate) fn extra_from_wire(extra: &ExtraMessage) -> Result<Extra, &'static str> {
    let index = extra.index;
    match ExtraMessageType::try_from(extra.r#type) {
        Ok(ExtraMessageType::MsgHibernateRequest) => Ok(Extra::HibernateRequest { index }),
        Ok(ExtraMessageType::MsgHibernateResponse) => Ok(Extra::HibernateResponse { index }),
        Ok(ExtraMessageType::MsgRegionWakeUp) => Ok(Extra::WakeUp),
        Ok(ExtraMessageType::MsgAvailabilityRequest) => Ok(Extra::StorePing),
        Ok(ExtraMessageType::MsgAvailabilityResponse) => Ok(Extra::StorePong),
        Err(_) => Err("it says something beside Raft that is not known"),
    }
}
