//! Results on the standard output: lines and tables for people, or a JSON object a line.
//!
//! **Invariants.** A text line's fields are encoded, so that a TAB always separates two of them. A
//! closed pipe ends the command quietly.
//!
//! **Not here.** Messages to the person: those go to the standard error stream.

use super::args::Output;
use super::encoding::Encoding;
use super::table::{self, Row};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::io::{self, BufWriter, Stdout, Write};

/// Prints results in the form that was asked for.
pub struct Printer {
    form: Output,
    encoding: Encoding,
    out: BufWriter<Stdout>,
}

/// One field of a result: its name (for JSON) and its value.
pub type Field<'a> = (&'a str, Value);

impl Printer {
    /// Prints in this form, keys and values in this encoding.
    pub fn new(form: Output, encoding: Encoding) -> Self {
        Self {
            form,
            encoding,
            out: BufWriter::new(io::stdout()),
        }
    }

    /// A key or value as a field.
    pub fn bytes(&self, bytes: &[u8]) -> Value {
        Value::String(self.encoding.encode(bytes))
    }

    /// Prints one result.
    ///
    /// # Errors
    /// When the standard output is closed.
    pub fn line(&mut self, fields: &[Field<'_>]) -> Result<()> {
        let line = render(self.form, fields);
        writeln!(self.out, "{line}").map_err(Error::Output)
    }

    /// Prints a table.
    ///
    /// # Errors
    /// When the standard output is closed.
    pub fn table(&mut self, rows: &[Row]) -> Result<()> {
        let lines = match self.form {
            Output::Text => table::lines(rows),
            Output::Json => rows
                .iter()
                .map(|row| table::object(row).to_string())
                .collect(),
        };
        for line in lines {
            writeln!(self.out, "{line}").map_err(Error::Output)?;
        }
        Ok(())
    }

    /// Prints several lines of text, or the same as one JSON object.
    ///
    /// # Errors
    /// When the standard output is closed.
    pub fn report(&mut self, text: &str, json: &Value) -> Result<()> {
        let written = match self.form {
            Output::Text => writeln!(self.out, "{text}"),
            Output::Json => writeln!(self.out, "{json}"),
        };
        written.map_err(Error::Output)
    }

    /// Hands everything to the standard output.
    ///
    /// # Errors
    /// When it is closed.
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(Error::Output)
    }
}

fn render(form: Output, fields: &[Field<'_>]) -> String {
    match form {
        Output::Text => {
            let texts: Vec<String> = fields.iter().map(|(_, value)| plain(value)).collect();
            texts.join("\t")
        }
        Output::Json => {
            let object: Map<String, Value> = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect();
            Value::Object(object).to_string()
        }
    }
}

/// A value without JSON's quotes; lists with commas, nothing as a dash.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_is_tab_separated_or_a_json_object() {
        let fields = [
            ("id", json!(7)),
            ("key", json!("a\\tb")),
            ("leader", Value::Null),
            ("peers", json!(["1@1", "2@2"])),
        ];
        assert_eq!(render(Output::Text, &fields), "7\ta\\tb\t-\t1@1,2@2");
        let json = render(Output::Json, &fields);
        let back: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            back,
            json!({"id": 7, "key": "a\\tb", "leader": null, "peers": ["1@1", "2@2"]})
        );
    }
}
