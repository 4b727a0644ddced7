//! The handlers: what pollers do with Peers and appliers, round by round.

mod apply;
mod peer;

pub use apply::ApplyHandler;
pub use peer::PeerHandler;
