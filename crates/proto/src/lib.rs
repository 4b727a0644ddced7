//! The wire: the messages and services of TiKV's and PD's gRPC protocols, and conversions of them
//! to and from `types`.
//!
//! **Why own `.proto` files.** Names, numbers and types of fields are the protocol, and a test holds
//! them against the files inside the published `tikv-client` crate. What this project does not read
//! is left out: a decoder skips it.
//!
//! **Invariants.** Every `bytes` field is a [`bytes::Bytes`], so that decoding copies no key and no
//! value. A Raft message is bytes inside its envelope: nobody decodes it before the envelope has
//! been checked. A conversion never panics, whatever came over the wire. What a request takes in
//! memory is bounded before it is decoded ([`codec`]).
//!
//! **Not here.** Validation against other limits, and any decision.

pub mod codec;
mod convert;
pub mod walk;

pub use convert::InvalidRegion;

/// How the reason of a `ServerIsBusy` begins that means: this read's answer would be over the limit
/// in bytes or in time. Other clients back off; one that knows it asks for less.
pub const READ_OVER_BUDGET: &str = "read over budget";

/// Generated modules carry no documentation of their own: it is in the `.proto` files.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        #[allow(missing_docs, nonstandard_style, clippy::all, rustdoc::all)]
        pub mod $name {
            tonic::include_proto!($package);
        }
    };
}

generated!(
    /// Stores, Regions, Peers (`proto/metapb.proto`).
    metapb,
    "metapb"
);
generated!(
    /// Kinds of changes of a Raft group's configuration (`proto/eraftpb.proto`).
    eraftpb,
    "eraftpb"
);
generated!(
    /// Errors about a Region (`proto/errorpb.proto`).
    errorpb,
    "errorpb"
);
generated!(
    /// Requests for keys and values (`proto/kvrpcpb.proto`).
    kvrpcpb,
    "kvrpcpb"
);
generated!(
    /// Messages between stores (`proto/raft_serverpb.proto`).
    raft_serverpb,
    "raft_serverpb"
);
generated!(
    /// The service of a store, `Tikv` (`proto/tikvpb.proto`).
    tikvpb,
    "tikvpb"
);
generated!(
    /// The placement driver's service, `PD` (`proto/pdpb.proto`).
    pdpb,
    "pdpb"
);
generated!(
    /// The service `Keyspace` (`proto/keyspacepb.proto`).
    keyspacepb,
    "keyspacepb"
);
generated!(
    /// The service `Debug`, for failpoints (`proto/debugpb.proto`).
    debugpb,
    "debugpb"
);
generated!(
    /// The service `Diagnostics` (`proto/diagnosticspb.proto`).
    diagnosticspb,
    "diagnosticspb"
);
generated!(
    /// The service `grpc.health.v1.Health` (`proto/health.proto`).
    healthpb,
    "grpc.health.v1"
);

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;
