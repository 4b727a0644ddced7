//! How long a function may be, and how many parameters it may take.
//!
//! **Why here and not clippy.** Its thresholds are those of the nearest `clippy.toml`, so each crate
//! that has one for other reasons would repeat them; and here the exceptions stand in one list.
//!
//! **Invariants.** Only code counts as a function: comments and strings are blanked before. Its length
//! is what a reader sees, from the line with `fn` to the closing brace. Tests are held to the same.
//!
//! **Not here.** Closures, and functions that a macro builds.

use crate::Violation;
use crate::source;

/// The most lines of a function: what fits a screen.
pub const LINES_MAX: usize = 70;
/// The most parameters, `self` not counted.
pub const PARAMETERS_MAX: usize = 5;

/// Functions that break a bound, each with its reason. Shorten this list, do not fill it.
const EXCUSED: &[(&str, &str, &str)] = &[
    (
        "crates/client/tests/fake/mod.rs",
        "tikv",
        "a table: one arm for each RPC of the fake store",
    ),
    (
        "crates/client/tests/fake/mod.rs",
        "pd",
        "a table: one arm for each RPC of the fake placement driver",
    ),
];

/// Holds every function of a Rust file against the two bounds.
pub fn check(file: &str, text: &str) -> Vec<Violation> {
    let code = source::code_only(text);
    let functions = source::words(&code, "fn").into_iter();
    functions
        .filter_map(|at| Function::parse(&code, at))
        .flat_map(|function| function.violations(file, &code))
        .collect()
}

struct Function<'a> {
    name: &'a str,
    at: usize,
    lines: usize,
    parameters: usize,
}

impl<'a> Function<'a> {
    /// The function whose `fn` stands at `at`; none for a pointer type such as `fn(u8)`.
    fn parse(code: &'a str, at: usize) -> Option<Self> {
        let start = at + "fn".len();
        let name = code[start..].trim_start();
        let name = &name[..name.find(|c: char| !(c.is_alphanumeric() || c == '_'))?];
        if name.is_empty() {
            return None;
        }
        let open = after_generics(code, start)?;
        let close = source::closing(code, open)?;
        let end = match code[close..]
            .find(['{', ';'])
            .map(|offset| close + offset)?
        {
            body if code.as_bytes()[body] == b'{' => source::closing(code, body)?,
            declaration => declaration,
        };
        Some(Self {
            name,
            at,
            lines: code[at..end].matches('\n').count() + 1,
            parameters: parameters(&code[open + 1..close]),
        })
    }

    fn violations(&self, file: &str, code: &str) -> Vec<Violation> {
        let Self {
            name,
            lines,
            parameters,
            ..
        } = self;
        let mut found = Vec::new();
        if *lines > LINES_MAX {
            found.push(format!(
                "`{name}` has {lines} lines, {LINES_MAX} at the most: branch here, do the work in functions of its own"
            ));
        }
        if *parameters > PARAMETERS_MAX {
            found.push(format!(
                "`{name}` takes {parameters} parameters, {PARAMETERS_MAX} at the most: name what belongs together"
            ));
        }
        let mut excuses = EXCUSED.iter();
        if excuses.any(|(path, function, _)| *path == file && function == name) {
            found.clear();
        }
        let line = source::line_of(code, self.at);
        let at_line = |message| Violation::at(file, line, message);
        found.into_iter().map(at_line).collect()
    }
}

/// Where the parenthesis of the parameters opens. Bounds such as `F: Fn(u8)` have some before it.
fn after_generics(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0;
    let bytes = code.as_bytes();
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'<' => depth += 1,
            b'>' if bytes[at - 1] != b'-' => depth -= 1,
            b'(' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// How many parameters a list between parentheses has, without `self`.
fn parameters(list: &str) -> usize {
    let named = |part: &str| {
        let name = part.split(':').next().unwrap_or_default();
        !name.trim().is_empty() && source::words(name, "self").is_empty()
    };
    source::split_list(list)
        .iter()
        .filter(|part| named(part))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let found = check("x.rs", text).into_iter();
        found.map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn a_function_at_the_limit_passes_and_one_line_more_does_not() {
        let of_lines = |lines: usize| format!("\nfn f() {{{}}}", "\n".repeat(lines - 1));
        assert_eq!(messages(&of_lines(LINES_MAX)), [] as [String; 0]);
        let found = messages(&of_lines(LINES_MAX + 1));
        assert!(
            found[0].starts_with("x.rs:2: `f` has 71 lines"),
            "{found:?}"
        );
    }

    #[test]
    fn parameters_are_counted_whatever_their_types_and_without_self() {
        let five = "fn f<F: Fn(u8, u8) -> u8>(&mut self, a: (u8, u8), b: Map<u8, u8>, \
                    (c, d): (u8, u8), e: [u8; 2], f: impl Fn(u8, u8) -> Map<u8, u8>,) {}";
        assert_eq!(messages(five), [] as [String; 0]);
        let found = messages("fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8);");
        assert!(found[0].contains("takes 6 parameters"), "{found:?}");
    }

    #[test]
    fn an_excuse_holds_for_one_function_of_one_file() {
        let (file, name, _) = EXCUSED[0];
        let text = format!("fn {name}() {{{}}}", "\n".repeat(LINES_MAX));
        assert_eq!(check(file, &text), []);
        assert_eq!(check("x.rs", &text).len(), 1);
    }

    #[test]
    fn each_function_is_measured_alone() {
        let half = "\n".repeat(LINES_MAX / 2);
        let text = format!("fn a() {{{half}}}\ntype P = fn(u8);\nfn b() {{ \"{{\"; {half}}}");
        assert_eq!(messages(&text), [] as [String; 0]);
    }
}
