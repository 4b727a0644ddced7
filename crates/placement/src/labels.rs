//! How far apart stores are, by the labels that say where they are.
//!
//! **How.** Labels are compared from the widest place to the narrowest (zone, rack, host). Two stores that
//! differ in a wide one are further apart than any number of pairs that differ in a narrow one.
//!
//! **Not here.** Where a replica goes: `cluster`.

use crate::stores::Store;

/// More than the Peers of a Region.
const PER_LEVEL: u64 = 100;

/// How far `store` is from the others, all together. Nothing, if no labels say where stores are.
pub(crate) fn isolation<'a>(
    labels: &[String],
    store: &Store,
    others: impl Iterator<Item = &'a Store>,
) -> u64 {
    if labels.is_empty() {
        return 0;
    }
    others.map(|other| distance(labels, store, other)).sum()
}

fn distance(labels: &[String], a: &Store, b: &Store) -> u64 {
    let differ = |name: &String| a.label(name) != b.label(name);
    let Some(level) = labels.iter().position(differ) else {
        return 0;
    };
    let below = u32::try_from(labels.len() - level - 1).unwrap_or(0);
    PER_LEVEL.saturating_pow(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(zone: &str, host: &str) -> Store {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Store {
            labels: vec![label("zone", zone), label("host", host)],
            ..Store::default()
        }
    }

    #[test]
    fn another_zone_is_further_than_any_other_host() {
        let labels = ["zone".to_owned(), "host".to_owned()];
        let (a, b, c) = (store("1", "a"), store("1", "b"), store("2", "a"));
        let far =
            |store: &Store, others: &[&Store]| isolation(&labels, store, others.iter().copied());
        assert_eq!(far(&a, &[&a]), 0);
        assert!(far(&b, &[&a]) > 0);
        assert!(far(&c, &[&a]) > far(&b, &[&a, &a, &a]));
        assert_eq!(isolation(&[], &c, [&a].into_iter()), 0);
    }
}
