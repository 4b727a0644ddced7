//! The protocol as a grammar: every RPC, and messages of every type, made at random from the tables that
//! `proto` holds its files against.
//!
//! **How values are drawn.** A field whose name says what it is (a Region's id, a key) mostly gets a value
//! that makes sense to the node under test, so that requests pass the first checks and fail, or
//! succeed, at the later ones. The rest is drawn from numbers and lengths at which code errs.
//!
//! **Not here.** Raft's own messages, which no table has (`raft`).

use fuzz::Rng;
use std::collections::BTreeMap;

const TABLES: [&str; 2] = [
    include_str!("../../../proto/tests/published.txt"),
    include_str!("../../../proto/tests/newer.txt"),
];
const DEPTH_MAX: u32 = 6;
const NUMBERS: [u64; 10] = [
    0,
    1,
    2,
    3,
    1 << 20,
    u32::MAX as u64,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// An RPC.
#[derive(Clone, Debug)]
pub struct Method {
    /// As HTTP has it: `/package.Service/Method`.
    pub path: String,
    /// What it takes.
    pub input: &'static str,
    /// Whether it takes many of those.
    pub takes_stream: bool,
    /// Whether it answers many.
    pub gives_stream: bool,
}

#[derive(Clone, Debug)]
struct Field {
    /// With that of its message.
    full: &'static str,
    name: &'static str,
    number: u64,
    kind: &'static str,
    is_repeated: bool,
    oneof: Option<&'static str>,
}

/// All of it.
pub struct Grammar {
    pub methods: Vec<Method>,
    messages: BTreeMap<&'static str, Vec<Field>>,
    enums: BTreeMap<&'static str, Vec<u64>>,
}

/// What makes sense to the node under test, by the names of fields, or by those with their messages'.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub numbers: BTreeMap<&'static str, Vec<u64>>,
    pub bytes: BTreeMap<&'static str, Vec<Vec<u8>>>,
}

impl Grammar {
    pub fn load() -> Self {
        let mut grammar = Self {
            methods: Vec::new(),
            messages: BTreeMap::new(),
            enums: BTreeMap::new(),
        };
        for line in TABLES.iter().flat_map(|table| table.lines()) {
            grammar.add(line);
        }
        grammar
    }

    fn add(&mut self, line: &'static str) {
        let Some((full, fact)) = line.split_once(' ') else {
            return;
        };
        let (owner, name) = full.rsplit_once('.').expect("a name has a package");
        if let Some((input, output)) = fact.split_once(" -> ") {
            self.methods.push(Method {
                path: format!("/{owner}/{name}"),
                input: input.trim_start_matches("stream "),
                takes_stream: input.starts_with("stream "),
                gives_stream: output.starts_with("stream "),
            });
            return;
        }
        let words: Vec<&'static str> = fact.split(' ').collect();
        let number = words[0].parse().expect("a number comes first");
        match words[1..] {
            ["value"] => self.enums.entry(owner).or_default().push(number),
            [kind, label, ref rest @ ..] => {
                self.messages.entry(owner).or_default().push(Field {
                    full,
                    name,
                    number,
                    kind,
                    is_repeated: label == "repeated",
                    oneof: rest.first().copied(),
                });
            }
            _ => panic!("not a fact: {line}"),
        }
    }

    /// A message of the type `name`, encoded.
    pub fn message(&self, rng: &mut Rng, known: &Known, name: &str) -> Vec<u8> {
        self.nested(rng, known, name, 0)
    }

    fn nested(&self, rng: &mut Rng, known: &Known, name: &str, depth: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let fields = self.messages.get(name).map_or(&[][..], Vec::as_slice);
        let chosen = match fields.is_empty() {
            true => 0,
            false => rng.pick(fields).number,
        };
        for field in fields {
            let times = match (field.is_repeated, field.oneof) {
                // Of alternatives one, and hardly ever several.
                (_, Some(_)) => u64::from(field.number == chosen || rng.percent(1)),
                (true, _) => rng.below(4),
                (false, _) => u64::from(rng.percent(85)),
            };
            for _ in 0..times {
                self.field(rng, known, field, depth, &mut out);
            }
        }
        out
    }

    fn field(&self, rng: &mut Rng, known: &Known, field: &Field, depth: u32, out: &mut Vec<u8>) {
        // Messages without fields have no line of their own.
        let is_message = field.kind.contains('.') && !self.enums.contains_key(field.kind);
        if field.kind == "bytes" || field.kind == "string" {
            put_bytes(out, field.number, &bytes(rng, known, field));
        } else if is_message {
            let inner = match depth < DEPTH_MAX {
                true => self.nested(rng, known, field.kind, depth + 1),
                false => Vec::new(),
            };
            put_bytes(out, field.number, &inner);
        } else {
            let number = match (self.enums.get(field.kind), field.kind) {
                (Some(values), _) if rng.percent(90) => *rng.pick(values),
                (_, "bool") => rng.below(2),
                _ => number(rng, known, field),
            };
            put_number(out, field.number, number);
        }
    }
}

fn number(rng: &mut Rng, known: &Known, field: &Field) -> u64 {
    let by_name = || known.numbers.get(field.name);
    match known.numbers.get(field.full).or_else(by_name) {
        Some(values) if rng.percent(80) => *rng.pick(values),
        _ if rng.percent(70) => *rng.pick(&NUMBERS),
        _ => rng.number() >> rng.below(64),
    }
}

fn bytes(rng: &mut Rng, known: &Known, field: &Field) -> Vec<u8> {
    let by_name = || known.bytes.get(field.name);
    match known.bytes.get(field.full).or_else(by_name) {
        Some(values) if rng.percent(80) => rng.pick(values).clone(),
        _ => {
            let count = [0, 1, 9, 100, 9_000][rng.index(5)];
            let count = rng.index(count + 1);
            rng.bytes(count)
        }
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A field with a number in it.
pub fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3);
    put_varint(out, number);
}

/// A field with bytes, text or a message in it.
pub fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
