//! What can be set while the cluster runs: how scheduling is limited, and how long it waits.
//!
//! **How.** One table names every setting, its default and what it may be. What was set by request is
//! persisted as names and values; the rest follows the defaults of the program.
//!
//! **Invariants.** A request to set several settings sets all of them or none. Every value that is in
//! effect is in its range.
//!
//! **Not here.** What is fixed when the node starts: `config`.

use crate::Error;
use crate::error::Result;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Names and values as they were set by request.
pub(crate) type Overrides = BTreeMap<String, String>;

/// How a value is read and shown.
trait Value: Sized {
    const KIND: &'static str;
    fn parse(text: &str) -> Option<Self>;
    fn show(&self) -> String;
    /// What is held against the range.
    fn measure(&self) -> u64;
}

impl Value for u64 {
    const KIND: &'static str = "a number";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn measure(&self) -> u64 {
        *self
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false, as a number";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn measure(&self) -> u64 {
        u64::from(*self)
    }
}

impl Value for Vec<String> {
    const KIND: &'static str = "names with commas between them, of a number";

    fn parse(text: &str) -> Option<Self> {
        let names = text.split(',').map(str::trim);
        let names = names.filter(|name| !name.is_empty());
        Some(names.map(str::to_owned).collect())
    }

    fn show(&self) -> String {
        self.join(",")
    }

    fn measure(&self) -> u64 {
        self.len() as u64
    }
}

fn read<T: Value>(name: &str, text: &str, range: RangeInclusive<u64>) -> Result<T> {
    let value = T::parse(text).filter(|value| range.contains(&value.measure()));
    value.ok_or_else(|| Error::InvalidSetting {
        name: name.to_owned(),
        value: text.to_owned(),
        expected: format!("{} from {} to {}", T::KIND, range.start(), range.end()),
    })
}

macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $default:expr, $name:literal, $range:expr;)*) => {
        /// All settings that can be changed online.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $($(#[$doc])* pub $field: $type,)*
        }

        const NAMES: &[&str] = &[$($name),*];

        impl Default for Settings {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Settings {
            /// Sets one setting from its text.
            ///
            /// # Errors
            ///
            /// There is no such setting, or it can't have this value.
            pub fn set(&mut self, name: &str, text: &str) -> Result<()> {
                match name {
                    $($name => self.$field = read(name, text, $range)?,)*
                    _ => return Err(Error::UnknownSetting {
                        name: name.to_owned(),
                        nearest: nearest(name, NAMES.iter().copied()),
                    }),
                }
                Ok(())
            }

            /// All settings by their names, with the values in effect.
            pub fn list(&self) -> Vec<(String, String)> {
                vec![$(($name.to_owned(), Value::show(&self.$field)),)*]
            }
        }
    };
}

settings! {
    /// Voters of each Region.
    max_replicas: u64 = 3, "max-replicas", 1..=9;
    /// Names of stores' labels that say where a store is, the widest place first.
    location_labels: Vec<String> = Vec::new(), "location-labels", 0..=8;
    /// The most operators that move leaders, at the same time.
    leader_schedule_limit: u64 = 4, "leader-schedule-limit", 0..=100_000;
    /// The most operators that move replicas for balance, at the same time.
    region_schedule_limit: u64 = 2_048, "region-schedule-limit", 0..=100_000;
    /// The most operators that repair replication, at the same time.
    replica_schedule_limit: u64 = 64, "replica-schedule-limit", 0..=100_000;
    /// The most operators that merge Regions, at the same time; a merge takes two.
    merge_schedule_limit: u64 = 8, "merge-schedule-limit", 0..=100_000;
    /// The most operators that move busy Regions, at the same time.
    hot_region_schedule_limit: u64 = 4, "hot-region-schedule-limit", 0..=100_000;
    /// Replicas that a store is given in a minute.
    store_limit_add_peer: u64 = 15, "store-limit-add-peer", 1..=100_000;
    /// Replicas that are taken from a store in a minute.
    store_limit_remove_peer: u64 = 15, "store-limit-remove-peer", 1..=100_000;
    /// A store without a heartbeat for so long counts as disconnected.
    store_disconnected_ms: u64 = 20_000, "store-disconnected-time-ms", 1_000..=3_600_000;
    /// A store without a heartbeat for so long counts as down, and its replicas are replaced.
    store_down_ms: u64 = 1_800_000, "max-store-down-time-ms", 1_000..=604_800_000;
    /// A store with more of its disk in use is given no more replicas.
    low_space_percent: u64 = 80, "low-space-percent", 1..=100;
    /// A store with more snapshots on their way is given no more replicas.
    max_snapshot_count: u64 = 64, "max-snapshot-count", 1..=100_000;
    /// A store with more replicas that catch up is given no more.
    max_pending_peer_count: u64 = 64, "max-pending-peer-count", 1..=100_000;
    /// The largest Region that is merged into a neighbour, in MiB; zero for none.
    max_merge_region_mib: u64 = 54, "max-merge-region-size", 0..=1_024;
    /// The most keys of a Region that is merged into a neighbour.
    max_merge_region_keys: u64 = 540_000, "max-merge-region-keys", 0..=1_000_000_000;
    /// The largest Region that a merge may make, in MiB.
    max_merged_region_mib: u64 = 192, "max-merged-region-size", 1..=4_096;
    /// A Region is not merged for so long after its range has changed.
    split_merge_interval_ms: u64 = 3_600_000, "split-merge-interval-ms", 0..=604_800_000;
    /// Whether several replicas may be changed at once, by a joint configuration.
    enable_joint_consensus: bool = true, "enable-joint-consensus", 0..=1;
    /// A scheduler that finds something to do tries again after so long.
    scheduler_interval_min_ms: u64 = 50, "scheduler-interval-min-ms", 10..=3_600_000;
    /// A scheduler that finds nothing to do waits longer and longer, up to this.
    scheduler_interval_max_ms: u64 = 5_000, "scheduler-interval-max-ms", 10..=3_600_000;
    /// How long a step of an operator may take that moves no data.
    fast_step_timeout_ms: u64 = 120_000, "operator-fast-step-timeout-ms", 100..=86_400_000;
    /// How long a step of an operator may take that moves data, for a Region of up to 256 MiB; larger
    /// ones have more time in proportion.
    slow_step_timeout_ms: u64 = 600_000, "operator-slow-step-timeout-ms", 100..=86_400_000;
    /// Differences between stores below this are left alone.
    balance_tolerance_percent: u64 = 2, "balance-tolerance-percent", 0..=50;
    /// A store that reports so high a score is slow, and leads nothing as long as it is.
    slow_store_score: u64 = 80, "slow-store-score", 2..=100;
    /// A store that was slow must have been fast for so long until it leads again.
    slow_store_recovery_ms: u64 = 600_000, "slow-store-recovery-ms", 0..=86_400_000;
    /// A Region with less traffic, in bytes a second, is not hot.
    hot_region_rate_bytes: u64 = 65_536, "hot-region-rate-bytes", 1..=1_000_000_000_000;
    /// A Region is moved as hot after so many reports as hot in a row.
    hot_region_reports: u64 = 3, "hot-region-reports", 1..=100;
}

impl Settings {
    /// These settings with what was set by request.
    pub(crate) fn with(&self, overrides: &Overrides) -> Result<Self> {
        let mut settings = self.clone();
        for (name, text) in overrides {
            settings.set(name, text)?;
        }
        Ok(settings)
    }
}

/// The overrides after a request to set these as well. All are checked before any counts.
pub(crate) fn plan_set(known: &Overrides, wanted: &[(String, String)]) -> Result<Overrides> {
    let mut overrides = known.clone();
    let mut checked = Settings::default();
    for (name, text) in wanted {
        checked.set(name, text)?;
        overrides.insert(name.clone(), text.clone());
    }
    Ok(overrides)
}

/// The name that is the fewest changes of a letter away, if it is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let name = &name[..name.floor_char_boundary(64)];
    let near = known.map(|known| (distance(name, known), known)).min()?;
    (near.0 <= name.len().max(near.1.len()) / 2).then(|| near.1.to_owned())
}

/// How many letters have to be added, removed or replaced.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (at, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_can_be_set_to_what_it_shows() {
        let mut settings = Settings::default();
        for (name, text) in settings.list() {
            settings.set(&name, &text).unwrap();
        }
        assert_eq!(settings, Settings::default());
        settings.set("location-labels", "zone, host").unwrap();
        assert_eq!(settings.location_labels, ["zone", "host"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let error = Settings::default().set("leader-limit", "1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no setting \"leader-limit\"; did you mean \"leader-schedule-limit\"?"
        );
        let error = Settings::default().set("quux", "1").unwrap_err();
        assert_eq!(error.to_string(), "there is no setting \"quux\"");
    }

    #[test]
    fn a_value_out_of_range_is_refused_and_nothing_else_of_the_request_counts() {
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let known = plan_set(&Overrides::new(), &[pair("max-replicas", "5")]).unwrap();
        let wanted = [pair("max-replicas", "1"), pair("low-space-percent", "101")];
        let error = plan_set(&known, &wanted).unwrap_err();
        assert_eq!(
            error.to_string(),
            "low-space-percent can't be \"101\": it is a number from 1 to 100"
        );
        let settings = Settings::default().with(&known).unwrap();
        assert_eq!(settings.max_replicas, 5);
    }
}
