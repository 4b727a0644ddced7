//! The client against servers of this test that answer, and fail, as real ones do.

mod fake;

use bytes::Bytes;
use client::{ApiVersion, Client, Config, Contents, Error, Swap};
use fake::{Fake, Fault};
use std::time::{Duration, Instant};

/// No test waits for so long; it is far beyond what a busy machine needs for one answer.
const MINUTE: Duration = Duration::from_secs(60);

async fn connect(fake: &Fake) -> Client {
    let config = Config {
        deadline: MINUTE,
        attempt_timeout: MINUTE,
        ..Config::default()
    };
    Client::connect(&fake.endpoints(), config).await.unwrap()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn pair(key: &str, value: &str) -> (Bytes, Bytes) {
    (bytes(key), bytes(value))
}

#[tokio::test]
async fn what_was_put_is_got_and_what_was_not_is_absent() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    client.put(b"k", bytes("v")).await.unwrap();
    assert_eq!(client.get(b"k").await.unwrap(), Some(bytes("v")));
    assert_eq!(client.get(b"other").await.unwrap(), None);
    assert_eq!(client.cluster_id().get(), fake::CLUSTER_ID);
}

#[tokio::test]
async fn a_hint_of_the_leader_is_followed_and_remembered() {
    let fake = Fake::start(&[]).await;
    fake.lead(2);
    fake.world.lock().stale_leader = Some(1);
    let client = connect(&fake).await;
    client.put(b"a", bytes("1")).await.unwrap();
    client.put(b"b", bytes("2")).await.unwrap();
    assert_eq!((fake.calls(1, "RawPut"), fake.calls(2, "RawPut")), (1, 2));
}

#[tokio::test]
async fn the_regions_in_an_epoch_error_are_used_without_asking_placement() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    client.put(b"a", bytes("1")).await.unwrap();
    let asked = fake.calls(0, "GetRegion");
    fake.cut(&[b"m"], 2);
    client.put(b"z", bytes("2")).await.unwrap();
    client.put(b"b", bytes("3")).await.unwrap();
    assert_eq!(fake.calls(0, "GetRegion"), asked);
    assert_eq!(fake.world.lock().data.len(), 3);
}

#[tokio::test]
async fn a_region_that_is_gone_is_looked_up_again() {
    let fake = Fake::start(&[b"g", b"m"]).await;
    let client = connect(&fake).await;
    client.put(b"z", bytes("1")).await.unwrap();
    fake.cut(&[], 3);
    client.put(b"z", bytes("2")).await.unwrap();
    assert_eq!(client.get(b"z").await.unwrap(), Some(bytes("2")));
}

/// Placement still believes in the first store, which is dead; the second leads.
async fn with_a_dead_leader() -> (Fake, Client) {
    let fake = Fake::start(&[]).await;
    fake.stop(1);
    fake.lead(2);
    fake.world.lock().stale_leader = Some(1);
    let client = connect(&fake).await;
    (fake, client)
}

#[tokio::test]
async fn when_the_leader_is_dead_another_store_is_asked() {
    let (fake, client) = with_a_dead_leader().await;
    client.put(b"k", bytes("v")).await.unwrap();
    assert_eq!((fake.calls(1, "RawPut"), fake.calls(2, "RawPut")), (0, 1));
}

#[tokio::test]
async fn a_swap_that_never_left_is_sent_again() {
    let (_fake, client) = with_a_dead_leader().await;
    let swap = client
        .compare_and_swap(b"k", None, bytes("v"))
        .await
        .unwrap();
    assert_eq!(
        swap,
        Swap {
            swapped: true,
            previous: None
        }
    );
}

#[tokio::test]
async fn passing_troubles_are_waited_out() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    fake.fail(&[Fault::Busy, Fault::NoLeader, Fault::Busy]);
    client.put(b"k", bytes("v")).await.unwrap();
    assert!(fake.world.lock().faults.is_empty());
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_sent_again() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    fake.fail(&[Fault::AnswerLost]);
    client.put(b"k", bytes("v")).await.unwrap();
    assert!(fake.calls(1, "RawPut") >= 2);
}

#[tokio::test]
async fn a_write_that_must_not_come_twice_is_undetermined_once_its_answer_is_lost() {
    let fake = Fake::start(&[]).await;
    let config = Config {
        resend_writes: false,
        ..Config::default()
    };
    let client = Client::connect(&fake.endpoints(), config).await.unwrap();
    fake.fail(&[Fault::AnswerLost]);
    let error = client.put(b"k", bytes("v")).await.unwrap_err();
    assert!(matches!(error, Error::Undetermined { .. }), "{error}");
    assert_eq!(fake.calls(0, "RawPut"), 1);
    fake.fail(&[Fault::AnswerLost]);
    assert_eq!(
        client.get(b"k").await.unwrap(),
        Some(bytes("v")),
        "a read is"
    );
    // What certainly did not happen is tried again.
    fake.fail(&[Fault::Busy, Fault::NoLeader]);
    client.put(b"k", bytes("w")).await.unwrap();
}

#[tokio::test]
async fn a_swap_whose_answer_is_lost_is_undetermined_and_not_sent_again() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    fake.fail(&[Fault::AnswerLost]);
    let error = client
        .compare_and_swap(b"k", None, bytes("v"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Undetermined { .. }), "{error}");
    assert_eq!(fake.calls(0, "RawCompareAndSwap"), 1);
    let swap = client
        .compare_and_swap(b"k", None, bytes("w"))
        .await
        .unwrap();
    assert_eq!(
        swap,
        Swap {
            swapped: false,
            previous: Some(bytes("v"))
        }
    );
}

#[tokio::test]
async fn a_swap_that_was_refused_is_sent_again() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    fake.fail(&[Fault::NoLeader, Fault::Busy]);
    let swap = client
        .compare_and_swap(b"k", None, bytes("v"))
        .await
        .unwrap();
    assert_eq!(
        swap,
        Swap {
            swapped: true,
            previous: None
        }
    );
}

#[tokio::test]
async fn at_the_deadline_it_is_known_whether_a_write_may_have_happened() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    fake.fail(&[Fault::BusyForAnHour]);
    let error = client.put(b"k", bytes("v")).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    fake.fail(&[Fault::AnswerLost, Fault::BusyForAnHour]);
    let error = client.put(b"k", bytes("v")).await.unwrap_err();
    assert!(matches!(error, Error::Undetermined { .. }), "{error}");
}

#[tokio::test]
async fn a_complaint_about_the_request_is_final() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    fake.fail(&[Fault::Complaint("a complaint")]);
    let error = client.get(b"k").await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { reason } if reason == "a complaint"),
        "{error}"
    );
    assert_eq!(fake.calls(0, "RawGet"), 1);
}

#[tokio::test]
async fn a_write_of_unknown_fate_is_not_taken_for_a_refusal() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    let text = "the replica stopped before the fate of the command was known";
    fake.fail(&[Fault::Complaint(text)]);
    let error = client.put(b"k", bytes("v")).await.unwrap_err();
    assert!(matches!(error, Error::Undetermined { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_does_not_tell_that_nothing_was_written() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    // Meanwhile another store is asked, which names the leader.
    fake.fail(&[Fault::AnswerLost, Fault::Pass, Fault::Complaint("no")]);
    let error = client.put(b"k", bytes("v")).await.unwrap_err();
    assert!(
        matches!(&error, Error::Undetermined { last } if last.contains("no")),
        "{error}"
    );
    fake.fail(&[Fault::AnswerLost, Fault::Pass, Fault::TooLarge]);
    let error = client.batch_put(&[pair("k", "v")]).await.unwrap_err();
    assert!(matches!(error, Error::Undetermined { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_of_a_read_stays_a_refusal() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    fake.fail(&[Fault::AnswerLost, Fault::Pass, Fault::Complaint("no")]);
    let error = client.get(b"k").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test]
async fn of_a_batch_only_what_no_answer_has_settled_is_undetermined() {
    let fake = Fake::start(&[b"m"]).await;
    let client = connect(&fake).await;
    let too_large = (bytes("z"), Bytes::from(vec![0; 9 << 20]));
    let pairs = [pair("a", "1"), too_large];
    // The first Region's part is sent again, and done: the second's refusal is the whole truth.
    fake.fail(&[Fault::AnswerLost]);
    let error = client.batch_put(&pairs).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_split_does_not_settle_what_a_lost_answer_was_about() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    // Both pairs are sent as one. Then another store names the leader, which says that the route is
    // wrong, and the first pair is done by itself.
    let lost = Fault::AnswerLostInSplit(b"m");
    let pass = Fault::Pass;
    fake.fail(&[lost, pass, pass, pass, Fault::TooLarge]);
    let pairs = [pair("a", "1"), pair("z", "2")];
    let error = client.batch_put(&pairs).await.unwrap_err();
    assert!(matches!(error, Error::Undetermined { .. }), "{error}");
    assert_eq!(fake.calls(0, "RawBatchPut"), 5);
}

#[tokio::test]
async fn an_empty_key_is_refused_before_anything_is_sent() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    assert!(matches!(client.get(b"").await, Err(Error::Invalid(_))));
    assert!(matches!(
        client.scan(b"b", b"a", 1).await,
        Err(Error::Invalid(_))
    ));
    assert_eq!(fake.calls(0, "RawGet") + fake.calls(0, "RawScan"), 0);
}

#[tokio::test]
async fn many_keys_go_to_their_regions_and_come_back() {
    let fake = Fake::start(&[b"key0300", b"key0600"]).await;
    let client = connect(&fake).await;
    let pairs: Vec<_> = (0..1_000)
        .map(|n| pair(&format!("key{n:04}"), &n.to_string()))
        .collect();
    let shuffled: Vec<_> = pairs.iter().rev().cloned().collect();
    client.batch_put(&shuffled).await.unwrap();
    assert_eq!(fake.calls(0, "RawBatchPut"), 3);
    let keys: Vec<Bytes> = pairs
        .iter()
        .map(|(key, _)| key.clone())
        .chain([bytes("none")])
        .collect();
    let mut got = client.batch_get(&keys).await.unwrap();
    got.sort();
    assert_eq!(got, pairs);
}

#[tokio::test]
async fn pairs_that_fit_into_an_entry_each_are_written_however_they_are_batched() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    let pairs: Vec<_> = [512 << 10, 7_900 << 10, 512 << 10, 512 << 10, 1, 7_900 << 10]
        .into_iter()
        .zip(["a", "b", "c", "d", "e", "f"])
        .map(|(bytes, key)| (Bytes::from(key), Bytes::from(vec![0; bytes])))
        .collect();
    client.batch_put(&pairs).await.unwrap();
    assert_eq!(client.scan(b"", b"", 10).await.unwrap(), pairs);
    // a, b, c, d and e, f: two halves of a mebibyte are over it by their keys.
    assert_eq!(fake.calls(0, "RawBatchPut"), 5);
}

#[tokio::test]
async fn a_batch_is_cut_anew_when_its_region_was_split() {
    let fake = Fake::start(&[]).await;
    let client = connect(&fake).await;
    client.put(b"a", bytes("0")).await.unwrap();
    fake.cut(&[b"m"], 2);
    client
        .batch_put(&[pair("b", "1"), pair("y", "2"), pair("z", "3")])
        .await
        .unwrap();
    assert_eq!(client.scan(b"", b"", 10).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_scan_goes_over_regions_and_pages_and_stops_at_its_bounds() {
    let fake = Fake::start(&[b"key0300", b"key0600"]).await;
    let client = connect(&fake).await;
    let pairs: Vec<_> = (0..1_000)
        .map(|n| pair(&format!("key{n:04}"), &n.to_string()))
        .collect();
    client.batch_put(&pairs).await.unwrap();
    assert_eq!(client.scan(b"", b"", 5_000).await.unwrap(), pairs);
    assert_eq!(client.scan(b"", b"", 256).await.unwrap(), pairs[..256]);
    assert_eq!(client.scan(b"", b"", 700).await.unwrap(), pairs[..700]);
    assert_eq!(
        client.scan(b"key0299", b"key0601", 5_000).await.unwrap(),
        pairs[299..601]
    );
    assert_eq!(client.scan(b"key0300", b"key0300", 10).await.unwrap(), []);
    assert_eq!(
        client.scan(b"key0000", b"key0256", 5_000).await.unwrap(),
        pairs[..256]
    );
}

/// 300 pairs of about a kilobyte, where a store reads ten kilobytes at once.
async fn with_values_beyond_the_budget_of_reads() -> (Fake, Client, Vec<(Bytes, Bytes)>) {
    let fake = Fake::start(&[b"key0150"]).await;
    let client = connect(&fake).await;
    let value = Bytes::from(vec![b'v'; 1_000]);
    let pairs: Vec<_> = (0..300)
        .map(|n| (Bytes::from(format!("key{n:04}")), value.clone()))
        .collect();
    client.batch_put(&pairs).await.unwrap();
    fake.world.lock().read_bytes_max = 10_000;
    (fake, client, pairs)
}

#[tokio::test]
async fn a_scan_over_the_stores_budget_is_asked_for_in_smaller_pages() {
    let (fake, client, pairs) = with_values_beyond_the_budget_of_reads().await;
    assert_eq!(client.scan(b"", b"", 1_000).await.unwrap(), pairs);
    let calls = fake.calls(0, "RawScan");
    assert!(calls < 300 / 4, "{calls} requests");
    assert_eq!(client.scan(b"", b"", 20).await.unwrap(), pairs[..20]);
}

#[tokio::test]
async fn a_batch_get_over_the_stores_budget_is_asked_for_in_smaller_pieces() {
    let (fake, client, pairs) = with_values_beyond_the_budget_of_reads().await;
    let keys: Vec<Bytes> = pairs.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(client.batch_get(&keys).await.unwrap(), pairs);
    let calls = fake.calls(0, "RawBatchGet");
    assert!(calls < 300 / 4, "{calls} requests");
}

#[tokio::test]
async fn a_scan_of_keys_leaves_the_values_at_the_store() {
    let (fake, client, pairs) = with_values_beyond_the_budget_of_reads().await;
    let mut scan = client.scan_pages(b"", b"", 290, Contents::Keys).unwrap();
    let mut keys = Vec::new();
    while let Some(page) = scan.next_page().await.unwrap() {
        assert!(page.iter().all(|(_, value)| value.is_empty()));
        keys.extend(page.into_iter().map(|(key, _)| key));
    }
    let expected = pairs[..290].iter().map(|(key, _)| key);
    assert!(keys.iter().eq(expected));
    assert_eq!(fake.calls(0, "RawScan"), 2, "one page of each Region");
}

#[tokio::test]
async fn a_range_is_deleted_in_every_region_and_not_beyond() {
    let fake = Fake::start(&[b"b", b"c"]).await;
    let client = connect(&fake).await;
    let all = ["a1", "a2", "b1", "c1", "c2"];
    client
        .batch_put(&all.map(|key| pair(key, "v")))
        .await
        .unwrap();
    client.delete_range(b"a2", b"c2").await.unwrap();
    let left = client.scan(b"", b"", 10).await.unwrap();
    assert_eq!(left, [pair("a1", "v"), pair("c2", "v")]);
}

#[tokio::test]
async fn under_v2_stores_see_the_prefix_and_users_do_not() {
    // Regions' boundaries are memcomparable; the keyspace begins at one and another follows it.
    let boundaries = [b"r\0\0\0".as_slice(), b"r\0\0\0m", b"r\0\0\x01"].map(types::keys::encode);
    let fake = Fake::start(&boundaries.each_ref().map(Vec::as_slice)).await;
    let config = Config {
        api_version: ApiVersion::V2,
        ..Config::default()
    };
    let client = Client::connect(&fake.endpoints(), config).await.unwrap();
    let pairs = [pair("a", "1"), pair("m", "2"), pair("z", "3")];
    client.batch_put(&pairs).await.unwrap();
    client.put(b"q", bytes("4")).await.unwrap();
    let beyond = Bytes::from_static(b"r\0\0\x01a");
    fake.world
        .lock()
        .data
        .insert(beyond, bytes("another keyspace's"));
    let keys: Vec<Bytes> = fake.world.lock().data.keys().cloned().collect();
    assert_eq!(
        keys[..2],
        [
            Bytes::from_static(b"r\0\0\0a"),
            Bytes::from_static(b"r\0\0\0m")
        ]
    );
    let expected = [
        pair("a", "1"),
        pair("m", "2"),
        pair("q", "4"),
        pair("z", "3"),
    ];
    assert_eq!(client.scan(b"", b"", 10).await.unwrap(), expected);
    assert_eq!(
        client.batch_get(&[bytes("m")]).await.unwrap(),
        [pair("m", "2")]
    );
    client.delete_range(b"", b"").await.unwrap();
    assert_eq!(fake.world.lock().data.len(), 1, "the other keyspace stays");
}

#[tokio::test]
async fn a_keyspace_that_does_not_exist_is_named() {
    let fake = Fake::start(&[]).await;
    let keyspace = "tenant".to_owned();
    let config = Config {
        api_version: ApiVersion::V2,
        keyspace,
        ..Config::default()
    };
    let error = Client::connect(&fake.endpoints(), config)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(&error, Error::NoKeyspace(name) if name == "tenant"),
        "{error}"
    );
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named() {
    let fake = Fake::start(&[]).await;
    let endpoint = fake.endpoints()[0].clone();
    fake.stop(1);
    let endpoints = [endpoint.clone()];
    let config = Config {
        deadline: Duration::from_millis(200),
        attempt_timeout: MINUTE,
        ..Config::default()
    };
    // The server's socket closes when its task has ended, a moment after it was told to.
    let error = loop {
        match Client::connect(&endpoints, config.clone()).await {
            Err(error) => break error,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    assert!(error.to_string().contains(&endpoint), "{error}");
}

#[tokio::test]
async fn a_placement_that_is_about_to_start_is_waited_for() {
    let fake = Fake::start(&[]).await;
    // Each of the three endpoints is asked twice in vain.
    fake.world.lock().early_questions = 6;
    let client = connect(&fake).await;
    assert_eq!(client.cluster_id().get(), fake::CLUSTER_ID);
}

#[tokio::test]
async fn endpoints_that_never_answer_are_given_up_on_at_the_deadline() {
    let silent = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    // The kernel takes the connections; nobody reads them.
    let address = |listener: &std::net::TcpListener| listener.local_addr().unwrap().to_string();
    let endpoints = silent.each_ref().map(address);
    let config = Config {
        deadline: Duration::from_millis(100),
        attempt_timeout: MINUTE,
        ..Config::default()
    };
    let began = Instant::now();
    let error = Client::connect(&endpoints, config).await.err().unwrap();
    assert!(matches!(&error, Error::NoMember { last, .. } if last.contains("does not answer")));
    assert!(began.elapsed() < MINUTE / 2, "{error}");
}

#[tokio::test]
async fn a_search_for_the_placement_leader_ends_at_the_deadline() {
    let fake = Fake::start(&[]).await;
    let config = Config {
        deadline: Duration::from_secs(1),
        attempt_timeout: MINUTE,
        ..Config::default()
    };
    let client = Client::connect(&fake.endpoints(), config).await.unwrap();
    fake.world.lock().placement_is_lost = true;
    let began = Instant::now();
    let error = client.get(b"k").await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert!(began.elapsed() < MINUTE / 2, "{error}");
}

#[tokio::test]
async fn a_silent_endpoint_does_not_hide_the_next_placement_leader_from_the_impatient() {
    let fake = Fake::start(&[]).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut endpoints = vec![silent.local_addr().unwrap().to_string()];
    endpoints.extend(fake.endpoints());
    // An attempt at the silent one takes an operation's whole time.
    let config = Config {
        deadline: Duration::from_millis(500),
        attempt_timeout: Duration::from_millis(490),
        ..Config::default()
    };
    let client = loop {
        match Client::connect(&endpoints, config.clone()).await {
            Ok(client) => break client,
            Err(error) => assert!(matches!(error, Error::NoMember { .. }), "{error}"),
        }
    };
    fake.stop(3);
    fake.world.lock().placement_leader = Some(2);
    let mut tries = 0;
    while client.get(b"k").await.is_err() {
        tries += 1;
        assert!(tries < 8, "the silent one is asked again and again");
    }
}

#[tokio::test]
async fn each_endpoint_is_asked_once_however_it_is_written() {
    let fake = Fake::start(&[]).await;
    let plain = fake.endpoints()[0].clone();
    let endpoints = [
        plain.clone(),
        format!("http://{plain}"),
        format!("{plain}/"),
    ];
    fake.world.lock().early_questions = usize::MAX;
    let config = Config {
        deadline: Duration::from_millis(100),
        ..Config::default()
    };
    let error = Client::connect(&endpoints, config).await.err().unwrap();
    assert!(
        matches!(&error, Error::NoMember { endpoints, .. } if endpoints.len() == 1),
        "{error}"
    );
}

#[tokio::test]
async fn regions_and_members_are_listed() {
    let fake = Fake::start(&[b"g", b"m"]).await;
    let client = connect(&fake).await;
    let regions = client.regions().await.unwrap();
    let ids: Vec<u64> = regions.iter().map(|info| info.region.id.get()).collect();
    assert_eq!(ids, [2, 3, 4]);
    let members = client.members().await.unwrap();
    assert_eq!(members.members.len(), 3);
    assert_eq!(members.leader.unwrap().id, 3);
}
