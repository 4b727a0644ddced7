//! Holds our `.proto` files against those that clients are built from: the ones inside the published
//! `tikv-client` 0.4.0 crate.
//!
//! `published.txt` holds the facts of theirs (name, number, type, label) for everything that we have
//! too. Ours are always compared with the table; the table is compared with the crate where cargo's
//! registry folder has it. What the protocol got after that crate is in `newer.txt`: it is held
//! against a checkout of `github.com/pingcap/kvproto` (written from commit b6cdca19) whose folder
//! `KONTIKI_KVPROTO` names. `KONTIKI_WRITE_FACTS=1 cargo test -p proto` writes the tables anew.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/published.txt");

/// The same for what is newer than the crate.
const NEWER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/newer.txt");

/// In `newer.txt`, but of gRPC's own protocol (`grpc/health/v1/health.proto` of grpc-proto), which
/// does not change.
const HEALTH: &str = "grpc.health.v1.";

/// Ours is bytes where theirs is a message: the same on the wire.
const OPAQUE: &str = "raft_serverpb.RaftMessage.message";

/// What is said of a field, an enum's value or an RPC, by its full name.
type Facts = BTreeMap<String, String>;

fn message_facts(prefix: &str, message: &DescriptorProto, facts: &mut Facts) {
    let name = format!("{prefix}.{}", message.name());
    for field in &message.field {
        let kind = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
            scalar => scalar
                .as_str_name()
                .trim_start_matches("TYPE_")
                .to_lowercase(),
        };
        let label = match field.oneof_index {
            Some(index) => format!("oneof {}", message.oneof_decl[index as usize].name()),
            None if field.label() == Label::Repeated => "repeated".to_owned(),
            None => "single".to_owned(),
        };
        let fact = format!("{} {kind} {label}", field.number());
        facts.insert(format!("{name}.{}", field.name()), fact);
    }
    for nested in &message.nested_type {
        message_facts(&name, nested, facts);
    }
    for nested in &message.enum_type {
        enum_facts(&name, nested, facts);
    }
}

fn enum_facts(prefix: &str, descriptor: &EnumDescriptorProto, facts: &mut Facts) {
    for value in &descriptor.value {
        let name = format!("{prefix}.{}.{}", descriptor.name(), value.name());
        facts.insert(name, format!("{} value", value.number()));
    }
}

fn facts(set: &FileDescriptorSet) -> Facts {
    let mut facts = Facts::new();
    for file in &set.file {
        let package = file.package();
        for message in &file.message_type {
            message_facts(package, message, &mut facts);
        }
        for descriptor in &file.enum_type {
            enum_facts(package, descriptor, &mut facts);
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |streaming| if streaming { "stream " } else { "" };
                let fact = format!(
                    "{}{} -> {}{}",
                    stream(method.client_streaming()),
                    method.input_type().trim_start_matches('.'),
                    stream(method.server_streaming()),
                    method.output_type().trim_start_matches('.'),
                );
                facts.insert(
                    format!("{package}.{}.{}", service.name(), method.name()),
                    fact,
                );
            }
        }
    }
    facts
}

fn proto_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder with .proto files is readable")
        .map(|entry| entry.expect("its entries too").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "proto")
        })
        .collect();
    files.sort();
    files
}

fn our_facts() -> Facts {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    facts(&protox::compile(proto_files(&folder), [&folder]).expect("our files compile"))
}

/// The published crate's `proto` folder, where cargo has unpacked it.
fn published_folder() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))?;
    fs::read_dir(home.join("registry/src"))
        .ok()?
        .filter_map(|registry| Some(registry.ok()?.path().join("tikv-client-0.4.0/proto")))
        .find(|folder| folder.is_dir())
}

fn read_table(path: &str) -> Facts {
    fs::read_to_string(path)
        .expect("the table is beside the test")
        .lines()
        .map(|line| {
            let (name, fact) = line
                .split_once(' ')
                .expect("each line is a name and a fact");
            (name.to_owned(), fact.to_owned())
        })
        .collect()
}

/// Compares a table with the files that it was written from, or writes it.
fn hold(path: &str, theirs: Facts) {
    if env::var_os("KONTIKI_WRITE_FACTS").is_some() {
        let lines: String = theirs
            .iter()
            .map(|(name, fact)| format!("{name} {fact}\n"))
            .collect();
        fs::write(path, lines).expect("the table is writable");
    }
    assert_eq!(read_table(path), theirs);
}

fn facts_of_folder(folder: &Path, include: &Path) -> Facts {
    facts(&protox::compile(proto_files(folder), [folder, include]).expect("their files compile"))
}

#[test]
fn every_name_number_type_and_label_of_ours_is_the_published_one() {
    let mut published = read_table(TABLE);
    for (name, fact) in read_table(NEWER) {
        let twice = published.insert(name, fact);
        assert_eq!(twice, None, "what is published is not newer");
    }
    let mut wrong = Vec::new();
    for (name, fact) in our_facts() {
        match published.get(&name) {
            Some(theirs) if name == OPAQUE => {
                assert_eq!(fact, "4 bytes single");
                assert_eq!(theirs, "4 eraftpb.Message single");
            }
            Some(theirs) if *theirs == fact => {}
            theirs => wrong.push(format!("{name}: ours {fact}, theirs {theirs:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_says_what_the_published_crate_says() {
    let Some(folder) = published_folder() else {
        eprintln!(
            "tikv-client 0.4.0 is not in cargo's registry folder: only the table was compared"
        );
        return;
    };
    let names: BTreeSet<String> = our_facts().into_keys().collect();
    let mut theirs = facts_of_folder(&folder, &folder.join("include"));
    theirs.retain(|name, _| names.contains(name));
    hold(TABLE, theirs);
}

#[test]
fn the_newer_table_says_what_the_protocol_says() {
    let Some(checkout) = env::var_os("KONTIKI_KVPROTO").map(PathBuf::from) else {
        eprintln!("KONTIKI_KVPROTO names no checkout of kvproto: only the table was compared");
        return;
    };
    let published = read_table(TABLE);
    let ours = our_facts();
    let mut theirs = facts_of_folder(&checkout.join("proto"), &checkout.join("include"));
    theirs.retain(|name, _| ours.contains_key(name) && !published.contains_key(name));
    let health = ours
        .into_iter()
        .filter(|(name, _)| name.starts_with(HEALTH));
    theirs.extend(health);
    hold(NEWER, theirs);
}
