//! The options of a run, and the line that says them.
//!
//! **Invariants.** Times are in simulated microseconds, probabilities in parts per million. What
//! [`Options::flags`] leaves out has its default, and of what it says nothing is lost, except for the
//! bounds of faults that no flag sets, which nobody but tests changes.
//!
//! **Not here.** Reading a command line (`kontiki sim`).

use crate::faults::FaultOptions;
use crate::names::Named;
use crate::planted::PlantedBug;
use std::collections::BTreeSet;
use std::fmt::Display;

/// A run's shape and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which faults there are, and how bad they get.
    pub faults: FaultOptions,
    /// What is done to Regions and stores.
    pub actions: Vec<ActionKind>,
    /// Of the operator's turns those that something happens in, by number; `None`: all.
    pub only_actions: Option<BTreeSet<u64>>,
    /// Groups of keys that clients ask for before the faults are over; `None`: all.
    pub only_groups: Option<BTreeSet<usize>>,
    /// How long clients work while faults come.
    pub fault_phase_us: u64,
    /// How long the healed cluster may take until it has served a write and a read in every Region,
    /// and again until all replicas are equal and every request is answered.
    pub liveness_us_max: u64,
    /// Clients that work at the same time.
    pub clients: usize,
    /// Further clients, which only read, ask any store, and do not wait for long: whoever was deposed and
    /// does not know it is asked soon.
    pub readers: usize,
    /// Clients of the placement driver.
    pub askers: usize,
    /// Lines of trace that a violation carries.
    pub trace_lines: usize,
    /// A defect that is built in, to prove that the checkers find it.
    pub planted_bug: Option<PlantedBug>,
}

/// What is done to Regions and stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionKind {
    /// It is cut in two.
    Split,
    /// Another replica is to lead it.
    HandOver,
    /// It is brought to its neighbour's stores, and then merged into it.
    Merge,
    /// A replica is added, promoted, demoted or removed.
    Move,
    /// Its replicas are compared.
    Compare,
    /// A store's batch systems get other bounds.
    Reconfigure,
    /// In every second seed the placement driver moves and merges, and the operator does not: who gives
    /// ids for new replicas must be one.
    Obey,
}

impl Named for ActionKind {
    const ALL: &'static [Self] = &[
        Self::Split,
        Self::HandOver,
        Self::Merge,
        Self::Move,
        Self::Compare,
        Self::Reconfigure,
        Self::Obey,
    ];
}

impl Default for Options {
    fn default() -> Self {
        Self {
            faults: FaultOptions::default(),
            actions: ActionKind::ALL.to_vec(),
            only_actions: None,
            only_groups: None,
            fault_phase_us: 5_000_000,
            liveness_us_max: 2_000_000,
            clients: 6,
            readers: 3,
            askers: 2,
            trace_lines: 400,
            planted_bug: None,
        }
    }
}

impl Options {
    /// The flags of `kontiki sim` by which these options differ from the default.
    pub fn flags(&self) -> Vec<String> {
        let plain = Self::default();
        let (faults, plain_faults) = (&self.faults, &plain.faults);
        let mut flags = Flags(Vec::new());
        if faults.kinds != plain_faults.kinds {
            flags.names("--faults", &faults.kinds);
        }
        if !faults.is_swarm {
            flags.0.push("--no-swarm".to_owned());
        }
        flags.numbers("--only-faults", faults.only_events.as_ref());
        flags.ms("--gap-ms", faults.gap_us_max, plain_faults.gap_us_max);
        flags.ms(
            "--outage-ms",
            faults.outage_us_max,
            plain_faults.outage_us_max,
        );
        if self.actions != plain.actions {
            flags.names("--actions", &self.actions);
        }
        flags.numbers("--only-actions", self.only_actions.as_ref());
        flags.numbers("--only-groups", self.only_groups.as_ref());
        flags.ms(
            "--fault-phase-ms",
            self.fault_phase_us,
            plain.fault_phase_us,
        );
        flags.value("--clients", self.clients, plain.clients);
        flags.value("--readers", self.readers, plain.readers);
        flags.value("--askers", self.askers, plain.askers);
        if let Some(bug) = self.planted_bug {
            flags.0.extend(["--planted".to_owned(), bug.name()]);
        }
        flags.0
    }

    /// The command that plays a seed with these options.
    pub fn replay_line(&self, seed: u64) -> String {
        let mut line = format!("kontiki sim --seed {seed}");
        for flag in self.flags() {
            line.push(' ');
            line.push_str(&flag);
        }
        line
    }
}

struct Flags(Vec<String>);

impl Flags {
    fn value<T: Display + PartialEq>(&mut self, flag: &str, value: T, plain: T) {
        if value != plain {
            self.0.extend([flag.to_owned(), value.to_string()]);
        }
    }

    /// Parts of milliseconds are not said.
    fn ms(&mut self, flag: &str, value_us: u64, plain_us: u64) {
        self.value(flag, value_us / 1000, plain_us / 1000);
    }

    fn names<T: Named>(&mut self, flag: &str, values: &[T]) {
        let names: Vec<String> = values.iter().map(|value| value.name()).collect();
        self.list(flag, &names);
    }

    fn numbers<T: Display>(&mut self, flag: &str, numbers: Option<&BTreeSet<T>>) {
        if let Some(numbers) = numbers {
            let numbers: Vec<String> = numbers.iter().map(T::to_string).collect();
            self.list(flag, &numbers);
        }
    }

    fn list(&mut self, flag: &str, items: &[String]) {
        let items = match items.is_empty() {
            true => "none".to_owned(),
            false => items.join(","),
        };
        self.0.extend([flag.to_owned(), items]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FaultKind;

    #[test]
    fn only_what_differs_is_said() {
        assert_eq!(Options::default().replay_line(7), "kontiki sim --seed 7");
        let options = Options {
            faults: FaultOptions {
                kinds: vec![FaultKind::Loss, FaultKind::PowerCut],
                only_events: Some([3, 9].into()),
                ..FaultOptions::default()
            },
            actions: Vec::new(),
            clients: 2,
            fault_phase_us: 1_500_000,
            planted_bug: Some(PlantedBug::SkippedSync),
            ..Options::default()
        };
        assert_eq!(
            options.replay_line(7),
            "kontiki sim --seed 7 --faults loss,power-cut --only-faults 3,9 --actions none \
             --fault-phase-ms 1500 --clients 2 --planted skipped-sync"
        );
    }
}
