//! `kontiki sim`: the deterministic simulation, for whoever wants to see it or to replay what it found.
//!
//! **Invariants.** The flags say all that a run depends on: the same line plays the same run everywhere.
//! The exit code is 1 as soon as a promise was broken.
//!
//! **Not here.** The simulation (crate `sim`).

use crate::error::{Error, Result};
use clap::Args;
use sim::{FaultOptions, Named, Options, PlantedBug, Report, Shrunk, Summary};
use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often the progress of many seeds is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// Runs that are made to shrink a failing one.
const SHRINK_RUNS_MAX: u64 = 3_000;

/// Flags of `kontiki sim`.
#[derive(Debug, Args)]
pub struct SimArgs {
    /// How many seeds are run, one after the other from a fresh one on, until one breaks a promise.
    #[arg(long, default_value_t = 200, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them, in place of a fresh one.
    #[arg(long, conflicts_with = "seed")]
    start: Option<u64>,
    /// Threads that run them; as many as there are processors, if it is not given.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// Play this seed alone. The last line names what happened: `trace HASH`.
    #[arg(long)]
    seed: Option<u64>,
    /// Say everything that happens while the seed is played.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Look for a small run that breaks the same promise as this seed does.
    #[arg(long, requires = "seed", conflicts_with = "trace")]
    shrink: bool,
    /// What happens in a run.
    #[command(flatten)]
    world: WorldArgs,
}

/// What happens in a run.
#[derive(Debug, Args)]
struct WorldArgs {
    /// Kinds of faults that may occur, or `none`; a seed makes use of a part of them.
    #[arg(long, value_name = "KINDS")]
    faults: Option<Names>,
    /// Each seed makes use of all of them.
    #[arg(long)]
    no_swarm: bool,
    /// Of the events of faults only these, by their numbers in the trace, or `none`.
    #[arg(long, value_name = "NUMBERS")]
    only_faults: Option<Numbers>,
    /// The longest time between two events of faults.
    #[arg(long, value_name = "MS")]
    gap_ms: Option<u64>,
    /// The longest time until a link heals, or a store goes on.
    #[arg(long, value_name = "MS")]
    outage_ms: Option<u64>,
    /// What the operator does to Regions, or `none`.
    #[arg(long, value_name = "KINDS")]
    actions: Option<Names>,
    /// Of the operator's turns only these, by their numbers in the trace, or `none`.
    #[arg(long, value_name = "NUMBERS")]
    only_actions: Option<Numbers>,
    /// Of the groups of keys only these.
    #[arg(long, value_name = "NUMBERS")]
    only_groups: Option<Numbers>,
    /// How long clients work while faults come.
    #[arg(long, value_name = "MS")]
    fault_phase_ms: Option<u64>,
    /// Clients that read and write.
    #[arg(long)]
    clients: Option<usize>,
    /// Clients that only read.
    #[arg(long)]
    readers: Option<usize>,
    /// Clients of the placement driver.
    #[arg(long)]
    askers: Option<usize>,
    /// A defect that is built into the simulated stores, to see it found.
    #[arg(long, value_name = "NAME", value_parser = PlantedBug::of_name)]
    planted: Option<PlantedBug>,
}

/// Names, separated by commas; `none` for an empty list.
#[derive(Clone, Debug)]
struct Names(Vec<String>);

/// Numbers, in the same way.
#[derive(Clone, Debug)]
struct Numbers(BTreeSet<u64>);

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(move |_| list != "none")
}

impl FromStr for Names {
    type Err = String;

    fn from_str(list: &str) -> std::result::Result<Self, String> {
        Ok(Self(items(list).map(str::to_owned).collect()))
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(list: &str) -> std::result::Result<Self, String> {
        let number = |item: &str| item.parse().map_err(|_| format!("`{item}` is no number"));
        items(list)
            .map(number)
            .collect::<std::result::Result<_, _>>()
            .map(Self)
    }
}

impl Names {
    fn kinds<T: Named>(&self) -> Result<Vec<T>> {
        let kinds = self.0.iter().map(|name| T::of_name(name));
        let kinds: std::result::Result<BTreeSet<usize>, String> = kinds
            .map(|kind| {
                let kind = kind?;
                let place = T::ALL.iter().position(|other| *other == kind);
                Ok(place.expect("a kind is one of all"))
            })
            .collect();
        // In their own order, so that the order in which they are named does not matter.
        Ok(kinds
            .map_err(Error::Usage)?
            .into_iter()
            .map(|place| T::ALL[place])
            .collect())
    }
}

impl WorldArgs {
    fn options(&self) -> Result<Options> {
        let plain = Options::default();
        let us = |ms: Option<u64>, plain: u64| ms.map_or(plain, |ms| ms.saturating_mul(1_000));
        let only = |numbers: &Option<Numbers>| numbers.as_ref().map(|numbers| numbers.0.clone());
        let faults = FaultOptions {
            kinds: match &self.faults {
                Some(names) => names.kinds()?,
                None => plain.faults.kinds.clone(),
            },
            is_swarm: !self.no_swarm,
            only_events: only(&self.only_faults),
            gap_us_max: us(self.gap_ms, plain.faults.gap_us_max),
            outage_us_max: us(self.outage_ms, plain.faults.outage_us_max),
            ..plain.faults
        };
        let groups = |numbers: &Numbers| numbers.0.iter().map(|group| *group as usize).collect();
        Ok(Options {
            faults,
            actions: match &self.actions {
                Some(names) => names.kinds()?,
                None => plain.actions,
            },
            only_actions: only(&self.only_actions),
            only_groups: self.only_groups.as_ref().map(groups),
            fault_phase_us: us(self.fault_phase_ms, plain.fault_phase_us),
            clients: self.clients.unwrap_or(plain.clients),
            readers: self.readers.unwrap_or(plain.readers),
            askers: self.askers.unwrap_or(plain.askers),
            planted_bug: self.planted,
            ..plain
        })
    }
}

/// Runs what is asked for.
pub fn run(args: &SimArgs) -> Result<()> {
    let options = args.world.options()?;
    match args.seed {
        Some(seed) if args.shrink => shrink(seed, &options),
        Some(seed) => play(seed, &options, args.trace),
        None => campaign(args, &options),
    }
}

fn campaign(args: &SimArgs, options: &Options) -> Result<()> {
    let start = args.start.unwrap_or_else(sim::fresh_seed);
    let threads = args.threads.or(std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZero::get);
    let seeds = start..start.saturating_add(args.seeds);
    print(format_args!(
        "seeds        {} to {}, on {threads} threads",
        seeds.start, seeds.end
    ))?;
    let begun = Instant::now();
    let progress = Mutex::new((0, begun));
    let heard = |_: &Report| {
        let mut progress = progress.lock().expect("no thread panics");
        progress.0 += 1;
        if progress.1.elapsed() > PROGRESS {
            progress.1 = Instant::now();
            eprintln!("{} of {} seeds", progress.0, args.seeds);
        }
    };
    let summary = sim::run_seeds(seeds, threads, options, &heard);
    let elapsed_s = begun.elapsed().as_secs_f64();
    let per_s = summary.seeds as f64 / elapsed_s;
    print(format_args!(
        "time         {elapsed_s:.1} s, {} seeds, {per_s:.1} a second",
        summary.seeds
    ))?;
    print(format_args!("{summary}"))?;
    judge(&summary, options)
}

/// An error if a promise was broken, with the line that plays it again.
fn judge(summary: &Summary, options: &Options) -> Result<()> {
    let Some((seed, report)) = summary.violations.first_key_value() else {
        return Ok(());
    };
    print(format_args!("{report}"))?;
    Err(broken(*seed, options))
}

fn broken(seed: u64, options: &Options) -> Error {
    let line = options.replay_line(seed);
    Error::Incomplete(format!("a promise was broken. Replay it with: {line}"))
}

fn play(seed: u64, options: &Options, is_aloud: bool) -> Result<()> {
    let report = match is_aloud {
        true => {
            let mut out = BufWriter::new(std::io::stdout());
            // Whoever reads no more still learns how it ends.
            let listener = move |line: &str| _ = writeln!(out, "{line}");
            sim::run_aloud(seed, options, Box::new(listener))
        }
        false => sim::run(seed, options),
    };
    print(format_args!("{report}"))?;
    print(format_args!("trace {:016x}", report.trace_hash))?;
    match report.violation {
        Some(_) => Err(broken(seed, options)),
        None => Ok(()),
    }
}

fn shrink(seed: u64, options: &Options) -> Result<()> {
    let mut heard = |step: &Shrunk| {
        let line = step.options.replay_line(step.seed);
        eprintln!(
            "{} runs, {} events: {line}",
            step.runs, step.report.trace_events
        );
    };
    let Some(small) = sim::shrink(seed, options, SHRINK_RUNS_MAX, &mut heard) else {
        return print(format_args!("seed {seed} breaks no promise"));
    };
    print(format_args!("{}", small.report))?;
    print(format_args!("{}", small.options.replay_line(small.seed)))?;
    Err(broken(small.seed, &small.options))
}

fn print(line: std::fmt::Arguments<'_>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").map_err(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use sim::{ActionKind, FaultKind};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sim: SimArgs,
    }

    fn options(flags: &[String]) -> Options {
        let line = ["sim".to_owned()];
        let line = Line::try_parse_from(line.iter().chain(flags)).unwrap();
        line.sim.world.options().unwrap()
    }

    #[test]
    fn flags_say_all_that_a_run_depends_on() {
        let plain = Options::default();
        assert_eq!(options(&plain.flags()), plain);
        let other = Options {
            faults: FaultOptions {
                kinds: vec![FaultKind::Loss, FaultKind::PowerCut],
                is_swarm: false,
                only_events: Some(BTreeSet::new()),
                gap_us_max: 7_000,
                outage_us_max: 8_000,
                ..FaultOptions::default()
            },
            actions: vec![ActionKind::Merge],
            only_actions: Some([1, 4].into()),
            only_groups: Some([0, 2].into()),
            fault_phase_us: 9_000,
            clients: 0,
            readers: 1,
            askers: 0,
            planted_bug: Some(PlantedBug::StaleRead),
            ..plain
        };
        assert_eq!(options(&other.flags()), other);
    }

    #[test]
    fn a_kind_that_is_none_is_refused_with_those_that_there_are() {
        let line = Line::try_parse_from(["sim", "--faults", "loss,flood"]).unwrap();
        let error = line.sim.world.options().unwrap_err().to_string();
        assert!(error.contains("`flood`") && error.contains("power-cut"));
    }
}
