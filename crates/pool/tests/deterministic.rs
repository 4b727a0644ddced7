//! Behaviour of the seeded driver.

mod common;

use common::{End, Log, Work, Worker, sorted};
use pool::{Config, DeterministicPool, ManualClock, Options, PanicPolicy, Step, TaskKey};
use std::sync::Arc;
use std::time::Duration;

const UNIT: Duration = Duration::from_micros(100);

struct World {
    pool: DeterministicPool<Worker>,
    clock: Arc<ManualClock>,
    log: Log,
}

impl World {
    fn new(seed: u64, config: Config) -> Self {
        let clock = Arc::new(ManualClock::default());
        let mut options = Options::new(config);
        options.clock = Arc::clone(&clock) as _;
        options.panic_policy = PanicPolicy::AbandonTask;
        Self {
            pool: DeterministicPool::new(options, seed).unwrap(),
            clock,
            log: Log::default(),
        }
    }

    fn spawn(&self, name: u64, units: u64) {
        let work = Work::Timed(units, UNIT, Arc::clone(&self.clock));
        let task = Worker::new(name, work, &self.log);
        self.pool.handle().spawn(TaskKey(name), 1, task).unwrap();
    }

    /// Ten short tasks come while three long ones are at work.
    fn mixed(&mut self) -> Vec<Step> {
        let mut trace = Vec::new();
        (0..3).for_each(|name| self.spawn(name, 3_000));
        for name in 10..20 {
            trace.extend((0..50).filter_map(|_| self.pool.step()));
            self.spawn(name, 5);
        }
        trace.extend(std::iter::from_fn(|| self.pool.step()));
        trace
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let trace = |seed| World::new(seed, Config::default()).mixed();
    let first = trace(1);
    assert!(first.len() > 500, "{}", first.len());
    assert_eq!(first, trace(1));
    assert_ne!(first, trace(2));
}

#[test]
fn under_any_seed_every_task_ends_once_and_levels_only_get_worse() {
    for seed in 0..50 {
        let config = Config {
            threads: 1 + seed as usize % 4,
            ..Config::default()
        };
        let mut world = World::new(seed, config);
        let trace = world.mixed();
        let expected: Vec<_> = (0..3).chain(10..20).map(|name| (name, End::Done)).collect();
        assert_eq!(sorted(&world.log), expected);
        for name in 0..3 {
            let levels: Vec<usize> = trace
                .iter()
                .filter_map(|step| match step {
                    Step::Ran { key, level, .. } if *key == TaskKey(name) => Some(*level),
                    _ => None,
                })
                .collect();
            assert!(
                levels.is_sorted() && levels.last() == Some(&2),
                "{levels:?}"
            );
        }
        let stats = world.pool.handle().stats();
        let run_time: Duration = stats.levels.iter().map(|level| level.run_time).sum();
        assert_eq!(run_time, UNIT * (3 * 3_000 + 10 * 5));
    }
}

#[test]
fn a_short_task_is_done_before_long_ones_that_came_first() {
    for seed in 0..50 {
        let mut world = World::new(seed, Config::default());
        world.mixed();
        let order: Vec<u64> = world
            .log
            .lock()
            .unwrap()
            .iter()
            .map(|(name, _)| *name)
            .collect();
        assert!(order[..10].iter().all(|name| *name >= 10), "{order:?}");
    }
}

#[test]
fn the_end_and_a_panic_are_told() {
    let mut world = World::new(7, Config::default());
    let panicking = Worker::new(1, Work::Panic, &world.log);
    world.pool.handle().spawn(TaskKey(1), 1, panicking).unwrap();
    assert!(world.pool.run_until_idle(10));
    (2..6).for_each(|name| world.spawn(name, 1_000));
    assert!(!world.pool.run_until_idle(10));
    let handle = world.pool.handle();
    world.pool.shutdown();
    let mut expected = vec![(1, End::Panicked)];
    expected.extend((2..6).map(|name| (name, End::Stopped)));
    assert_eq!(sorted(&world.log), expected);
    let stats = handle.stats();
    assert_eq!((stats.abandoned, stats.tasks, stats.bytes), (5, 0, 0));
}

#[test]
fn with_fewer_threads_fewer_tasks_are_under_way() {
    let mut world = World::new(3, Config::default());
    (0..8).for_each(|name| world.spawn(name, 2_000));
    let running = |world: &World| -> usize {
        let stats = world.pool.handle().stats();
        stats.levels.iter().map(|level| level.running).sum()
    };
    let most = |world: &mut World| {
        let seen = (0..200).map(|_| {
            world.pool.step();
            running(world)
        });
        seen.skip(20).max()
    };
    assert_eq!(most(&mut world), Some(4));
    let fewer = Config {
        threads: 2,
        ..Config::default()
    };
    world.pool.set_config(&fewer).unwrap();
    assert_eq!(most(&mut world), Some(2));
}
