//! The verdict on a run: is there an order of the operations on each key in which every answer is right?
//!
//! **Invariants.** The last operation on each key is a read after all faults, from nothing but the disks: an
//! acknowledged write that is lost leaves no such order. A key that can't be decided is no success.
//!
//! **Not here.** The search (`consistency`).

use crate::layout::Key;
use crate::recorder::Entry;
use crate::{Error, Result};
use consistency::{Action, Verdict, check, violated_at};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A key whose history is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which key.
    pub key: Key,
    /// The stamp of the answer with which it went wrong; none if that can't be decided.
    pub at: Option<u64>,
}

/// The keys whose histories are not linearizable, or can't be decided.
pub fn judge(histories: &BTreeMap<Key, Vec<Entry>>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (key, entries) in histories {
        let operations: Vec<_> = entries.iter().map(|one| one.operation.clone()).collect();
        let at = match check(&operations) {
            Verdict::Linearizable => continue,
            Verdict::Violated => violated_at(&operations),
            Verdict::Undecided => None,
        };
        wrong.push(Wrong { key: *key, at });
    }
    wrong
}

/// Writes the history of a key that is wrong into a file of this folder, and returns its path.
///
/// # Errors
/// The file can't be written.
pub fn keep(folder: &Path, wrong: &Wrong, entries: &[Entry]) -> Result<PathBuf> {
    let Key { slot, generation } = wrong.key;
    let path = folder.join(format!("history-{slot:02}-{generation:08}.txt"));
    fs::write(&path, describe(wrong, entries)).map_err(|source| Error::Io {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// The operations in the order in which they were asked for, with the times in milliseconds since the start.
fn describe(wrong: &Wrong, entries: &[Entry]) -> String {
    let key = String::from_utf8_lossy(&wrong.key.bytes()).into_owned();
    let mut text = match wrong.at {
        Some(at) => format!(
            "{key} is not linearizable from the answer at {} on\n",
            ms(at)
        ),
        None => format!("{key} can't be decided\n"),
    };
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.operation.invoked);
    for Entry { operation, who } in sorted {
        let answered = operation.completed.map_or("never".to_owned(), ms);
        let mark = match wrong.at.is_some() && wrong.at == operation.completed {
            true => "  <- wrong",
            false => "",
        };
        let (asked, what) = (ms(operation.invoked), action(&operation.action));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{asked:>14} {answered:>14}  {who:<16} {what}{mark}");
    }
    text
}

/// Every stamp is another text: they differ by a nanosecond at the least.
fn ms(stamp: u64) -> String {
    format!("{}.{:06}", stamp / 1_000_000, stamp % 1_000_000)
}

fn action(action: &Action) -> String {
    let value = |value: &Option<u64>| value.map_or("nothing".to_owned(), |value| value.to_string());
    match action {
        Action::Put(put) | Action::PutUntil { value: put, .. } => format!("put {put}"),
        Action::Delete => "delete".to_owned(),
        Action::Get(found) => format!("get: {}", value(found)),
        Action::Swap {
            expected,
            new,
            answer,
        } => {
            let outcome = match answer {
                Some((true, previous)) => format!("done, there was {}", value(previous)),
                Some((false, previous)) => format!("not done, there is {}", value(previous)),
                None => "unknown".to_owned(),
            };
            format!("swap {} for {new}: {outcome}", value(expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Answer, Ask, Recorder};

    const KEY: Key = Key {
        slot: 0,
        generation: 1,
    };

    fn history(steps: &[(Ask, Answer)]) -> BTreeMap<Key, Vec<Entry>> {
        let recorder = Recorder::new();
        for (ask, answer) in steps {
            recorder.note("client 1", KEY, *ask, (recorder.stamp(), *answer));
        }
        recorder.histories()
    }

    fn found(value: u64) -> (Ask, Answer) {
        (Ask::Get, Answer::Found(Some(value)))
    }

    #[test]
    fn a_history_in_which_every_answer_is_right_has_nothing_wrong() {
        let swap = Ask::Swap {
            expected: Some(1),
            new: 2,
        };
        let steps = [
            (Ask::Put(1), Answer::Written),
            (swap, Answer::Swapped(true, Some(1))),
            found(2),
            (Ask::Put(3), Answer::Unknown),
            found(3),
        ];
        assert_eq!(judge(&history(&steps)), []);
    }

    #[test]
    fn a_stale_read_is_found_named_and_marked_in_the_file() {
        let steps = [
            (Ask::Put(1), Answer::Written),
            (Ask::Put(2), Answer::Written),
            found(1),
            found(2),
        ];
        let histories = history(&steps);
        let wrong = judge(&histories);
        let stale = &histories[&KEY][2].operation;
        assert_eq!(
            wrong,
            [Wrong {
                key: KEY,
                at: stale.completed
            }]
        );
        let folder = tempfile::tempdir().unwrap();
        let path = keep(folder.path(), &wrong[0], &histories[&KEY]).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let marked: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("<- wrong"))
            .collect();
        assert!(
            matches!(marked[..], [line] if line.contains("get: 1")),
            "{text}"
        );
    }

    #[test]
    fn an_acknowledged_write_that_is_lost_is_found_by_the_last_read() {
        let steps = [
            (Ask::Put(1), Answer::Written),
            (Ask::Put(2), Answer::Written),
            (Ask::Get, Answer::Found(None)),
        ];
        assert_eq!(judge(&history(&steps[..2])), []);
        assert_eq!(judge(&history(&steps)).len(), 1);
    }

    #[test]
    fn a_refused_write_that_shows_up_is_found() {
        assert_eq!(
            judge(&history(&[(Ask::Put(1), Answer::Refused), found(1)])).len(),
            1
        );
    }
}
