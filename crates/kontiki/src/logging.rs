//! Structured logs of the whole process: to the standard error stream or a file, as text or JSON.
//!
//! **Invariants.** The file is opened for appending, so that a tool can rotate it by copying and
//! truncating. A log line that can't be written is lost, and never stops the process. The reason of a
//! panic is in the log, whatever ends the process after it.
//!
//! **Not here.** Rotation.

use crate::config::{Config, LogFormat, LogLevel};
use crate::panic_mark;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{panic, thread};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::{EnvFilter, reload};

/// Libraries that say little of use below `info`.
const QUIET: &str = "h2=info,hyper=info,hyper_util=info,tower=info,tonic=info";

/// Replaces the filter of the process.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Changes the level for the whole process.
///
/// # Errors
/// Logging was not started.
pub fn set_level(level: LogLevel) -> Result<(), String> {
    let set = SET_FILTER.get().ok_or("this process does not log")?;
    set(EnvFilter::new(filter(level))).map_err(|error| error.to_string())
}

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
    // The two have types of their own, and so have what changes them.
    match config.log.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = SET_FILTER.set(Box::new(move |filter| handle.reload(filter)));
            builder.init();
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = SET_FILTER.set(Box::new(move |filter| handle.reload(filter)));
            builder.init();
        }
    }
    log_panics(to_file);
    Ok(())
}

/// A panic is often the last word of a process, and belongs into its log. Who looks at the terminal
/// sees it as well.
fn log_panics(to_file: bool) {
    let to_terminal = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let thread = thread::current();
        let backtrace = Backtrace::capture();
        let is_wanted = backtrace.status() == BacktraceStatus::Captured;
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place = info.location().map(tracing::field::display),
            backtrace = is_wanted.then(|| tracing::field::display(&backtrace)),
            "panicked: {}",
            info.payload_as_str().unwrap_or("without a message")
        );
        panic_mark::leave(&mark(thread.name(), info));
        if to_file {
            to_terminal(info);
        }
    }));
}

/// What the next start reports of a panic.
fn mark(thread: Option<&str>, info: &PanicHookInfo<'_>) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let place = info.location().map(ToString::to_string);
    format!(
        "{} (thread {}, at {}, {} s after 1970)\n",
        info.payload_as_str().unwrap_or("without a message"),
        thread.unwrap_or("unnamed"),
        place.as_deref().unwrap_or("an unknown place"),
        since.map_or(0, |since| since.as_secs()),
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_thread_place_and_message() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone());
        let other_tests = panic::take_hook();
        tracing::subscriber::with_default(subscriber.finish(), || {
            log_panics(false);
            let panicked = panic::catch_unwind(|| panic!("as {}", "planned"));
            assert!(panicked.is_err());
        });
        panic::set_hook(other_tests);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["message"], "panicked: as planned");
        assert!(line["place"].as_str().unwrap().contains("logging.rs:"));
        let thread = std::thread::current();
        assert_eq!(line["thread"].as_str(), thread.name());
    }
}
