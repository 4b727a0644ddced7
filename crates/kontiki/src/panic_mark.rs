//! A panic leaves a file in the data folder of each node of the process, which the next start reports.
//!
//! **Why.** What restarts a process that has ended does not read its log, and a node that panics once a day
//! looks as if it were well.
//!
//! **Invariants.** Leaving a mark never fails the process further, and never waits. What was reported is kept as
//! the last one, and replaced by the next.
//!
//! **Not here.** Refusing to start: what a panic could have damaged, the checks of a start find.

use parking_lot::Mutex;
use std::fs;
use std::path::{Path, PathBuf};

const NAME: &str = "PANIC";
const REPORTED: &str = "PANIC.reported";

/// The data folders of the nodes in this process.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What the last life of the node left in this folder, and nothing any more from now on; a panic of this life
/// is marked there.
pub fn begin(folder: &Path) -> Option<String> {
    FOLDERS.lock().push(folder.to_owned());
    let mark = folder.join(NAME);
    let text = fs::read_to_string(&mark).ok()?;
    if let Err(error) = fs::rename(&mark, folder.join(REPORTED)) {
        tracing::warn!(%error, path = %mark.display(), "the mark of a panic can't be put away");
    }
    Some(text.trim().to_owned())
}

/// The node in this folder has ended.
pub fn end(folder: &Path) {
    FOLDERS.lock().retain(|other| other != folder);
}

/// Leaves a mark with this text. Called by whoever panics.
pub fn leave(text: &str) {
    let Some(folders) = FOLDERS.try_lock() else {
        return;
    };
    for folder in folders.iter() {
        // There is nobody left to tell that it failed; the log has the panic.
        let _ = fs::write(folder.join(NAME), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_reported_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(begin(folder.path()), None);
        leave("as planned\n");
        assert_eq!(begin(folder.path()).as_deref(), Some("as planned"));
        assert_eq!(begin(folder.path()), None);
        assert!(folder.path().join(REPORTED).exists());
        end(folder.path());
        leave("later");
        assert!(!folder.path().join(NAME).exists());
    }
}
