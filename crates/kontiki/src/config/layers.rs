//! Sources of configuration, taken apart into single items and put together into the typed tree.
//!
//! **Why.** serde stops at the first error and forgets where a value came from. Here each item is
//! tried on its own against the defaults, so that every wrong one is reported, with its line.
//!
//! **Invariants.** The known keys are those of the serialised default: there is no second list. An
//! empty table in it is a free-form map (labels), whose keys are the user's.
//!
//! **Not here.** What values mean together (`validate`).

use super::nearest::nearest;
use super::tree::Config;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Table, Value};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file, at a line counted from 1.
    File {
        /// The file's name as it was given.
        name: String,
        /// The line; zero for the whole file.
        line: usize,
    },
    /// On the command line, by this flag.
    Flag(&'static str),
    /// In the environment, as this variable.
    Environment(String),
    /// By a request to the running node.
    Online,
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { name, line: 0 } => f.write_str(name),
            Source::File { name, line } => write!(f, "{name}:{line}"),
            Source::Flag(flag) => f.write_str(flag),
            Source::Environment(name) => f.write_str(name),
            Source::Online => f.write_str("online"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// One item of configuration, from one source.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The dotted key.
    pub key: String,
    /// The value as written.
    pub value: Value,
    /// Where.
    pub source: Source,
}

impl Leaf {
    /// An item that a flag sets.
    pub fn from_flag(flag: &'static str, key: &str, value: impl Into<Value>) -> Self {
        Self {
            key: key.to_owned(),
            value: value.into(),
            source: Source::Flag(flag),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub source: Source,
    /// What is wrong, with the key if there is one.
    pub message: String,
}

impl Problem {
    /// A problem with a file as a whole.
    pub(super) fn of_source(name: &str, message: String) -> Self {
        let source = Source::File {
            name: name.to_owned(),
            line: 0,
        };
        Self { source, message }
    }

    /// A problem with one item.
    pub(super) fn of_key(source: Source, key: &str, message: &str) -> Self {
        Self {
            source,
            message: format!("{key}: {message}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)
    }
}

/// All that is wrong with the configuration; never empty when returned as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        write!(f, "the configuration has {} {noun}", self.0.len())?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

fn schema() -> Table {
    Table::try_from(Config::default()).expect("the default configuration is serialisable")
}

/// Every dotted key that exists, in order.
pub(super) fn known_keys() -> Vec<String> {
    let mut keys = Vec::new();
    collect_keys("", &schema(), &mut keys);
    keys
}

fn collect_keys(prefix: &str, table: &Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = join(prefix, name);
        match value {
            Value::Table(inner) if !inner.is_empty() => collect_keys(&key, inner, keys),
            _ => keys.push(key),
        }
    }
}

/// Names of sections, such as `storage.block-cache`.
fn sections(keys: &[String]) -> Vec<String> {
    let mut found: Vec<String> = keys
        .iter()
        .flat_map(|key| key.match_indices('.').map(|(at, _)| key[..at].to_owned()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What is said of a key that there is not.
pub(super) fn unknown_key(key: &str) -> String {
    let mut known = known_keys();
    known.extend(sections(&known));
    match nearest(key, known.iter().map(String::as_str)) {
        Some(near) => format!("unknown key `{key}`: did you mean `{near}`?"),
        None => format!("unknown key `{key}`"),
    }
}

/// The default of an item; none if there is no such item.
pub(super) fn default_of(key: &str) -> Option<Value> {
    let mut value = Value::Table(schema());
    for name in key.split('.') {
        value = value.as_table_mut()?.remove(name)?;
    }
    let is_section = value.as_table().is_some_and(|table| !table.is_empty());
    (!is_section).then_some(value)
}

pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// Takes a TOML file apart into known items. Syntax errors and unknown keys become problems.
pub(super) fn parse(name: &str, text: &str, problems: &mut Vec<Problem>) -> Vec<Leaf> {
    let mut file = FileParser {
        name,
        text,
        leaves: Vec::new(),
        problems,
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        file.walk("", document.into_inner(), &schema());
    }
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        file.problem(at, error.message().to_owned());
    }
    file.leaves
}

struct FileParser<'a> {
    name: &'a str,
    text: &'a str,
    leaves: Vec<Leaf>,
    problems: &'a mut Vec<Problem>,
}

impl FileParser<'_> {
    fn walk(&mut self, prefix: &str, table: DeTable<'_>, schema: &Table) {
        for (name, value) in table {
            let at = name.span().start;
            let key = join(prefix, name.get_ref());
            match (schema.get(name.get_ref().as_ref()), value.get_ref()) {
                (None, _) => self.unknown(at, &key),
                (Some(Value::Table(inner)), DeValue::Table(_)) if !inner.is_empty() => {
                    if let DeValue::Table(table) = value.into_inner() {
                        self.walk(&key, table, inner);
                    }
                }
                (Some(Value::Table(inner)), _) if !inner.is_empty() => {
                    self.problem(
                        at,
                        format!("{key}: is a section: write [{key}] and its items below"),
                    );
                }
                (Some(_), _) => self.leaf(at, key, value),
            }
        }
    }

    fn leaf(&mut self, at: usize, key: String, value: Spanned<DeValue<'_>>) {
        match Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => {
                let source = self.source(at);
                self.leaves.push(Leaf { key, value, source });
            }
            Err(error) => self.problem(at, format!("{key}: {}", error.message())),
        }
    }

    fn unknown(&mut self, at: usize, key: &str) {
        self.problem(at, unknown_key(key));
    }

    fn problem(&mut self, at: usize, message: String) {
        let source = self.source(at);
        self.problems.push(Problem { source, message });
    }

    fn source(&self, at: usize) -> Source {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        Source::File {
            name: self.name.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        }
    }
}

/// Where each item that is not a default was written, by key.
pub(super) type Sources = BTreeMap<String, Source>;

/// Puts the items over the defaults, later ones over earlier ones. An item whose value does not fit
/// becomes a problem, and the default stays.
pub(super) fn assemble(leaves: Vec<Leaf>, problems: &mut Vec<Problem>) -> (Config, Sources) {
    assemble_over(&Config::default(), leaves, problems)
}

/// As [`assemble`], over another configuration than the defaults.
pub(super) fn assemble_over(
    base: &Config,
    leaves: Vec<Leaf>,
    problems: &mut Vec<Problem>,
) -> (Config, Sources) {
    let defaults = schema();
    let base = Table::try_from(base);
    let mut table = base.expect("a configuration is serialisable");
    let mut sources = Sources::new();
    for leaf in leaves {
        let mut alone = defaults.clone();
        set(&mut alone, &leaf.key, leaf.value.clone());
        match alone.try_into::<Config>() {
            Ok(_) => {
                set(&mut table, &leaf.key, leaf.value);
                sources.insert(leaf.key, leaf.source);
            }
            Err(error) => problems.push(Problem::of_key(leaf.source, &leaf.key, error.message())),
        }
    }
    let config = table.try_into().expect("each item was tried on its own");
    (config, sources)
}

/// Sets one item. The sections above it exist, since the key is a known one.
fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        Some((section, rest)) => {
            let inner = table.get_mut(section).and_then(Value::as_table_mut);
            set(inner.expect("a known section"), rest, value);
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}
