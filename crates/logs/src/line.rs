//! From an event to a line: in TiDB's unified log format (TiDB's RFC of 2018-12-19), or as a JSON object.
//!
//! ```text
//! [2018/12/15 14:20:11.015 +00:00] [WARN] [kv.rs:145] ["a message"] [region=7] [reason="[a] \"b\""]
//! {"time":"2018/12/15 14:20:11.015 +00:00","level":"WARN","caller":"kv.rs:145","message":"a message","region":7}
//! ```
//!
//! **Invariants.** A line is one line, whatever the event holds: what would break it, or could be taken for its
//! punctuation, is a JSON string. A field never replaces a part of the head.
//!
//! **Not here.** Reading lines (`parse`), and what may be shown ([`crate::redact`]).

use crate::civil::Moment;
use serde_json::Value;
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// TiDB's unified log format.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// Names that the head of a JSON line has.
const HEAD: [&str; 4] = ["time", "level", "caller", "message"];

/// What the adapter of the `log` crate calls the place of an event, and all that it adds.
const LOG_FILE: &str = "log.file";
const LOG_LINE: &str = "log.line";
const LOG_PREFIX: &str = "log.";

/// An event, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Record {
    time: String,
    level: &'static str,
    caller: String,
    message: String,
    fields: Vec<(String, Value)>,
}

impl Record {
    /// What happened now.
    pub(crate) fn of(event: &Event<'_>) -> Self {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        Self {
            time: Moment::now().to_string(),
            level: level_name(*meta.level()),
            caller: fields.caller(meta),
            message: fields.message,
            fields: fields.others,
        }
    }

    /// What the log says of itself.
    pub(crate) fn of_log(level: Level, message: &str, fields: Vec<(String, Value)>) -> Self {
        Self {
            time: Moment::now().to_string(),
            level: level_name(level),
            caller: caller(Some(file!()), Some(line!())),
            message: message.to_owned(),
            fields,
        }
    }

    /// Appends the line, with its end.
    pub(crate) fn write(&self, format: Format, line: &mut String) {
        // Writing to a String can't fail.
        let _ = match format {
            Format::Text => self.text(line),
            Format::Json => self.json(line),
        };
    }

    fn text(&self, line: &mut String) -> fmt::Result {
        write!(line, "[{}] [{}] [{}] [", self.time, self.level, self.caller)?;
        quote(&self.message, line)?;
        for (name, value) in &self.fields {
            line.push_str("] [");
            quote(name, line)?;
            line.push('=');
            match value {
                Value::String(text) => quote(text, line)?,
                other => write!(line, "{other}")?,
            }
        }
        line.push_str("]\n");
        Ok(())
    }

    fn json(&self, line: &mut String) -> fmt::Result {
        let head: [&str; 4] = [&self.time, self.level, &self.caller, &self.message];
        for (position, (name, value)) in HEAD.into_iter().zip(head).enumerate() {
            let before = if position == 0 { '{' } else { ',' };
            write!(line, "{before}\"{name}\":{}", json(value))?;
        }
        for (name, value) in &self.fields {
            let taken = if HEAD.contains(&name.as_str()) {
                "_"
            } else {
                ""
            };
            write!(line, ",{}:{value}", json(&format!("{name}{taken}")))?;
        }
        line.push_str("}\n");
        Ok(())
    }
}

/// A text as it is, or as a JSON string where it would be misunderstood.
fn quote(text: &str, line: &mut String) -> fmt::Result {
    let is_odd = |c: char| c <= ' ' || matches!(c, '"' | '=' | '[' | ']');
    if text.is_empty() || text.contains(is_odd) {
        line.write_str(&json(text))
    } else {
        line.write_str(text)
    }
}

fn json(text: &str) -> String {
    Value::from(text).to_string()
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        _ => "TRACE",
    }
}

/// The last part of a source file's path, and the line.
fn caller(file: Option<&str>, line: Option<u32>) -> String {
    let Some((file, line)) = file.zip(line) else {
        return "<unknown>".to_owned();
    };
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = name.chars().filter(allowed).collect();
    format!("{name}:{line}")
}

/// The fields of an event, in its order.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, Value)>,
    log_file: Option<String>,
    log_line: Option<u64>,
}

impl Fields {
    fn caller(&self, meta: &Metadata<'_>) -> String {
        match (&self.log_file, self.log_line) {
            (Some(file), Some(line)) => caller(Some(file), u32::try_from(line).ok()),
            _ => caller(meta.file(), meta.line()),
        }
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            (LOG_FILE, Value::String(file)) => self.log_file = Some(file),
            (LOG_LINE, line) => self.log_line = line.as_u64(),
            (name, _) if name.starts_with(LOG_PREFIX) => {}
            (name, value) => self
                .others
                .push((name.trim_start_matches("r#").to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str, fields: &[(&str, Value)]) -> Record {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        Record {
            time: Moment(1_544_854_811_015).to_string(),
            level: "WARN",
            caller: caller(Some("crates/a b/src/kv 1.rs"), Some(145)),
            message: message.to_owned(),
            fields: fields.collect(),
        }
    }

    fn line(record: &Record, format: Format) -> String {
        let mut line = String::new();
        record.write(format, &mut line);
        line
    }

    #[test]
    fn a_text_line_has_a_head_a_message_and_fields() {
        let fields = [
            ("region", 7.into()),
            ("took", "1.5s".into()),
            ("leads", true.into()),
        ];
        assert_eq!(
            line(&record("serving", &fields), Format::Text),
            "[2018/12/15 06:20:11.015 +00:00] [WARN] [kv1.rs:145] [serving] [region=7] [took=1.5s] [leads=true]\n"
        );
    }

    #[test]
    fn what_could_be_taken_for_punctuation_is_a_json_string() {
        let odd = "a] [b=\"c\"\nd";
        let written = line(
            &record(odd, &[("a b", odd.into()), ("none", "".into())]),
            Format::Text,
        );
        let (_, rest) = written.split_once("145] ").unwrap();
        let quoted = r#""a] [b=\"c\"\nd""#;
        assert_eq!(rest, format!("[{quoted}] [\"a b\"={quoted}] [none=\"\"]\n"));
        assert_eq!(written.lines().count(), 1);
        for plain in ["a:b", "ä‹1›", "x/y", "{}"] {
            let written = line(&record(plain, &[]), Format::Text);
            assert!(written.ends_with(&format!(" [{plain}]\n")), "{written}");
        }
    }

    #[test]
    fn a_json_line_keeps_types_and_its_head() {
        let fields = [
            ("region", 7.into()),
            ("level", "x".into()),
            ("ratio", 0.5.into()),
        ];
        let written = line(&record("a \"b\"\n", &fields), Format::Json);
        assert_eq!(
            written,
            "{\"time\":\"2018/12/15 06:20:11.015 +00:00\",\"level\":\"WARN\",\"caller\":\"kv1.rs:145\",\
             \"message\":\"a \\\"b\\\"\\n\",\"region\":7,\"level_\":\"x\",\"ratio\":0.5}\n"
        );
    }

    #[test]
    fn an_event_without_a_place_says_so() {
        assert_eq!(caller(None, None), "<unknown>");
        assert_eq!(caller(Some("src/lib.rs"), Some(1)), "lib.rs:1");
    }
}
