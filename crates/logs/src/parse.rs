//! From a line back to what it says: lines of both formats of ours, and of everybody else who keeps to TiDB's.
//!
//! **Invariants.** What is no line of a log is none, and never an error: a file may end in half a line.
//!
//! **Not here.** Taking messages apart into fields: who searches looks at texts.

use crate::civil::Moment;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Write;

/// How severe an event is, in the order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens a few times an hour.
    Info,
    /// What an operator should look at.
    Warn,
    /// What stops this node or loses a request.
    Error,
    /// The last words of a process; other servers' logs have it.
    Fatal,
}

impl Level {
    /// All of them.
    pub const ALL: [Level; 6] = [
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
        Level::Fatal,
    ];

    /// As lines have it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
            Level::Fatal => "FATAL",
        }
    }

    /// The level of this name, in any case of letters.
    pub fn of_name(name: &str) -> Option<Self> {
        let mut levels = Self::ALL.into_iter();
        levels.find(|level| level.name().eq_ignore_ascii_case(name))
    }
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// How severe it is.
    pub level: Level,
    /// Everything behind the level: place, message and fields, in the text format.
    pub message: Cow<'a, str>,
}

/// Reads a line; none if it is none.
pub fn parse(line: &str) -> Option<Entry<'_>> {
    let line = line.trim_end_matches(['\n', '\r']);
    match line.as_bytes().first()? {
        b'[' => text(line),
        b'{' => json(line),
        _ => None,
    }
}

fn text(line: &str) -> Option<Entry<'_>> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] [")?;
    let (level, message) = rest.split_once(']')?;
    Some(Entry {
        time_ms: Moment::parse(time)?.0,
        level: Level::of_name(level)?,
        message: message.trim_start().into(),
    })
}

fn json(line: &str) -> Option<Entry<'_>> {
    let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (time, level) = (take("time")?, take("level")?);
    let (caller, message) = (take("caller")?, take("message")?);
    let mut all = format!("[{caller}] [{}]", Value::from(message));
    for (name, value) in fields {
        // Writing to a String can't fail.
        let _ = write!(all, " [{name}={value}]");
    }
    Some(Entry {
        time_ms: Moment::parse(&time)?.0,
        level: Level::of_name(&level)?,
        message: all.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{Format, Record};

    #[test]
    fn what_is_written_in_either_format_is_read_again() {
        let fields = vec![("region".to_owned(), Value::from(7))];
        let record = Record::of_log(tracing::Level::WARN, "a [b]", fields);
        for format in [Format::Text, Format::Json] {
            let mut line = String::new();
            record.write(format, &mut line);
            let entry = parse(&line).unwrap();
            assert_eq!(entry.level, Level::Warn);
            assert!(entry.message.starts_with("[line.rs:"), "{}", entry.message);
            assert!(
                entry.message.ends_with("] [\"a [b]\"] [region=7]"),
                "{}",
                entry.message
            );
            assert!((Moment::now().0 - entry.time_ms).abs() < 60_000);
        }
    }

    #[test]
    fn lines_of_others_are_read() {
        let entry =
            parse("[2013/01/05 00:01:15.000 -07:00] [FATAL] [<unknown>] [x=1]\r\n").unwrap();
        assert_eq!(
            (entry.level, &*entry.message),
            (Level::Fatal, "[<unknown>] [x=1]")
        );
        let bare = parse("[2013/01/05 00:01:15.000 -07:00] [info]").unwrap();
        assert_eq!((bare.level, &*bare.message), (Level::Info, ""));
    }

    #[test]
    fn what_is_no_line_is_none() {
        for line in [
            "",
            "panicked at x",
            "[2013/01/05 00:01:15.000 -07:00]",
            "[2013/01/05 00:01:15.000 -07:00] [LOUD] [x]",
            "[yesterday] [INFO] [x]",
            "{\"time\":1}",
            "{\"time\":\"2013/01/05 00:01:15.000 -07:00\",\"lev",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_odd(line in ".*") {
            let _ = parse(&line);
            let _ = parse(&format!("[2013/01/05 00:01:15.000 -07:00] {line}"));
        }
    }
}
