//! Results as tables: aligned columns under a heading for people, or a JSON object a row.
//!
//! **Invariants.** JSON has every value as it is, with its unit in its name (`_bytes`, `_ms`); the table
//! shows the same for people. Without rows there is no heading.
//!
//! **Not here.** Keys and values, which are printed as they come (`output`).

use super::output;
use crate::config::units::ReadableDuration;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    name: &'static str,
    value: Value,
    text: String,
}

/// The cells of one row; all rows of a table have the same names.
pub type Row = Vec<Cell>;

impl Cell {
    /// A value that is shown as it is.
    pub fn new(name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let text = plain(&value);
        Self { name, value, text }
    }

    /// A number of bytes.
    pub fn bytes(name: &'static str, value: &Value) -> Self {
        Self::shown(name, value, size)
    }

    /// A number of milliseconds.
    pub fn millis(name: &'static str, value: &Value) -> Self {
        Self::shown(name, value, span)
    }

    /// A value that is shown to people in other words.
    pub fn with_text(name: &'static str, value: impl Into<Value>, text: String) -> Self {
        let value = value.into();
        Self { name, value, text }
    }

    fn shown(name: &'static str, value: &Value, show: impl Fn(u64) -> String) -> Self {
        let text = value.as_u64().map_or_else(|| plain(value), show);
        Self::with_text(name, value.clone(), text)
    }

    /// The name without its unit, which the cells have.
    fn heading(&self) -> String {
        let name = self.name;
        let bare = name.strip_suffix("_bytes").or(name.strip_suffix("_ms"));
        bare.unwrap_or(name).replace('_', " ").to_uppercase()
    }
}

/// A row as a JSON object.
pub fn object(row: &[Cell]) -> Value {
    let pairs = row
        .iter()
        .map(|cell| (cell.name.to_owned(), cell.value.clone()));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// The lines of a table, its heading first.
pub fn lines(rows: &[Row]) -> Vec<String> {
    let Some(first) = rows.first() else {
        return Vec::new();
    };
    let heading: Vec<String> = first.iter().map(Cell::heading).collect();
    let texts = rows
        .iter()
        .map(|row| row.iter().map(|cell| cell.text.clone()).collect());
    let all: Vec<Vec<String>> = [heading].into_iter().chain(texts).collect();
    let width = |column: usize| {
        let widths = all.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..first.len()).map(width).collect();
    let padded = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(text, &width)| format!("{text:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    all.iter().map(padded).collect()
}

/// A value as text; nothing is a dash.
pub fn plain(value: &Value) -> String {
    let text = output::plain(value);
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

/// Bytes with the unit that leaves one to four digits before the point.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes}B");
    }
    let mut unit = 0;
    let mut whole = bytes;
    let mut rest = 0;
    while whole >= 1_024 && unit < UNITS.len() {
        rest = whole % 1_024;
        whole /= 1_024;
        unit += 1;
    }
    format!("{whole}.{}{}", rest * 10 / 1_024, UNITS[unit - 1])
}

/// A time; from a second on without what is below.
pub fn span(ms: u64) -> String {
    let kept = if ms < 1_000 { ms } else { ms / 1_000 * 1_000 };
    ReadableDuration(Duration::from_millis(kept)).to_string()
}

/// What is read from placement's answer at this place; null if it is not there.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The items of a list; none, if it is no list.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What a command that only changes something says.
pub fn done(text: &str) -> Value {
    json!({ "done": text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |id: u64, address: &str, bytes: u64, age: Value| {
            vec![
                Cell::new("id", id),
                Cell::new("address", address),
                Cell::bytes("used_bytes", &json!(bytes)),
                Cell::millis("heartbeat_age_ms", &age),
            ]
        };
        vec![
            row(1, "h:1", 0, json!(2_345)),
            row(12, "other:20160", 3 << 29, Value::Null),
        ]
    }

    #[test]
    fn columns_are_aligned_under_their_headings() {
        let expected = [
            "ID  ADDRESS      USED    HEARTBEAT AGE",
            "1   h:1          0B      2s",
            "12  other:20160  1.5GiB  -",
        ];
        assert_eq!(lines(&rows()), expected);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn json_has_the_numbers_and_their_units() {
        let expected = json!({
            "id": 12, "address": "other:20160", "used_bytes": 1_610_612_736_u64,
            "heartbeat_age_ms": null,
        });
        assert_eq!(object(&rows()[1]), expected);
    }

    #[test]
    fn sizes_have_one_digit_behind_the_point() {
        let shown = [0, 1_023, 1_024, 1_536, 1_048_575, 5 << 40, u64::MAX].map(size);
        let expected = [
            "0B",
            "1023B",
            "1.0KiB",
            "1.5KiB",
            "1023.9KiB",
            "5.0TiB",
            "15.9EiB",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn times_are_as_exact_as_they_are_short() {
        let shown = [0, 30, 999, 1_999, 61_500, 90_000_000].map(span);
        assert_eq!(shown, ["0s", "30ms", "999ms", "1s", "1m1s", "1d1h"]);
    }

    #[test]
    fn what_is_not_there_is_a_dash() {
        for nothing in [json!(null), json!(""), json!([])] {
            assert_eq!(plain(&nothing), "-");
        }
        assert_eq!(plain(&json!(["1@1", "2@2"])), "1@1,2@2");
    }
}
