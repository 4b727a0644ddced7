//! What a pure crate must not name: time, randomness, threads, I/O, locks, and collections whose
//! order differs from run to run.
//!
//! **Why.** The state machines are replayed from a seed in simulation. One forbidden call, and the
//! same seed gives another run.
//!
//! **Invariants.** Only code counts: comments, strings and `#[cfg(test)]` modules are free.
//!
//! **Not here.** Calls through another crate. Those are `clippy.toml`'s, and the manifest's (see
//! [`crate::floors`]).

use crate::Violation;
use crate::source;

/// A forbidden name, and what to use in its place.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::thread", "threads belong to `node`: return an effect"),
    (
        "std::time::Instant",
        "time is an input: use the `now` that step() is given",
    ),
    (
        "Instant::now",
        "time is an input: use the `now` that step() is given",
    ),
    (
        "SystemTime",
        "time is an input: use the `now` that step() is given",
    ),
    ("rand::", "randomness is an input: derive it from the seed"),
    (
        "RandomState",
        "its seed differs from run to run: use a BTreeMap",
    ),
    (
        "HashMap",
        "its order differs from run to run: use a BTreeMap",
    ),
    (
        "HashSet",
        "its order differs from run to run: use a BTreeSet",
    ),
    ("tokio", "the runtime belongs to `node`: return an effect"),
    ("async fn", "a pure crate never waits: return an effect"),
    (
        "std::fs",
        "disks belong to `node` and the engines: return an effect",
    ),
    ("std::net", "sockets belong to `server`: return an effect"),
    ("std::env", "configuration is an input"),
    (
        "std::process",
        "a pure crate does not end the process: return an error",
    ),
    ("Mutex", "a state machine has one owner: take `&mut self`"),
    ("RwLock", "a state machine has one owner: take `&mut self`"),
    ("thread_local!", "state belongs to the state machine"),
    ("println!", "a pure crate does not print: return an effect"),
    ("eprintln!", "a pure crate does not print: return an effect"),
];

/// Holds one source file of a pure crate against the list.
pub fn check(file: &str, text: &str) -> Vec<Violation> {
    let code = source::without_test_modules(&source::code_only(text));
    let mut found = Vec::new();
    for (name, instead) in FORBIDDEN {
        let spelled_out = source::words(&code, name);
        let imported = source::imports(&code)
            .into_iter()
            .filter(|(_, path)| covers(name, path))
            .map(|(at, _)| at);
        let mut lines: Vec<usize> = spelled_out
            .into_iter()
            .chain(imported)
            .map(|at| source::line_of(&code, at))
            .collect();
        lines.sort_unstable();
        lines.dedup();
        let message = format!("a pure crate must not name `{name}`: {instead}");
        found.extend(
            lines
                .into_iter()
                .map(|line| Violation::at(file, line, message.clone())),
        );
    }
    found.sort_by_key(|violation| violation.line);
    found
}

/// Whether importing `path` brings in what `name` forbids.
fn covers(name: &str, path: &str) -> bool {
    let Some(rest) = path.strip_prefix(name) else {
        return false;
    };
    rest.is_empty() || rest.starts_with("::") || name.ends_with("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check("x.rs", text)
            .into_iter()
            .map(|violation| violation.line)
            .collect()
    }

    #[test]
    fn every_forbidden_name_is_found_when_planted() {
        for (name, _) in FORBIDDEN {
            let found = check("x.rs", &format!("fn f() {{\n    {name}(1);\n}}\n"));
            assert!(
                found
                    .iter()
                    .any(|violation| violation.line == 2 && violation.message.contains(name)),
                "{name}"
            );
        }
    }

    #[test]
    fn a_grouped_import_does_not_hide() {
        assert_eq!(lines("use std::{\n    fs,\n    fmt,\n};"), [1]);
        assert_eq!(lines("use std::time::{Duration, Instant};"), [1]);
        assert_eq!(lines("use std::{fmt, time::Duration};"), [] as [usize; 0]);
    }

    #[test]
    fn comments_strings_and_test_modules_are_free() {
        let text = "// a HashMap\nconst A: &str = \"std::fs\";\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(lines(text), [] as [usize; 0]);
    }

    #[test]
    fn longer_words_are_not_mistaken() {
        assert_eq!(
            lines("struct HashMapping; fn operand(x: brand::A) {}"),
            [] as [usize; 0]
        );
    }
}
