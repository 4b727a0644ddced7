//! Timestamps of the cluster's oracle: physical milliseconds and a logical counter in one number,
//! as TiKV's clients expect them (`physical << 18 | logical`).

use std::fmt;

/// A point in the cluster's time. Ordered; never given out twice.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Bits of the logical counter.
    pub const LOGICAL_BITS: u32 = 18;
    /// The number of logical counts within one millisecond.
    pub const LOGICAL_COUNT: u64 = 1 << Self::LOGICAL_BITS;
    /// The first timestamp there is.
    pub const ZERO: Timestamp = Timestamp(0);
    /// The last timestamp there is.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// From its parts. `logical` must be below [`Self::LOGICAL_COUNT`].
    pub const fn new(physical_ms: u64, logical: u64) -> Self {
        assert!(logical < Self::LOGICAL_COUNT);
        Self((physical_ms << Self::LOGICAL_BITS) | logical)
    }

    /// From the number on the wire.
    pub const fn from_u64(version: u64) -> Self {
        Self(version)
    }

    /// The number on the wire.
    pub const fn into_u64(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch.
    pub const fn physical_ms(self) -> u64 {
        self.0 >> Self::LOGICAL_BITS
    }

    /// The count within the millisecond.
    pub const fn logical(self) -> u64 {
        self.0 & (Self::LOGICAL_COUNT - 1)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.physical_ms(), self.logical())
    }
}
