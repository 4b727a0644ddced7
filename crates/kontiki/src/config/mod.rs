//! The configuration: one typed tree, from the defaults, a TOML file, the environment, and the command line's
//! flags.
//!
//! **Why.** Items that mean the same as TiKV's have TiKV's names, so that what people know and have
//! written stays true. An unknown key is an error, since it would otherwise be a setting that its
//! author believes in and nobody reads.
//!
//! **Invariants.** A [`Config`] that [`load`] returns is valid as a whole. All problems are
//! reported at once, each with where it was written. Later sources win: defaults, file, what was set online,
//! environment, flags.
//!
//! **Not here.** Applying changes, and the conversion into each crate's own settings (`run`).

mod environment;
mod layers;
mod nearest;
mod online;
mod reference;
pub mod remembered;
mod tree;
pub mod units;
mod validate;

use layers::Problem;
pub use layers::{Leaf, Problems};
pub use nearest::nearest;
pub use node::is_address;
pub use online::{Module, changed, difference, module_of, refusal, scalar};
pub use reference::{items, reference};
pub use tree::{Config, LogFormat, LogLevel, Raftstore, RedactInfoLog};

use std::ffi::OsString;
use std::path::Path;

/// Loads the configuration: defaults, then `file` if one is given, then what was set online, then the variables
/// of `environment` that mean an item, then `flags`.
///
/// # Errors
/// Everything that is wrong with it, not only the first.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: Vec<Leaf>,
) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let mut leaves = Vec::new();
    if let Some(path) = file {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => leaves.extend(layers::parse(&name, &text, &mut problems)),
            Err(error) => {
                problems.push(Problem::of_source(&name, format!("can't be read: {error}")))
            }
        }
    }
    let mut given = environment::leaves(environment, &mut problems);
    given.extend(flags);
    // Where that is kept, all others say.
    let others = leaves.iter().chain(&given).cloned().collect();
    let (others, _) = layers::assemble(others, &mut Vec::new());
    leaves.extend(remembered::leaves(&others.storage.data_dir, &mut problems));
    leaves.extend(given);
    let (config, sources) = layers::assemble(leaves, &mut problems);
    validate::check(&config, &sources, &mut problems);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(Problems(problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn load_text(
        text: &str,
        flags: &[(&'static str, &'static str, &str)],
    ) -> Result<Config, Problems> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kontiki.toml");
        std::fs::write(&path, text).unwrap();
        let flags = flags
            .iter()
            .map(|(flag, key, value)| Leaf::from_flag(flag, key, *value))
            .collect();
        load(Some(&path), [], flags)
    }

    fn problems(text: &str) -> Vec<String> {
        let Problems(found) = load_text(text, &[]).unwrap_err();
        found
            .iter()
            .map(|problem| {
                let text = problem.to_string();
                let at = text.find("kontiki.toml").unwrap_or(0);
                text[at..].to_owned()
            })
            .collect()
    }

    #[test]
    fn fuzz_configuration_files() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../etc/kontiki.toml");
        let lines = [
            "[raftstore]\nraft-base-tick-interval = \"1s\"\nstore-pool-size = 2\n",
            "storage.block-cache.capacity = \"1GiB\"\nstorage.api-version = 2\n",
            "[log]\nlevel = \"info\"\n[log.file]\nfilename = \"x\"\n",
        ];
        let mut target = fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "configuration-files")
            .seed(std::fs::read(example).unwrap())
            .words(reference::items().into_iter().map(|item| item.key))
            .words([
                "18446744073709551615",
                "\"16777216TiB\"",
                "\"213503982334d\"",
                "-1",
                "nan",
            ]);
        for line in lines {
            target = target.seed(line);
        }
        target.run(|input| {
            let text = String::from_utf8_lossy(input);
            let mut problems = Vec::new();
            let leaves = layers::parse("fuzz", &text, &mut problems);
            let (config, sources) = layers::assemble(leaves, &mut problems);
            validate::check(&config, &sources, &mut problems);
            let kind = |problem: &Problem| {
                let text = problem.to_string();
                text.chars()
                    .filter(|c| c.is_ascii_lowercase())
                    .take(40)
                    .collect::<String>()
            };
            problems.first().map(kind)
        });
    }

    #[test]
    fn without_a_file_the_defaults_hold_and_are_valid() {
        assert_eq!(load(None, [], Vec::new()).unwrap(), Config::default());
    }

    #[test]
    fn the_example_file_parses_to_the_defaults() {
        let path = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../etc/kontiki.toml"
        ));
        let config = load(Some(&path), [], Vec::new()).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn the_example_file_names_every_item() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../etc/kontiki.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let named: Vec<String> = layers::parse(path, &text, &mut Vec::new())
            .into_iter()
            .map(|leaf| leaf.key)
            .collect();
        let missing: Vec<String> = layers::known_keys()
            .into_iter()
            .filter(|key| !named.contains(key))
            .collect();
        assert_eq!(missing, [] as [String; 0]);
    }

    #[test]
    fn a_file_overrides_defaults_and_flags_override_the_file() {
        let text = "[server]\naddr = \"127.0.0.1:4000\"\n[log]\nlevel = \"warn\"\n";
        let config = load_text(text, &[("--addr", "server.addr", "127.0.0.1:5000")]).unwrap();
        assert_eq!(config.server.addr, "127.0.0.1:5000");
        assert_eq!(config.log.level, LogLevel::Warn);
        assert_eq!(config.storage, Config::default().storage);
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_key() {
        let found = problems("[raftstore]\nstore-pool-size = 2\nstore-pol-size = 3\n");
        assert_eq!(
            found,
            [
                "kontiki.toml:3: unknown key `raftstore.store-pol-size`: did you mean `raftstore.store-pool-size`?"
            ]
        );
        let found = problems("[raftstor]\nstore-pool-size = 3\n");
        assert_eq!(
            found,
            ["kontiki.toml:1: unknown key `raftstor`: did you mean `raftstore`?"]
        );
        let found = problems("zebra-crossing-lamps = 3\n");
        assert_eq!(
            found,
            ["kontiki.toml:1: unknown key `zebra-crossing-lamps`"]
        );
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let found = problems(
            "[server]\naddr = 5\n[storage]\napi-version = 3\nblock-cache = 1\n[raftstore]\n\
             raft-base-tick-interval = \"fast\"\nbogus = 1\nraft-election-timeout-ticks = 1\n",
        );
        assert_eq!(found.len(), 6, "{found:#?}");
        for (line, part) in [
            (2, "server.addr"),
            (4, "storage.api-version"),
            (5, "storage.block-cache"),
            (7, "`fast` is not a duration"),
            (8, "unknown key `raftstore.bogus`"),
            (9, "raftstore.raft-election-timeout-ticks"),
        ] {
            let start = format!("kontiki.toml:{line}: ");
            assert!(
                found
                    .iter()
                    .any(|text| text.starts_with(&start) && text.contains(part)),
                "{part} in {found:#?}"
            );
        }
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let found = problems("[server]\naddr = \"127.0.0.1:1\naddr2 = 1\n");
        assert!(found[0].starts_with("kontiki.toml:2: "), "{found:?}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Some(Path::new("nowhere/kontiki.toml")), [], Vec::new()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("nowhere/kontiki.toml: can't be read")
        );
    }

    #[test]
    fn a_wrong_flag_is_named_as_a_flag() {
        let flags = vec![Leaf::from_flag("--log-level", "log.level", "loud")];
        let error = load(None, [], flags).unwrap_err();
        assert!(
            error.to_string().contains("--log-level: log.level: "),
            "{error}"
        );
    }
}
