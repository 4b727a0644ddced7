//! Real input: loaded with `kontiki ctl raw load`, read back whole, scanned by range, and equal.
//!
//! Two collections: the package index of this machine (Debian, after `apt-get update`) under API V1,
//! and the files of this workspace under API V2. `KONTIKI_INPUT_RECORDS` says how many records of
//! each are loaded at the most (20,000), or `all`.

use e2e::{Cluster, Options, official_client};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use tikv_client::{Config, KvPair, RawClient};

/// Values by their keys, in the order of the keys.
type Records = BTreeMap<String, String>;

/// Pairs of one scan: with records of a few KiB far below the client's limit of an answer, 4 MiB.
const PAGE: usize = 200;
/// Clients that get records at the same time.
const READERS: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn the_package_index_of_this_machine_is_loaded_read_back_whole_and_scanned_by_range() {
    let records = bounded(package_index());
    if records.is_empty() {
        println!("this machine has no package index: the files of the workspace have to do");
        return;
    }
    let ranges = [
        ("deb/a", "deb/b"),
        ("deb/lib", "deb/libc"),
        ("deb/x", "deb0"),
    ];
    loaded_read_back_and_scanned(1, Config::default(), &records, &ranges).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_workspace_are_loaded_read_back_whole_and_scanned_by_range() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut records = Records::new();
    add_files(root, "", &mut records);
    let ranges = [("crates/", "crates0"), ("crates/e2e/", "crates/e2e0")];
    let config = Config::default().with_default_keyspace();
    loaded_read_back_and_scanned(2, config, &bounded(records), &ranges).await;
}

async fn loaded_read_back_and_scanned(
    api_version: u8,
    config: Config,
    records: &Records,
    ranges: &[(&str, &str)],
) {
    let options = Options {
        api_version,
        ..Options::default()
    };
    let cluster = Cluster::start(3, options).unwrap();
    let client = official_client(&cluster, config).await.unwrap();
    load(&cluster, records);
    let started = Instant::now();
    get_each(&client, records).await;
    scan_pages(&client, records).await;
    println!("read by key and by pages in {:?}", started.elapsed());
    let (first, last) = (first_key(records), last_key(records));
    // Behind the last key: it is the end of the range.
    let whole = (first, format!("{last}\u{1}"));
    same_by_ctl(&cluster, records, &whole.0, &whole.1);
    for &(start, end) in ranges {
        scan_range(&client, records, start, end).await;
        same_by_ctl(&cluster, records, start, end);
    }
}

fn first_key(records: &Records) -> String {
    records.keys().next().expect("there is input").clone()
}

fn last_key(records: &Records) -> String {
    records.keys().next_back().expect("there is input").clone()
}

/// At most so many records, from all over the key space.
fn bounded(records: Records) -> Records {
    let wanted = std::env::var("KONTIKI_INPUT_RECORDS").unwrap_or("20000".to_owned());
    let count = match wanted.as_str() {
        "all" => usize::MAX,
        number => number
            .parse()
            .expect("KONTIKI_INPUT_RECORDS is a number or `all`"),
    };
    let step = records.len().div_ceil(count).max(1);
    records.into_iter().step_by(step).collect()
}

/// Every package that apt knows: its name, version and architecture, with its whole record. Nothing
/// where there is no apt. The index itself lies on disk in one of several compressions.
fn package_index() -> Records {
    let Ok(dump) = Command::new("apt-cache").arg("dumpavail").output() else {
        return Records::new();
    };
    let text = String::from_utf8(dump.stdout).expect("Debian's index is UTF-8");
    let stanzas = text.split("\n\n").filter(|stanza| !stanza.is_empty());
    stanzas
        .map(|stanza| {
            let field = |name: &str| {
                let mut lines = stanza.lines();
                let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                value.unwrap_or_else(|| panic!("no {name} in {stanza}"))
            };
            let id = ["Package", "Version", "Architecture"].map(field).join("/");
            (format!("deb/{id}"), stanza.to_owned())
        })
        .collect()
}

/// The text files below a folder by their paths; what is hidden or built is left out.
fn add_files(folder: &Path, prefix: &str, records: &mut Records) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry
            .file_name()
            .into_string()
            .expect("our names are UTF-8");
        let (path, key) = (entry.path(), format!("{prefix}{name}"));
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            add_files(&path, &format!("{key}/"), records);
        } else if let Ok(text) = fs::read_to_string(&path) {
            records.insert(key, text);
        }
    }
}

/// The records as a file of `ctl raw load --encoding escaped`; `ctl raw scan` prints the same lines.
fn as_lines<'a>(records: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let escape = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('\n', "\\n");
        text.replace('\r', "\\r").replace('\t', "\\t")
    };
    records
        .map(|(key, value)| format!("{}\t{}\n", escape(key), escape(value)))
        .collect()
}

fn load(cluster: &Cluster, records: &Records) {
    let file = tempfile::Builder::new().suffix(".tsv").tempfile().unwrap();
    fs::write(file.path(), as_lines(records.iter())).unwrap();
    let path = file.path().to_str().expect("the temporary folder is UTF-8");
    let args = ["raw", "load", path, "--encoding", "escaped"];
    let report = cluster.ctl(&args).unwrap();
    println!("loaded {}", report.trim());
    let expected = format!("{} pairs (", records.len());
    assert!(report.starts_with(&expected), "{report}");
}

async fn get_each(client: &RawClient, records: &Records) {
    let all: Arc<Vec<(String, String)>> = Arc::new(records.clone().into_iter().collect());
    let readers = (0..READERS).map(|reader| {
        let (client, all) = (client.clone(), Arc::clone(&all));
        tokio::spawn(async move {
            for (key, value) in all.iter().skip(reader).step_by(READERS) {
                let found = client.get(key.clone()).await.unwrap();
                assert!(found.as_deref() == Some(value.as_bytes()), "{key}");
            }
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.unwrap();
    }
}

/// Page after page from the first key on. Each asks for no more than is left: this client begins
/// again from the start of the key space when the last Region did not fill its limit (API V1).
async fn scan_pages(client: &RawClient, records: &Records) {
    let mut expected = records.iter();
    let mut start = first_key(records);
    while expected.len() > 0 {
        let limit = PAGE.min(expected.len());
        let page = client.scan(start.clone().., limit as u32).await.unwrap();
        assert_eq!(page.len(), limit, "from {start}");
        assert_same(&page, expected.by_ref().take(limit));
        start = String::from_utf8(page[limit - 1].key().to_owned().into()).unwrap() + "\0";
    }
}

/// A part of the records, forwards and backwards.
async fn scan_range(client: &RawClient, records: &Records, start: &str, end: &str) {
    let range = start.to_owned()..end.to_owned();
    let expected = records.range(range.clone());
    let limit = PAGE.min(expected.clone().count());
    assert!(limit > 0, "nothing between {start} and {end}");
    let forward = client.scan(range.clone(), limit as u32).await.unwrap();
    assert_same(&forward, expected.clone().take(limit));
    let backward = client.scan_reverse(range, limit as u32).await.unwrap();
    assert_same(&backward, expected.rev().take(limit));
}

fn assert_same<'a>(found: &[KvPair], expected: impl Iterator<Item = (&'a String, &'a String)>) {
    let expected: Vec<KvPair> = expected
        .map(|(key, value)| KvPair::new(key.clone(), value.clone()))
        .collect();
    let differs = found.iter().zip(&expected).find(|(a, b)| a != b);
    assert!(differs.is_none(), "{differs:?}");
    assert_eq!(found.len(), expected.len());
}

/// `ctl raw scan` prints exactly the records of a range.
fn same_by_ctl(cluster: &Cluster, records: &Records, start: &str, end: &str) {
    let args = ["raw", "scan", "--start", start, "--end", end];
    let printed = cluster.ctl(&args).unwrap();
    let expected = as_lines(records.range(start.to_owned()..end.to_owned()));
    let mut differs = printed.lines().zip(expected.lines());
    let differs = differs.find(|(printed, expected)| printed != expected);
    assert!(differs.is_none(), "{differs:?}");
    assert_eq!(printed.len(), expected.len(), "from {start} to {end}");
    println!("{} records from {start} to {end}", printed.lines().count());
}
