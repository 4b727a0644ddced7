//! Keys and values in logs: shown, hidden, or marked so that a tool can hide them later.
//!
//! **Why one type.** What a client stores is nobody else's business, and a log is read by many. Whoever logs a key
//! or a value wraps it here, and one setting decides for the whole process.
//!
//! **Invariants.** Bytes are shown in hexadecimal, upper case, as TiKV's logs have them: so they need no escaping in a
//! line and can hold no marker.
//!
//! **Not here.** Finding keys in texts: nothing is searched, what is not wrapped is not hidden.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// What is done with keys and values in logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redaction {
    /// They are shown.
    #[default]
    Off,
    /// A `?` stands for each.
    On,
    /// They are shown between `‹` and `›`.
    Marker,
}

static REDACTION: AtomicU8 = AtomicU8::new(Redaction::Off as u8);

/// Changes it for the whole process.
pub fn set_redaction(redaction: Redaction) {
    REDACTION.store(redaction as u8, Ordering::Relaxed);
}

/// Bytes of a client, to be logged.
pub fn redact(bytes: &[u8]) -> Redacted<'_> {
    Redacted(bytes)
}

/// Bytes of a client, as the setting of the moment shows them. Its two forms are the same.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(&'a [u8]);

impl Redacted<'_> {
    fn show(self, redaction: Redaction, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = match redaction {
            Redaction::On => return f.write_str("?"),
            Redaction::Off => ("", ""),
            Redaction::Marker => ("‹", "›"),
        };
        f.write_str(open)?;
        for byte in self.0 {
            write!(f, "{byte:02X}")?;
        }
        f.write_str(close)
    }
}

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redaction = match REDACTION.load(Ordering::Relaxed) {
            on if on == Redaction::On as u8 => Redaction::On,
            marker if marker == Redaction::Marker as u8 => Redaction::Marker,
            _ => Redaction::Off,
        };
        self.show(redaction, f)
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_hidden_or_marked_as_the_process_has_it() {
        let shown = |redaction| {
            set_redaction(redaction);
            let key = redact(b"k\xff");
            (key.to_string(), format!("{key:?}"))
        };
        let same = |text: &str| (text.to_owned(), text.to_owned());
        assert_eq!(shown(Redaction::On), same("?"));
        assert_eq!(shown(Redaction::Marker), same("‹6BFF›"));
        assert_eq!(shown(Redaction::Off), same("6BFF"));
    }
}
