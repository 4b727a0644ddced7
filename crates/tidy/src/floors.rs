//! Which crate may use which: the floors of the house, and what only one crate may link.
//!
//! **Why.** A crate that may only look down can be understood, tested and replaced without what is
//! above it; and the pure crates stay quick to build as long as RocksDB stays out of reach.
//!
//! **Invariants.** A crate uses crates that stand strictly below it. `(floor, step)` orders the few
//! that stand on one floor and still build on each other, such as an engine on the engine's traits.
//!
//! **Not here.** `[dev-dependencies]`: a test may use whatever proves something.

use crate::Violation;
use toml::{Table, Value};

/// Where each crate stands. A new crate is added here, with a reason for its floor.
const FLOORS: &[(&str, (u8, u8))] = &[
    // Every room may count.
    ("metrics", (1, 0)),
    // Every room that acts may be made to fail.
    ("failpoint", (1, 0)),
    // Every room may log, and what is lost is counted.
    ("logs", (1, 1)),
    ("batch-system", (1, 1)),
    ("pool", (1, 0)),
    ("types", (1, 0)),
    // Feeds any decoder in tests, and uses no crate of ours.
    ("fuzz", (1, 0)),
    // Converts to and from `types`.
    ("proto", (1, 1)),
    // Timestamps are a type of `types`.
    ("consistency", (1, 1)),
    ("engine", (2, 0)),
    // They implement the traits of `engine`.
    ("engine-rocks", (2, 1)),
    ("engine-raftlog", (2, 1)),
    ("client", (2, 0)),
    ("raftstore", (3, 0)),
    ("placement", (3, 0)),
    ("txn", (3, 0)),
    // Drives any store through a trait of its own, and uses no crate of ours.
    ("workload", (3, 0)),
    ("node", (4, 0)),
    ("server", (5, 0)),
    ("sim", (5, 0)),
    ("kontiki", (6, 0)),
    ("e2e", (7, 0)),
    ("bench", (7, 1)),
    ("chaos", (7, 1)),
    // Uses no crate of ours, and none uses it.
    ("tidy", (0, 0)),
];

/// Packages that one crate alone may link, so that nothing else comes to depend on their types.
const OWNED: &[(&str, &str)] = &[
    ("rocksdb", "engine-rocks"),
    ("raft-engine", "engine-raftlog"),
];

/// Crates that decide and never act. See [`crate::purity`].
pub const PURE: &[&str] = &["types", "consistency", "raftstore", "placement", "txn"];

/// Packages that would let a pure crate act.
const ACTING: &[&str] = &[
    "axum",
    "crossbeam",
    "failpoint",
    "fs2",
    "futures",
    "hyper",
    "parking_lot",
    "rand",
    "tokio",
    "tokio-stream",
    "tonic",
    "tonic-prost",
];

/// Holds one manifest against the floors. `file` is its path, for the message.
pub fn check(file: &str, manifest: &str) -> Vec<Violation> {
    let table: Table = match manifest.parse() {
        Ok(table) => table,
        Err(error) => return vec![Violation::of_file(file, format!("not TOML: {error}"))],
    };
    let Some(name) = table
        .get("package")
        .and_then(|p| p.get("name"))
        .and_then(Value::as_str)
    else {
        return vec![Violation::of_file(file, "has no package.name: add it")];
    };
    let Some(floor) = floor_of(name) else {
        return vec![Violation::of_file(
            file,
            format!("crate `{name}` has no floor: add it to FLOORS in crates/tidy/src/floors.rs"),
        )];
    };
    dependencies(&table)
        .iter()
        .filter_map(|dependency| check_one(name, floor, dependency))
        .map(|message| Violation::of_file(file, message))
        .collect()
}

fn floor_of(name: &str) -> Option<(u8, u8)> {
    FLOORS
        .iter()
        .find(|(crate_name, _)| *crate_name == name)
        .map(|(_, floor)| *floor)
}

/// The packages that a manifest's `[dependencies]` name, for every target, by their real names.
fn dependencies(manifest: &Table) -> Vec<String> {
    let everywhere = manifest.get("dependencies");
    let by_target = manifest.get("target").and_then(Value::as_table);
    let for_targets = by_target
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(|t| t.get("dependencies")));
    everywhere
        .into_iter()
        .chain(for_targets)
        .filter_map(Value::as_table)
        .flatten()
        .map(|(key, detail)| {
            let renamed = detail.get("package").and_then(Value::as_str);
            renamed.unwrap_or(key).to_owned()
        })
        .collect()
}

fn check_one(name: &str, floor: (u8, u8), dependency: &str) -> Option<String> {
    if let Some((_, owner)) = OWNED.iter().find(|(package, _)| *package == dependency)
        && *owner != name
    {
        return Some(format!(
            "`{name}` links `{dependency}`, which only `{owner}` may: go through the traits of `engine`"
        ));
    }
    if PURE.contains(&name) && ACTING.contains(&dependency) {
        return Some(format!(
            "pure crate `{name}` links `{dependency}`: return an effect and let `node` perform it"
        ));
    }
    let below = floor_of(dependency)?;
    if dependency == "tidy" || below >= floor {
        return Some(format!(
            "`{name}` (floor {}) uses `{dependency}` (floor {}): move the shared part to a floor \
             below both, or turn the call into a trait that `{name}` offers",
            floor.0, below.0
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, body: &str) -> Vec<Violation> {
        check(
            "Cargo.toml",
            &format!("[package]\nname = \"{name}\"\n{body}"),
        )
    }

    #[test]
    fn a_crate_may_look_down() {
        let found = manifest(
            "node",
            "[dependencies]\nraftstore = { workspace = true }\nbytes = \"1\"\nengine = { path = \"../engine\" }",
        );
        assert_eq!(found, []);
    }

    #[test]
    fn looking_up_or_sideways_is_refused() {
        let up = manifest("types", "[dependencies]\nengine = { workspace = true }");
        assert!(
            up[0]
                .message
                .contains("`types` (floor 1) uses `engine` (floor 2)")
        );
        let sideways = manifest(
            "raftstore",
            "[dependencies]\nplacement = { workspace = true }",
        );
        assert_eq!(sideways.len(), 1);
    }

    #[test]
    fn a_step_orders_crates_of_one_floor() {
        assert_eq!(
            manifest(
                "engine-rocks",
                "[dependencies]\nengine = { workspace = true }"
            ),
            []
        );
        assert_eq!(
            manifest(
                "engine-rocks",
                "[dependencies]\nengine-raftlog = { workspace = true }"
            )
            .len(),
            1
        );
        assert_eq!(
            manifest(
                "engine",
                "[dependencies]\nengine-rocks = { workspace = true }"
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_renamed_or_target_specific_dependency_does_not_hide() {
        let renamed = manifest(
            "types",
            "[dependencies]\nx = { package = \"node\", path = \"../node\" }",
        );
        assert_eq!(renamed.len(), 1);
        let target = manifest(
            "types",
            "[target.'cfg(unix)'.dependencies]\nnode = { workspace = true }",
        );
        assert_eq!(target.len(), 1);
    }

    #[test]
    fn dev_dependencies_are_free() {
        assert_eq!(
            manifest("types", "[dev-dependencies]\nserver = { workspace = true }"),
            []
        );
    }

    #[test]
    fn rocksdb_belongs_to_its_engine_alone() {
        assert_eq!(
            manifest("engine-rocks", "[dependencies]\nrocksdb = \"0.25\""),
            []
        );
        let found = manifest("server", "[dependencies]\nrocksdb = \"0.25\"");
        assert!(found[0].message.contains("only `engine-rocks` may"));
    }

    #[test]
    fn a_pure_crate_links_nothing_that_acts() {
        let found = manifest("placement", "[dependencies]\ntokio = \"1\"");
        assert!(found[0].message.contains("return an effect"));
        assert_eq!(manifest("server", "[dependencies]\ntokio = \"1\""), []);
    }

    #[test]
    fn a_crate_without_a_floor_is_named() {
        assert!(manifest("cellar", "")[0].message.contains("has no floor"));
    }

    #[test]
    fn nothing_uses_tidy_and_a_broken_manifest_is_a_violation() {
        assert_eq!(
            manifest("kontiki", "[dependencies]\ntidy = { path = \"../tidy\" }").len(),
            1
        );
        assert_eq!(check("Cargo.toml", "[package").len(), 1);
        assert_eq!(check("Cargo.toml", "[lib]").len(), 1);
    }
}
