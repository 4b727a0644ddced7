//! The logs of the whole process, as the configuration wants them.
//!
//! **Invariants.** The reason of a panic is in the log, whatever ends the process after it.
//!
//! **Not here.** Formats, files and threads (crate `logs`).

use crate::config::{Config, LogFormat, LogLevel, RedactInfoLog};
use logs::{FileOptions, Format, Logging, Options, Redaction};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::path::Path;
use std::time::Duration;
use std::{io, panic, thread};

/// Libraries that say little of use below `info`.
const QUIET: &str = "h2=info,hyper=info,hyper_util=info,tower=info,tonic=info";

const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);

/// Goes by what of a configuration can be changed while the process logs.
///
/// # Errors
/// Logging was not started.
pub fn change(config: &Config) -> Result<(), String> {
    logs::set_filter(&filter(config)).map_err(|error| error.to_string())?;
    tune(config);
    Ok(())
}

/// Starts logging for the process, until what it returns is dropped. Called once, before anything logs.
///
/// # Errors
/// When a log file can't be opened, with its name.
pub fn start(config: &Config) -> io::Result<Logging> {
    let file = |path: &Path| {
        let file = &config.log.file;
        let days = u32::try_from(file.max_days).unwrap_or(u32::MAX);
        (!path.as_os_str().is_empty()).then(|| FileOptions {
            path: path.to_owned(),
            bytes_max: file.max_size.saturating_mul(MIB),
            span: file.rotation_timespan.0,
            backups_max: file.max_backups,
            age_max: DAY.saturating_mul(days),
        })
    };
    let options = Options {
        filter: filter(config),
        format: match config.log.format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        },
        file: file(&config.log.file.filename),
        slow_file: file(&config.slow_log_file),
    };
    let to_file = options.file.is_some();
    let logging = logs::start(options)?;
    tune(config);
    log_panics(to_file);
    Ok(logging)
}

fn tune(config: &Config) {
    logs::slow::set_threshold(config.slow_log_threshold.0);
    logs::set_redaction(match config.security.redact_info_log {
        RedactInfoLog::Off => Redaction::Off,
        RedactInfoLog::On => Redaction::On,
        RedactInfoLog::Marker => Redaction::Marker,
    });
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
        logs::flush();
        if to_file {
            to_terminal(info);
        }
    }));
}

/// What is logged: a slow log of its own has all of its lines.
fn filter(config: &Config) -> String {
    let filter = match config.log.level {
        LogLevel::Error => "error".to_owned(),
        LogLevel::Warn => "warn".to_owned(),
        LogLevel::Info => "info".to_owned(),
        LogLevel::Debug => format!("debug,{QUIET}"),
        LogLevel::Trace => format!("trace,{QUIET}"),
    };
    match config.slow_log_file.as_os_str().is_empty() {
        true => filter,
        false => format!("{filter},{}=info", logs::slow::TARGET),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// Keeps the fields of events.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<(String, String)>>>);

    impl Visit for Kept {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            let pair = (field.name().to_owned(), format!("{value:?}"));
            self.0.lock().unwrap().push(pair);
        }
    }

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_panic_is_logged_with_its_thread_place_and_message() {
        let kept = Kept::default();
        let other_tests = panic::take_hook();
        tracing::subscriber::with_default(kept.clone(), || {
            log_panics(false);
            let panicked = panic::catch_unwind(|| panic!("as {}", "planned"));
            assert!(panicked.is_err());
        });
        panic::set_hook(other_tests);
        let kept = kept.0.lock().unwrap();
        let of = |name: &str| &kept.iter().find(|(field, _)| field == name).unwrap().1;
        assert_eq!(of("message"), "panicked: as planned");
        assert!(of("place").contains("logging.rs:"));
        let thread = thread::current();
        assert_eq!(of("thread"), &format!("{:?}", thread.name().unwrap()));
    }

    #[test]
    fn a_slow_log_of_its_own_has_its_lines_at_any_level() {
        let mut config = Config::default();
        config.log.level = LogLevel::Error;
        assert_eq!(filter(&config), "error");
        config.slow_log_file = "slow.log".into();
        assert_eq!(filter(&config), "error,slow=info");
    }
}
