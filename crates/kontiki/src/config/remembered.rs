//! What was set online, for the next start: a file in the data folder, written by the node alone.
//!
//! **Invariants.** The file holds items that can be set online and no others. It is replaced atomically, and
//! durable before a change is acknowledged.
//!
//! **Not here.** Applying a change (`run::online`).

use super::layers::{self, Leaf, Problem};
use super::online;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml::Value;

const NAME: &str = "online.toml";
const HEAD: &str = "\
# What was set online. The node writes this file: change it with `kontiki ctl config node`, or remove it while
# the node is stopped. It counts more than the configuration file, and less than flags.
";

/// Items by their dotted keys.
pub type Items = BTreeMap<String, Value>;

/// Where the file of this data folder is.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// What was set online before.
pub(super) fn leaves(data_dir: &Path, problems: &mut Vec<Problem>) -> Vec<Leaf> {
    let path = path(data_dir);
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // A folder that is no folder is found out, and named, where it is opened.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Vec::new();
        }
        Err(error) => {
            problems.push(Problem::of_source(&name, format!("can't be read: {error}")));
            return Vec::new();
        }
    };
    let (fine, others): (Vec<_>, Vec<_>) = layers::parse(&name, &text, problems)
        .into_iter()
        .partition(|leaf| online::module_of(&leaf.key).is_some());
    problems.extend(others.into_iter().map(|leaf| {
        let message = "can't be set online: remove the line";
        Problem::of_key(leaf.source, &leaf.key, message)
    }));
    fine
}

/// The items of the file.
pub fn items(data_dir: &Path) -> Items {
    let leaves = leaves(data_dir, &mut Vec::new());
    leaves
        .into_iter()
        .map(|leaf| (leaf.key, leaf.value))
        .collect()
}

/// Replaces the file.
///
/// # Errors
/// It can't be written, or made durable.
pub fn store(path: &Path, items: &Items) -> engine::Result<()> {
    let mut text = HEAD.to_owned();
    for (key, value) in items {
        let _ = writeln!(text, "{key} = {value}");
    }
    engine::file::write_atomically(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(items(folder.path()), Items::new());
        let stored = Items::from([
            ("log.level".to_owned(), Value::String("debug".to_owned())),
            ("raftstore.store-pool-size".to_owned(), Value::Integer(3)),
        ]);
        store(&path(folder.path()), &stored).unwrap();
        assert_eq!(items(folder.path()), stored);
    }

    #[test]
    fn an_item_that_can_t_be_set_online_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(folder.path()), "server.addr = \"h:1\"\n").unwrap();
        let mut problems = Vec::new();
        assert!(leaves(folder.path(), &mut problems).is_empty());
        assert!(
            problems[0]
                .to_string()
                .contains("online.toml:1: server.addr: can't be set")
        );
    }
}
