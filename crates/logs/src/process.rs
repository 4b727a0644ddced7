//! The logs of this process: started once, changed while it runs, counted, and found again.
//!
//! **Why of the process.** `tracing` has one subscriber for a process, and so have several nodes in one.
//!
//! **Not here.** Names of configuration items.

use crate::file::{FileOptions, LogFile};
use crate::layer::Layer;
use crate::line::Format;
use crate::search::Files;
use crate::sink::Sink;
use crate::slow;
use metrics::{Collect, Desc, Page};
use std::io;
use std::sync::OnceLock;
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

static LOST: Desc = Desc::counter(
    "kontiki_log_lost_lines_total",
    "Lines of the log that were dropped: the disk was full or slow, or nobody read the stream.",
)
.by(&["log"]);

/// The families of this crate.
pub static FAMILIES: &[&Desc] = &[&LOST];

/// A panic is the last word of a process; a disk that hangs must not keep it from ending.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// How a process logs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which events, as `tracing`'s directives.
    pub filter: String,
    /// How they are written.
    pub format: Format,
    /// Where to; the standard error stream if there is none.
    pub file: Option<FileOptions>,
    /// Where the lines of the slow log go; with the others if there is none.
    pub slow_file: Option<FileOptions>,
}

/// Replaces the filter of the process.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

struct Logs {
    set_filter: SetFilter,
    sinks: Vec<(&'static str, Sink)>,
    normal: Option<Files>,
    slow: Option<Files>,
}

static LOGS: OnceLock<Logs> = OnceLock::new();

/// Logging, which ends with it: what was logged before is written by then.
#[must_use]
#[derive(Debug)]
pub struct Logging(());

impl Drop for Logging {
    fn drop(&mut self) {
        flush();
    }
}

/// Why a filter was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// Logging was not started.
    #[error("this process does not log")]
    NotStarted,
    /// It is none.
    #[error("the filter is malformed")]
    Malformed(#[source] tracing_subscriber::filter::ParseError),
    /// The subscriber is gone.
    #[error("the filter can't be replaced")]
    Gone(#[source] reload::Error),
}

/// Starts logging for the process. Called once, before anything logs.
///
/// # Errors
/// A file can't be opened (with its path), or a thread can't be started, or this is the second call.
pub fn start(options: Options) -> io::Result<Logging> {
    let sink = |name: &str, file: &Option<FileOptions>| match file {
        Some(file) => Sink::start(name, options.format, LogFile::open(file.clone())?),
        None => Sink::start(name, options.format, io::stderr()),
    };
    let normal = sink("log", &options.file)?;
    let slow = match &options.slow_file {
        Some(_) => Some(sink("slow-log", &options.slow_file)?),
        None => None,
    };
    let filter = EnvFilter::try_new(&options.filter).map_err(io::Error::other)?;
    let (filter, handle) = reload::Layer::new(filter);
    let files = |file: &Option<FileOptions>| file.as_ref().map(|file| Files::of(&file.path));
    let logs = Logs {
        set_filter: Box::new(move |filter| handle.reload(filter)),
        sinks: [("normal", Some(&normal)), ("slow", slow.as_ref())]
            .into_iter()
            .filter_map(|(name, sink)| Some((name, sink?.clone())))
            .collect(),
        normal: files(&options.file),
        slow: files(&options.slow_file),
    };
    let layer = Layer::new(options.format, normal, slow);
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    subscriber.try_init().map_err(io::Error::other)?;
    LOGS.set(logs)
        .map_err(|_| io::Error::other("logging has started before"))?;
    Ok(Logging(()))
}

/// Changes which events are logged.
///
/// # Errors
/// The old filter stays.
pub fn set_filter(filter: &str) -> Result<(), SetError> {
    let logs = LOGS.get().ok_or(SetError::NotStarted)?;
    let filter = EnvFilter::try_new(filter).map_err(SetError::Malformed)?;
    (logs.set_filter)(filter).map_err(SetError::Gone)
}

/// Waits until what was logged is written, but not for long.
pub fn flush() {
    for (_, sink) in LOGS.get().iter().flat_map(|logs| &logs.sinks) {
        sink.flush(FLUSH_WITHIN);
    }
}

/// The files of the log, or of the slow log; none if it has none of its own.
pub fn files(target: &str) -> Option<Files> {
    let logs = LOGS.get()?;
    match target {
        slow::TARGET => logs.slow.clone(),
        _ => logs.normal.clone(),
    }
}

/// Shows how many lines were lost.
#[derive(Debug)]
pub struct Lost;

impl Collect for Lost {
    fn collect(&self, page: &mut Page) {
        let lost = |of: &str| {
            let mut sinks = LOGS.get().into_iter().flat_map(|logs| &logs.sinks);
            let sink = sinks.find(|(name, _)| *name == of);
            sink.map_or(0, |(_, sink)| sink.lost())
        };
        for log in ["normal", "slow"] {
            page.counter(&LOST, &[log], lost(log));
        }
    }
}
