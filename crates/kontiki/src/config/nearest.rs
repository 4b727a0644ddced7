//! Which known key an unknown one was probably meant to be.
//!
//! **Why.** A misspelt key that is skipped in silence leaves a default in force that the operator
//! believes to have changed.
//!
//! **Not here.** Guessing on: the answer goes into an error message, never into the configuration.

/// The known key nearest to `unknown`, if any is near enough to be worth naming.
///
/// Near is: the same item in another section, or few edits for the length of the key.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance_max = unknown.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|candidate| (distance(unknown, candidate), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The edits between two dotted keys. When the item's name is right, the section counts as one edit.
fn distance(unknown: &str, candidate: &str) -> usize {
    let whole = edits(unknown, candidate);
    if item(unknown) == item(candidate) {
        whole.min(1)
    } else {
        // A wrong section and a misspelt item in one.
        whole.min(2 + edits(item(unknown), item(candidate)))
    }
}

fn item(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The number of characters to insert, delete, replace, or swap with their neighbour (optimal string
/// alignment), to make one text of the other.
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().map(fold).collect();
    let to: Vec<char> = to.chars().map(fold).collect();
    let width = to.len() + 1;
    let mut before_last = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (row, a) in from.iter().enumerate() {
        let mut current = vec![row + 1; width];
        for (column, b) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(a != b);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *a == to[column - 1] && from[row - 1] == *b;
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current[column + 1] = best;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[width - 1]
}

/// `api_version` and `API-VERSION` are no further from `api-version` than it is itself.
fn fold(c: char) -> char {
    if c == '_' {
        '-'
    } else {
        c.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &[
        "log.level",
        "server.addr",
        "server.advertise-addr",
        "storage.data-dir",
        "storage.api-version",
        "raftstore.store-pool-size",
        "raftstore.apply-pool-size",
    ];

    fn near(unknown: &str) -> Option<&'static str> {
        nearest(unknown, KNOWN.iter().copied())
    }

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        assert_eq!(near("log.levle"), Some("log.level"));
        assert_eq!(near("server.adress"), Some("server.addr"));
        assert_eq!(near("storage.api_version"), Some("storage.api-version"));
        assert_eq!(
            near("raftstore.storepool-size"),
            Some("raftstore.store-pool-size")
        );
    }

    #[test]
    fn the_right_item_in_the_wrong_section_is_found() {
        assert_eq!(near("api-version"), Some("storage.api-version"));
        assert_eq!(near("server.data-dir"), Some("storage.data-dir"));
        assert_eq!(near("server.data-dri"), Some("storage.data-dir"));
    }

    #[test]
    fn nothing_near_is_not_guessed_at() {
        assert_eq!(near("coprocessor.region-split-keys"), None);
        assert_eq!(near("x"), None);
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("ab", "ba"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("a_b", "A-B"), 0);
    }
}
