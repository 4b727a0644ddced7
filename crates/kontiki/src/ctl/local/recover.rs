//! `ctl local recover`: Regions that have lost most of their replicas go on with those that are left.
//!
//! **Invariants.** Without `--yes-lose-data` nothing is written, and the warning is shown in any case. It is planned
//! on what was opened for writing once more, so that what is written was just read.
//!
//! **Not here.** What is changed, and what is refused (`node::local`).

use super::super::output::Printer;
use super::super::region::peer;
use super::super::table::{self, Cell, Row};
use super::{RecoverArgs, store_ids};
use crate::error::{Error, Result};
use crate::run::{Logs, Stopped};
use engine_rocks::RocksKv;
use node::local::{self, Outcome, Planned, RecoveryOptions};
use raftstore::state::RegionRecord;
use serde_json::Value;
use types::{Region, RegionId};

const WARNING: &str = "\
warning: this is for stores that are lost for good.
  - What was written and acknowledged last may be lost, and what was refused may be there.
  - The stores that are named must never be started again with their old folders.
  - All nodes that are left have to be stopped, and each needs the same command before any of them starts.";

/// Shows what would be done, and does it if that was asked for.
pub(super) fn run(stopped: &Stopped, args: &RecoverArgs, printer: &mut Printer) -> Result<()> {
    let options = options(args);
    let logs = stopped.read_logs()?;
    let kv = match args.yes_lose_data {
        true => stopped.open_kv()?,
        false => stopped.read_kv()?,
    };
    let planned = plan(&kv, &logs, &options)?;
    printer.table(&planned.iter().map(row).collect::<Vec<_>>())?;
    printer.flush()?;
    let count = |is: fn(&Outcome) -> bool| planned.iter().filter(|one| is(&one.outcome)).count();
    let changes = count(|outcome| matches!(outcome, Outcome::Change(_)));
    let refused = count(|outcome| matches!(outcome, Outcome::Refused(_)));
    if changes > 0 {
        eprintln!("{WARNING}");
    }
    if changes > 0 && !args.yes_lose_data {
        return Err(Error::Incomplete(format!(
            "nothing was changed: with --yes-lose-data {changes} Regions would be"
        )));
    }
    let done = match local::perform(&kv, &planned)? {
        0 => "no Region had to be changed".to_owned(),
        changed => format!("{changed} Regions go on with the replicas that are left"),
    };
    printer.report(&done, &table::done(&done))?;
    match refused {
        0 => Ok(()),
        refused => Err(Error::Incomplete(format!(
            "{refused} Regions that may need it were left as they are"
        ))),
    }
}

fn options(args: &RecoverArgs) -> RecoveryOptions {
    RecoveryOptions {
        failed: store_ids(&args.failed_stores).into_iter().collect(),
        regions: args.regions.iter().copied().map(RegionId).collect(),
        promotes_learners: args.promote_learners,
        even_with_majority: args.even_with_majority,
    }
}

fn plan(kv: &RocksKv, logs: &Logs, options: &RecoveryOptions) -> Result<Vec<Planned>> {
    Ok(match logs {
        Logs::Engine(log) => local::plan(kv, log, options)?,
        Logs::Rocks(log) => local::plan(kv, log, options)?,
    })
}

fn row(planned: &Planned) -> Row {
    let peers = |region: &Region| region.peers.iter().map(peer).collect::<Value>();
    let after = match &planned.outcome {
        Outcome::Change(RegionRecord::Normal(region) | RegionRecord::Merging(region, _)) => {
            Some(region)
        }
        _ => None,
    };
    let outcome = match &planned.outcome {
        Outcome::Change(_) => "goes on with those after",
        Outcome::NotConcerned => "no replica on these stores",
        Outcome::HasMajority => "left alone: it has its majority (--even-with-majority)",
        Outcome::Refused(reason) => reason,
    };
    vec![
        Cell::new("id", planned.region_id.get()),
        Cell::new("peers", planned.before.as_ref().map(peers)),
        Cell::new("peers_after", after.map(peers)),
        Cell::new("outcome", outcome),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::super::table;
    use super::*;
    use types::{Peer, PeerId, PeerRole, StoreId};

    fn region(stores: &[u64]) -> Region {
        let peer = |store: &u64| Peer {
            id: PeerId(20 + store),
            store_id: StoreId(*store),
            role: PeerRole::Voter,
        };
        Region {
            id: RegionId(2),
            peers: stores.iter().map(peer).collect(),
            ..Region::default()
        }
    }

    #[test]
    fn a_region_is_shown_with_its_peers_before_and_after() {
        let planned = |outcome| Planned {
            region_id: RegionId(2),
            before: Some(region(&[1, 2, 3])),
            outcome,
        };
        let rows = [
            row(&planned(Outcome::Change(RegionRecord::Normal(region(&[
                3,
            ]))))),
            row(&planned(Outcome::Refused("it is damaged".to_owned()))),
        ];
        let lines = table::lines(&rows);
        assert_eq!(
            lines[1],
            "2   21@1,22@2,23@3  23@3         goes on with those after"
        );
        assert_eq!(lines[2], "2   21@1,22@2,23@3  -            it is damaged");
    }
}
