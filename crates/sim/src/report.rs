//! What a run comes to.

use std::collections::BTreeMap;
use std::fmt;

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed that was played.
    pub seed: u64,
    /// A hash of everything that happened, in order.
    pub trace_hash: u64,
    /// How many things happened.
    pub trace_events: u64,
    /// How long it took in the simulated world.
    pub simulated_us: u64,
    /// How long the healed cluster took until it had served every Region; 0 if it didn't come to it.
    pub recovery_us: u64,
    /// Events of faults, those that were left out included: they are numbered from 0 on.
    pub fault_events: u64,
    /// The operator's turns, in the same way.
    pub operator_turns: u64,
    /// What went wrong on purpose, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// How the operator changed the cluster, by name.
    pub changes: BTreeMap<&'static str, u64>,
    /// Snapshots that were installed.
    pub snapshots: u64,
    /// How often a follower has said that it sleeps.
    pub hibernations: u64,
    /// Operations on single keys whose order was checked, by kind.
    pub checked: BTreeMap<&'static str, u64>,
    /// Requests that were answered with success, by kind.
    pub acknowledged: BTreeMap<&'static str, u64>,
    /// Reads that were answered under a lease, without a message, and those that were not.
    pub reads: Reads,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests whose fate their client never learned.
    pub unknown: u64,
    /// Keys whose history was too entangled to decide.
    pub undecided: u64,
    /// What was wrong, if anything.
    pub violation: Option<Violation>,
}

/// Reads that were allowed, by what allowed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// A lease.
    pub under_lease: u64,
    /// Reads that had begun under a lease, and found it over.
    pub lease_over: u64,
    /// A quorum, on the leader.
    pub by_leader: u64,
    /// A quorum, on another replica.
    pub by_replica: u64,
}

impl Reads {
    pub(crate) fn add(&mut self, more: &Self) {
        self.under_lease += more.under_lease;
        self.lease_over += more.lease_over;
        self.by_leader += more.by_leader;
        self.by_replica += more.by_replica;
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub message: String,
    /// The last things that happened before, the oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} hash {:016x} events {} simulated {} ms recovered in {} ms snapshots {} hibernations {} checked {:?} \
             acknowledged {:?} {:?} refused {} unknown {} undecided {} changes {:?} faults {:?}",
            self.seed,
            self.trace_hash,
            self.trace_events,
            self.simulated_us / 1000,
            self.recovery_us / 1000,
            self.snapshots,
            self.hibernations,
            self.checked,
            self.acknowledged,
            self.reads,
            self.refused,
            self.unknown,
            self.undecided,
            self.changes,
            self.faults,
        )?;
        if let Some(violation) = &self.violation {
            for line in &violation.trace {
                write!(f, "\n  {line}")?;
            }
            write!(
                f,
                "\nVIOLATION with seed {}: {}",
                self.seed, violation.message
            )?;
        }
        Ok(())
    }
}
