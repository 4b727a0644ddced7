//! The hand-over of FSMs between senders, run queue and pollers, model-checked with loom.
//!
//! **How.** The very files of the library, `mailbox.rs` and `run_queue.rs`, are compiled here a second
//! time, with loom's primitives in the place of the library's `sync`. Loom then runs each model under every
//! interleaving of its threads, with up to a bounded number of preemptions, and fails if one ends in a
//! deadlock: a lost wake-up leaves a poller asleep that should handle a message.
//!
//! The last test plants faults in the pollers of the model, to show that such faults are found.

#![allow(dead_code, reason = "a model uses a part of each file")]

#[path = "../src/fsm.rs"]
mod fsm;
#[path = "../src/mailbox.rs"]
mod mailbox;
#[path = "../src/run_queue.rs"]
mod run_queue;
#[path = "../src/stats.rs"]
mod stats;

/// Loom's primitives under the names that the library uses.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);
    pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).unwrap()
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Looks once: how long a searcher looks makes no difference to what may happen.
    pub(crate) fn spin_until(found: impl Fn() -> bool) {
        if !found() {
            loom::thread::yield_now();
        }
    }
}

use fsm::{Fsm, Message};
use loom::sync::Arc;
use loom::thread;
use mailbox::{Mailbox, Refused};
use run_queue::{Fetch, RunQueue};
use std::collections::VecDeque;

struct Number(u64);

impl Message for Number {}

#[derive(Default)]
struct Counter {
    seen: Vec<u64>,
}

impl Fsm for Counter {
    type Message = Number;

    fn is_stopped(&self) -> bool {
        false
    }
}

type Task = (usize, Box<Counter>);

/// What senders and pollers of a model share.
struct World {
    mailboxes: Vec<Mailbox<Counter>>,
    lane: RunQueue<Task>,
    /// Messages that pollers still have to handle; the one who handles the last closes the lane.
    left: loom::sync::atomic::AtomicUsize,
}

impl World {
    fn new(fsms: usize, pollers: usize, messages: usize) -> Arc<Self> {
        Arc::new(Self {
            mailboxes: (0..fsms)
                .map(|at| Mailbox::new(at as u64, Box::default()))
                .collect(),
            lane: RunQueue::new(pollers),
            left: loom::sync::atomic::AtomicUsize::new(messages),
        })
    }

    fn send(&self, at: usize, number: u64) {
        let accepted = self.mailboxes[at].send(Number(number), 1, 100);
        let Ok(fsm) = accepted else {
            panic!("an open mailbox refused a message")
        };
        if let Some(fsm) = fsm {
            assert!(
                self.lane.push((at, fsm), || 0).is_ok(),
                "closed before all was handled"
            );
        }
    }

    /// Handles what waits in a mailbox; gives the number of messages.
    fn handle(&self, at: usize, fsm: &mut Counter) -> usize {
        let mut local = VecDeque::new();
        self.mailboxes[at].take(&mut local);
        fsm.seen.extend(local.iter().map(|number| number.0));
        local.len()
    }

    fn count(&self, handled: usize) {
        if handled > 0
            && self
                .left
                .fetch_sub(handled, loom::sync::atomic::Ordering::AcqRel)
                == handled
        {
            self.lane.close();
        }
    }

    /// A poller that goes on until the lane is closed.
    fn poll(&self, fault: Fault) {
        let mut brisk = false;
        let mut tasks = Vec::new();
        loop {
            let call = Fetch {
                held: 0,
                max: 8,
                brisk,
            };
            if self.lane.fetch(0, call, &mut tasks).is_none() {
                return;
            }
            // Brisk from the first round on, as a poller with little to do is.
            if !brisk {
                brisk = true;
                self.lane.set_brisk(true);
            }
            for (at, mut fsm) in tasks.drain(..) {
                loop {
                    self.count(self.handle(at, &mut fsm));
                    match self.mailboxes[at].release(fsm) {
                        Ok(_) => break,
                        Err(_) if fault == Fault::IgnoresFailedRelease => break,
                        Err(back) => fsm = back,
                    }
                }
            }
            if fault == Fault::LeavesBrisk {
                return;
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    IgnoresFailedRelease,
    LeavesBrisk,
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn two_senders_and_a_poller(fault: Fault) {
    check(3, move || {
        let world = World::new(1, 1, 3);
        let poller = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.poll(fault))
        };
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.send(0, 1);
                world.send(0, 2);
            })
        };
        world.send(0, 10);
        sender.join().unwrap();
        poller.join().unwrap();
        let fsm = world.mailboxes[0]
            .kill()
            .fsm
            .expect("at rest in its mailbox");
        let of_sender: Vec<u64> = fsm
            .seen
            .iter()
            .copied()
            .filter(|number| *number < 10)
            .collect();
        assert_eq!(of_sender, [1, 2]);
        assert_eq!(fsm.seen.len(), 3);
    });
}

fn two_pollers(fault: Fault) {
    check(2, move || {
        let world = World::new(2, 2, 2);
        let pollers: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.poll(fault))
            })
            .collect();
        world.send(0, 1);
        world.send(1, 2);
        for poller in pollers {
            poller.join().unwrap();
        }
        for mailbox in &world.mailboxes {
            assert_eq!(mailbox.kill().fsm.expect("at rest").seen.len(), 1);
        }
    });
}

#[test]
fn no_message_is_lost_or_overtaken_between_two_senders_and_a_poller() {
    two_senders_and_a_poller(Fault::None);
}

#[test]
fn no_fsm_is_forgotten_by_two_pollers_that_sleep_search_and_are_brisk() {
    two_pollers(Fault::None);
}

#[test]
fn a_message_to_a_stopping_fsm_is_handled_or_refused() {
    check(3, || {
        let world = World::new(1, 1, 0);
        let Ok(Some(mut fsm)) = world.mailboxes[0].send(Number(1), 1, 100) else {
            panic!("idle before")
        };
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                !matches!(
                    world.mailboxes[0].send(Number(2), 1, 100),
                    Err(Refused::Gone(_))
                )
            })
        };
        let mut rounds = 0;
        let mut handled = 0;
        loop {
            handled += world.handle(0, &mut fsm);
            rounds += 1;
            if world.mailboxes[0].retire() {
                break;
            }
        }
        let accepted = sender.join().unwrap();
        assert_eq!(handled, 1 + usize::from(accepted));
        assert!(rounds <= 2, "once it is stopping, nothing new comes in");
    });
}

#[test]
fn a_closed_mailbox_finds_its_owner_wherever_the_fsm_is() {
    check(3, || {
        let world = World::new(1, 1, 0);
        let closer = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.mailboxes[0].close().is_some())
        };
        let owned = match world.mailboxes[0].send(Number(1), 1, 100) {
            Ok(Some(mut fsm)) => {
                world.handle(0, &mut fsm);
                // Failing to release means that the close was seen: this owner will remove it.
                world.mailboxes[0].release(fsm).is_err()
            }
            Ok(None) => {
                panic!("accepted without an owner: the closer has it and nothing is accepted")
            }
            Err(_) => false,
        };
        assert!(
            closer.join().unwrap() != owned,
            "exactly one of the two removes the FSM"
        );
    });
}

#[test]
fn a_task_pushed_during_the_shutdown_is_collected_or_handed_back() {
    check(3, || {
        let lane = Arc::new(RunQueue::<u64>::new(1));
        let pusher = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || usize::from(lane.push(1, || 0).is_err()))
        };
        let poller = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || {
                let mut out = Vec::new();
                let _ = lane.fetch(
                    0,
                    Fetch {
                        held: 0,
                        max: 1,
                        brisk: false,
                    },
                    &mut out,
                );
                out.len()
            })
        };
        let collected = lane.close().len();
        assert_eq!(
            collected + pusher.join().unwrap() + poller.join().unwrap(),
            1
        );
    });
}

#[test]
fn an_interruption_is_never_slept_through() {
    check(2, || {
        let lane = Arc::new(RunQueue::<u64>::new(2));
        let resized = Arc::new(loom::sync::atomic::AtomicUsize::new(2));
        let closed = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let pollers: Vec<_> = (0..2)
            .map(|number| {
                let (lane, resized) = (Arc::clone(&lane), Arc::clone(&resized));
                let closed = Arc::clone(&closed);
                thread::spawn(move || {
                    loop {
                        let generation = lane.generation();
                        if number >= resized.load(loom::sync::atomic::Ordering::Acquire) {
                            return;
                        }
                        let call = Fetch {
                            held: 0,
                            max: 1,
                            brisk: false,
                        };
                        let fetched = lane.fetch(generation, call, &mut Vec::new());
                        if fetched.is_none()
                            && closed.load(loom::sync::atomic::Ordering::Acquire) == 1
                        {
                            return;
                        }
                    }
                })
            })
            .collect();
        // The last poller leaves while the first goes on, and may go back to sleep before it.
        resized.store(1, loom::sync::atomic::Ordering::Release);
        lane.interrupt();
        let mut pollers = pollers.into_iter();
        let first = pollers.next().unwrap();
        pollers.next().unwrap().join().unwrap();
        closed.store(1, loom::sync::atomic::Ordering::Release);
        lane.close();
        first.join().unwrap();
    });
}

#[test]
#[ignore = "fails on purpose; run by planted_faults_are_found"]
fn a_poller_that_ignores_a_failed_release() {
    two_senders_and_a_poller(Fault::IgnoresFailedRelease);
}

#[test]
#[ignore = "fails on purpose; run by planted_faults_are_found"]
fn a_poller_that_leaves_as_a_brisk_one() {
    two_pollers(Fault::LeavesBrisk);
}

/// Each in a process of its own: loom aborts when it finds a deadlock.
#[test]
fn planted_faults_are_found() {
    for name in [
        "a_poller_that_ignores_a_failed_release",
        "a_poller_that_leaves_as_a_brisk_one",
    ] {
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success(), "the fault of {name} was not found");
        assert!(
            said.contains("deadlock"),
            "{name} failed for another reason: {said}"
        );
    }
}
