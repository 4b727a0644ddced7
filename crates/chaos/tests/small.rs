//! A few faults of each kind on each log engine; `make chaos` plays many.

use chaos::{CutStyle, Fault, Kind, Led, Numbers, Options, run, schedule};
use e2e::TICK;
use std::path::Path;
use std::time::Duration;
use tokio::sync::Mutex;

/// Held by the test that runs: two clusters on one machine slow each other down beyond what is tested.
static ALONE: Mutex<()> = Mutex::const_new(());

fn options(dir: &Path, seed: u64, faults: Vec<Fault>) -> Options {
    Options {
        faults,
        seed,
        raft_engine: true,
        guided: 8,
        stubborn: 2,
        program: e2e::kontiki_binary().unwrap(),
        dir: dir.to_owned(),
        first_tick: None,
        patience: Duration::from_secs(60),
    }
}

/// Runs in which the planted defect has to be found.
const PROOF_SEEDS: u64 = 5;

async fn a_few_faults(raft_engine: bool) {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let numbers = Numbers {
        kills: 4,
        pauses: 2,
        partitions: 3,
    };
    let seed = 1 + u64::from(raft_engine);
    let options = Options {
        raft_engine,
        ..options(folder.path(), seed, schedule(seed, numbers))
    };
    let report = run(&options).await.unwrap();
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    let faults: usize = report.outages.values().map(Vec::len).sum();
    assert_eq!(faults, 9);
    let tally = report.tally;
    assert!(
        tally.reads > 500 && tally.writes > 500,
        "hardly any load: {tally:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_log_engine_every_answer_is_right_under_kills_pauses_and_partitions() {
    a_few_faults(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_log_in_rocksdb_every_answer_is_right_under_kills_pauses_and_partitions() {
    a_few_faults(false).await;
}

/// The first node ticks more slowly than the others, so that its leases outlive their patience with it. It is cut
/// off time and again, whatever it leads, and its clients go on asking it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_outlives_an_election_is_found_by_a_stale_read() {
    let _alone = ALONE.lock().await;
    let cut = Fault {
        kind: Kind::CutAny,
        led: Led::Placement,
        node: 0,
        style: CutStyle::Hold,
        delay: Duration::ZERO,
        // Leaders are spread anew meanwhile.
        wait: Duration::from_secs(2),
        hold: Duration::from_secs(3),
    };
    for seed in 1..=PROOF_SEEDS {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            first_tick: Some(TICK * 4),
            stubborn: 4,
            ..options(folder.path(), seed, vec![cut.clone(); 2])
        };
        let report = run(&options).await.unwrap();
        println!("{report}");
        if let Some((wrong, path)) = report.wrong.first() {
            assert!(wrong.at.is_some(), "{wrong:?}");
            let history = std::fs::read_to_string(path).unwrap();
            assert!(history.contains("<- wrong"), "{history}");
            return;
        }
    }
    panic!("no stale read was seen in {PROOF_SEEDS} runs");
}
