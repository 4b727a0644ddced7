//! Rust source with everything blanked out that is not code: comments, strings, characters, and test
//! modules. Offsets and line numbers stay as they were.
//!
//! **Why.** A rule that searches text must not stumble over a comment that explains the rule.
//!
//! **Not here.** Parsing. Macros that build code out of tokens are beyond it.

/// `source` with comments, string literals and character literals replaced by spaces.
pub(crate) fn code_only(source: &str) -> String {
    let mut bytes = source.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match literal_end(source.as_bytes(), at) {
            Some(end) => end,
            None => {
                at += 1;
                continue;
            }
        };
        for byte in &mut bytes[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// If a comment or literal begins at `at`, where it ends.
fn literal_end(source: &[u8], at: usize) -> Option<usize> {
    let rest = &source[at..];
    if rest.starts_with(b"//") {
        return Some(find(source, at, b"\n").unwrap_or(source.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment_end(source, at));
    }
    let in_word = at > 0 && is_word(source[at - 1]);
    match rest[0] {
        b'r' if !in_word => raw_string_end(source, at, at + 1),
        b'b' if !in_word && rest.starts_with(b"br") => raw_string_end(source, at, at + 2),
        b'"' => Some(quoted_end(source, at + 1, b'"')),
        b'\'' => char_end(source, at),
        _ => None,
    }
}

fn find(source: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    source[from..]
        .windows(what.len())
        .position(|window| window == what)
        .map(|offset| from + offset)
}

fn block_comment_end(source: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < source.len() {
        if source[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if source[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    source.len()
}

fn raw_string_end(source: &[u8], start: usize, after_prefix: usize) -> Option<usize> {
    let hashes = source[after_prefix..]
        .iter()
        .take_while(|b| **b == b'#')
        .count();
    if source.get(after_prefix + hashes) != Some(&b'"') {
        return None;
    }
    let mut closing = vec![b'"'];
    closing.resize(1 + hashes, b'#');
    let body = after_prefix + hashes + 1;
    debug_assert!(start < body);
    Some(find(source, body, &closing).map_or(source.len(), |at| at + closing.len()))
}

fn quoted_end(source: &[u8], body: usize, quote: u8) -> usize {
    let mut at = body;
    while at < source.len() {
        match source[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    source.len()
}

/// A character literal, but not a lifetime: `'a'` ends with a quote, `'a` does not.
fn char_end(source: &[u8], at: usize) -> Option<usize> {
    let first = *source.get(at + 1)?;
    if first == b'\\' {
        return Some(quoted_end(source, at + 1, b'\''));
    }
    let width = match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    (source.get(at + 1 + width) == Some(&b'\'')).then_some(at + width + 2)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// `code` (see [`code_only`]) without its `#[cfg(test)] mod ... { ... }` blocks.
pub(crate) fn without_test_modules(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(start) = code[from..].find(MARK).map(|offset| from + offset) {
        let after = start + MARK.len();
        from = after;
        let is_module = code[after..].trim_start().starts_with("mod ");
        let body = code[after..].find(['{', ';']).map(|offset| after + offset);
        let Some(body) = body.filter(|at| is_module && code.as_bytes()[*at] == b'{') else {
            continue;
        };
        let end = closing(code, body).map_or(code.len(), |brace| brace + 1);
        for byte in &mut out[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the bracket that opens at `open` closes: the same kind, the same depth.
pub(crate) fn closing(code: &str, open: usize) -> Option<usize> {
    let opening = code.as_bytes()[open];
    let wanted = match opening {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    };
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        if byte == opening {
            depth += 1;
        } else if byte == wanted {
            depth -= 1;
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The parts of `list` between its commas; those inside of brackets, also `<>`, part nothing.
pub(crate) fn split_list(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start, mut before) = (0, 0, b' ');
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b'>' if before != b'-' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        before = byte;
    }
    parts.push(&list[start..]);
    parts
}

/// The line, from 1, of a byte offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}

/// Offsets at which `word` stands in `code` as a whole word (or path).
pub(crate) fn words(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let starts_as_word = is_word(word.as_bytes()[0]);
    let ends_as_word = is_word(word.as_bytes()[word.len() - 1]);
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| {
            let free_before = *at == 0 || !is_word(bytes[at - 1]);
            let free_after = bytes.get(at + word.len()).is_none_or(|b| !is_word(*b));
            (!starts_as_word || free_before) && (!ends_as_word || free_after)
        })
        .collect()
}

/// Every path that the `use` declarations of `code` bring in, with the offset of its declaration:
/// `use std::{fs, time::Instant as I};` gives `std::fs` and `std::time::Instant`.
pub(crate) fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "use") {
        let Some(end) = code[at..].find(';').map(|offset| at + offset) else {
            continue;
        };
        let mut paths = Vec::new();
        expand("", &code[at + 3..end], &mut paths);
        found.extend(paths.into_iter().map(|path| (at, path)));
    }
    found
}

fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        if !path.is_empty() {
            paths.push(format!("{prefix}{path}"));
        }
        return;
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    for part in split_list(inner) {
        expand(&prefix, part, paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let source =
            "a /* x /* y */\nz */ b // c\n\"d \\\" e\" r#\"f \" g\"# 'h' '\\'' b'i' 'é' &'life k";
        let code = code_only(source);
        assert_eq!(
            code.split_whitespace().collect::<Vec<_>>(),
            ["a", "b", "b", "&'life", "k"]
        );
        assert_eq!(code.matches('\n').count(), 2);
    }

    #[test]
    fn an_unclosed_literal_ends_with_the_file() {
        for source in ["a \"b", "a /* b", "a r#\"b\"", "a '\\"] {
            assert_eq!(code_only(source).trim(), "a");
        }
    }

    #[test]
    fn test_modules_are_cut_and_other_test_items_are_not() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}";
        let left = without_test_modules(code);
        assert!(left.contains("fn a") && left.contains("fn c") && left.contains("fn e"));
        assert!(!left.contains("fn b"));
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("Mutex MyMutex Mutexes x.Mutex", "Mutex"), [0, 24]);
        assert_eq!(words("brand::x rand::y", "rand::"), [9]);
    }

    #[test]
    fn grouped_imports_are_spelled_out() {
        let paths: Vec<String> =
            imports("use std::{fs, time::{Duration, Instant as I}};\nuse a::b;")
                .into_iter()
                .map(|(_, path)| path)
                .collect();
        assert_eq!(
            paths,
            [
                "std::fs",
                "std::time::Duration",
                "std::time::Instant",
                "a::b"
            ]
        );
    }
}
