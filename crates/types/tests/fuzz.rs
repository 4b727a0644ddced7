//! Keys and values as they come from disks and clients, damaged: no decoder panics or allocates more than
//! its input explains, and what one lets in encodes to what it was.

use fuzz::{Counting, Target};
use std::mem::discriminant;
use types::{ApiVersion, KeyMode, KeyspaceId, RawValueRef, keys, raw_value};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

#[test]
fn fuzz_memcomparable_keys() {
    target("keys")
        .seed(keys::encode(b""))
        .seed(keys::encode(b"12345678"))
        .seed(keys::encode(b"longer than a group"))
        .run(|input| {
            let decoded = keys::decode(input);
            if let Ok(key) = &decoded {
                assert_eq!(keys::encode(key), input);
            }
            assert_eq!(keys::decode(&keys::encode(input)).as_deref(), Ok(input));
            decoded
                .map(|key| key.len())
                .map_err(|error| discriminant(&error))
        });
}

#[test]
fn fuzz_client_keys() {
    const WAYS: [(ApiVersion, KeyMode); 4] = [
        (ApiVersion::V1, KeyMode::Raw),
        (ApiVersion::V1, KeyMode::Txn),
        (ApiVersion::V2, KeyMode::Raw),
        (ApiVersion::V2, KeyMode::Txn),
    ];
    target("client-keys")
        .seed(b"\0key".to_vec())
        .seed(b"\x02r\0\0\x01key".to_vec())
        .seed([b"\x03", &keys::encode(b"x\0\0\x01key")[..]].concat())
        .words([&b"r\0\0\0"[..], b"x\xff\xff\xff", b"s\0\0\0"])
        .run(|input| {
            let (way, key) = input.split_first().unwrap_or((&0, &[]));
            let (version, mode) = WAYS[usize::from(*way) % WAYS.len()];
            let there = version.region_key(mode, key);
            if let Ok(region_key) = &there {
                assert_eq!(version.client_key(mode, region_key).as_deref(), Ok(key));
            }
            let back = version.client_key(mode, key);
            if let Ok(client_key) = &back {
                assert_eq!(version.region_key(mode, client_key).as_deref(), Ok(key));
            }
            let in_default = version.check_key_in(mode, key, KeyspaceId::DEFAULT);
            (
                there.map(|key| key.len()).map_err(|e| discriminant(&e)),
                back.map(|key| key.len()).map_err(|e| discriminant(&e)),
                in_default.map_err(|e| discriminant(&e)),
            )
        });
}

#[test]
fn fuzz_client_ranges() {
    target("client-ranges")
        .seed(b"\0\x01ab".to_vec())
        .seed(b"\x01\x05r\0\0\x01ar\0\0\x01b".to_vec())
        .words([&b"r\0\0\0"[..], b"r\xff\xff\xff", b"s\0\0\0"])
        .run(|input| {
            let [way, at, bounds @ ..] = input else {
                return None;
            };
            let (start, end) = bounds.split_at(usize::from(*at).min(bounds.len()));
            let version = [ApiVersion::V1, ApiVersion::V2][usize::from(*way) % 2];
            let range = version.region_range(KeyMode::Raw, start, end);
            if let Ok(range) = &range {
                assert!(
                    range.end.is_empty() || range.start <= range.end,
                    "{range:?}"
                );
                // A key within the client's bounds is within those of Regions.
                if let Ok(key) = version.region_key(KeyMode::Raw, start)
                    && start < end
                {
                    assert!(range.contains(&key), "{range:?}");
                }
            }
            let outcome = range.map(|range| (range.start.len(), range.end.len()));
            Some(outcome.map_err(|error| discriminant(&error)))
        });
}

#[test]
fn fuzz_raw_values() {
    target("raw-values")
        .seed(raw_value::encode(b"value", None))
        .seed(raw_value::encode(b"value", Some(1_700_000_000)))
        .run(|input| {
            let value = RawValueRef::decode(input);
            if let Ok(value) = &value {
                let encoded = raw_value::encode(value.user_value, value.expires_at_s);
                assert_eq!(encoded, input);
                let is_gone = value.is_expired(u64::MAX);
                assert!(!is_gone || value.ttl_s(u64::MAX) == 0);
                assert_eq!(is_gone, value.expires_at_s.is_some());
            }
            value
                .map(|value| (value.expires_at_s.is_some(), value.user_value.len()))
                .map_err(|error| discriminant(&error))
        });
}
