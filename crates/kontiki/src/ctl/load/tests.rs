//! Loads into a map, into a sink that fails, and from files that are not as they should be.

use super::*;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Clone, Default)]
struct MapSink {
    map: Arc<Mutex<BTreeMap<Bytes, Bytes>>>,
    batch_pairs_seen: Arc<Mutex<Vec<usize>>>,
    refuse: Option<Bytes>,
    refuse_all: bool,
}

impl Sink for MapSink {
    async fn write(&self, pairs: Vec<(Bytes, Bytes)>) -> Result<(), String> {
        tokio::task::yield_now().await;
        self.batch_pairs_seen.lock().unwrap().push(pairs.len());
        let refused = pairs
            .iter()
            .any(|(key, _)| Some(key) == self.refuse.as_ref());
        if refused || self.refuse_all {
            return Err("refused".to_owned());
        }
        self.map.lock().unwrap().extend(pairs);
        Ok(())
    }
}

const LIMITS: Limits = Limits {
    batch_pairs: 10,
    batch_bytes: 1 << 20,
    workers: 4,
};

fn source(text: &str) -> Source {
    Source {
        name: "planted.tsv".to_owned(),
        reader: Box::new(io::Cursor::new(text.as_bytes().to_vec())),
        bytes_total: Some(text.len() as u64),
        format: Format::Tsv,
        encoding: Encoding::Plain,
    }
}

fn numbered(count: usize) -> String {
    (0..count)
        .map(|n| format!("key{n:05}\tvalue{n}\n"))
        .collect()
}

async fn load_text(text: &str, sink: &MapSink) -> Report {
    load(source(text), LIMITS, sink.clone()).await.unwrap()
}

#[tokio::test]
async fn every_line_is_loaded_in_batches_within_the_limit() {
    let sink = MapSink::default();
    let report = load_text(&numbered(1_003), &sink).await;
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.pairs, 1_003);
    assert_eq!(sink.map.lock().unwrap().len(), 1_003);
    assert_eq!(sink.map.lock().unwrap()[b"key00042".as_slice()], "value42");
    let sizes = sink.batch_pairs_seen.lock().unwrap().clone();
    assert!(
        sizes.iter().all(|size| (1..=10).contains(size)),
        "{sizes:?}"
    );
}

#[tokio::test]
async fn the_last_value_of_a_repeated_key_stays() {
    let text: String = (0..500)
        .map(|n| format!("a\t{n}\nb{}\tx\nc\t{n}\n", n % 7))
        .collect();
    let sink = MapSink::default();
    let report = load_text(&text, &sink).await;
    assert_eq!(report.pairs, 1_500);
    let map = sink.map.lock().unwrap();
    assert_eq!(
        (map[b"a".as_slice()].clone(), map[b"c".as_slice()].clone()),
        ("499".into(), "499".into())
    );
}

#[tokio::test]
async fn a_batch_is_also_bounded_by_bytes() {
    let sink = MapSink::default();
    let limits = Limits {
        batch_bytes: 1,
        ..LIMITS
    };
    let report = load(source(&numbered(20)), limits, sink.clone())
        .await
        .unwrap();
    assert_eq!(report.pairs, 20);
    assert_eq!(*sink.batch_pairs_seen.lock().unwrap(), [1; 20]);
}

#[tokio::test]
async fn bad_lines_are_counted_named_and_left_out() {
    let text = format!("{}no tab here\n{}", numbered(2), "x\n".repeat(30));
    let sink = MapSink::default();
    let report = load_text(&text, &sink).await;
    assert!(!report.is_complete());
    assert_eq!((report.pairs, report.bad_lines), (2, 31));
    assert_eq!(report.first_bad_lines[0].line, 3);
    let shown = report.to_string();
    assert!(shown.contains("planted.tsv:3: no TAB"), "{shown}");
    assert!(shown.contains("and 11 more"), "{shown}");
}

#[tokio::test]
async fn a_failed_batch_names_its_lines_and_the_rest_is_loaded() {
    let sink = MapSink {
        refuse: Some(Bytes::from_static(b"key00050")),
        ..MapSink::default()
    };
    let report = load_text(&numbered(100), &sink).await;
    assert!(!report.is_complete() && !report.given_up);
    assert_eq!(report.first_failures.len(), 1);
    let failure = &report.first_failures[0];
    assert!(
        failure.first_line <= 51 && failure.last_line >= 51,
        "{failure:?}"
    );
    assert_eq!(report.pairs + report.failed_pairs, 100);
    assert_eq!(sink.map.lock().unwrap().len() as u64, report.pairs);
}

#[tokio::test]
async fn a_sink_that_always_fails_is_given_up_on() {
    let sink = MapSink {
        refuse_all: true,
        ..MapSink::default()
    };
    let report = load_text(&numbered(10_000), &sink).await;
    assert!(report.given_up);
    assert_eq!(report.pairs, 0);
    assert!(
        sink.batch_pairs_seen.lock().unwrap().len() < 40,
        "the rest must not be tried"
    );
    assert!(report.to_string().contains("given up"));
}

#[test]
fn the_format_is_told_from_the_ending_or_asked_for() {
    for (name, format) in [
        ("a.tsv", Format::Tsv),
        ("a.jsonl", Format::Json),
        ("a.json", Format::Json),
    ] {
        assert_eq!(format_of(Path::new(name)), Some(format));
    }
    let error = Source::open(Path::new("-"), None, Encoding::Plain)
        .err()
        .unwrap();
    assert!(error.to_string().contains("--format"));
    assert!(Source::open(Path::new("nowhere.tsv"), None, Encoding::Plain).is_err());
}
