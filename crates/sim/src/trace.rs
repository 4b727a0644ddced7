//! What happened, as a running hash of all of it and as text of the last part of it.
//!
//! **Why a hash.** Two runs of a seed are compared by one number; the text is for whoever reads a
//! failure.
//!
//! **Invariant.** Everything that is noted enters the hash, in order.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// Who hears each line as it is noted.
pub type Listener = Box<dyn FnMut(&str)>;

/// The trace of one run.
pub(crate) struct Trace {
    hash: u64,
    noted: u64,
    lines: VecDeque<String>,
    lines_max: usize,
    listener: Option<Listener>,
}

impl Trace {
    /// Keeps the last `lines_max` lines.
    pub(crate) fn new(lines_max: usize, listener: Option<Listener>) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            noted: 0,
            lines: VecDeque::new(),
            lines_max,
            listener,
        }
    }

    pub(crate) fn note(&mut self, now_us: u64, what: fmt::Arguments<'_>) {
        let mut line = match self.lines.len() < self.lines_max.max(1) {
            true => String::new(),
            false => self.lines.pop_front().expect("not empty"),
        };
        line.clear();
        write!(line, "{now_us:>9} {what}").expect("a string takes all");
        self.hash = digest(self.hash, line.as_bytes());
        self.noted += 1;
        if let Some(listener) = &mut self.listener {
            listener(&line);
        }
        self.lines.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn noted(&self) -> u64 {
        self.noted
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

/// FNV-1a over `bytes`, continued from `hash`.
pub(crate) fn digest(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(hash, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_lines_that_are_no_longer_kept() {
        let run = |first: &str| {
            let mut trace = Trace::new(2, None);
            for what in [first, "b", "c"] {
                trace.note(1, format_args!("{what}"));
            }
            (trace.hash(), trace.noted(), trace.into_lines())
        };
        assert_eq!(run("a"), run("a"));
        assert_ne!(run("a").0, run("z").0);
        assert_eq!(run("a").2, ["        1 b", "        1 c"]);
    }
}
