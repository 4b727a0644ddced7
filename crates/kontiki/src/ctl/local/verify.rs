//! `ctl local verify`: reads all of a folder, and says what is damaged.
//!
//! **Why.** What nobody reads rots unseen, and a replica that is damaged should be found while the others are whole.
//!
//! **Invariants.** One damage does not hide another: what can still be read is read. Nothing is changed.
//!
//! **Not here.** Mending: a store that is damaged is replaced by a new one.

use super::super::output::Printer;
use super::super::table::{Cell, Row, size};
use crate::error::{Error, Result};
use crate::run::{Logs, Stopped};
use engine::{Cf, RaftLog};
use engine_rocks::RocksKv;
use node::local::{self, FamilyCount, LocalStore, LogCount};
use serde_json::{Value, json};

/// What was read, and what was found.
#[derive(Debug, Default)]
struct Report {
    /// Where, and what.
    problems: Vec<(String, String)>,
    regions: u64,
    log: LogCount,
    data: FamilyCount,
}

/// Does it.
pub(super) fn run(stopped: &Stopped, printer: &mut Printer) -> Result<()> {
    let mut report = Report::default();
    let kv = report.data(stopped);
    let logs = report.take("Raft logs", stopped.read_logs());
    match &logs {
        Some(Logs::Engine(log)) => report.logs(kv.as_ref(), log),
        Some(Logs::Rocks(log)) => report.logs(kv.as_ref(), log),
        None => {}
    }
    report.print(printer)?;
    match report.problems.len() {
        0 => Ok(()),
        count => Err(Error::Incomplete(format!(
            "not all is as it should be in {}: {count} problems",
            stopped.path().display()
        ))),
    }
}

impl Report {
    fn found(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.problems.push((place.into(), what.into()));
    }

    /// What was asked for; if it is not to be had, that is a finding.
    fn take<T>(&mut self, place: &str, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| self.found(place, error.in_full()))
            .ok()
    }

    /// Reads the key-value engine.
    fn data(&mut self, stopped: &Stopped) -> Option<RocksKv> {
        self.take("data", stopped.check_kv());
        let kv = self.take("data", stopped.read_kv())?;
        for cf in Cf::ALL {
            let read = local::read_family(&kv, cf).map_err(Error::Engine);
            if let Some(count) = self.take(&format!("data, family {}", cf.name()), read) {
                self.data.pairs += count.pairs;
                self.data.bytes += count.bytes;
            }
        }
        Some(kv)
    }

    /// Reads the logs, and holds them against what the key-value engine says, if that can be read.
    fn logs<L: RaftLog>(&mut self, kv: Option<&RocksKv>, log: &L) {
        let regions = log.regions().map_err(Error::Engine);
        for region in self.take("Raft logs", regions).unwrap_or_default() {
            match local::read_log(log, region) {
                Ok(count) => {
                    self.log.entries += count.entries;
                    self.log.bytes += count.bytes;
                }
                Err(what) => self.found(format!("Region {region}"), what),
            }
        }
        let Some(kv) = kv else {
            return;
        };
        let store = LocalStore::read(kv).map_err(Error::Local);
        let regions = local::regions(kv, log).map_err(Error::Local);
        let (store, regions) = (self.take("data", store), self.take("Regions", regions));
        if let (Some(store), Some(regions)) = (store, regions) {
            self.regions = regions.len() as u64;
            for problem in local::problems(store.store_id, &regions) {
                self.found(format!("Region {}", problem.region_id), problem.what);
            }
        }
    }

    fn print(&self, printer: &mut Printer) -> Result<()> {
        let row = |(place, what): &(String, String)| -> Row {
            vec![
                Cell::new("place", place.clone()),
                Cell::new("problem", what.clone()),
            ]
        };
        let rows: Vec<Row> = self.problems.iter().map(row).collect();
        printer.table(&rows)?;
        printer.report(&self.text(), &self.json())
    }

    fn text(&self) -> String {
        format!(
            "read {} Regions, {} entries of their Raft logs ({}), {} pairs ({}); {}",
            self.regions,
            self.log.entries,
            size(self.log.bytes),
            self.data.pairs,
            size(self.data.bytes),
            match self.problems.len() {
                0 => "all is well".to_owned(),
                count => format!("problems: {count}"),
            }
        )
    }

    fn json(&self) -> Value {
        json!({
            "regions": self.regions,
            "entries": self.log.entries,
            "log_bytes": self.log.bytes,
            "pairs": self.data.pairs,
            "data_bytes": self.data.bytes,
            "problems": self.problems.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_how_much_was_read_and_whether_all_is_well() {
        let mut report = Report {
            regions: 2,
            ..Report::default()
        };
        assert!(report.text().ends_with("all is well"), "{}", report.text());
        let nothing: Option<()> = report.take("data", Err(Error::Usage("gone".to_owned())));
        assert_eq!(nothing, None);
        assert_eq!(report.problems, [("data".to_owned(), "gone".to_owned())]);
        assert_eq!(report.json()["problems"], 1);
        assert!(report.text().contains("problems: 1"));
    }
}
