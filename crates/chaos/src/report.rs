//! What came of a run, as a table.
//!
//! **Invariants.** A percentile is a time that was seen: the smallest that so many of a hundred do not pass.
//!
//! **Not here.** Judging (`verdict`).

use crate::recorder::Tally;
use crate::schedule::Kind;
use crate::verdict::Wrong;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How long nobody served because of one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// From the fault until all Regions were served while it lasted, if a majority was left.
    pub during: Option<Duration>,
    /// From the heal until all were; from the fault, where processes were killed.
    pub after: Duration,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed of the schedule and of the load.
    pub seed: u64,
    /// Where Raft logs were.
    pub engine: &'static str,
    /// How long it took, without the verdict.
    pub took: Duration,
    /// How operations ended.
    pub tally: Tally,
    /// Keys that were judged.
    pub keys: usize,
    /// Operations of their histories.
    pub operations: usize,
    /// The faults, by kind.
    pub outages: BTreeMap<Kind, Vec<Outage>>,
    /// Keys that are not as they should be, with the files that show it.
    pub wrong: Vec<(Wrong, PathBuf)>,
    /// Timestamps that placement gave out.
    pub timestamps: u64,
    /// What was wrong with the first that should not have been.
    pub wrong_timestamp: Option<String>,
}

impl Report {
    /// Whether everything is as it should be.
    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty() && self.wrong_timestamp.is_none()
    }

    /// The time within which all were served after so many of a hundred of all faults.
    pub fn recovery(&self, percent: usize) -> Duration {
        let all = self.outages.values().flatten();
        percentile(all.map(|outage| outage.after).collect(), percent)
    }
}

/// The smallest of these that so many of a hundred do not pass; zero if there are none.
fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100);
    times.get(rank.max(1) - 1).copied().unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Three percentiles in columns.
fn columns(times: &[Duration]) -> String {
    let column = |percent| format!("{:>8}", seconds(percentile(times.to_vec(), percent)));
    match times.is_empty() {
        true => format!("{:>8}{:>8}{:>8}", "-", "-", "-"),
        false => [50, 99, 100].map(column).concat(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            reads,
            writes,
            refused,
            unknown,
        } = self.tally;
        writeln!(
            f,
            "engine {}, seed {}, {:.0} s: {} faults",
            self.engine,
            self.seed,
            self.took.as_secs_f64(),
            self.outages.values().map(Vec::len).sum::<usize>()
        )?;
        writeln!(
            f,
            "{} operations: {reads} reads answered, {writes} writes acknowledged, {refused} refused, {unknown} of unknown fate",
            reads + writes + refused + unknown
        )?;
        let (first, second) = ("served while it lasts", "served after the heal");
        writeln!(f, "{:<22}{:>6}  {first:>24}  {second:>24}", "", "")?;
        let titles = format!("{:>8}{:>8}{:>8}", "p50", "p99", "max");
        writeln!(f, "{:<22}{:>6}  {titles}  {titles}", "fault", "count")?;
        let rows = self
            .outages
            .iter()
            .map(|(kind, outages)| (kind.to_string(), outages.clone()));
        let all = self.outages.values().flatten().copied().collect();
        for (name, outages) in rows.chain([("all".to_owned(), all)]) {
            let during: Vec<Duration> = outages.iter().filter_map(|one| one.during).collect();
            let after: Vec<Duration> = outages.iter().map(|one| one.after).collect();
            let (count, during, after) = (outages.len(), columns(&during), columns(&after));
            writeln!(f, "{name:<22}{count:>6}  {during}  {after}")?;
        }
        writeln!(
            f,
            "{} keys with {} operations are judged: {}",
            self.keys,
            self.operations,
            match self.wrong.len() {
                0 => "all linearizable, no acknowledged write lost, no stale read".to_owned(),
                wrong => format!("{wrong} ARE WRONG"),
            }
        )?;
        let verdict = self.wrong_timestamp.as_deref();
        let verdict = verdict.unwrap_or("each once and in the order of those who ask");
        writeln!(f, "{} timestamps: {verdict}", self.timestamps)?;
        for (wrong, path) in &self.wrong {
            let key = String::from_utf8_lossy(&wrong.key.bytes()).into_owned();
            writeln!(f, "wrong: {key}, see {}", path.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let at = |percent| percentile(times.clone(), percent).as_millis();
        assert_eq!([at(0), at(50), at(99), at(100)], [1, 100, 198, 200]);
        assert_eq!(percentile(Vec::new(), 99), Duration::ZERO);
        assert_eq!(percentile(vec![Duration::from_secs(3)], 50).as_secs(), 3);
    }

    #[test]
    fn the_table_has_a_row_for_each_kind_and_names_what_is_wrong() {
        let outage = Outage {
            during: None,
            after: Duration::from_millis(1_250),
        };
        let key = crate::layout::Key {
            slot: 3,
            generation: 9,
        };
        let mut report = Report {
            seed: 7,
            engine: "raft-log",
            took: Duration::from_secs(60),
            tally: Tally::default(),
            keys: 1,
            operations: 2,
            outages: BTreeMap::from([(Kind::KillAll, vec![outage])]),
            wrong: Vec::new(),
            timestamps: 0,
            wrong_timestamp: None,
        };
        let text = report.to_string();
        assert!(
            report.is_clean() && text.contains("all linearizable"),
            "{text}"
        );
        let row = text
            .lines()
            .find(|line| line.starts_with("kill all"))
            .unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[2..6], ["1", "-", "-", "-"], "{row}");
        assert_eq!(cells[6..8], ["1.25", "s"], "{row}");
        report
            .wrong
            .push((Wrong { key, at: Some(5) }, PathBuf::from("history.txt")));
        assert!(
            !report.is_clean()
                && report
                    .to_string()
                    .contains("chaos/03/00000009, see history.txt")
        );
    }
}
