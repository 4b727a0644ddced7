//! Structured logs of the whole process: to the standard error stream or a file, as text or JSON.
//!
//! **Invariants.** The file is opened for appending, so that a tool can rotate it by copying and
//! truncating. A log line that can't be written is lost, and never stops the process.
//!
//! **Not here.** Rotation, and a change of level while running.

use crate::config::{Config, LogFormat, LogLevel};
use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Libraries that say little of use below `info`.
const QUIET: &str = "h2=info,hyper=info,hyper_util=info,tower=info,tonic=info";

/// Starts logging for the process. Called once, before anything logs.
///
/// # Errors
/// When the log file can't be opened, with its name.
pub fn start(config: &Config) -> io::Result<()> {
    let path = &config.log.file.filename;
    let to_file = !path.as_os_str().is_empty();
    let writer = if to_file {
        open(path)?
    } else {
        BoxMakeWriter::new(io::stderr)
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter(config.log.level)))
        .with_ansi(!to_file && io::stderr().is_terminal())
        .with_writer(writer);
    match config.log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<BoxMakeWriter> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file =
        file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(BoxMakeWriter::new(Mutex::new(file)))
}

fn filter(level: LogLevel) -> String {
    match level {
        LogLevel::Error => "error".to_owned(),
        LogLevel::Warn => "warn".to_owned(),
        LogLevel::Info => "info".to_owned(),
        LogLevel::Debug => format!("debug,{QUIET}"),
        LogLevel::Trace => format!("trace,{QUIET}"),
    }
}
