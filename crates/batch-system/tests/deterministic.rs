//! Behaviour of rounds, under the deterministic driver: every test sees exactly what it asked for.

mod common;

use batch_system::{
    Builder, Config, DeadLetter, DeterministicDriver, ManualClock, PanicPlace, PanicPolicy,
    PanicReport, PanicVerdict, Ran, RegisterError, SendError,
};
use common::{Log, Note, Say, Scribe, Seen, heard, populate};
use std::sync::{Arc, Mutex};

type Driver = DeterministicDriver<Note, Note, Scribe>;

fn driver_with(builder: Builder<Note, Note>, seed: u64) -> (Driver, Log) {
    let system = builder
        .clock(Arc::new(ManualClock::default()))
        .build()
        .unwrap();
    let log = Log::default();
    let handler = Scribe {
        log: Arc::clone(&log),
        router: system.router(),
    };
    (DeterministicDriver::new(system, handler, seed), log)
}

fn driver(config: Config, seed: u64) -> (Driver, Log) {
    driver_with(Builder::new(config, Box::default()), seed)
}

#[test]
fn messages_of_one_fsm_are_handled_in_the_order_of_sending() {
    let (mut driver, log) = driver(
        Config {
            messages_per_round: 7,
            ..Config::default()
        },
        1,
    );
    let router = driver.router();
    populate(&router, 3);
    for number in 0..100 {
        router.send(number % 3 + 1, Say::Note(number)).unwrap();
    }
    assert!(driver.run_until_idle(1_000).idle);
    for address in 1..=3 {
        let expected: Vec<u64> = (0..100)
            .filter(|number| number % 3 + 1 == address)
            .collect();
        assert_eq!(heard(&log, address), expected);
    }
}

#[test]
fn what_arrives_while_an_fsm_handles_messages_is_handled_in_the_same_round() {
    let (mut driver, log) = driver(Config::default(), 1);
    let router = driver.router();
    router.register(1, Box::default()).unwrap();
    router.send(1, Say::Pass(1, 7)).unwrap();
    assert!(driver.step());
    assert!(log.lock().unwrap().contains(&Seen::Heard(1, 7)));
    assert_eq!(router.stats(1).unwrap().rounds, 1);
}

#[test]
fn the_same_seed_gives_the_same_rounds_and_another_seed_others() {
    let run = |seed| {
        let (mut driver, log) = driver(
            Config {
                messages_per_round: 2,
                ..Config::default()
            },
            seed,
        );
        let router = driver.router();
        populate(&router, 20);
        for number in 0..200 {
            router
                .send(number % 20 + 1, Say::Pass((number * 7) % 20 + 1, number))
                .unwrap();
        }
        assert!(driver.run_until_idle(10_000).idle);
        let log = log.lock().unwrap();
        log.clone()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_round_begins_handles_control_first_and_ends() {
    let (mut driver, log) = driver(Config::default(), 3);
    let router = driver.router();
    populate(&router, 1);
    loop {
        // Another seed might put the two into two rounds; look for one with both.
        router.send(1, Say::Note(1)).unwrap();
        router.send_control(Say::Note(2)).unwrap();
        assert!(driver.run_until_idle(10).idle);
        let seen: Vec<Seen> = log
            .lock()
            .unwrap()
            .drain(..)
            .filter(|seen| !matches!(seen, Seen::On(..)))
            .collect();
        if seen.len() == 4 {
            assert_eq!(
                seen,
                [
                    Seen::Begin(1),
                    Seen::Control(2),
                    Seen::Heard(1, 1),
                    Seen::End(1)
                ]
            );
            return;
        }
    }
}

#[test]
fn a_full_mailbox_hands_the_message_back_and_a_forced_one_still_enters() {
    let (mut driver, log) = driver(
        Config {
            mailbox_capacity: 2,
            ..Config::default()
        },
        1,
    );
    let router = driver.router();
    populate(&router, 1);
    router.send(1, Say::Note(1)).unwrap();
    router.send(1, Say::Note(2)).unwrap();
    assert!(matches!(
        router.send(1, Say::Note(3)),
        Err(SendError::Full(Say::Note(3)))
    ));
    router.force_send(1, Say::Note(4)).unwrap();
    assert!(driver.run_until_idle(10).idle);
    router.send(1, Say::Note(5)).unwrap();
    assert!(driver.run_until_idle(10).idle);
    assert_eq!(heard(&log, 1), [1, 2, 4, 5]);
}

#[test]
fn a_stopped_fsm_answers_what_was_accepted_and_then_its_address_is_free() {
    let (mut driver, log) = driver(
        Config {
            messages_per_round: 1,
            ..Config::default()
        },
        1,
    );
    let router = driver.router();
    populate(&router, 1);
    router.send(1, Say::Stop).unwrap();
    router.send(1, Say::Note(1)).unwrap();
    assert!(driver.step());
    router.send(1, Say::Note(2)).unwrap();
    assert!(driver.run_until_idle(10).idle);
    assert_eq!(heard(&log, 1), [1, 2]);
    assert!(matches!(
        router.send(1, Say::Note(3)),
        Err(SendError::NotFound(_))
    ));
    assert_eq!(log.lock().unwrap().last(), Some(&Seen::Removed(1)));
    populate(&router, 1);
}

#[test]
fn a_closed_mailbox_refuses_handles_what_it_has_and_stays_taken_until_then() {
    let (mut driver, log) = driver(Config::default(), 1);
    let router = driver.router();
    populate(&router, 2);
    router.send(1, Say::Note(1)).unwrap();
    assert!(router.close(1));
    assert!(router.close(2), "an idle one is closed as well");
    assert!(!router.close(3));
    assert!(matches!(
        router.send(1, Say::Note(2)),
        Err(SendError::NotFound(_))
    ));
    assert!(matches!(
        router.register(1, Box::default()),
        Err(RegisterError::Duplicate(_))
    ));
    assert!(driver.run_until_idle(10).idle);
    assert_eq!(heard(&log, 1), [1]);
    assert_eq!(router.addresses(), []);
    populate(&router, 2);
}

#[test]
fn a_panic_is_reported_with_its_address_and_the_messages_behind_it_become_dead_letters() {
    let reports = Arc::new(Mutex::new(Vec::<PanicReport>::new()));
    let letters = Arc::new(Mutex::new(Vec::new()));
    let (to_reports, to_letters) = (Arc::clone(&reports), Arc::clone(&letters));
    let builder = Builder::new(Config::default(), Box::default())
        .panic_policy(PanicPolicy::Ask(Arc::new(move |report| {
            to_reports.lock().unwrap().push(report.clone());
            if report.message == "harmless" {
                PanicVerdict::Keep
            } else {
                PanicVerdict::Remove
            }
        })))
        .dead_letters(move |letter| {
            if let DeadLetter::Normal(address, Say::Note(number)) = letter {
                to_letters.lock().unwrap().push((address, number));
            }
        });
    let (mut driver, log) = driver_with(builder, 1);
    let router = driver.router();
    populate(&router, 2);
    router.send(1, Say::Panic("harmless")).unwrap();
    router.send(1, Say::Note(1)).unwrap();
    router.send(2, Say::Note(2)).unwrap();
    router.send(2, Say::Panic("broken")).unwrap();
    router.send(2, Say::Note(3)).unwrap();
    assert!(driver.run_until_idle(100).idle);
    assert_eq!(heard(&log, 1), [1]);
    assert_eq!(heard(&log, 2), [2]);
    assert_eq!(*letters.lock().unwrap(), [(2, 3)]);
    let mut places: Vec<_> = reports
        .lock()
        .unwrap()
        .iter()
        .map(|r| (r.message.clone(), r.place))
        .collect();
    places.sort_by_key(|(message, _)| message.clone());
    let expected = [
        ("broken".to_owned(), PanicPlace::Normal(2)),
        ("harmless".to_owned(), PanicPlace::Normal(1)),
    ];
    assert_eq!(places, expected);
    assert_eq!(router.addresses(), [1]);
}

#[test]
fn a_crash_hands_all_fsms_over_and_handles_nothing() {
    let (mut driver, log) = driver(Config::default(), 1);
    let router = driver.router();
    populate(&router, 4);
    router.send(2, Say::Note(1)).unwrap();
    assert!(driver.run_until_idle(10).idle);
    router.send(2, Say::Note(2)).unwrap();
    router.send(3, Say::Heavy(100)).unwrap();
    router.send_control(Say::Note(3)).unwrap();
    let remains = driver.crash();
    let addresses: Vec<u64> = remains
        .normals
        .iter()
        .map(|(address, _)| *address)
        .collect();
    assert_eq!(addresses, [1, 2, 3, 4]);
    assert_eq!(remains.normals[1].1.heard, [1]);
    assert!(remains.control.is_some());
    assert_eq!(heard(&log, 2), [1]);
    assert_eq!(router.load().bytes_used, 0);
    assert!(matches!(
        router.send(2, Say::Note(4)),
        Err(SendError::Stopped(_))
    ));
    assert!(matches!(
        router.register(9, Box::default()),
        Err(RegisterError::Stopped(_))
    ));
}

#[test]
fn a_broadcast_reaches_those_it_is_made_for_in_the_order_of_their_addresses() {
    let (mut driver, log) = driver(Config::default(), 9);
    let router = driver.router();
    populate(&router, 5);
    let mut asked = Vec::new();
    let sent = router.broadcast(|address| {
        asked.push(address);
        (address % 2 == 1).then_some(Say::Note(address))
    });
    assert_eq!((sent, asked), (3, vec![1, 2, 3, 4, 5]));
    assert!(driver.run_until_idle(20).idle);
    assert_eq!(heard(&log, 3), [3]);
    assert!(heard(&log, 4).is_empty());
}

#[test]
fn effects_of_the_end_of_a_round_reach_every_fsm_of_the_batch() {
    let (mut driver, log) = driver(Config::default(), 2);
    let router = driver.router();
    populate(&router, 6);
    for address in 1..=6 {
        router.send(address, Say::Note(address)).unwrap();
    }
    assert!(driver.run_until_idle(20).idle);
    let remains = driver.crash();
    assert!(remains.normals.iter().all(|(_, fsm)| fsm.effects >= 1));
    let ends: usize = log
        .lock()
        .unwrap()
        .iter()
        .map(|seen| if let Seen::End(size) = seen { *size } else { 0 })
        .sum();
    let effects: u64 = remains.normals.iter().map(|(_, fsm)| fsm.effects).sum();
    assert_eq!(ends as u64, effects);
}

#[test]
fn a_stopped_control_fsm_is_gone_and_normal_ones_go_on() {
    let (mut driver, log) = driver(Config::default(), 2);
    let router = driver.router();
    populate(&router, 1);
    router.send_control(Say::Stop).unwrap();
    router.send_control(Say::Note(1)).unwrap();
    assert!(driver.run_until_idle(20).idle);
    assert!(matches!(
        router.send_control(Say::Note(2)),
        Err(SendError::NotFound(_))
    ));
    router.send(1, Say::Note(3)).unwrap();
    assert!(driver.run_until_idle(20).idle);
    assert_eq!(heard(&log, 1), [3]);
    assert!(log.lock().unwrap().contains(&Seen::Control(1)));
    assert_eq!(router.control_stats().messages, 2);
}

#[test]
fn a_run_that_comes_to_its_limit_says_so() {
    let (mut driver, _log) = driver(
        Config {
            messages_per_round: 1,
            ..Config::default()
        },
        2,
    );
    let router = driver.router();
    populate(&router, 1);
    for number in 0..10 {
        router.send(1, Say::Note(number)).unwrap();
    }
    assert_eq!(
        driver.run_until_idle(3),
        Ran {
            rounds: 3,
            idle: false
        }
    );
    assert_eq!(
        driver.run_until_idle(100),
        Ran {
            rounds: 7,
            idle: true
        }
    );
}

#[test]
fn configs_that_make_no_sense_are_refused() {
    for config in [
        Config {
            pool_size: 0,
            ..Config::default()
        },
        Config {
            max_batch_size: 0,
            ..Config::default()
        },
        Config {
            messages_per_round: 0,
            ..Config::default()
        },
        Config {
            mailbox_capacity: 0,
            ..Config::default()
        },
    ] {
        let built = Builder::<Note, Note>::new(config, Box::default()).build();
        assert!(matches!(built.err(), Some(batch_system::Error::Config(_))));
    }
}

#[test]
fn a_lost_wake_up_is_made_up_for_by_the_next_message_only() {
    let (mut driver, log) = driver(Config::default(), 1);
    let router = driver.router();
    router.register(1, Box::default()).unwrap();
    router.send(1, Say::Note(7)).unwrap();
    driver.lose_wake_up();
    assert!(!driver.step(), "nobody knows that it waits");
    router.send(1, Say::Note(8)).unwrap();
    assert!(driver.run_until_idle(10).idle);
    assert_eq!(heard(&log, 1), [7, 8]);
}

#[test]
fn an_fsm_whose_wake_up_was_lost_is_handed_over_at_the_end() {
    let (mut driver, _log) = driver(Config::default(), 1);
    let router = driver.router();
    router.register(1, Box::default()).unwrap();
    router.send(1, Say::Note(7)).unwrap();
    driver.lose_wake_up();
    assert_eq!(driver.crash().normals.len(), 1);
}

#[test]
fn a_changed_config_counts_from_the_next_round_on() {
    let (mut driver, log) = driver(Config::default(), 1);
    let router = driver.router();
    router.register(1, Box::default()).unwrap();
    for number in 0..4 {
        router.send(1, Say::Note(number)).unwrap();
    }
    let narrow = Config {
        messages_per_round: 1,
        ..Config::default()
    };
    driver.set_config(&narrow).unwrap();
    assert!(driver.step());
    assert_eq!(heard(&log, 1), [0]);
    let none = Config {
        messages_per_round: 0,
        ..Config::default()
    };
    assert!(driver.set_config(&none).is_err());
}
