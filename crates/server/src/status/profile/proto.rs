//! A profile as `go tool pprof` and its like read it.
//!
//! Source: `proto/profile.proto` of github.com/google/pprof. Only what is written here is declared.
//!
//! **Not here.** Addresses: functions have their names already.

use super::stacks::Stacks;
use prost::Message;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

/// Texts by their places in the table, of which the first is empty.
#[derive(Default)]
struct Strings<'a>(BTreeMap<&'a str, i64>);

impl<'a> Strings<'a> {
    fn place(&mut self, text: &'a str) -> i64 {
        let next = self.0.len() as i64 + 1;
        *self.0.entry(text).or_insert(next)
    }

    fn table(self) -> Vec<String> {
        let mut table = vec![String::new(); self.0.len() + 1];
        for (text, place) in self.0 {
            table[place as usize] = text.to_owned();
        }
        table
    }
}

/// The bytes.
pub(super) fn encode(stacks: &Stacks) -> Vec<u8> {
    let mut strings = Strings::default();
    let kind = ValueType {
        kind: strings.place(stacks.kind.0),
        unit: strings.place(stacks.kind.1),
    };
    // A function is at one place, and both have the place of its name for their id.
    let mut functions = BTreeMap::new();
    let mut sample = Vec::with_capacity(stacks.stacks.len());
    for (names, weight) in &stacks.stacks {
        let places = names.iter().rev().map(|name| {
            let name = strings.place(name);
            functions.insert(name as u64, name);
            name as u64
        });
        sample.push(Sample {
            location_id: places.collect(),
            value: vec![i64::try_from(*weight).unwrap_or(i64::MAX)],
        });
    }
    let location = functions.keys().map(|id| Location {
        id: *id,
        line: vec![Line { function_id: *id }],
    });
    let function = functions.iter().map(|(id, name)| Function {
        id: *id,
        name: *name,
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let profile = Profile {
        sample_type: vec![kind],
        sample,
        location: location.collect(),
        function: function.collect(),
        time_nanos: now.map_or(0, |now| now.as_nanos() as i64),
        duration_nanos: stacks.duration_ns as i64,
        period_type: Some(kind),
        period: stacks.period as i64,
        string_table: strings.table(),
    };
    profile.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_names_functions_from_the_innermost_out() {
        let stack = vec!["main".to_owned(), "work".to_owned()];
        let stacks = Stacks {
            kind: ("cpu", "nanoseconds"),
            duration_ns: 9,
            period: 3,
            stacks: BTreeMap::from([(stack, 6)]),
        };
        let profile = Profile::decode(&encode(&stacks)[..]).unwrap();
        let text = |place: i64| profile.string_table[place as usize].as_str();
        let unit = profile.sample_type[0];
        assert_eq!((text(unit.kind), text(unit.unit)), ("cpu", "nanoseconds"));
        let name = |id: &u64| {
            let location = profile.location.iter().find(|place| place.id == *id);
            let function = location.unwrap().line[0].function_id;
            let function = profile.function.iter().find(|one| one.id == function);
            text(function.unwrap().name)
        };
        let names: Vec<&str> = profile.sample[0].location_id.iter().map(name).collect();
        assert_eq!(names, ["work", "main"]);
        assert_eq!(profile.sample[0].value, [6]);
        assert_eq!(profile.string_table[0], "");
        assert_eq!((profile.duration_nanos, profile.period), (9, 3));
    }
}
