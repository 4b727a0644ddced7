//! Generates the messages and services from `proto/*.proto`, without `protoc`; and a table of where
//! requests repeat something, by which decoding is bounded (`src/codec.rs`).

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<PathBuf> = fs::read_dir("proto")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "proto")
    });
    files.sort();
    let descriptors = protox::compile(&files, ["proto"])?;
    let shapes = Shapes::new(&descriptors).render()?;
    let folder = env::var_os("OUT_DIR").ok_or("cargo names the folder for output")?;
    fs::write(Path::new(&folder).join("shapes.rs"), shapes)?;
    let mut names = tonic_prost_build::Config::new();
    names.enable_type_names();
    // Raft messages come in batches, and hardly any has it.
    names.boxed(".raft_serverpb.RaftMessage.merge_target");
    // `Bytes` for every bytes field: a decoded key is a slice of the buffer that it came in.
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds_with_config(descriptors, names)?;
    Ok(())
}

/// Which messages repeat something, at any depth.
struct Shapes<'a> {
    messages: BTreeMap<String, &'a DescriptorProto>,
    /// What RPCs take.
    requests: BTreeSet<String>,
}

impl<'a> Shapes<'a> {
    fn new(set: &'a FileDescriptorSet) -> Self {
        let mut shapes = Self {
            messages: BTreeMap::new(),
            requests: BTreeSet::new(),
        };
        for file in &set.file {
            for message in &file.message_type {
                shapes.add(file.package(), message);
            }
            let methods = file.service.iter().flat_map(|service| &service.method);
            let inputs = methods.map(|method| method.input_type().trim_start_matches('.'));
            shapes.requests.extend(inputs.map(str::to_owned));
        }
        shapes
    }

    fn add(&mut self, prefix: &str, message: &'a DescriptorProto) {
        let name = format!("{prefix}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.messages.insert(name, message);
    }

    /// None of our messages contains itself, so this ends.
    fn repeats(&self, name: &str) -> bool {
        self.messages[name].field.iter().any(|field| {
            field.label() == Label::Repeated
                || (field.r#type() == Type::Message && self.repeats(content(field.type_name())))
        })
    }

    fn render(&self) -> Result<String, std::fmt::Error> {
        let repeating: Vec<&String> = self
            .messages
            .keys()
            .filter(|name| self.repeats(name))
            .collect();
        let position = |name: &str| repeating.iter().position(|other| *other == content(name));
        let mut table = "pub(crate) static SHAPES: &[Shape] = &[\n".to_owned();
        for name in &repeating {
            let is_request = self.requests.contains(*name);
            let (package, short) = name.split_once('.').unwrap_or_default();
            write!(table, "Shape {{ package: {package:?}, name: {short:?}, ")?;
            write!(table, "is_request: {is_request}, fields: &[")?;
            for field in &self.messages[*name].field {
                let inner = position(field.type_name());
                let kind = match (field.label(), field.r#type(), inner) {
                    (Label::Repeated, Type::Message | Type::Bytes | Type::String, _) => {
                        format!("Kind::Elements({inner:?})")
                    }
                    (Label::Repeated, ..) => "Kind::Numbers".to_owned(),
                    (_, Type::Message, Some(inner)) => format!("Kind::Message({inner})"),
                    _ => continue,
                };
                write!(table, "({}, {kind}), ", field.number())?;
            }
            table.push_str("] },\n");
        }
        table.push_str("];\n");
        Ok(table)
    }
}

/// The name of a field's type, as messages are listed.
fn content(type_name: &str) -> &str {
    type_name.trim_start_matches('.')
}
