//! Behaviour of the driver with threads.

mod common;

use batch_system::{
    Builder, ByteBudget, Config, DeadLetter, Error, PanicPolicy, Priority, SendError, ThreadDriver,
};
use common::{Log, Note, Say, Scribe, Seen, heard, populate};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

fn start(builder: Builder<Note, Note>) -> (ThreadDriver<Note, Note>, Log) {
    let system = builder.build().unwrap();
    let (log, router) = (Log::default(), system.router());
    let to_handlers = Arc::clone(&log);
    let driver = ThreadDriver::spawn("test", system, move |_| Scribe {
        log: Arc::clone(&to_handlers),
        router: router.clone(),
    });
    (driver.unwrap(), log)
}

fn small(config: Config) -> Builder<Note, Note> {
    Builder::new(config, Box::default())
}

#[test]
fn messages_from_several_threads_all_arrive_in_each_senders_order() {
    let (driver, log) = start(small(Config {
        messages_per_round: 3,
        max_batch_size: 2,
        ..Config::default()
    }));
    let router = driver.router();
    populate(&router, 8);
    std::thread::scope(|scope| {
        for sender in 0..4u64 {
            let router = router.clone();
            scope.spawn(move || {
                for number in 0..512 {
                    router
                        .send(number % 8 + 1, Say::Note(sender * 1_000 + number))
                        .unwrap();
                }
            });
        }
    });
    for address in 1..=8 {
        let (answer, answered) = channel();
        router.send(address, Say::Ask(answer)).unwrap();
        answered.recv().unwrap();
        let numbers = heard(&log, address);
        assert_eq!(numbers.len(), 4 * 512 / 8);
        for sender in 0..4 {
            let own: Vec<u64> = numbers
                .iter()
                .copied()
                .filter(|number| number / 1_000 == sender)
                .collect();
            assert!(
                own.is_sorted(),
                "messages of sender {sender} to {address} were reordered"
            );
        }
    }
}

#[test]
fn a_shutdown_hands_every_message_left_to_the_owner_and_every_fsm_back() {
    let letters = Arc::new(Mutex::new(Vec::new()));
    let to_letters = Arc::clone(&letters);
    let builder = small(Config {
        pool_size: 1,
        ..Config::default()
    })
    .dead_letters(move |letter| {
        if let DeadLetter::Normal(address, Say::Note(number)) = letter {
            to_letters.lock().unwrap().push((address, number));
        }
    });
    let (driver, log) = start(builder);
    let router = driver.router();
    populate(&router, 3);
    let (there, is_there) = channel();
    let (go, wait) = channel();
    router.send(1, Say::Wait(there, wait)).unwrap();
    is_there.recv().unwrap();
    router.send(2, Say::Note(2)).unwrap();
    router.send(3, Say::Note(3)).unwrap();
    let ending = std::thread::spawn(move || driver.shutdown());
    while !router.is_stopped() {
        std::thread::yield_now();
    }
    go.send(()).unwrap();
    let remains = ending.join().unwrap();
    assert_eq!(remains.normals.len(), 3);
    assert!(remains.control.is_some());
    let mut letters = letters.lock().unwrap().clone();
    letters.sort_unstable();
    assert_eq!(letters, [(2, 2), (3, 3)]);
    assert_eq!(heard(&log, 2), []);
    assert!(matches!(
        router.send(1, Say::Note(4)),
        Err(SendError::Stopped(_))
    ));
}

#[test]
fn the_byte_budget_is_shared_and_given_back() {
    let budget = ByteBudget::new(100);
    let (driver, _log) = start(small(Config::default()).budget(budget.clone()));
    let router = driver.router();
    populate(&router, 2);
    let (there, is_there) = channel();
    let (go, wait) = channel();
    router.send(1, Say::Wait(there, wait)).unwrap();
    is_there.recv().unwrap();
    router.send(1, Say::Heavy(60)).unwrap();
    assert!(matches!(
        router.send(2, Say::Heavy(101)),
        Err(SendError::Full(Say::Heavy(101)))
    ));
    assert!(matches!(
        router.send(1, Say::Heavy(41)),
        Err(SendError::Full(Say::Heavy(41)))
    ));
    router.force_send(1, Say::Heavy(41)).unwrap();
    assert_eq!(budget.used_bytes(), 101);
    go.send(()).unwrap();
    let (answer, answered) = channel();
    router.send(1, Say::Ask(answer)).unwrap();
    answered.recv().unwrap();
    driver.shutdown();
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn pools_grow_and_shrink_while_running_and_lose_nothing() {
    let (driver, log) = start(small(Config {
        pool_size: 1,
        messages_per_round: 4,
        ..Config::default()
    }));
    let router = driver.router();
    populate(&router, 16);
    std::thread::scope(|scope| {
        let sender = router.clone();
        scope.spawn(move || {
            for number in 0..4_000 {
                sender.send(number % 16 + 1, Say::Note(number)).unwrap();
            }
        });
        for size in [3, 1, 4, 2, 1] {
            driver.resize(size).unwrap();
        }
    });
    for address in 1..=16 {
        let (answer, answered) = channel();
        router.send(address, Say::Ask(answer)).unwrap();
        assert_eq!(answered.recv().unwrap(), 250);
        assert!(heard(&log, address).is_sorted());
    }
    assert!(driver.resize(0).is_err());
}

#[test]
fn fsms_of_low_priority_run_on_the_low_pool_and_come_back_when_it_is_gone() {
    let config = Config {
        pool_size: 1,
        low_pool_size: 1,
        ..Config::default()
    };
    let (driver, log) = start(small(config.clone()));
    let router = driver.router();
    populate(&router, 1);
    let ran_on = || {
        let (answer, answered) = channel();
        router.send(1, Say::Ask(answer)).unwrap();
        answered.recv().unwrap();
        let log = log.lock().unwrap();
        log.iter()
            .rev()
            .find_map(|seen| match seen {
                Seen::On(1, name) => Some(name.clone()),
                _ => None,
            })
            .unwrap()
    };
    // A round handles what arrives meanwhile, too, so that the first questions may still meet it.
    let comes_to = |pool: &str| (0..1_000).any(|_| ran_on() == pool);
    assert_eq!(ran_on(), "test-0");
    router.send(1, Say::Become(Priority::Low)).unwrap();
    assert!(comes_to("test-low-0"));
    assert_eq!(ran_on(), "test-low-0");
    let without = Config {
        low_pool_size: 0,
        ..config.clone()
    };
    driver.set_config(&without).unwrap();
    assert_eq!(ran_on(), "test-0");
    driver.set_config(&config).unwrap();
    assert!(comes_to("test-low-0"));
}

#[test]
fn two_pollers_work_at_the_same_time() {
    let (driver, _log) = start(small(Config::default()));
    let router = driver.router();
    populate(&router, 2);
    let (there, is_there) = channel();
    let waits = [1, 2].map(|address| {
        let (go, wait) = channel();
        router
            .send(address, Say::Wait(there.clone(), wait))
            .unwrap();
        go
    });
    // Both are inside of their handlers before either may leave.
    is_there.recv().unwrap();
    is_there.recv().unwrap();
    for go in waits {
        go.send(()).unwrap();
    }
}

#[test]
fn a_panic_in_a_handler_takes_one_fsm_and_no_poller() {
    let letters = Arc::new(Mutex::new(Vec::new()));
    let to_letters = Arc::clone(&letters);
    let builder = small(Config {
        pool_size: 1,
        ..Config::default()
    })
    .panic_policy(PanicPolicy::RemoveFsm)
    .dead_letters(move |letter| {
        if let DeadLetter::Normal(address, Say::Note(number)) = letter {
            to_letters.lock().unwrap().push((address, number));
        }
    });
    let (driver, log) = start(builder);
    let router = driver.router();
    populate(&router, 2);
    let (there, is_there) = channel();
    let (go, wait) = channel();
    router.send(1, Say::Wait(there, wait)).unwrap();
    is_there.recv().unwrap();
    router.send(1, Say::Panic("broken")).unwrap();
    router.send(1, Say::Note(7)).unwrap();
    go.send(()).unwrap();
    while router.contains(1) {
        std::thread::yield_now();
    }
    let (answer, answered) = channel();
    router.send(2, Say::Ask(answer)).unwrap();
    answered.recv().unwrap();
    assert_eq!(*letters.lock().unwrap(), [(1, 7)]);
    assert!(heard(&log, 1).is_empty());
}

#[test]
fn a_second_shutdown_finds_nothing_and_a_changed_config_is_refused_after_it() {
    let (driver, _log) = start(small(Config::default()));
    populate(&driver.router(), 3);
    assert_eq!(driver.shutdown().normals.len(), 3);
    assert!(driver.shutdown().normals.is_empty());
    assert!(matches!(driver.resize(3), Err(Error::Stopped)));
}

#[test]
fn dropping_the_last_driver_ends_its_threads_and_frees_its_fsms() {
    let (driver, log) = start(small(Config::default()));
    let router = driver.router();
    populate(&router, 1);
    drop(driver.clone());
    assert!(!router.is_stopped());
    drop(driver);
    assert!(router.is_stopped());
    // The handlers, which share the log, went with their threads.
    drop(router);
    assert_eq!(Arc::strong_count(&log), 1);
}

#[test]
fn the_batch_and_mailbox_sizes_can_be_changed_while_running() {
    let (driver, log) = start(small(Config {
        pool_size: 1,
        ..Config::default()
    }));
    let router = driver.router();
    populate(&router, 8);
    let changed = Config {
        max_batch_size: 2,
        mailbox_capacity: 3,
        ..router.config()
    };
    driver.set_config(&changed).unwrap();
    let (there, is_there) = channel();
    let (go, wait) = channel();
    router.send(1, Say::Wait(there, wait)).unwrap();
    is_there.recv().unwrap();
    for address in 2..=8 {
        router.send(address, Say::Note(address)).unwrap();
        router.send(address, Say::Note(address)).unwrap();
        router.send(address, Say::Note(address)).unwrap();
        let refused = router.send(address, Say::Note(address));
        assert!(matches!(refused, Err(SendError::Full(_))));
    }
    go.send(()).unwrap();
    for address in 2..=8 {
        while heard(&log, address).len() < 3 {
            std::thread::yield_now();
        }
    }
    driver.shutdown();
    let log = log.lock().unwrap();
    let largest = log.iter().filter_map(|seen| match seen {
        Seen::End(size) => Some(*size),
        _ => None,
    });
    assert_eq!(largest.max(), Some(2));
}
