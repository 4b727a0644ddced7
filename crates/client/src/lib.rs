//! A small asynchronous client for our own tools: `kontiki ctl` and `kontiki bench`.
//!
//! It speaks the same protocol as the clients that users have, and only the part of it that the
//! tools need: raw keys under both API versions, and a look at members, stores and Regions.
//!
//! **How a request finds its way.** The placement driver's leader knows the Regions; they are cached
//! by range ([`Client`] asks again for what a store refuses). A store that does not lead names the
//! one that does, and the request goes there at once; everything else that may pass is tried again
//! after a growing pause, until the deadline.
//!
//! **Invariants.** An operation ends by its deadline. [`Error::Undetermined`] is returned whenever a
//! write may have taken effect although no store confirmed it; a compare-and-swap is not sent again after such a moment, since its second answer would be about
//! its own first attempt. Other writes are: they are absolute, but a repeated one may undo what
//! somebody else wrote in between ([`Config::resend_writes`]).
//!
//! **Not here.** Transactions, timestamps, followers' reads, TLS, and a stable API for users.

mod admin;
mod batch;
mod channels;
mod config;
mod error;
mod inspect;
mod page;
mod pd;
mod raw;
mod retry;
mod routes;
mod rpc;
mod scan;

pub use admin::{Admin, ask_status, look_status};
pub use config::Config;
pub use error::{Error, Result};
pub use inspect::{Member, Members, RegionInfo, Store};
pub use raw::{Client, Swap, Ttl};
pub use scan::{Contents, Scan};
pub use types::ApiVersion;
