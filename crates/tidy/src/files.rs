//! Rules for each file: its length, its header, nothing left to do, and no path of somebody's
//! machine.
//!
//! **Why.** A file that can be read in one sitting, and that opens with what it is for, is changed in
//! one place. A path of a machine works on that machine only.
//!
//! **Not here.** The usual length, about 300 lines: a test can hold a ceiling, not taste.

use crate::Violation;
use crate::source;

/// The most lines that a source file may have.
pub const LINES_MAX: usize = 800;

/// Macros that mark unfinished work.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Where people and tools keep their own files. Written in two parts, so that this file passes.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/wo", "rk/."),
    concat!("/tmp/", "brief"),
    concat!("/tmp/", "t/"),
];

/// Rules for every Rust file: the ceiling, and no unfinished work.
pub fn check_rust(file: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        let message = format!("{lines} lines, {LINES_MAX} at the most: split it by concern");
        found.push(Violation::of_file(file, message));
    }
    let code = source::code_only(text);
    for name in UNFINISHED {
        for at in source::words(&code, name) {
            let message = format!("`{name}` is left: finish it, or return a typed error");
            found.push(Violation::at(file, source::line_of(&code, at), message));
        }
    }
    found
}

/// The rule for files below a crate's `src`: the module opens with its header.
pub fn check_header(file: &str, text: &str) -> Option<Violation> {
    let opens = text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with("//!");
    (!opens).then(|| {
        Violation::at(
            file,
            1,
            "opens without `//!`: say what the module is, why, its invariants, and what it does not do",
        )
    })
}

/// The rule for every text file: no path that exists on one machine only.
pub fn check_paths(file: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for path in MACHINE_PATHS.iter().filter(|path| names_path(line, path)) {
            let message =
                format!("names `{path}`, a path of one machine: make it relative or a setting");
            found.push(Violation::at(file, index + 1, message));
        }
    }
    found
}

/// Whether `line` has `path` as the beginning of a path, not in the middle of a longer one.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_ceiling_is_refused() {
        assert_eq!(check_rust("x.rs", &"\n".repeat(LINES_MAX)), []);
        let found = check_rust("x.rs", &"\n".repeat(LINES_MAX + 1));
        assert!(found[0].message.contains("split it"));
    }

    #[test]
    fn unfinished_work_is_found_and_talk_about_it_is_not() {
        for name in UNFINISHED {
            let found = check_rust("x.rs", &format!("fn f() {{\n    {name}()\n}}"));
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].line, 2);
            assert_eq!(
                check_rust(
                    "x.rs",
                    &format!("// no {name} here\nconst A: &str = \"{name}\";")
                ),
                []
            );
        }
    }

    #[test]
    fn a_module_opens_with_its_header() {
        assert_eq!(check_header("x.rs", "\n//! What it is.\n"), None);
        assert!(check_header("x.rs", "use std::fmt;\n//! Late.\n").is_some());
        assert!(check_header("x.rs", "// What it is.\n").is_some());
        assert!(check_header("x.rs", "").is_some());
    }

    #[test]
    fn every_machine_path_is_found_when_planted() {
        for path in MACHINE_PATHS {
            let found = check_paths("x.md", &format!("run\nin `{path}x`"));
            assert!(found.iter().any(|violation| violation.line == 2), "{path}");
        }
    }

    #[test]
    fn a_folder_of_that_name_deeper_down_is_no_machine_path() {
        let line = format!(
            "https://example.org{}page and ${{X}}{}x",
            MACHINE_PATHS[0], MACHINE_PATHS[1]
        );
        assert_eq!(check_paths("x.md", &line), []);
    }
}
