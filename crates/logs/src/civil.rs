//! Times as logs show them: `2018/12/15 14:20:11.015 +08:00`.
//!
//! **Why UTC is written.** Lines of nodes in several time zones can be laid side by side, and no hour comes twice
//! when summer ends. Other offsets are understood when they are read.
//!
//! **Not here.** Leap seconds: the system's clock has none.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i64);

impl Moment {
    pub(crate) fn now() -> Self {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Year, month, day, and the milliseconds of the day.
    fn parts(self) -> (i64, i64, i64, i64) {
        let (year, month, day) = date(self.0.div_euclid(DAY_MS));
        (year, month, day, self.0.rem_euclid(DAY_MS))
    }

    /// As a part of a file's name, which sorts by time: `2018-12-15T14-20-11.015`.
    pub(crate) fn in_name(self) -> String {
        let (year, month, day, ms) = self.parts();
        let (hour, minute, second, ms) = clock(ms);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{ms:03}")
    }

    /// Reads what [`Self::in_name`] has written.
    pub(crate) fn of_name(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let shape = b"dddd-dd-ddTdd-dd-dd.ddd";
        let fits = |(byte, shape): (&u8, &u8)| match shape {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        };
        if text.len() != shape.len() || !text.iter().zip(shape).all(fits) {
            return None;
        }
        Self::of_digits(text, 0)
    }

    /// Reads a time as lines have it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let shape = b"dddd/dd/dd dd:dd:dd.ddd sdd:dd";
        let fits = |(byte, shape): (&u8, &u8)| match shape {
            b'd' => byte.is_ascii_digit(),
            b's' => matches!(byte, b'+' | b'-'),
            other => byte == other,
        };
        if text.len() != shape.len() || !text.iter().zip(shape).all(fits) {
            return None;
        }
        let offset_ms = (number(&text[25..27]) * 60 + number(&text[28..30])) * 60_000;
        Self::of_digits(
            text,
            if text[24] == b'-' {
                -offset_ms
            } else {
                offset_ms
            },
        )
    }

    /// Of digits at the places that both forms share.
    fn of_digits(text: &[u8], offset_ms: i64) -> Option<Self> {
        let at = |from: usize, to: usize| number(&text[from..to]);
        let (month, day) = (at(5, 7), at(8, 10));
        let (hour, minute, second) = (at(11, 13), at(14, 16), at(17, 19));
        let is_time = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        let of_day = ((hour * 60 + minute) * 60 + second) * 1_000 + at(20, 23);
        is_time.then(|| Self(days(at(0, 4), month, day) * DAY_MS + of_day - offset_ms))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, ms) = self.parts();
        let (hour, minute, second, ms) = clock(ms);
        write!(f, "{year:04}/{month:02}/{day:02} ")?;
        write!(f, "{hour:02}:{minute:02}:{second:02}.{ms:03} +00:00")
    }
}

/// Digits only: their callers have looked.
fn number(digits: &[u8]) -> i64 {
    let digits = digits.iter().map(|digit| i64::from(digit - b'0'));
    digits.fold(0, |number, digit| number * 10 + digit)
}

fn clock(ms: i64) -> (i64, i64, i64, i64) {
    (
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1_000 % 60,
        ms % 1_000,
    )
}

/// Days since the Unix epoch, in the Gregorian calendar. Years begin in March here, so that the day which some
/// years lack is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`]: year, month, day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let (month, day) = ((month + 2) % 12 + 1, of_year - (153 * month + 2) / 5 + 1);
    let year = era * 400 + of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_written_as_people_write_them() {
        for (ms, text) in [
            (0, "1970/01/01 00:00:00.000 +00:00"),
            (951_782_399_999, "2000/02/28 23:59:59.999 +00:00"),
            (951_782_400_000, "2000/02/29 00:00:00.000 +00:00"),
            (1_544_854_811_015, "2018/12/15 06:20:11.015 +00:00"),
            (4_107_542_400_000, "2100/03/01 00:00:00.000 +00:00"),
        ] {
            assert_eq!(Moment(ms).to_string(), text);
            assert_eq!(Moment::parse(text), Some(Moment(ms)));
        }
    }

    #[test]
    fn other_time_zones_are_understood() {
        let utc = Moment::parse("2018/12/15 06:20:11.015 +00:00");
        assert_eq!(Moment::parse("2018/12/15 14:20:11.015 +08:00"), utc);
        assert_eq!(Moment::parse("2018/12/14 22:50:11.015 -07:30"), utc);
    }

    #[test]
    fn every_day_of_four_hundred_years_is_found_again() {
        for day in -150_000..150_000 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2018/12/15 14:20:11.015",
            "2018/13/15 14:20:11.015 +08:00",
            "2018/12/15 24:20:11.015 +08:00",
            "2018/12/15T14:20:11.015 +08:00",
            "2018/12/15 14:20:11.015 *08:00",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
        assert_eq!(Moment::of_name("2018-12-15T14-20-11"), None);
    }

    #[test]
    fn a_moment_in_a_name_is_found_again_and_sorts_by_time() {
        let earlier = Moment(1_544_854_811_015);
        let name = earlier.in_name();
        assert_eq!(name, "2018-12-15T06-20-11.015");
        assert_eq!(Moment::of_name(&name), Some(earlier));
        assert!(name < Moment(1_544_854_811_016).in_name());
    }
}
