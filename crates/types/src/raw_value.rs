//! How a raw value is stored: a header that always has room for an expiry, then the user's bytes.
//!
//! ```text
//! flags 1 byte | expiry 8 bytes, big-endian seconds since the Unix epoch, if flag 0x01 | user value
//! ```
//!
//! **Why a header on every value.** A time to live can then be given to any key at any time; there
//! is no mode to choose before the first write. It costs one byte.
//!
//! **Invariants.** Decoding never panics and never copies. Flags that this version does not know
//! are an error, never ignored: a newer version may mean that the value is not a plain one.
//!
//! **Not here.** The clock: callers pass the time, in whole seconds.

use crate::CodecError;
use crate::error::Result;
use bytes::Bytes;

const HAS_EXPIRY: u8 = 0x01;
const EXPIRY_BYTES: usize = 8;

/// The most that a header adds to a user's value, in bytes.
pub const HEADER_BYTES_MAX: usize = 1 + EXPIRY_BYTES;

/// The expiry (seconds since the Unix epoch) of a value that is written now with a time to live. A
/// time to live of zero means that the value never expires.
pub const fn expiry_of_ttl(ttl_s: u64, now_s: u64) -> Option<u64> {
    if ttl_s == 0 {
        None
    } else {
        Some(now_s.saturating_add(ttl_s))
    }
}

/// Appends the stored form of a value to `out`; `expires_at_s` is in seconds since the Unix epoch.
pub fn encode_into(user_value: &[u8], expires_at_s: Option<u64>, out: &mut Vec<u8>) {
    let header_bytes = expires_at_s.map_or(1, |_| HEADER_BYTES_MAX);
    // No more than is needed: a buffer that is exactly full becomes `Bytes` without another
    // allocation.
    out.reserve(header_bytes + user_value.len());
    match expires_at_s {
        None => out.push(0),
        Some(expiry) => {
            out.push(HAS_EXPIRY);
            out.extend_from_slice(&expiry.to_be_bytes());
        }
    }
    out.extend_from_slice(user_value);
}

/// The stored form of a value; `expires_at_s` is in seconds since the Unix epoch.
pub fn encode(user_value: &[u8], expires_at_s: Option<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(user_value, expires_at_s, &mut out);
    out
}

/// A stored value, decoded in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawValueRef<'a> {
    /// What the user stored.
    pub user_value: &'a [u8],
    /// When it ceases to exist, in seconds since the Unix epoch; `None` for never.
    pub expires_at_s: Option<u64>,
}

impl<'a> RawValueRef<'a> {
    /// Reads a stored value.
    pub fn decode(stored: &'a [u8]) -> Result<Self> {
        let truncated = |needed_bytes| CodecError::TruncatedValue {
            len_bytes: stored.len(),
            needed_bytes,
        };
        let (&flags, rest) = stored.split_first().ok_or_else(|| truncated(1))?;
        match flags {
            0 => Ok(Self {
                user_value: rest,
                expires_at_s: None,
            }),
            HAS_EXPIRY => {
                let (expiry, user_value) = rest
                    .split_first_chunk::<EXPIRY_BYTES>()
                    .ok_or_else(|| truncated(HEADER_BYTES_MAX))?;
                Ok(Self {
                    user_value,
                    expires_at_s: Some(u64::from_be_bytes(*expiry)),
                })
            }
            _ => Err(CodecError::UnknownValueFlags { flags }),
        }
    }

    /// Whether the value no longer exists at `now_s`, which it does not from its expiry on.
    pub fn is_expired(&self, now_s: u64) -> bool {
        self.expires_at_s.is_some_and(|expiry| expiry <= now_s)
    }

    /// The time to live that is left, in seconds; zero for a value that never expires (as clients
    /// expect it) and for one that is expired.
    pub fn ttl_s(&self, now_s: u64) -> u64 {
        self.expires_at_s
            .map_or(0, |expiry| expiry.saturating_sub(now_s))
    }
}

/// A stored value, decoded; the user's bytes share the stored value's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawValue {
    /// What the user stored.
    pub user_value: Bytes,
    /// When it ceases to exist, in seconds since the Unix epoch; `None` for never.
    pub expires_at_s: Option<u64>,
}

impl RawValue {
    /// Reads a stored value without copying it.
    pub fn decode(stored: &Bytes) -> Result<Self> {
        let decoded = RawValueRef::decode(stored)?;
        let header_bytes = stored.len() - decoded.user_value.len();
        Ok(Self {
            user_value: stored.slice(header_bytes..),
            expires_at_s: decoded.expires_at_s,
        })
    }

    /// Whether the value no longer exists at `now_s`. See [`RawValueRef::is_expired`].
    pub fn is_expired(&self, now_s: u64) -> bool {
        self.borrowed().is_expired(now_s)
    }

    /// The time to live that is left, in seconds. See [`RawValueRef::ttl_s`].
    pub fn ttl_s(&self, now_s: u64) -> u64 {
        self.borrowed().ttl_s(now_s)
    }

    fn borrowed(&self) -> RawValueRef<'_> {
        RawValueRef {
            user_value: &self.user_value,
            expires_at_s: self.expires_at_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layout_is_flags_then_expiry_then_value() {
        assert_eq!(encode(b"v", None), [0, b'v']);
        assert_eq!(
            encode(b"v", Some(0x0102)),
            [1, 0, 0, 0, 0, 0, 0, 1, 2, b'v']
        );
        assert_eq!(encode(b"", None), [0]);
    }

    #[test]
    fn damaged_and_newer_values_are_refused() {
        assert_eq!(
            RawValueRef::decode(b""),
            Err(CodecError::TruncatedValue {
                len_bytes: 0,
                needed_bytes: 1
            })
        );
        assert_eq!(
            RawValueRef::decode(&[1, 0, 0]),
            Err(CodecError::TruncatedValue {
                len_bytes: 3,
                needed_bytes: 9
            })
        );
        assert_eq!(
            RawValueRef::decode(&[2, b'v']),
            Err(CodecError::UnknownValueFlags { flags: 2 })
        );
        assert_eq!(
            RawValueRef::decode(&[3; 20]),
            Err(CodecError::UnknownValueFlags { flags: 3 })
        );
    }

    #[test]
    fn a_value_exists_until_its_expiry() {
        let stored = Bytes::from(encode(b"v", expiry_of_ttl(10, 100)));
        let value = RawValue::decode(&stored).unwrap();
        assert!(!value.is_expired(109));
        assert_eq!(value.ttl_s(109), 1);
        assert!(value.is_expired(110));
        assert_eq!(value.ttl_s(110), 0);
        assert_eq!(expiry_of_ttl(0, 100), None);
        assert_eq!(expiry_of_ttl(u64::MAX, 100), Some(u64::MAX));
        let forever = RawValue::decode(&Bytes::from(encode(b"v", None))).unwrap();
        assert!(!forever.is_expired(u64::MAX));
        assert_eq!(forever.ttl_s(0), 0);
    }

    #[test]
    fn decoding_shares_memory() {
        let stored = Bytes::from(encode(b"value", Some(7)));
        let value = RawValue::decode(&stored).unwrap();
        assert_eq!(
            value.user_value.as_ptr(),
            stored[HEADER_BYTES_MAX..].as_ptr()
        );
    }

    proptest! {
        #[test]
        fn every_value_round_trips(user in any::<Vec<u8>>(), expiry in any::<Option<u64>>()) {
            let stored = Bytes::from(encode(&user, expiry));
            prop_assert!(stored.len() <= user.len() + HEADER_BYTES_MAX);
            let value = RawValue::decode(&stored).unwrap();
            prop_assert_eq!(&value.user_value[..], &user[..]);
            prop_assert_eq!(value.expires_at_s, expiry);
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(stored in any::<Vec<u8>>(), first in 0u8..4) {
            let mut stored = stored;
            if let Some(flags) = stored.first_mut() { *flags = first; }
            if let Ok(value) = RawValueRef::decode(&stored) {
                prop_assert_eq!(encode(value.user_value, value.expires_at_s), stored);
            }
        }
    }
}
