//! What a single poller does with hot FSMs and with FSMs of another pool, round by round.

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::fsm::Message;
use crate::{Builder, PanicPolicy, Router};

/// As long as a round with a backlog lasts where its `end` costs nothing.
const SLICE: Duration = Duration::from_micros(2);

struct Tick;

impl Message for Tick {}

#[derive(Default)]
struct Busy {
    priority: Priority,
}

impl Fsm for Busy {
    type Message = Tick;

    fn is_stopped(&self) -> bool {
        false
    }

    fn priority(&self) -> Priority {
        self.priority
    }
}

/// Handles what it gets; panics in `end` if told so.
struct PopAll {
    panics: bool,
}

impl Handler<Busy, Busy> for PopAll {
    fn begin(&mut self, _: RoundInfo) {}

    fn handle_control(&mut self, _: &mut Busy, inbox: &mut Inbox<'_, Tick>) {
        while inbox.pop().is_some() {}
    }

    fn handle_normal(&mut self, _: &mut Busy, inbox: &mut Inbox<'_, Tick>) {
        while inbox.pop().is_some() {}
    }

    fn end(&mut self, _: &mut Batch<'_, Busy>) {
        assert!(!self.panics, "told to panic in end");
    }
}

/// A poller with FSMs 1 to `fsms` that have a hundred messages each and handle one in a round.
struct Bench {
    clock: Arc<ManualClock>,
    router: Router<Busy, Busy>,
    poller: Poller<Busy, Busy, PopAll>,
}

fn bench(fsms: u64, config: Config, panics: bool) -> Bench {
    let clock = Arc::new(ManualClock::default());
    let config = Config {
        messages_per_round: 1,
        ..config
    };
    let system = Builder::new(config, Box::default())
        .clock(Arc::clone(&clock) as Arc<dyn crate::Clock>)
        .panic_policy(PanicPolicy::RemoveFsm)
        .build()
        .unwrap();
    let router = system.router();
    for address in 1..=fsms {
        router.register(address, Box::default()).unwrap();
        for _ in 0..100 {
            router.send(address, Tick).unwrap();
        }
    }
    let mut tasks = Vec::new();
    system.shared.normal_lane.take_all(&mut tasks);
    let mut poller = Poller::new(system.shared, Priority::Normal, PopAll { panics });
    poller.admit(tasks.into_iter());
    Bench {
        clock,
        router,
        poller,
    }
}

/// Takes half a slice for each message; when it is told to, it sends to others at the next one.
struct Slow {
    clock: Arc<ManualClock>,
    router: Router<Busy, Busy>,
    /// Whom to send to.
    sends: Vec<u64>,
    /// When it sent, and when the last message of FSM 9 was handled.
    sent: Duration,
    served: Duration,
}

impl Handler<Busy, Busy> for Slow {
    fn begin(&mut self, _: RoundInfo) {}

    fn handle_control(&mut self, _: &mut Busy, _: &mut Inbox<'_, Tick>) {}

    fn handle_normal(&mut self, _: &mut Busy, inbox: &mut Inbox<'_, Tick>) {
        while inbox.pop().is_some() {
            self.clock.advance(SLICE / 2);
            if inbox.address() == 9 {
                self.served = self.clock.now();
                continue;
            }
            for address in take(&mut self.sends) {
                self.sent = self.clock.now();
                self.router.send(address, Tick).unwrap();
            }
        }
    }

    fn end(&mut self, _: &mut Batch<'_, Busy>) {}
}

/// A poller that knows how long messages take, with four FSMs that have a backlog; 8 and 9 are at rest.
fn backlogged() -> Poller<Busy, Busy, Slow> {
    let mut bench = bench(4, Config::default(), false);
    let shared = Arc::clone(&bench.poller.shared);
    shared.tunables.store(&Config::default());
    for address in [8, 9] {
        bench.router.register(address, Box::default()).unwrap();
    }
    for message in 0..4_000 {
        bench.router.send(1 + message % 4, Tick).unwrap();
    }
    let handler = Slow {
        clock: bench.clock,
        router: bench.router,
        sends: Vec::new(),
        sent: Duration::ZERO,
        served: Duration::ZERO,
    };
    let mut poller = Poller::new(shared, Priority::Normal, handler);
    poller.config = poller.shared.config();
    poller.admit(bench.poller.give_away().into_iter());
    poller.round();
    poller
}

/// How long FSM 9 waited until its messages were handled that the next message of another one sends, in slices.
fn wait_for(poller: &mut Poller<Busy, Busy, Slow>, sends: Vec<u64>) -> f64 {
    poller.handler.sends = sends;
    let router = poller.handler.router.clone();
    let pending = |address| router.stats(address).unwrap().pending;
    poller.round();
    while pending(9) > 0 {
        poller.round();
    }
    let (sent, served) = (poller.handler.sent, poller.handler.served);
    assert!(served > sent, "nothing was sent");
    assert!((1..=4).all(|address| pending(address) > 0));
    (served - sent).div_duration_f64(SLICE)
}

#[test]
fn a_backlog_does_not_keep_a_newcomer_waiting() {
    let waited = wait_for(&mut backlogged(), vec![9]);
    assert!(waited < 2.0, "{waited} slices");
}

#[test]
fn a_newcomer_with_a_few_messages_needs_one_turn_though_others_wait() {
    let waited = wait_for(&mut backlogged(), [[9; 10].as_slice(), &[8]].concat());
    assert!(waited < 6.0, "{waited} slices, five of them its own work");
}

#[test]
fn what_comes_to_an_fsm_that_was_emptied_in_this_round_waits_for_a_short_turn_only() {
    let mut poller = backlogged();
    poller.handler.router.send(9, Tick).unwrap();
    poller.fetch(0);
    let waited = wait_for(&mut poller, vec![9]);
    assert!(waited < 2.0, "{waited} slices");
}

#[test]
fn every_second_hot_fsm_moves_on_once_a_duration_and_a_lone_one_stays() {
    let mut bench = bench(8, Config::default(), false);
    let (mut held, mut elsewhere) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        bench.clock.advance(Duration::from_secs(5));
        for _ in 0..2 {
            bench.poller.round();
            // As another poller would, lest this one fetches them again.
            bench.poller.shared.normal_lane.take_all(&mut elsewhere);
        }
        held.push(bench.poller.held());
    }
    assert_eq!(held, [4, 2, 1, 1, 1]);
    assert_eq!(elsewhere.len(), 7);
}

#[test]
fn an_fsm_that_has_not_been_here_for_long_is_not_hot() {
    let mut bench = bench(4, Config::default(), false);
    for _ in 0..10 {
        bench.clock.advance(Duration::from_millis(499));
        bench.poller.round();
    }
    assert_eq!(bench.poller.held(), 4);
}

#[test]
fn the_duration_after_which_an_fsm_is_hot_can_be_changed_online() {
    let mut bench = bench(4, Config::default(), false);
    bench.clock.advance(Duration::from_secs(1));
    bench.poller.round();
    assert_eq!(bench.poller.held(), 4);
    let shared = Arc::clone(&bench.poller.shared);
    shared.tunables.store(&Config {
        reschedule_duration: Duration::from_millis(100),
        ..shared.config()
    });
    bench.poller.fetch(0);
    bench.poller.round();
    assert_eq!(bench.poller.held(), 2);
}

#[test]
fn messages_of_an_fsm_that_moves_on_stay_in_order_and_are_all_there() {
    let mut bench = bench(2, Config::default(), false);
    bench.clock.advance(Duration::from_secs(5));
    bench.poller.round();
    assert_eq!(bench.poller.held(), 1);
    let pending: Vec<u64> = [1, 2]
        .map(|address| bench.router.stats(address).unwrap().pending)
        .to_vec();
    assert_eq!(pending, [99, 99]);
}

#[test]
fn an_fsm_of_another_priority_is_moved_after_the_round() {
    let mut bench = bench(
        3,
        Config {
            low_pool_size: 1,
            ..Config::default()
        },
        false,
    );
    bench.poller.queue[1].fsm.priority = Priority::Low;
    bench.poller.round();
    assert_eq!(bench.poller.held(), 2);
    assert_eq!(bench.poller.shared.low_lane.ready(), 1);
}

#[test]
fn without_a_low_pool_an_fsm_of_low_priority_stays() {
    let mut bench = bench(2, Config::default(), false);
    bench.poller.queue[1].fsm.priority = Priority::Low;
    bench.poller.round();
    assert_eq!(bench.poller.held(), 2);
}

#[test]
fn a_panic_in_end_removes_the_whole_batch_under_that_policy() {
    let mut bench = bench(3, Config::default(), true);
    bench.poller.round();
    assert_eq!(bench.poller.held(), 0);
    assert!(bench.router.addresses().is_empty());
}

#[test]
fn statistics_count_messages_rounds_and_what_waits() {
    let mut bench = bench(1, Config::default(), false);
    bench.poller.round();
    bench.poller.round();
    let stats = bench.router.stats(1).unwrap();
    assert_eq!((stats.messages, stats.rounds, stats.pending), (2, 2, 98));
    assert_eq!(bench.router.slowest(5), [(1, stats)]);
}

#[test]
fn a_poller_that_ends_hands_all_its_fsms_on() {
    let mut bench = bench(3, Config::default(), false);
    bench.router.send_control(Tick).unwrap();
    bench.poller.fetch(0);
    bench.poller.round();
    bench.poller.disband();
    assert_eq!(bench.poller.held(), 0);
    assert_eq!(bench.router.load().ready, 3);
}
