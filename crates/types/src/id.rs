//! Identifiers, each a type of its own so that a store id can't be handed over as a Region id.
//!
//! Zero is never a valid identifier: on the wire an absent id decodes as zero.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The number itself.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<u64> for $name {
            fn from(id: u64) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// A cluster; every request and every message between stores carries it.
    ClusterId
);
id!(
    /// A store: one node's share of the data.
    StoreId
);
id!(
    /// A Region: one contiguous range of keys with its own Raft group.
    RegionId
);
id!(
    /// A Peer: one replica of one Region; also its id in the Raft group.
    PeerId
);
id!(
    /// A request inside one node, from its arrival until its single answer.
    RequestId
);

impl RegionId {
    /// The reserved Region that holds the placement driver's state. Its keys are outside of the
    /// client key space.
    pub const PLACEMENT: RegionId = RegionId(1);
    /// The first Region of the client key space at bootstrap.
    pub const FIRST_DATA: RegionId = RegionId(2);
}
