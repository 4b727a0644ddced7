//! Loads into a map, into a sink that fails, and from files that are not as they should be.

use super::report::Span;
use super::*;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Mutex;

type Pairs = [(Bytes, Bytes)];

#[derive(Clone)]
struct MapSink {
    map: Arc<Mutex<BTreeMap<Bytes, Bytes>>>,
    /// The pairs and bytes of each batch.
    batches_seen: Arc<Mutex<Vec<(usize, usize)>>>,
    judge: fn(&Pairs) -> Result<(), NotWritten>,
}

impl Default for MapSink {
    fn default() -> Self {
        Self {
            map: Arc::default(),
            batches_seen: Arc::default(),
            judge: |_| Ok(()),
        }
    }
}

impl Sink for MapSink {
    async fn write(&self, pairs: Vec<(Bytes, Bytes)>) -> Result<(), NotWritten> {
        tokio::task::yield_now().await;
        let bytes = pairs.iter().map(|(key, value)| key.len() + value.len());
        let seen = (pairs.len(), bytes.sum());
        self.batches_seen.lock().unwrap().push(seen);
        (self.judge)(&pairs)?;
        self.map.lock().unwrap().extend(pairs);
        Ok(())
    }
}

/// Takes no batch with such a key in it.
fn refuse(pairs: &Pairs, is_bad: impl Fn(&str) -> bool) -> Result<(), NotWritten> {
    let is_bad = |(key, _): &(Bytes, Bytes)| is_bad(std::str::from_utf8(key).unwrap());
    match pairs.iter().any(is_bad) {
        true => Err(NotWritten::Refused("too large".to_owned())),
        false => Ok(()),
    }
}

fn unavailable(_: &Pairs) -> Result<(), NotWritten> {
    Err(NotWritten::Unavailable("nobody is there".to_owned()))
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
    let seen = sink.batches_seen.lock().unwrap().clone();
    assert!(
        seen.iter().all(|(pairs, _)| (1..=10).contains(pairs)),
        "{seen:?}"
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
async fn a_batch_never_has_more_bytes_than_its_limit_unless_one_pair_has() {
    let large = |n: usize| format!("large{n}\t{}\n", "x".repeat(500));
    let text: String = (0..200)
        .map(|n| format!("small{n}\t{}\n", "x".repeat(30)))
        .enumerate()
        .map(|(n, line)| if n % 10 == 0 { large(n) } else { line })
        .collect();
    let sink = MapSink::default();
    let limits = Limits {
        batch_bytes: 100,
        ..LIMITS
    };
    let report = load(source(&text), limits, sink.clone()).await.unwrap();
    assert_eq!(report.pairs, 200);
    let seen = sink.batches_seen.lock().unwrap().clone();
    assert!(
        seen.iter()
            .all(|&(pairs, bytes)| bytes <= 100 || pairs == 1),
        "{seen:?}"
    );
    assert!(seen.iter().any(|&(pairs, _)| pairs > 1), "{seen:?}");
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
async fn exactly_the_pairs_that_are_refused_are_named_and_all_others_are_loaded() {
    let sink = MapSink {
        judge: |pairs| refuse(pairs, |key| key == "key00050" || key == "key00777"),
        ..MapSink::default()
    };
    let report = load_text(&numbered(1_000), &sink).await;
    let mut spans: Vec<Span> = report.first_failures.iter().map(|f| f.span).collect();
    spans.sort_by_key(|span| span.first_line);
    assert_eq!(spans, [Span::line(51), Span::line(778)]);
    assert_eq!((report.pairs, report.failed_pairs), (998, 2));
    assert_eq!(sink.map.lock().unwrap().len(), 998);
    let shown = report.to_string();
    assert!(shown.contains("planted.tsv:51: too large"), "{shown}");
}

#[tokio::test]
async fn refused_pairs_are_no_reason_to_give_up() {
    let sink = MapSink {
        judge: |pairs| refuse(pairs, |key| key.ends_with('0')),
        ..MapSink::default()
    };
    let report = load_text(&numbered(20_000), &sink).await;
    let counts = (report.pairs, report.failed_pairs, report.untried_lines);
    assert_eq!(counts, (18_000, 2_000, 0));
    let shown = report.to_string();
    assert!(shown.contains("and 1980 more"), "{shown}");
    assert!(!shown.contains("given up"), "{shown}");
}

#[tokio::test]
async fn all_lines_of_a_refused_key_are_accounted_for() {
    let sink = MapSink {
        judge: |pairs| refuse(pairs, |key| key == "bad"),
        ..MapSink::default()
    };
    let report = load_text("good\t1\nbad\t1\nbad\t2\ngood\t2\nbad\t3\n", &sink).await;
    let span = Span {
        first_line: 2,
        last_line: 5,
        pairs: 3,
    };
    assert_eq!(report.first_failures[0].span, span);
    assert_eq!((report.pairs, report.failed_pairs), (2, 3));
}

#[tokio::test]
async fn a_sink_that_is_never_available_is_given_up_on_and_every_line_is_counted() {
    let sink = MapSink {
        judge: unavailable,
        ..MapSink::default()
    };
    let text = format!("{}no tab here\n", numbered(10_000));
    let report = load_text(&text, &sink).await;
    assert!(!report.is_complete());
    assert_eq!((report.pairs, report.bad_lines), (0, 1));
    assert_eq!(report.failed_pairs + report.untried_lines, 10_000);
    assert!(
        sink.batches_seen.lock().unwrap().len() < 40,
        "the rest must not be tried"
    );
    let left = format!("{} lines were not tried", report.untried_lines);
    assert!(report.to_string().contains(&left), "{report}");
}

#[tokio::test]
async fn nothing_is_given_up_when_nothing_is_left() {
    let sink = MapSink {
        judge: unavailable,
        ..MapSink::default()
    };
    let limits = Limits {
        batch_pairs: 1,
        ..LIMITS
    };
    let report = load(source(&numbered(16)), limits, sink).await.unwrap();
    assert_eq!((report.failed_pairs, report.untried_lines), (16, 0));
    assert!(!report.to_string().contains("given up"), "{report}");
}

#[tokio::test]
async fn a_sink_that_refuses_every_pair_is_given_up_on() {
    let sink = MapSink {
        judge: |pairs| refuse(pairs, |_| true),
        ..MapSink::default()
    };
    let report = load_text(&numbered(10_000), &sink).await;
    assert_eq!(report.failed_pairs + report.untried_lines, 10_000);
    assert!((1_024..2_000).contains(&report.failed_pairs), "{report}");
}

#[tokio::test]
async fn what_was_written_before_the_file_broke_off_is_reported() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    let intact = io::Cursor::new(numbered(25).into_bytes());
    let broken = Source {
        reader: Box::new(BufReader::new(io::Read::chain(intact, Broken))),
        ..source("")
    };
    let sink = MapSink::default();
    let report = load(broken, LIMITS, sink.clone()).await.unwrap();
    assert!(!report.is_complete());
    assert_eq!((report.pairs, sink.map.lock().unwrap().len()), (25, 25));
    let shown = report.to_string();
    assert!(
        shown.contains("after line 25: the disk is on fire"),
        "{shown}"
    );
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
