//! Each raw RPC, as clients see it.

use super::{key, raw, raw_within, v1, v2};
use crate::checksum::crc64;
use crate::fake::FakeNode;
use crate::limits::Limits;
use bytes::Bytes;
use futures::FutureExt;
use proto::kvrpcpb::*;
use raftstore::RequestError;
use types::{KeyRange, RegionId, raw_value};

const LONG_AGO_S: u64 = 1;

fn put(text: &str, value: &str) -> RawPutRequest {
    RawPutRequest {
        context: v1(),
        key: key(text),
        value: key(value),
        ..Default::default()
    }
}

fn get(text: &str) -> RawGetRequest {
    RawGetRequest {
        context: v1(),
        key: key(text),
        ..Default::default()
    }
}

fn pair(text: &str, value: &str) -> KvPair {
    KvPair {
        error: None,
        key: key(text),
        value: key(value),
    }
}

fn scan(start: &str, end: &str, limit: u32) -> RawScanRequest {
    RawScanRequest {
        context: v1(),
        start_key: key(start),
        end_key: key(end),
        limit,
        ..Default::default()
    }
}

/// A node with a value of its own under each letter.
fn alphabet() -> FakeNode {
    let node = FakeNode::v1();
    for letter in 'a'..='z' {
        node.insert(letter.to_string().as_bytes(), raw_value::encode(b"v", None));
    }
    node
}

fn keys(pairs: &[KvPair]) -> String {
    pairs
        .iter()
        .map(|pair| String::from_utf8_lossy(&pair.key))
        .collect()
}

#[tokio::test]
async fn what_was_put_is_got_and_what_was_deleted_is_not() {
    let raw = raw(&FakeNode::v1());
    assert_eq!(raw.put(put("k", "value")).await, RawPutResponse::default());
    assert_eq!(raw.get(get("k")).await.value, "value");
    let delete = RawDeleteRequest {
        context: v1(),
        key: key("k"),
        ..Default::default()
    };
    assert_eq!(raw.delete(delete).await, RawDeleteResponse::default());
    let gone = raw.get(get("k")).await;
    assert!(gone.not_found && gone.value.is_empty() && gone.region_error.is_none());
}

#[tokio::test]
async fn an_empty_value_is_a_value() {
    let raw = raw(&FakeNode::v1());
    raw.put(put("k", "")).await;
    let response = raw.get(get("k")).await;
    assert!(!response.not_found && response.value.is_empty());
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_text_and_without_any_work() {
    let node = FakeNode::v1();
    let raw = raw(&node);
    let long = Bytes::from(vec![b'k'; 8 * 1024 + 1]);
    let cases = [
        RawPutRequest {
            key: Bytes::new(),
            ..put("", "v")
        },
        RawPutRequest {
            key: long,
            ..put("", "v")
        },
        RawPutRequest {
            cf: "lock".to_owned(),
            ..put("k", "v")
        },
        RawPutRequest {
            context: v2(),
            ..put("k", "v")
        },
    ];
    for case in cases {
        let response = raw.put(case).await;
        assert!(
            !response.error.is_empty() && response.region_error.is_none(),
            "{response:?}"
        );
    }
    assert!(node.rows().is_empty());
    let fits = RawPutRequest {
        key: vec![b'k'; 8 * 1024].into(),
        ..put("", "v")
    };
    assert_eq!(raw.put(fits).await, RawPutResponse::default());
}

#[tokio::test]
async fn a_value_over_the_entry_limit_is_refused_before_it_is_proposed() {
    let node = FakeNode::v1();
    let limits = Limits {
        raft_entry_bytes_max: 100,
        ..Limits::default()
    };
    let raw = raw_within(&node, limits);
    let value = Bytes::from(vec![0; 100]);
    let response = raw
        .put(RawPutRequest {
            value,
            ..put("k", "")
        })
        .await;
    assert_eq!(
        response
            .region_error
            .unwrap()
            .raft_entry_too_large
            .unwrap()
            .entry_size,
        101
    );
    assert!(node.rows().is_empty());
}

#[tokio::test]
async fn the_nodes_refusal_reaches_the_client_as_a_region_error() {
    let node = FakeNode::v1();
    let raw = raw(&node);
    let mut stale = put("k", "v");
    stale
        .context
        .as_mut()
        .unwrap()
        .region_epoch
        .as_mut()
        .unwrap()
        .version = 9;
    let error = raw.put(stale).await.region_error.unwrap();
    assert_eq!(
        error.epoch_not_match.unwrap().current_regions[0]
            .peers
            .len(),
        1
    );

    let leader = node.region().peers[0];
    node.refuse(RequestError::NotLeader {
        region_id: RegionId(2),
        leader: Some(leader),
    });
    let errors = [
        raw.put(put("k", "v")).await.region_error,
        raw.get(get("k")).await.region_error,
        raw.scan(scan("a", "z", 1)).await.response.region_error,
    ];
    for error in errors {
        assert_eq!(
            error.unwrap().not_leader.unwrap().leader,
            Some(leader.into())
        );
    }
}

#[tokio::test]
async fn an_expired_value_does_not_exist_for_any_read() {
    let node = FakeNode::v1();
    node.insert(b"dead", raw_value::encode(b"v", Some(LONG_AGO_S)));
    node.insert(b"live", raw_value::encode(b"v", Some(u64::MAX)));
    let raw = raw(&node);
    assert!(raw.get(get("dead")).await.not_found);
    assert!(!raw.get(get("live")).await.not_found);
    let keys_of_both = vec![key("dead"), key("live")];
    let batch = RawBatchGetRequest {
        context: v1(),
        keys: keys_of_both,
        ..Default::default()
    };
    assert_eq!(raw.batch_get(batch).await.pairs, [pair("live", "v")]);
    assert_eq!(raw.scan(scan("a", "z", 10)).await.kvs, [pair("live", "v")]);
    let ttl = RawGetKeyTtlRequest {
        context: v1(),
        key: key("dead"),
        ..Default::default()
    };
    assert!(raw.get_key_ttl(ttl).await.not_found);
    let swap = RawCasRequest {
        context: v1(),
        key: key("dead"),
        value: key("new"),
        previous_not_exist: true,
        ..Default::default()
    };
    assert!(raw.compare_and_swap(swap).await.succeed);
}

#[tokio::test]
async fn a_time_to_live_is_kept_and_counted_down() {
    let raw = raw(&FakeNode::v1());
    raw.put(RawPutRequest {
        ttl: 1_000,
        ..put("k", "v")
    })
    .await;
    raw.put(put("forever", "v")).await;
    let ttl = |text| RawGetKeyTtlRequest {
        context: v1(),
        key: key(text),
        ..Default::default()
    };
    let left = raw.get_key_ttl(ttl("k")).await.ttl;
    assert!((990..=1_000).contains(&left), "{left}");
    let forever = raw.get_key_ttl(ttl("forever")).await;
    assert!(forever.ttl == 0 && !forever.not_found);
    assert!(raw.get_key_ttl(ttl("none")).await.not_found);
}

#[tokio::test]
async fn a_batch_put_takes_no_one_or_each_time_to_live() {
    let node = FakeNode::v1();
    let raw = raw(&node);
    let pairs = || vec![pair("a", "1"), pair("b", "2"), pair("c", "3")];
    let request = |ttls: &[u64]| RawBatchPutRequest {
        context: v1(),
        pairs: pairs(),
        ttls: ttls.to_vec(),
        ..Default::default()
    };
    let expiries = || -> Vec<bool> {
        let rows = node.rows();
        rows.values().map(|stored| stored[0] != 0).collect()
    };
    for (ttls, expected) in [
        (&[][..], [false; 3]),
        (&[50][..], [true; 3]),
        (&[50, 0, 50][..], [true, false, true]),
    ] {
        assert_eq!(
            raw.batch_put(request(ttls)).await,
            RawBatchPutResponse::default()
        );
        assert_eq!(expiries(), expected, "{ttls:?}");
    }
    let refused = raw.batch_put(request(&[1, 2])).await;
    assert!(refused.error.contains("2 times to live for 3 pairs"));
    #[allow(deprecated)]
    let old_client = RawBatchPutRequest {
        ttl: 50,
        ..request(&[])
    };
    raw.batch_put(old_client).await;
    assert_eq!(expiries(), [true; 3]);
}

#[tokio::test]
async fn a_batch_with_one_bad_key_changes_nothing() {
    let node = FakeNode::v1();
    let raw = raw(&node);
    let pairs = vec![pair("a", "1"), pair("", "2")];
    let request = RawBatchPutRequest {
        context: v1(),
        pairs,
        ..Default::default()
    };
    assert!(!raw.batch_put(request).await.error.is_empty());
    assert!(node.rows().is_empty());
}

#[tokio::test]
async fn a_batch_get_keeps_the_order_of_the_request() {
    let raw = raw(&alphabet());
    // Few keys are read in place, many on another thread.
    for asked in ["zax", "zyxwvutsrqpon"] {
        let keys_asked = asked.chars().map(|letter| key(&letter.to_string()));
        let keys_asked = keys_asked.chain([key("none")]).collect();
        let request = RawBatchGetRequest {
            context: v1(),
            keys: keys_asked,
            ..Default::default()
        };
        assert_eq!(keys(&raw.batch_get(request).await.pairs), asked);
    }
}

#[tokio::test]
async fn a_batch_delete_and_a_delete_range_remove_what_they_name() {
    let node = alphabet();
    let raw = raw(&node);
    let batch = RawBatchDeleteRequest {
        context: v1(),
        keys: vec![key("y"), key("z")],
        ..Default::default()
    };
    raw.batch_delete(batch).await;
    let range = |start: &str, end: &str| RawDeleteRangeRequest {
        context: v1(),
        start_key: key(start),
        end_key: key(end),
        ..Default::default()
    };
    assert_eq!(
        raw.delete_range(range("c", "x")).await,
        RawDeleteRangeResponse::default()
    );
    assert_eq!(
        raw.delete_range(range("a", "a")).await,
        RawDeleteRangeResponse::default()
    );
    assert_eq!(keys(&raw.scan(scan("", "", 100)).await.kvs), "abx");
    assert!(!raw.delete_range(range("x", "c")).await.error.is_empty());
}

#[tokio::test]
async fn scans_go_both_ways_with_limit_and_keys_only() {
    let raw = raw(&alphabet());
    assert_eq!(keys(&raw.scan(scan("b", "e", 10)).await.kvs), "bcd");
    assert_eq!(keys(&raw.scan(scan("b", "", 3)).await.kvs), "bcd");
    assert_eq!(keys(&raw.scan(scan("b", "e", 0)).await.kvs), "");
    // A reverse scan names the upper bound first; it is exclusive.
    let reverse = RawScanRequest {
        reverse: true,
        ..scan("e", "b", 10)
    };
    assert_eq!(keys(&raw.scan(reverse).await.kvs), "dcb");
    let top = RawScanRequest {
        reverse: true,
        ..scan("", "", 2)
    };
    assert_eq!(keys(&raw.scan(top).await.kvs), "zy");
    let bare = raw
        .scan(RawScanRequest {
            key_only: true,
            ..scan("b", "c", 10)
        })
        .await;
    assert!(bare.kvs[0].key == "b" && bare.kvs[0].value.is_empty());
    let inverted = raw.scan(scan("e", "b", 10)).await.response;
    assert!(inverted.region_error.unwrap().message.contains("range"));
}

#[tokio::test]
async fn a_batch_scan_has_a_limit_for_each_range() {
    let raw = raw(&alphabet());
    let range = |start: &str, end: &str| proto::kvrpcpb::KeyRange {
        start_key: key(start),
        end_key: key(end),
    };
    let request = RawBatchScanRequest {
        context: v1(),
        ranges: vec![range("a", "c"), range("m", ""), range("n", "z")],
        each_limit: 3,
        ..Default::default()
    };
    // The range without an end reaches to the beginning of the next one.
    assert_eq!(keys(&raw.batch_scan(request).await.kvs), "abmnop");
}

#[tokio::test]
async fn a_scan_is_cut_at_the_regions_end_and_refused_where_it_begins_outside() {
    let region = KeyRange {
        start: b"d".to_vec(),
        end: b"m".to_vec(),
    };
    let node = FakeNode::new(types::ApiVersion::V1, region);
    for letter in 'd'..'m' {
        node.insert(letter.to_string().as_bytes(), raw_value::encode(b"v", None));
    }
    let raw = raw(&node);
    assert_eq!(keys(&raw.scan(scan("k", "z", 10)).await.kvs), "kl");
    let outside = raw
        .scan(scan("a", "z", 10))
        .await
        .response
        .region_error
        .unwrap();
    assert_eq!(outside.key_not_in_region.unwrap().start_key, "d");
    let outside = raw.get(get("z")).await.region_error.unwrap();
    assert_eq!(outside.key_not_in_region.unwrap().key, "z");
}

#[tokio::test]
async fn a_write_outside_the_region_is_refused_whole() {
    let region = KeyRange {
        start: b"d".to_vec(),
        end: b"m".to_vec(),
    };
    let node = FakeNode::new(types::ApiVersion::V1, region);
    let raw = raw(&node);
    let batch = RawBatchPutRequest {
        context: v1(),
        pairs: vec![pair("e", "inside"), pair("z", "outside")],
        ..Default::default()
    };
    let delete = RawDeleteRequest {
        context: v1(),
        key: key("z"),
        ..Default::default()
    };
    let beyond = RawDeleteRangeRequest {
        context: v1(),
        start_key: key("e"),
        end_key: key("z"),
        ..Default::default()
    };
    let swap = RawCasRequest {
        context: v1(),
        key: key("z"),
        previous_not_exist: true,
        ..Default::default()
    };
    let errors = [
        raw.put(put("z", "outside")).await.region_error,
        raw.batch_put(batch).await.region_error,
        raw.delete(delete).await.region_error,
        raw.delete_range(beyond).await.region_error,
        raw.compare_and_swap(swap).await.region_error,
    ];
    for error in errors {
        let error = error.unwrap().key_not_in_region.unwrap();
        assert_eq!(
            (&error.start_key[..], &error.end_key[..]),
            (&b"d"[..], &b"m"[..])
        );
    }
    assert!(node.rows().is_empty());
}

#[tokio::test]
async fn a_read_over_its_budget_is_an_error_and_never_a_short_page() {
    let node = FakeNode::v1();
    for letter in 'a'..='z' {
        node.insert(
            letter.to_string().as_bytes(),
            raw_value::encode(&[0; 1_000], None),
        );
    }
    let raw = raw_within(
        &node,
        Limits {
            read_bytes_max: 10_000,
            ..Limits::default()
        },
    );
    let response = raw.scan(scan("a", "", 100)).await.response;
    assert!(response.kvs.is_empty() && response.region_error.unwrap().server_is_busy.is_some());
    assert_eq!(raw.scan(scan("a", "", 5)).await.kvs.len(), 5);
    let all = ('a'..='z').map(|letter| key(&letter.to_string())).collect();
    let request = RawBatchGetRequest {
        context: v1(),
        keys: all,
        ..Default::default()
    };
    let response = raw.batch_get(request).await.response;
    assert!(response.pairs.is_empty() && response.region_error.unwrap().server_is_busy.is_some());
}

#[tokio::test]
async fn a_scan_hears_at_once_that_it_must_ask_another_store() {
    let node = alphabet();
    let limits = Limits {
        reads_concurrent_max: 0,
        read_ms_max: 60_000,
        ..Limits::default()
    };
    let raw = raw_within(&node, limits);
    node.refuse(RequestError::NotLeader {
        region_id: RegionId(2),
        leader: None,
    });
    let answer = raw.scan(scan("a", "z", 1)).now_or_never();
    let error = answer
        .expect("it does not wait")
        .response
        .region_error
        .unwrap();
    assert!(error.not_leader.is_some());
}

#[tokio::test]
async fn a_scan_waits_for_its_turn_no_longer_than_it_may_run() {
    let limits = Limits {
        reads_concurrent_max: 0,
        read_ms_max: 20,
        ..Limits::default()
    };
    let raw = raw_within(&alphabet(), limits);
    let error = raw
        .scan(scan("a", "z", 1))
        .await
        .response
        .region_error
        .unwrap();
    assert!(error.server_is_busy.is_some());
}

#[tokio::test]
async fn time_runs_over_ranges_and_keys_that_hold_nothing() {
    let limits = Limits {
        read_ms_max: 0,
        ..Limits::default()
    };
    let raw = raw_within(&alphabet(), limits);
    let empty = proto::kvrpcpb::KeyRange {
        start_key: key("n0"),
        end_key: key("n1"),
    };
    let ranges = RawBatchScanRequest {
        context: v1(),
        ranges: vec![empty.clone(); 1_000],
        each_limit: 1,
        ..Default::default()
    };
    let sum = RawChecksumRequest {
        context: v1(),
        ranges: vec![empty; 1_000],
        ..Default::default()
    };
    let missing = RawBatchGetRequest {
        context: v1(),
        keys: vec![key("none"); 1_000],
        ..Default::default()
    };
    let errors = [
        raw.batch_scan(ranges).await.response.region_error,
        raw.checksum(sum).await.region_error,
        raw.batch_get(missing).await.response.region_error,
    ];
    for error in errors {
        let reason = error.unwrap().server_is_busy.unwrap().reason;
        assert!(reason.starts_with(proto::READ_OVER_BUDGET), "{reason}");
    }
}

#[tokio::test]
async fn compare_and_swap_says_what_was_there() {
    let raw = raw(&FakeNode::v1());
    let swap = |previous: Option<&str>, value: &str| RawCasRequest {
        context: v1(),
        key: key("k"),
        value: key(value),
        previous_not_exist: previous.is_none(),
        previous_value: key(previous.unwrap_or_default()),
        ..Default::default()
    };
    let first = raw.compare_and_swap(swap(None, "1")).await;
    assert!(first.succeed && first.previous_not_exist);
    let wrong = raw.compare_and_swap(swap(Some("0"), "2")).await;
    assert!(!wrong.succeed && !wrong.previous_not_exist && wrong.previous_value == "1");
    let again = raw.compare_and_swap(swap(None, "2")).await;
    assert!(!again.succeed && again.previous_value == "1");
    let second = raw.compare_and_swap(swap(Some("1"), "2")).await;
    assert!(second.succeed && second.previous_value == "1");
    assert_eq!(raw.get(get("k")).await.value, "2");
}

#[tokio::test]
async fn a_checksum_is_the_xor_over_the_rows() {
    let raw = raw(&alphabet());
    let request = |start: &str, end: &str| RawChecksumRequest {
        context: v1(),
        ranges: vec![proto::kvrpcpb::KeyRange {
            start_key: key(start),
            end_key: key(end),
        }],
        ..Default::default()
    };
    let sum = raw.checksum(request("a", "c")).await;
    assert_eq!(sum.checksum, crc64(&[b"a", b"v"]) ^ crc64(&[b"b", b"v"]));
    assert_eq!((sum.total_kvs, sum.total_bytes), (2, 4));
    let unknown = RawChecksumRequest {
        algorithm: 7,
        ..request("a", "c")
    };
    assert!(raw.checksum(unknown).await.error.contains("algorithm"));
}

#[tokio::test]
async fn under_v2_keys_keep_their_prefix_for_clients_and_are_encoded_inside() {
    let node = FakeNode::v2();
    let raw = raw(&node);
    let full = |text: &str| key(&format!("r\0\0\0{text}"));
    for text in ["a", "b", "c"] {
        let request = RawPutRequest {
            context: v2(),
            key: full(text),
            ..put("", "v")
        };
        assert_eq!(raw.put(request).await, RawPutResponse::default());
    }
    assert!(node.rows().contains_key(&types::keys::encode(&full("a"))));
    let got = raw
        .get(RawGetRequest {
            context: v2(),
            key: full("a"),
            ..get("")
        })
        .await;
    assert_eq!(got.value, "v");
    let everything = RawScanRequest {
        context: v2(),
        ..scan("r\0\0\0", "r\0\0\u{1}", 10)
    };
    let found = raw.scan(everything).await.response.kvs;
    let expected = [full("a"), full("b"), full("c")];
    assert_eq!(
        found
            .iter()
            .map(|pair| pair.key.clone())
            .collect::<Vec<_>>(),
        expected
    );
    let reverse = RawScanRequest {
        context: v2(),
        reverse: true,
        ..scan("r\0\0\u{1}", "r\0\0\0", 2)
    };
    assert_eq!(raw.scan(reverse).await.kvs[0].key, full("c"));
}

#[tokio::test]
async fn under_v2_keys_of_another_mode_or_keyspace_are_refused() {
    let node = FakeNode::v2();
    let raw = raw(&node);
    for bad in ["plain", "x\0\0\0k", "r\0", "r\0\0\0"] {
        let request = RawPutRequest {
            context: v2(),
            key: key(bad),
            ..put("", "v")
        };
        assert!(!raw.put(request).await.error.is_empty(), "{bad:?}");
    }
    let mut other = v2();
    other.as_mut().unwrap().keyspace_id = 5;
    let request = RawPutRequest {
        context: other,
        key: key("r\0\0\0k"),
        ..put("", "v")
    };
    assert!(raw.put(request).await.error.contains("keyspace"));
    let request = RawScanRequest {
        context: other,
        ..scan("r\0\0\0a", "r\0\0\0b", 1)
    };
    assert!(
        raw.scan(request)
            .await
            .response
            .region_error
            .unwrap()
            .message
            .contains("keyspace")
    );
    assert!(node.rows().is_empty());
}

#[tokio::test]
async fn a_damaged_value_is_an_error_and_not_a_value() {
    let node = FakeNode::v1();
    node.insert(b"k", vec![0xee, 1, 2]);
    let raw = raw(&node);
    assert!(raw.get(get("k")).await.error.contains("can't be read"));
    assert!(raw.scan(scan("a", "z", 10)).await.region_error.is_some());
}
