//! Sizes and durations as people write them: `"8MiB"`, `"1m30s"`.
//!
//! **Why.** A bare number in a configuration file hides its unit.
//!
//! **Invariants.** What is printed is parsed back to the same value. `KB`, `MB` and so on mean powers
//! of 1,024, as in TiKV's files.
//!
//! **Not here.** Fractions: `"1.5GiB"` is `"1536MiB"`.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadableSize(pub u64);

impl ReadableSize {
    /// So many times 1,024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many times 1,024 KiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

/// Units by falling size; the first spelling of each is the one that is printed.
const SIZES: &[(&[&str], u64)] = &[
    (&["TiB", "TB", "T"], 1 << 40),
    (&["GiB", "GB", "G"], 1 << 30),
    (&["MiB", "MB", "M"], 1 << 20),
    (&["KiB", "KB", "K"], 1 << 10),
    (&["B", ""], 1),
];

impl FromStr for ReadableSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = split_number(text.trim());
        let factor = SIZES
            .iter()
            .find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(unit)))
            .map(|(_, factor)| *factor);
        let count: Option<u64> = digits.parse().ok();
        count
            .zip(factor)
            .and_then(|(count, factor)| count.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is not a size: write a whole number and a unit, as in \"8MiB\"")
            })
    }
}

impl fmt::Display for ReadableSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = SIZES
            .iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        let (names, factor) = fits.unwrap_or(&SIZES[SIZES.len() - 1]);
        write!(f, "{}{}", self.0 / factor, names[0])
    }
}

/// A span of time, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadableDuration(pub Duration);

impl ReadableDuration {
    /// So many seconds.
    pub const fn secs(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// So many milliseconds.
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }
}

/// Units by falling length, in milliseconds.
const SPANS: &[(&str, u64)] = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl FromStr for ReadableDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "`{text}` is not a duration: write whole numbers and units, as in \"500ms\" or \"1m30s\""
            )
        };
        let mut rest = text.trim();
        let mut total_ms: u64 = 0;
        let mut units = SPANS.iter();
        if rest.is_empty() {
            return Err(refused());
        }
        while !rest.is_empty() {
            let (digits, after) = split_number(rest);
            let unit_len = after
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_len);
            // Searching on from the last unit refuses "1s1m" and "1s1s".
            let factor = units
                .find(|(name, _)| *name == unit.trim())
                .map(|(_, factor)| *factor);
            let count: Option<u64> = digits.parse().ok();
            total_ms = count
                .zip(factor)
                .and_then(|(count, factor)| count.checked_mul(factor))
                .and_then(|part| part.checked_add(total_ms))
                .ok_or_else(refused)?;
            rest = after;
        }
        Ok(Self(Duration::from_millis(total_ms)))
    }
}

impl fmt::Display for ReadableDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, factor) in SPANS {
            if rest >= *factor {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (&text[..digits], text[digits..].trim_start())
}

impl Serialize for ReadableSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ReadableDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReadableSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = ReadableSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, as in \"8MiB\", or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ReadableSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ReadableSize, E> {
                u64::try_from(bytes)
                    .map(ReadableSize)
                    .map_err(|_| E::custom("a size can't be negative"))
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for ReadableDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;
        impl Visitor<'_> for DurationVisitor {
            type Value = ReadableDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration, as in \"500ms\" or \"1m30s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ReadableDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(DurationVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_every_unit_and_without() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("3B", 3),
            ("8KiB", 8 << 10),
            ("8 kb", 8 << 10),
            ("100MB", 100 << 20),
            ("2g", 2 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ReadableSize(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        for text in ["", "MiB", "1.5GiB", "-1", "8XiB", "99999999TiB"] {
            assert!(text.parse::<ReadableSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_from_the_longest_unit_to_the_shortest() {
        for (text, ms) in [
            ("1s", 1_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1d 2h", 93_600_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(ReadableDuration::millis(ms)), "{text}");
        }
    }

    #[test]
    fn durations_that_are_none_are_refused() {
        for text in [
            "",
            "5",
            "s",
            "1s1m",
            "1s1s",
            "1.5s",
            "-1s",
            "1w",
            "999999999999999d",
        ] {
            assert!(text.parse::<ReadableDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back_to_the_same_value() {
        for bytes in [0, 1, 1023, 1024, 1536 << 10, 8 << 20, 3 << 30, u64::MAX] {
            assert_eq!(
                ReadableSize(bytes).to_string().parse(),
                Ok(ReadableSize(bytes))
            );
        }
        for ms in [0, 1, 999, 1_000, 61_001, 86_400_000, 90_061_001] {
            let span = ReadableDuration::millis(ms);
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        assert_eq!(ReadableSize::kib(1536).to_string(), "1536KiB");
        assert_eq!(ReadableDuration::secs(90).to_string(), "1m30s");
    }
}
