//! Who is named, what a hash tells apart, and how records and words are encoded.

use super::*;
use types::{Epoch, KeyRange, PeerRole, StoreId};

fn region(peers: u64) -> Region {
    Region {
        id: RegionId(2),
        range: KeyRange {
            start: b"a".to_vec(),
            end: b"z".to_vec(),
        },
        epoch: Epoch {
            conf_ver: 3,
            version: 7,
        },
        peers: (1..=peers)
            .map(|id| Peer {
                id: PeerId(id),
                store_id: StoreId(id),
                role: PeerRole::Voter,
            })
            .collect(),
    }
}

/// The report of a check at entry 9; replica 1 leads, and a hash of 0 stands for no answer.
fn report(hashes: &[u128]) -> Report {
    let mut check = Check::new(9, RequestId(1));
    for (id, hash) in (1..).zip(hashes).filter(|(_, hash)| **hash != 0) {
        check.hear(PeerId(id), 9, Some(Hash(*hash)));
    }
    check.begin(9, &region(hashes.len() as u64));
    check.end(0, |_| false).expect("there was time enough")
}

/// Who is named, and what they should have had.
fn named(hashes: &[u128]) -> Option<(Vec<u64>, u128)> {
    let verdict = report(hashes).verdict()?;
    let ids = verdict.deviating.iter().map(|(id, _)| id.get()).collect();
    Some((ids, verdict.agreed.0))
}

#[test]
fn the_minority_is_named_even_if_it_leads() {
    assert_eq!(named(&[7, 7, 8]), Some((vec![3], 7)));
    assert_eq!(named(&[8, 7, 7]), Some((vec![1], 7)));
    assert_eq!(named(&[8, 7, 7, 9, 7]), Some((vec![1, 4], 7)));
    assert_eq!(named(&[7, 7, 7]), None);
}

#[test]
fn without_a_majority_of_all_replicas_nobody_is_named_and_the_difference_shows() {
    for hashes in [
        &[7, 8][..],
        &[7, 8, 0],
        &[7, 8, 9],
        &[7, 7, 8, 8],
        &[7, 7, 8, 0],
    ] {
        assert_eq!(named(hashes), None, "{hashes:?}");
        assert!(report(hashes).differs(), "{hashes:?}");
    }
}

#[test]
fn who_says_nothing_is_neither_named_nor_different() {
    assert_eq!(named(&[7, 7, 0]), None);
    assert!(!report(&[7, 7, 0]).differs());
    assert!(!report(&[7, 0, 0]).differs());
    assert_eq!(report(&[7, 0, 0]).agreed, None);
    assert_eq!(report(&[7, 7, 0]).agreed, Some(Hash(7)));
}

#[test]
fn a_check_ends_with_the_last_answer_or_when_those_that_are_missing_are_silent_or_late() {
    let mut check = Check::new(9, RequestId(1));
    let nobody = |_| false;
    check.hear(PeerId(2), 9, Some(Hash(7)));
    check.hear(PeerId(3), 8, Some(Hash(7)));
    assert_eq!(check.end(0, nobody), None, "its entry is not applied here");
    check.begin(8, &region(3));
    assert_eq!(check.end(0, nobody), None, "that was another one");
    check.begin(9, &region(3));
    check.hear(PeerId(1), 9, Some(Hash(7)));
    assert_eq!(
        check.end(2, nobody),
        None,
        "the third has answered another check"
    );
    assert!(check.end(2, |id| id == PeerId(3)).is_some());
    check.tick();
    assert_eq!(check.end(2, nobody), None);
    check.tick();
    assert!(check.end(2, nobody).is_some());
    check.hear(PeerId(3), 9, None);
    let report = check.end(9, nobody).expect("it can't tell is an answer");
    assert_eq!(report.hashes[2].1, None);
}

#[test]
fn nobody_waits_for_a_replica_whose_snapshot_is_ahead_of_the_check() {
    let mut check = Check::new(9, RequestId(1));
    let nobody = |_| false;
    check.begin(9, &region(3));
    check.hear(PeerId(1), 9, Some(Hash(7)));
    check.hear(PeerId(2), 9, Some(Hash(7)));
    check.pass_over(PeerId(3), 8);
    assert_eq!(check.end(2, nobody), None, "it comes to the entry");
    check.pass_over(PeerId(2), 9);
    check.pass_over(PeerId(3), 9);
    let report = check.end(2, nobody).expect("nobody else is waited for");
    assert_eq!((report.agreed, report.hashes[2].1), (Some(Hash(7)), None));
    assert_eq!(report.hashes[1].1, Some(Hash(7)), "it has answered before");
}

#[test]
fn the_hash_tells_shapes_families_keys_and_values_apart() {
    let hash = |region: &Region, pairs: &[(Cf, &[u8], &[u8])]| {
        let mut hasher = RegionHasher::new(region);
        for (cf, key, value) in pairs {
            hasher.see(*cf, key, value);
        }
        hasher.finish()
    };
    let cases = [
        hash(&region(3), &[]),
        hash(&region(2), &[]),
        hash(&region(3), &[(Cf::Default, b"k", b"v")]),
        hash(&region(3), &[(Cf::Lock, b"k", b"v")]),
        hash(&region(3), &[(Cf::Default, b"kv", b"")]),
        hash(&region(3), &[(Cf::Default, b"", b"kv")]),
        hash(&region(3), &[(Cf::Default, b"k", b"w")]),
        hash(
            &region(3),
            &[(Cf::Default, b"k", b"v"), (Cf::Default, b"l", b"v")],
        ),
    ];
    for (at, one) in cases.iter().enumerate() {
        assert!(!cases[..at].contains(one), "case {at}");
    }
    assert_eq!(
        cases[2],
        hash(&region(3), &[(Cf::Default, b"k", b"v")]),
        "it is the same for the same"
    );
}

/// Replicas of different versions of the program compare their hashes.
#[test]
fn the_hash_of_a_region_is_the_same_in_every_version() {
    let mut hasher = RegionHasher::new(&region(3));
    hasher.see(Cf::Default, b"key", b"value");
    assert_eq!(
        hasher.finish().to_string(),
        "2e20b86672c2a0c6de381a39242510c8"
    );
}

#[test]
fn a_record_reads_back_and_each_cut_of_it_is_refused() {
    let quarantine = Quarantine {
        peer_id: PeerId(300),
        index: 9,
        found: Hash(u128::MAX - 1),
        agreed: Hash(7),
    };
    let record = Bytes::from(quarantine.encode());
    assert_eq!(Quarantine::decode(record.clone()), Ok(quarantine));
    for len in 0..record.len() {
        assert!(Quarantine::decode(record.slice(..len)).is_err(), "{len}");
    }
}

#[test]
fn words_read_back_and_everything_else_is_something_else() {
    let quarantine = Quarantine {
        peer_id: PeerId(3),
        index: 9,
        found: Hash(8),
        agreed: Hash(7),
    };
    for word in [
        Word::Hashed {
            index: 9,
            hash: Some(Hash(7)),
        },
        Word::Hashed {
            index: 9,
            hash: None,
        },
        Word::Quarantined(quarantine),
        Word::MergeRefused { index: 9 },
    ] {
        let context = Bytes::from(word.encode());
        assert_eq!(Word::decode(&context), Some(word));
        for len in 0..context.len() {
            assert_eq!(Word::decode(&context.slice(..len)), None, "{word:?} {len}");
        }
        let longer = Bytes::from([&context[..], &[0]].concat());
        assert_eq!(Word::decode(&longer), None, "{word:?}");
    }
    assert_eq!(Word::decode(&Bytes::from_static(&[0; 24])), None);
}
