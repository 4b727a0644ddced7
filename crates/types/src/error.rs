//! The one error type of this crate: bytes that are not what their place demands.
//!
//! All of these mean *reject*: the same bytes fail again. Where the bytes came from a client, the
//! client is at fault; where they came from the disk, the caller decides whether that is fatal.
//!
//! **Not here.** Limits on sizes: they belong to whoever accepts a request.

use crate::{KeyMode, KeyspaceId};

/// What this crate's codecs return.
pub type Result<T> = std::result::Result<T, CodecError>;

/// Why bytes could not be decoded, or why a key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A memcomparable key ends in the middle of a group.
    #[error("encoded key is cut off: {len_bytes} bytes in the last group instead of 9")]
    TruncatedKey {
        /// Bytes of the group that are there.
        len_bytes: usize,
    },
    /// A group's last byte is not a marker.
    #[error("encoded key has the impossible group marker {marker:#04x}")]
    BadMarker {
        /// The byte found.
        marker: u8,
    },
    /// A group is padded with something else than zeros, so it is not the only encoding of its key.
    #[error("encoded key is padded with bytes that are not zero")]
    BadPadding,
    /// Bytes follow the end of an encoded key that should stand alone.
    #[error("{len_bytes} bytes follow the end of the encoded key")]
    TrailingBytes {
        /// How many.
        len_bytes: usize,
    },
    /// A key without a single byte of its own.
    #[error("the key is empty")]
    EmptyKey,
    /// An API V2 key that is shorter than its prefix.
    #[error("an API V2 key starts with 4 bytes of mode and keyspace, this one has {len_bytes}")]
    KeyTooShort {
        /// Length of the key.
        len_bytes: usize,
    },
    /// An API V2 key of the other mode, or a key that was made for API V1.
    #[error("a {expected} key starts with {:?} under API V2, this one with {found:#04x}", char::from(expected.v2_byte()))]
    WrongPrefix {
        /// The mode of the request.
        expected: KeyMode,
        /// The key's first byte.
        found: u8,
    },
    /// A key of another keyspace than the request's.
    #[error("the key is in keyspace {found}, the request in keyspace {expected}")]
    WrongKeyspace {
        /// The keyspace that the request is about.
        expected: KeyspaceId,
        /// The keyspace in the key.
        found: KeyspaceId,
    },
    /// A keyspace id that does not fit into three bytes.
    #[error("keyspace id {id} is above {}", KeyspaceId::MAX)]
    KeyspaceIdTooLarge {
        /// The number given.
        id: u32,
    },
    /// A range whose end lies before its start.
    #[error("the range ends before it starts")]
    InvertedRange,
    /// A stored value without its header, or with less of it than its flags announce.
    #[error("stored value is cut off: {len_bytes} bytes, its header needs {needed_bytes}")]
    TruncatedValue {
        /// Length of the stored value.
        len_bytes: usize,
        /// Length that its header needs.
        needed_bytes: usize,
    },
    /// A stored value written by a newer version: reading on could show a wrong value.
    #[error("stored value has unknown flags {flags:#010b}")]
    UnknownValueFlags {
        /// The flags byte.
        flags: u8,
    },
}
