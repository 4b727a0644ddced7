//! Streams as they are, and damaged in every place.

use super::*;
use engine::mem::{Disk, MemKv};
use engine::{Durability, KvBatch, KvEngine};
use types::{KeyRange, Peer, PeerId, Region, RegionId, StoreId};

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_merge: None,
        region: Region {
            id: RegionId(2),
            range: KeyRange {
                start: b"b".to_vec(),
                end: b"m".to_vec(),
            },
            peers: vec![Peer {
                id: PeerId(21),
                store_id: StoreId(1),
                ..Peer::default()
            }],
            ..Region::default()
        },
        index: 9,
        term: 6,
    }
}

fn kv(pairs: &[(Cf, &[u8], &[u8])]) -> MemKv {
    let kv = Disk::new().open_kv("kv").unwrap();
    let mut batch = kv.batch();
    for (cf, key, value) in pairs {
        batch.put(*cf, key, value);
    }
    kv.write(&mut batch, Durability::Buffered).unwrap();
    kv
}

fn frames(kv: &MemKv) -> Vec<Bytes> {
    let frames = Frames::new(kv.snapshot(), meta());
    frames.collect::<Result<_, _>>().unwrap()
}

fn read(frames: &[Bytes]) -> Result<Vec<(Cf, Vec<u8>, usize)>, FormatError> {
    let (mut checker, mut pairs) = (Checker::new(meta()), Vec::new());
    for frame in frames {
        checker.check(frame, |cf, key, value| {
            pairs.push((cf, key.to_vec(), value.len()));
        })?;
    }
    checker.finish().map(|()| pairs)
}

#[test]
fn a_view_reads_back_without_what_is_not_the_regions() {
    let large = vec![7; CHUNK_BYTES];
    let kv = kv(&[
        (Cf::Default, b"za", b"before"),
        (Cf::Default, b"zb", &large),
        (Cf::Default, b"zc", b"22"),
        (Cf::Default, b"zd", &large),
        (Cf::Default, b"zm", b"behind"),
        (Cf::Default, b"pc", b"another space"),
        (Cf::Write, b"zb", b"1"),
    ]);
    let found = frames(&kv);
    assert_eq!(found.len(), 6, "header, 3 + 1 of pairs, footer");
    let expected = [
        (Cf::Default, b"b".to_vec(), CHUNK_BYTES),
        (Cf::Default, b"c".to_vec(), 2),
        (Cf::Default, b"d".to_vec(), CHUNK_BYTES),
        (Cf::Write, b"b".to_vec(), 1),
    ];
    assert_eq!(read(&found).unwrap(), expected);
}

#[test]
fn an_empty_region_is_a_header_and_a_footer() {
    let found = frames(&kv(&[]));
    assert_eq!(found.len(), 2);
    assert!(read(&found).unwrap().is_empty());
}

#[test]
fn a_stream_that_is_cut_damaged_or_mixed_up_is_refused() {
    let good = frames(&kv(&[
        (Cf::Default, b"zb", b"1"),
        (Cf::Default, b"zc", b"2"),
        (Cf::Lock, b"zc", b"2"),
    ]));
    assert_eq!(good.len(), 4);
    for len in 0..good.len() {
        assert!(matches!(read(&good[..len]), Err(FormatError::Cut { .. })));
    }
    for (at, frame) in good.iter().enumerate() {
        for byte in 0..frame.len() {
            let mut damaged = frame.to_vec();
            damaged[byte] ^= 1;
            let mut case = good.clone();
            case[at] = damaged.into();
            let result = read(&case);
            assert!(
                matches!(result, Err(FormatError::Damaged { .. })),
                "{at} {byte}"
            );
        }
    }
    let [header, first, second, footer] = <[Bytes; 4]>::try_from(good).unwrap();
    for case in [
        [&first, &header, &second, &footer],
        [&header, &second, &first, &footer],
        [&header, &first, &first, &footer],
        [&header, &first, &footer, &footer],
        [&header, &header, &first, &footer],
    ] {
        let case: Vec<Bytes> = case.into_iter().cloned().collect();
        assert!(matches!(read(&case), Err(FormatError::Foreign { .. })));
    }
}

#[test]
fn a_whole_stream_of_another_snapshot_or_with_foreign_keys_is_refused() {
    let kv = kv(&[(Cf::Default, b"zb", b"1")]);
    let mut other = meta();
    other.index += 1;
    let of_another: Vec<Bytes> = Frames::new(kv.snapshot(), other)
        .collect::<Result<_, _>>()
        .unwrap();
    let refused = read(&of_another);
    assert!(matches!(
        refused,
        Err(FormatError::Foreign { number: 0, .. })
    ));
    let mut foreign = frames(&kv);
    let mut body = vec![0];
    put_bytes(&mut body, b"z");
    put_bytes(&mut body, b"not the Region's");
    foreign[1] = frame(KIND_PAIRS, &body);
    let refused = read(&foreign);
    assert!(matches!(
        refused,
        Err(FormatError::Foreign { number: 1, .. })
    ));
}

#[test]
fn a_file_is_read_frame_by_frame_and_one_that_claims_too_much_is_not_read() {
    let good = frames(&kv(&[(Cf::Default, b"zb", b"1")]));
    let mut file: &[u8] = &good.concat();
    for frame in &good {
        let read = read_frame(&mut file).unwrap();
        assert_eq!(read.as_deref(), Some(&frame[..]));
    }
    assert!(read_frame(&mut file).unwrap().is_none());
    let mut head: &[u8] = &[KIND_PAIRS, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert!(read_frame(&mut head).is_err());
    let mut cut: &[u8] = &good[0][..good[0].len() - 1];
    assert!(read_frame(&mut cut).is_err());
}

proptest::proptest! {
    #[test]
    fn arbitrary_frames_never_panic(kind in 0u8..5, body: Vec<u8>, raw: Vec<u8>) {
        let mut checker = Checker::new(meta());
        let _ = checker.check(&raw, |_, _, _| {});
        let _ = checker.check(&frame(kind, &body), |_, _, _| {});
        let mut file: &[u8] = &raw;
        let _ = read_frame(&mut file);
    }
}

/// What arrives over the network, and what is read from a file: frames whose content is damaged, and a
/// checksum that is right all the same.
#[test]
fn fuzz_frames() {
    let good = frames(&kv(&[
        (Cf::Default, b"zb", b"1"),
        (Cf::Default, b"zc", b"22"),
        (Cf::Write, b"zb", b"333"),
    ]));
    let mut target = fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "frames").seed(good.concat());
    for frame in &good {
        target = target.seed(&frame[..]);
    }
    // The body of a frame counts twice: as it is read, and as it is sealed again.
    target.allocates(64 << 10, 256).run(|input| {
        let (mut as_read, mut resealed) = (Checker::new(meta()), Checker::new(meta()));
        let mut outcome = Vec::new();
        let mut pairs = 0;
        let mut file = input;
        while let Ok(Some(raw)) = read_frame(&mut file) {
            let again = frame(raw[0], &raw[HEAD_BYTES..]);
            let damaged = as_read.check(&raw, |_, _, _| {}).is_err();
            let foreign = resealed.check(&again, |_, _, _| pairs += 1);
            outcome.push((damaged, foreign.map_err(|error| error.to_string())));
            if outcome.len() > 8 {
                break;
            }
        }
        // What is whole has as many pairs as its footer says, which the checker has counted.
        let is_whole = resealed.finish().is_ok();
        assert!(!is_whole || pairs <= input.len());
        (outcome, is_whole)
    });
}
