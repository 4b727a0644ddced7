//! `ctl raw`: keys and values.
//!
//! **Invariants.** Arguments are decoded before anything is sent. A scan prints each page as it comes,
//! so its memory does not grow with the result.
//!
//! **Not here.** Loading a file (`load`).

use super::args::{LoadArgs, RawCommand, ScanArgs};
use super::encoding::Encoding;
use super::load::{self, Limits, NotWritten, Sink, Source};
use super::output::Printer;
use crate::config::units::ReadableDuration;
use crate::error::{Error, Result};
use bytes::Bytes;
use client::{Client, Contents, Ttl};
use serde_json::json;

/// A batch has up to so many bytes: far below the limit of a Raft entry.
const LOAD_BATCH_BYTES: usize = 512 << 10;

/// Does one command. `encoding` is that of arguments; files have their own.
pub async fn run(
    client: &Client,
    command: RawCommand,
    encoding: Option<Encoding>,
    printer: &mut Printer,
) -> Result<()> {
    let written = encoding.unwrap_or(Encoding::Escaped);
    let decode = |text: &str| {
        let decoded = written.decode(text.as_bytes());
        decoded.map_err(|error| Error::Usage(format!("`{text}`: {error}")))
    };
    match command {
        RawCommand::Get { keys } => {
            let keys = keys
                .iter()
                .map(|key| decode(key))
                .collect::<Result<Vec<_>>>()?;
            get(client, &keys, printer).await
        }
        RawCommand::Put { key, value, ttl } => {
            let ttl = ttl.map_or(Ok(Ttl::Unlimited), ttl_seconds)?;
            Ok(client
                .put_with_ttl(&decode(&key)?, decode(&value)?, ttl)
                .await?)
        }
        RawCommand::Delete { keys } => {
            let keys = keys
                .iter()
                .map(|key| decode(key))
                .collect::<Result<Vec<_>>>()?;
            Ok(client.batch_delete(&keys).await?)
        }
        RawCommand::Scan(args) => {
            let range = range(&args, decode)?;
            scan(client, range, &args, printer).await
        }
        RawCommand::Load(args) => {
            load_file(client, &args, encoding.unwrap_or(Encoding::Plain), printer).await
        }
    }
}

fn ttl_seconds(ttl: ReadableDuration) -> Result<Ttl> {
    let seconds = ttl.0.as_secs();
    if seconds == 0 || ttl.0.subsec_nanos() != 0 {
        return Err(Error::Usage(format!(
            "--ttl: {ttl} is not a whole number of seconds, 1s or more"
        )));
    }
    Ok(Ttl::Seconds(seconds))
}

async fn get(client: &Client, keys: &[Bytes], printer: &mut Printer) -> Result<()> {
    let mut missing = Vec::new();
    for key in keys {
        match client.get(key).await? {
            Some(value) => print_pair(printer, key, Some(&value))?,
            None => missing.push(Encoding::Escaped.encode(key)),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Incomplete(format!(
            "not found: {}",
            missing.join(", ")
        )))
    }
}

fn print_pair(printer: &mut Printer, key: &[u8], value: Option<&[u8]>) -> Result<()> {
    let mut fields = vec![("key", printer.bytes(key))];
    fields.extend(value.map(|value| ("value", printer.bytes(value))));
    printer.line(&fields)
}

/// `[start, end)` of a scan; an empty end is the end of the key space.
fn range(args: &ScanArgs, decode: impl Fn(&str) -> Result<Bytes>) -> Result<(Bytes, Bytes)> {
    let bound = |text: &Option<String>| text.as_deref().map_or(Ok(Bytes::new()), &decode);
    let (start, end) = match &args.prefix {
        Some(prefix) => {
            let prefix = decode(prefix)?;
            let end = after_prefix(&prefix);
            (prefix, end)
        }
        None => (bound(&args.start)?, bound(&args.end)?),
    };
    if !end.is_empty() && start > end {
        return Err(Error::Usage("--start is behind --end".to_owned()));
    }
    Ok((start, end))
}

/// The first key behind all that begin with `prefix`; empty if there is none.
fn after_prefix(prefix: &[u8]) -> Bytes {
    let kept = prefix
        .iter()
        .rposition(|byte| *byte != 0xff)
        .map_or(0, |at| at + 1);
    let mut end = prefix[..kept].to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Bytes::from(end)
}

async fn scan(
    client: &Client,
    (start, end): (Bytes, Bytes),
    args: &ScanArgs,
    printer: &mut Printer,
) -> Result<()> {
    let limit = args
        .limit
        .map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX));
    let contents = match args.keys_only {
        true => Contents::Keys,
        false => Contents::Pairs,
    };
    let mut pages = client.scan_pages(&start, &end, limit, contents)?;
    while let Some(page) = pages.next_page().await? {
        for (key, value) in &page {
            let value = (contents == Contents::Pairs).then_some(value.as_ref());
            print_pair(printer, key, value)?;
        }
    }
    Ok(())
}

/// Pairs of a file go to the cluster in batches.
#[derive(Clone)]
struct ClientSink(Client);

impl Sink for ClientSink {
    async fn write(&self, pairs: Vec<(Bytes, Bytes)>) -> std::result::Result<(), NotWritten> {
        self.0.batch_put(&pairs).await.map_err(not_written)
    }
}

/// Only what a server refuses for good can be the fault of single pairs: a full disk takes none.
fn not_written(error: client::Error) -> NotWritten {
    use client::Error::{Invalid, Refused, TooLarge};
    let is_refused = matches!(error, Refused { .. } | TooLarge { .. } | Invalid(_));
    let reason = Error::Cluster(error).in_full();
    match is_refused {
        true => NotWritten::Refused(reason),
        false => NotWritten::Unavailable(reason),
    }
}

async fn load_file(
    client: &Client,
    args: &LoadArgs,
    encoding: Encoding,
    printer: &mut Printer,
) -> Result<()> {
    let source = Source::open(&args.file, args.format, encoding);
    let source = source.map_err(Error::io(format!("loading {}", args.file.display())))?;
    let limits = Limits {
        batch_pairs: args.batch as usize,
        batch_bytes: LOAD_BATCH_BYTES,
        workers: usize::from(args.workers),
    };
    let loaded = load::load(source, limits, ClientSink(client.clone())).await;
    let report = loaded.map_err(Error::Failed)?;
    printer.report(&report.to_string(), &json!(report))?;
    if report.is_complete() {
        Ok(())
    } else {
        Err(Error::Incomplete("not everything was loaded".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_args(start: Option<&str>, end: Option<&str>, prefix: Option<&str>) -> ScanArgs {
        ScanArgs {
            start: start.map(str::to_owned),
            end: end.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
            limit: None,
            keys_only: false,
        }
    }

    fn plain(text: &str) -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix(b"ab"), "ac");
        assert_eq!(after_prefix(b"a\xff\xff"), "b");
        assert_eq!(after_prefix(b"\xff\xff"), "");
        assert_eq!(after_prefix(b""), "");
    }

    #[test]
    fn a_scan_has_bounds_or_a_prefix_or_takes_everything() {
        let bounds = |args| range(&args, plain).unwrap();
        assert_eq!(
            bounds(scan_args(Some("a"), Some("c"), None)),
            ("a".into(), "c".into())
        );
        assert_eq!(
            bounds(scan_args(None, None, Some("ab"))),
            ("ab".into(), "ac".into())
        );
        assert_eq!(
            bounds(scan_args(None, None, None)),
            (Bytes::new(), Bytes::new())
        );
        let inverted = range(&scan_args(Some("c"), Some("a"), None), plain);
        assert!(matches!(inverted, Err(Error::Usage(_))));
    }

    #[test]
    fn a_ttl_is_in_whole_seconds() {
        assert_eq!(
            ttl_seconds(ReadableDuration::secs(90)).unwrap(),
            Ttl::Seconds(90)
        );
        assert!(ttl_seconds(ReadableDuration::millis(1_500)).is_err());
        assert!(ttl_seconds(ReadableDuration::secs(0)).is_err());
    }
}
