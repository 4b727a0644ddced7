//! Behaviour of the driver with threads.

mod common;

use common::{End, Log, Work, Worker, sorted};
use pool::{
    Config, Full, Handle, Options, PanicPolicy, PanicVerdict, SpawnError, TaskKey, ThreadPool,
};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

fn pool(threads: usize) -> ThreadPool<Worker> {
    let config = Config {
        threads,
        ..Config::default()
    };
    ThreadPool::start("test", Options::new(config)).unwrap()
}

fn spawn(handle: &Handle<Worker>, name: u64, work: Work, log: &Log) {
    let task = Worker::new(name, work, log);
    handle.spawn(TaskKey(name), 1, task).unwrap();
}

/// Occupies a worker until the sender is used or dropped.
fn gate(handle: &Handle<Worker>, name: u64, log: &Log) -> Sender<()> {
    let (there, is_there) = channel();
    let (go, wait) = channel();
    spawn(handle, name, Work::Gate(there, wait), log);
    is_there.recv().unwrap();
    go
}

fn endless(handle: &Handle<Worker>, name: u64, log: &Log) -> Receiver<()> {
    let (there, is_there) = channel();
    spawn(handle, name, Work::Endless(there), log);
    is_there.recv().unwrap();
    is_there
}

/// Ready when all that was spawned before is done; the order of their ends is not known.
fn settle(handle: &Handle<Worker>) {
    while handle.stats().tasks > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn tasks_from_several_threads_are_all_run_to_their_end() {
    let (pool, log) = (pool(3), Log::default());
    let handle = pool.handle();
    std::thread::scope(|scope| {
        for spawner in 0..4 {
            let (handle, log) = (handle.clone(), Arc::clone(&log));
            scope.spawn(move || {
                for number in 0..500 {
                    spawn(&handle, spawner * 500 + number, Work::Units(number), &log);
                }
            });
        }
    });
    settle(&handle);
    let expected: Vec<_> = (0..2_000).map(|name| (name, End::Done)).collect();
    assert_eq!(sorted(&log), expected);
    let stats = handle.stats();
    assert_eq!((stats.done, stats.abandoned, stats.bytes), (2_000, 0, 0));
    assert!(stats.levels[0].slices >= 2_000);
}

/// One at a time, so that the worker sleeps or is about to each time: a lost wake-up would hang here.
#[test]
fn a_pool_at_rest_wakes_for_each_task() {
    for threads in [1, 2, 4] {
        let (pool, log) = (pool(threads), Log::default());
        let handle = pool.handle();
        for name in 0..5_000 {
            spawn(&handle, name, Work::Units(0), &log);
            settle(&handle);
        }
        assert_eq!(log.lock().unwrap().len(), 5_000);
    }
}

#[test]
fn a_pool_that_grows_and_shrinks_under_load_loses_nothing() {
    let (pool, log) = (pool(1), Log::default());
    let handle = pool.handle();
    std::thread::scope(|scope| {
        let (spawner, to) = (handle.clone(), Arc::clone(&log));
        scope.spawn(move || {
            for name in 0..4_000 {
                spawn(&spawner, name, Work::Units(50), &to);
                if name % 64 == 0 {
                    // From time to time all workers are asleep when the size changes.
                    settle(&spawner);
                }
            }
        });
        for turn in 0..200 {
            pool.resize([3, 1, 4, 2, 1][turn % 5]).unwrap();
        }
    });
    settle(&handle);
    assert_eq!(log.lock().unwrap().len(), 4_000);
    assert!(pool.resize(0).is_err());
    assert_eq!(handle.config().threads, 1);
}

/// A lost wake-up would hang here as soon as the task is with the worker that leaves while the other sleeps.
#[test]
fn a_worker_that_leaves_hands_its_task_to_one_that_stays() {
    let (pool, log) = (pool(2), Log::default());
    let beat = endless(&pool.handle(), 1, &log);
    for _ in 0..200 {
        // A change of the size ends the slice, so that another begins.
        pool.resize(1).unwrap();
        beat.recv().unwrap();
        pool.resize(2).unwrap();
        beat.recv().unwrap();
    }
    pool.shutdown();
    assert_eq!(sorted(&log), [(1, End::Stopped)]);
}

#[test]
fn a_lone_task_that_never_ends_does_not_hold_up_a_smaller_size_or_the_end() {
    let (pool, log) = (pool(2), Log::default());
    let handle = pool.handle();
    let _beat = endless(&handle, 1, &log);
    pool.resize(1).unwrap();
    pool.resize(2).unwrap();
    pool.shutdown();
    assert_eq!(sorted(&log), [(1, End::Stopped)]);
}

#[test]
fn a_short_task_is_done_while_long_ones_go_on() {
    let (pool, log) = (pool(2), Log::default());
    let handle = pool.handle();
    let _beats: Vec<_> = (0..4).map(|name| endless(&handle, name, &log)).collect();
    for name in 10..60 {
        spawn(&handle, name, Work::Units(1), &log);
        while log.lock().unwrap().last() != Some(&(name, End::Done)) {
            std::thread::yield_now();
        }
    }
    let stats = handle.stats();
    assert_eq!((stats.done, stats.tasks), (50, 4));
}

#[test]
fn the_end_tells_every_task_that_is_left_and_refuses_new_ones() {
    let (pool, log) = (pool(1), Log::default());
    let handle = pool.handle();
    let go = gate(&handle, 1, &log);
    for name in 2..5 {
        spawn(&handle, name, Work::Units(1), &log);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| pool.shutdown());
        while log.lock().unwrap().len() < 3 {
            std::thread::yield_now();
        }
        go.send(()).unwrap();
    });
    let stopped = |name| (name, End::Stopped);
    assert_eq!(
        sorted(&log),
        [(1, End::Done), stopped(2), stopped(3), stopped(4)]
    );
    let late = Worker::new(9, Work::Units(1), &log);
    let refused = handle.spawn(TaskKey(9), 1, late).unwrap_err();
    assert!(matches!(refused, SpawnError::Stopped(_)));
    assert!(pool.resize(2).is_err());
    let stats = handle.stats();
    assert_eq!((stats.done, stats.abandoned, stats.tasks), (1, 3, 0));
}

#[test]
fn a_full_pool_hands_the_task_back() {
    let config = Config {
        threads: 1,
        tasks_max: 3,
        bytes_max: 10,
        ..Config::default()
    };
    let pool = ThreadPool::start("test", Options::new(config.clone())).unwrap();
    let (handle, log) = (pool.handle(), Log::default());
    let go = gate(&handle, 1, &log);
    let try_spawn = |name, bytes| {
        let task = Worker::new(name, Work::Units(1), &log);
        match handle.spawn(TaskKey(name), bytes, task) {
            Ok(()) => None,
            Err(SpawnError::Busy(task, full)) => Some((task.name, full)),
            Err(SpawnError::Stopped(_)) => panic!("it runs"),
        }
    };
    assert_eq!(try_spawn(2, 10), Some((2, Full::Bytes)));
    assert_eq!(try_spawn(3, 9), None);
    assert_eq!(try_spawn(4, 0), None);
    assert_eq!(try_spawn(5, 0), Some((5, Full::Tasks)));
    // A larger bound holds at once.
    let larger = Config {
        tasks_max: 4,
        ..config
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pool.set_config(&larger).unwrap());
        while handle.config() != larger {
            std::thread::yield_now();
        }
        assert_eq!(try_spawn(6, 0), None);
        go.send(()).unwrap();
    });
    settle(&handle);
    assert_eq!(handle.stats().refused, 2);
}

#[test]
fn a_panic_costs_one_task_and_no_worker() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let to_reports = Arc::clone(&reports);
    let mut options = Options::new(Config {
        threads: 1,
        ..Config::default()
    });
    options.panic_policy = PanicPolicy::Ask(Arc::new(move |report| {
        let seen = (report.key, report.message.clone());
        to_reports.lock().unwrap().push(seen);
        PanicVerdict::Abandon
    }));
    let pool = ThreadPool::start("test", options).unwrap();
    let (handle, log) = (pool.handle(), Log::default());
    spawn(&handle, 1, Work::Panic, &log);
    spawn(&handle, 2, Work::PanicTwice, &log);
    spawn(&handle, 3, Work::Units(1), &log);
    settle(&handle);
    pool.shutdown();
    assert_eq!(
        sorted(&log),
        [(1, End::Panicked), (2, End::Panicked), (3, End::Done)]
    );
    let expected = [
        (TaskKey(1), "on purpose".to_owned()),
        (TaskKey(2), "on purpose".to_owned()),
        (TaskKey(2), "on purpose, again".to_owned()),
    ];
    assert_eq!(*reports.lock().unwrap(), expected);
}
