//! The core under scripts (`scenarios/`) and under random use.
//!
//! **A script's line** is a step and, behind `=>`, what it must give. Time stands still but for `wait` and
//! `slice`, which is a pop, a wait and the end of that slice.

use super::{After, Queue, Running};
use crate::config::{Config, LEVELS};
use crate::error::{Full, SpawnError};
use crate::task::TaskKey;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A queue whose tasks are the names that a script gives them.
struct Script {
    queue: Queue<String>,
    now: Duration,
    running: Vec<Running<String>>,
    names: Vec<String>,
}

impl Script {
    fn new() -> Self {
        let config = Config {
            tasks_max: 16,
            ..Config::default()
        };
        Self {
            queue: Queue::new(config),
            now: Duration::ZERO,
            running: Vec::new(),
            names: Vec::new(),
        }
    }

    fn step(&mut self, step: &str) -> Option<String> {
        let words: Vec<&str> = step.split_whitespace().collect();
        match words.as_slice() {
            ["wait", time] => {
                self.now += time_of(time);
                None
            }
            ["push", name] => Some(self.push(name, 0)),
            ["push", name, bytes] => Some(self.push(name, bytes.parse().unwrap())),
            ["pop"] => Some(self.pop()),
            ["ran", name, elapsed, after] => {
                let at = self.running.iter().position(|one| one.task == *name);
                let running = self.running.remove(at.expect("it runs"));
                Some(self.ran(running, time_of(elapsed), after))
            }
            ["slice", time, after] => {
                let running = self.queue.pop(self.now).expect("a task waits");
                let text = format!("{} level {}", running.task, running.level);
                self.now += time_of(time);
                self.ran(running, time_of(time), after);
                Some(text)
            }
            ["due"] => Some(
                self.queue
                    .due()
                    .map_or("none".into(), |level| level.to_string()),
            ),
            _ => panic!("no such step: {step}"),
        }
    }

    fn push(&mut self, name: &str, bytes: usize) -> String {
        let known = self.names.iter().position(|known| known == name);
        let key = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        let key = TaskKey(key as u64);
        match self.queue.push(self.now, key, bytes, name.to_owned()) {
            Ok(()) => format!("level {}", self.queue.level_of(key)),
            Err(SpawnError::Busy(_, Full::Tasks)) => "busy tasks".into(),
            Err(SpawnError::Busy(_, Full::Bytes)) => "busy bytes".into(),
            Err(SpawnError::Stopped(_)) => unreachable!("the core does not stop"),
        }
    }

    fn pop(&mut self) -> String {
        let before = self.queue.stats();
        let Some(running) = self.queue.pop(self.now) else {
            return "none".into();
        };
        let level = running.level;
        let waited = self.queue.stats().levels[level].wait_time - before.levels[level].wait_time;
        let text = format!(
            "{} level {level} waited {}ms",
            running.task,
            waited.as_millis()
        );
        self.running.push(running);
        text
    }

    fn ran(&mut self, running: Running<String>, elapsed: Duration, after: &str) -> String {
        let key = running.key;
        let after = match after {
            "again" => After::Again,
            "done" => After::Done,
            _ => panic!("no such end of a slice: {after}"),
        };
        match self.queue.ran(self.now, running, elapsed, after) {
            Some(_) => "gone".into(),
            None => format!("level {}", self.queue.level_of(key)),
        }
    }
}

fn time_of(text: &str) -> Duration {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.parse().expect("a number before the unit");
    match &text[digits.len()..] {
        "s" => Duration::from_secs(number),
        "ms" => Duration::from_millis(number),
        unit => panic!("no such unit: {unit}"),
    }
}

fn play(text: &str, config: impl FnOnce(&mut Config)) {
    let mut script = Script::new();
    let mut changed = script.queue.config().clone();
    config(&mut changed);
    script.queue.set_config(changed);
    let mut played = String::new();
    for line in text.lines() {
        let step = line.split("=>").next().unwrap_or_default().trim();
        let given = match step.is_empty() || step.starts_with('#') {
            true => None,
            false => script.step(step),
        };
        match given {
            Some(given) => played += &format!("{step:<23} => {given}\n"),
            None => played += &format!("{step}\n"),
        }
        script.queue.check();
    }
    assert!(played == text, "the script gives:\n{played}");
}

#[test]
fn a_task_moves_down_as_it_runs() {
    play(include_str!("scenarios/levels.txt"), |_| ());
}

#[test]
fn tasks_of_one_key_share_an_account() {
    play(include_str!("scenarios/keys.txt"), |_| ());
}

#[test]
fn tasks_and_bytes_are_bounded() {
    play(include_str!("scenarios/bounds.txt"), |config| {
        config.tasks_max = 3;
        config.bytes_max = 100;
    });
}

#[test]
fn short_tasks_are_first_and_long_ones_are_not_starved() {
    play(include_str!("scenarios/short_first.txt"), |_| ());
}

#[test]
fn what_a_level_ran_in_idle_time_is_not_held_against_it() {
    play(include_str!("scenarios/idle_time.txt"), |_| ());
}

#[test]
fn several_workers_do_not_all_take_from_the_level_that_is_behind() {
    play(include_str!("scenarios/several_workers.txt"), |config| {
        config.level_after = [MS, 2 * MS];
    });
}

impl<T> Queue<T> {
    /// The invariants, as far as the core alone can know them.
    fn check(&self) {
        let stats = self.stats();
        let waiting: usize = stats.levels.iter().map(|level| level.waiting).sum();
        let running: usize = stats.levels.iter().map(|level| level.running).sum();
        assert_eq!(stats.tasks, waiting + running);
        let accounted: usize = self.accounts.values().map(|account| account.tasks).sum();
        assert_eq!(stats.tasks, accounted);
        assert!(self.accounts.values().all(|account| account.tasks > 0));
        let bytes: usize = self.lines.iter().flatten().map(|one| one.bytes).sum();
        assert!(bytes <= stats.bytes);
        assert_eq!(self.contention.since.is_some(), waiting > 0);
    }
}

/// Runs `workers` slices side by side while all levels have something to do; gives the part of the run time
/// that level 0 got. `slice_us` says how long a slice of each level is.
fn level0_part(percent: u32, slice_us: [u64; LEVELS], workers: usize) -> f64 {
    let mut queue = Queue::new(Config {
        level0_share_percent: percent,
        ..Config::default()
    });
    let mut now = Duration::ZERO;
    // Each level has tasks whose accounts are that old.
    for level in 0..LEVELS {
        let age = [Duration::ZERO, 10 * MS, 200 * MS][level];
        for task in 0..2 * workers {
            let key = TaskKey((100 * level + task) as u64);
            queue.push(now, key, 0, ()).unwrap();
            queue.accounts.get_mut(&key).unwrap().ran = age;
        }
    }
    let begin = queue.stats();
    let mut running: VecDeque<(Duration, Running<()>)> = VecDeque::new();
    let mut fresh = 1_000;
    for _ in 0..60_000 {
        while running.len() < workers {
            let task = queue.pop(now).unwrap();
            let end = now + Duration::from_micros(slice_us[task.level]);
            let at = running.partition_point(|(other, _)| *other <= end);
            running.insert(at, (end, task));
        }
        let (end, task) = running.pop_front().unwrap();
        now = end;
        let elapsed = Duration::from_micros(slice_us[task.level]);
        if task.level == 0 {
            // Short tasks end, and others come in their place.
            queue.ran(now, task, elapsed, After::Done);
            queue.push(now, TaskKey(fresh), 0, ()).unwrap();
            fresh += 1;
        } else {
            queue.ran(now, task, elapsed, After::Again);
        }
    }
    let end = queue.stats();
    let time = |level: usize| end.levels[level].run_time - begin.levels[level].run_time;
    let all: Duration = (0..LEVELS).map(time).sum();
    time(0).as_secs_f64() / all.as_secs_f64()
}

#[test]
fn level_0_gets_its_share_whatever_the_lengths_of_slices_and_the_number_of_workers() {
    for slice_us in [[50, 1_000, 1_000], [1_000, 1_000, 1_000], [900, 200, 200]] {
        for workers in [1, 2, 4] {
            for percent in [50, 80, 95] {
                let level0 = level0_part(percent, slice_us, workers);
                let wanted = f64::from(percent) / 100.0;
                assert!(
                    (level0 - wanted).abs() < 0.02,
                    "{level0} instead of {wanted} with {slice_us:?} on {workers}"
                );
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push { key: u64, bytes: usize },
    Pop,
    Ran { which: usize, us: u64, after: u8 },
    Wait { us: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..6u64, 0..40usize).prop_map(|(key, bytes)| Op::Push { key, bytes }),
        3 => Just(Op::Pop),
        3 => (any::<usize>(), 0..60_000u64, 0..4u8)
            .prop_map(|(which, us, after)| Op::Ran { which, us, after }),
        1 => (0..5_000u64).prop_map(|us| Op::Wait { us }),
    ]
}

/// What must be true of the tasks that a queue has accepted.
#[derive(Default)]
struct Model {
    /// Bytes of each task that is there, by its number.
    there: BTreeMap<u32, usize>,
    /// The worst level that each key has been seen at since it has an account.
    level: BTreeMap<u64, usize>,
    keys: BTreeMap<u64, usize>,
}

proptest! {
    #[test]
    fn no_task_is_lost_or_run_twice_and_none_gets_better(ops in prop::collection::vec(op(), 1..300)) {
        let config = Config { tasks_max: 12, bytes_max: 200, ..Config::default() };
        let mut queue = Queue::new(config);
        let (mut now, mut next) = (Duration::ZERO, 0u32);
        let mut running: Vec<Running<u32>> = Vec::new();
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Wait { us } => now += Duration::from_micros(us),
                Op::Push { key, bytes } => {
                    let used: usize = model.there.values().sum();
                    let fits = model.there.len() < 12 && used + bytes <= 200;
                    prop_assert_eq!(queue.push(now, TaskKey(key), bytes, next).is_ok(), fits);
                    if fits {
                        model.there.insert(next, bytes);
                        *model.keys.entry(key).or_default() += 1;
                    }
                    next += 1;
                }
                Op::Pop => {
                    let waiting = model.there.len() - running.len();
                    let popped = queue.pop(now);
                    prop_assert_eq!(popped.is_some(), waiting > 0);
                    if let Some(one) = popped {
                        prop_assert!(model.there.contains_key(&one.task));
                        prop_assert!(running.iter().all(|other| other.task != one.task));
                        let worst = model.level.entry(one.key.0).or_default();
                        prop_assert!(one.level >= *worst);
                        *worst = one.level;
                        running.push(one);
                    }
                }
                Op::Ran { which, us, after } if !running.is_empty() => {
                    let one = running.swap_remove(which % running.len());
                    let (key, task) = (one.key.0, one.task);
                    let after = [After::Again, After::Again, After::Done, After::Abandoned][usize::from(after)];
                    let gone = queue.ran(now, one, Duration::from_micros(us), after);
                    prop_assert_eq!(gone.is_none(), after == After::Again);
                    if let Some(gone) = gone {
                        prop_assert_eq!(gone, task);
                        model.there.remove(&task);
                        let left = model.keys.get_mut(&key).unwrap();
                        *left -= 1;
                        if *left == 0 {
                            model.keys.remove(&key);
                            model.level.remove(&key);
                        }
                    }
                }
                Op::Ran { .. } => {}
            }
            queue.check();
            let stats = queue.stats();
            prop_assert_eq!(stats.tasks, model.there.len());
            prop_assert_eq!(stats.bytes, model.there.values().sum::<usize>());
        }
        let drained = queue.drain().len();
        prop_assert_eq!(drained, model.there.len() - running.len());
        queue.check();
    }

    #[test]
    fn whoever_waits_gets_a_slice_in_bounded_time(
        slices in prop::collection::vec(1..1_000u64, 100..300),
        olds in 1..4usize,
    ) {
        let mut queue = Queue::new(Config::default());
        let mut now = Duration::ZERO;
        for old in 0..olds {
            let key = TaskKey(old as u64);
            queue.push(now, key, 0, ()).unwrap();
            queue.accounts.get_mut(&key).unwrap().ran = 200 * MS;
        }
        // Short tasks come without a pause, each of another key.
        let mut served = now;
        for (number, us) in slices.into_iter().enumerate() {
            queue.push(now, TaskKey(1_000 + number as u64), 0, ()).unwrap();
            let running = queue.pop(now).unwrap();
            let after = match running.level {
                0 => After::Done,
                _ => {
                    served = now;
                    After::Again
                }
            };
            now += Duration::from_micros(us);
            queue.ran(now, running, Duration::from_micros(us), after);
            // Its slice is at most 5 ms of virtual time, and so may be what its next is expected to be.
            prop_assert!(now - served <= 11 * MS, "{:?}", now - served);
        }
    }
}
