//! The reference of all items, as `kontiki config docs` prints it and `docs/configuration.md` has it.
//!
//! **Why from the source.** The comments at the fields of the tree are what a reader of the code sees; the
//! same sentences serve operators, so there is no second text that could be wrong.
//!
//! **Invariants.** Every item has a sentence, which a test holds.
//!
//! **Not here.** Bounds on values: the checks say them when they are broken.

use super::layers;
use super::online;
use super::tree::Config;
use std::collections::BTreeMap;
use std::fmt::Write;
use toml::Value;

const TREE: &str = include_str!("tree.rs");

const HEAD: &str = "\
# Configuration

One typed tree. `etc/kontiki.toml` shows all of it as a file. This page is made from the code, by
`kontiki config docs`; a test holds it to that.

**Where values come from**, each of these over those before it: the defaults; the file of `--config`; what was set
online, which the node keeps in `online.toml` in its data folder; the environment; flags. A value that is wrong, an
unknown key and values that contradict each other are reported all at once, each with where it was written, and the node
does not start. `kontiki server --check-config` does that and nothing else.

**Environment.** `KONTIKI__` and the key in capitals, with two underscores for a dot and one for a hyphen:
`KONTIKI__RAFTSTORE__STORE_POOL_SIZE=4`.

**Values.** A size has a unit (`B`, `KiB`, `MiB`, `GiB`, `TiB`; powers of two), a duration too (`ms`, `s`, `m`, `h`, `d`,
also together: `1m30s`).

**Online.** Items with a mark can be changed while the node runs:

    kontiki ctl config node set raftstore.store-pool-size 4            # on all nodes
    kontiki ctl config node set log.level debug --store 2              # on one
    curl -H 'Content-Type: application/json' -d '{\"log.level\": \"debug\"}' http://127.0.0.1:20180/config

A change is checked like a start, all items of it take effect or none, and it is durable before it is acknowledged
(`?persist=false`: it is forgotten at the next start). It is in effect when it is acknowledged; a shorter interval ends
a wait that is under way. What placement goes by is set once for the whole cluster: `kontiki ctl config placement`.
";

/// The title of items without a section.
const NO_SECTION: &str = "Items without a section";

/// What is known of an item.
pub struct Item {
    /// Its dotted key.
    pub key: String,
    /// What it is.
    pub doc: String,
    /// Its default.
    pub default: Value,
    /// Whether it can be changed online.
    pub is_online: bool,
}

/// All items, in the order of the tree.
pub fn items() -> Vec<Item> {
    let types = types();
    let mut items = Vec::new();
    collect("", "Config", &types, &mut items);
    items
}

/// The page.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let mut section = None;
    for item in items() {
        let (of, name) = item.key.rsplit_once('.').unwrap_or(("", &item.key));
        if section.as_deref() != Some(of) {
            section = Some(of.to_owned());
            let (title, about) = match of {
                "" => (NO_SECTION, "These stand above all sections.".to_owned()),
                of => (of, about(of)),
            };
            let _ = write!(
                text,
                "\n## {title}\n\n{about}\n\n| item | default | online | |\n|---|---|---|---|\n"
            );
        }
        let mark = if item.is_online { "✓" } else { "" };
        let _ = writeln!(
            text,
            "| `{name}` | `{}` | {mark} | {} |",
            item.default, item.doc
        );
    }
    text
}

/// A struct of the tree: its own comment, and its fields.
#[derive(Default)]
struct Type {
    doc: String,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    doc: String,
    of: String,
}

/// The structs of the tree, by their names. Only what this file's subject is written in is understood: a
/// comment, `pub struct`, and fields of a line each.
fn types() -> BTreeMap<&'static str, Type> {
    let mut types: BTreeMap<&str, Type> = BTreeMap::new();
    let (mut doc, mut current) = (String::new(), "");
    for line in TREE.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("/// ") {
            let space = if doc.is_empty() { "" } else { " " };
            doc = format!("{doc}{space}{more}");
        } else if let Some(rest) = line.strip_prefix("pub struct ") {
            current = rest.trim_end_matches(" {");
            types.entry(current).or_default().doc = std::mem::take(&mut doc);
        } else if let Some(field) = line
            .strip_prefix("pub ")
            .and_then(|rest| rest.strip_suffix(','))
        {
            let Some((name, of)) = field.split_once(": ") else {
                continue;
            };
            let field = Field {
                name: name.replace('_', "-"),
                doc: std::mem::take(&mut doc),
                of: of.to_owned(),
            };
            types.entry(current).or_default().fields.push(field);
        } else if !line.starts_with("#[") {
            doc.clear();
        }
    }
    types
}

fn collect(prefix: &str, name: &str, types: &BTreeMap<&str, Type>, items: &mut Vec<Item>) {
    for field in &types[name].fields {
        let key = layers::join(prefix, &field.name);
        if types.contains_key(field.of.as_str()) && !is_leaf(&field.of) {
            collect(&key, &field.of, types, items);
        } else {
            items.push(Item {
                default: default_of(&key),
                is_online: online::module_of(&key).is_some(),
                doc: field.doc.clone(),
                key,
            });
        }
    }
}

/// Whether a type is a value and no section.
fn is_leaf(name: &str) -> bool {
    name.starts_with("Readable")
}

fn default_of(key: &str) -> Value {
    let defaults = toml::Table::try_from(Config::default());
    let table = Value::Table(defaults.expect("the default configuration is serialisable"));
    let found = key
        .split('.')
        .try_fold(&table, |table, name| table.get(name));
    found.expect("an item of the tree").clone()
}

/// What a section's struct says of itself.
fn about(section: &str) -> String {
    let types = types();
    let field_of = |name: &'static str, part: &str| {
        let fields = types[name].fields.iter();
        fields
            .clone()
            .find(|field| field.name == part)
            .map(|field| field.of.clone())
    };
    let mut current = "Config".to_owned();
    for part in section.split('.') {
        let names: Vec<&'static str> = types.keys().copied().collect();
        let name = names.into_iter().find(|name| *name == current);
        current = name
            .and_then(|name| field_of(name, part))
            .unwrap_or_default();
    }
    types
        .get(current.as_str())
        .map_or_else(String::new, |found| found.doc.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_a_sentence() {
        let items = items();
        let mut keys: Vec<_> = items.iter().map(|item| item.key.clone()).collect();
        keys.sort_unstable();
        let mut known = layers::known_keys();
        known.sort_unstable();
        assert_eq!(keys, known);
        for item in items {
            assert!(item.doc.ends_with('.'), "{}: {}", item.key, item.doc);
        }
    }

    #[test]
    fn the_reference_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == reference(),
            "docs/configuration.md is out of date: kontiki config docs > docs/configuration.md"
        );
    }

    #[test]
    fn sections_say_what_they_are_for() {
        assert_eq!(
            about("storage.block-cache"),
            "The cache of blocks read from disk."
        );
    }
}
