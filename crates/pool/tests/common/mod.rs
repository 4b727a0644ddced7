//! Tasks for the tests of both drivers.

#![allow(dead_code, reason = "each test file uses a part of it")]

use pool::{Abandoned, ManualClock, Progress, Slice, Task};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What became of tasks, by their names, in the order in which it happened.
pub type Log = Arc<Mutex<Vec<(u64, End)>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Done,
    Stopped,
    Panicked,
    /// It was dropped without having heard anything. Must not happen.
    Unheard,
}

/// What a task does in its slices.
pub enum Work {
    /// This many units; asks after each whether to yield.
    Units(u64),
    /// Units that each take so much of a manual clock's time.
    Timed(u64, Duration, Arc<ManualClock>),
    /// Says that it runs, then waits to be told to go on.
    Gate(Sender<()>, Receiver<()>),
    /// Says that it runs, then runs until it has to yield; for ever.
    Endless(Sender<()>),
    Panic,
    /// Panics when it is told that it is abandoned.
    PanicTwice,
}

pub struct Worker {
    pub name: u64,
    pub work: Work,
    pub log: Log,
    heard: bool,
}

impl Worker {
    pub fn new(name: u64, work: Work, log: &Log) -> Self {
        Self {
            name,
            work,
            log: Arc::clone(log),
            heard: false,
        }
    }

    fn tell(&mut self, end: End) {
        assert!(!self.heard, "the task of {} has ended twice", self.name);
        self.heard = true;
        self.log.lock().unwrap().push((self.name, end));
    }
}

impl Task for Worker {
    fn run(&mut self, slice: &Slice<'_>) -> Progress {
        match &mut self.work {
            Work::Units(left) => {
                while *left > 0 {
                    *left -= 1;
                    if slice.should_yield() {
                        return Progress::Yielded;
                    }
                }
            }
            Work::Timed(left, each, clock) => {
                while *left > 0 {
                    *left -= 1;
                    clock.advance(*each);
                    if slice.should_yield() {
                        return Progress::Yielded;
                    }
                }
            }
            Work::Gate(there, go) => {
                there.send(()).unwrap();
                go.recv().unwrap();
            }
            Work::Endless(there) => {
                let _ = there.send(());
                while !slice.should_yield() {
                    std::hint::spin_loop();
                }
                return Progress::Yielded;
            }
            Work::Panic | Work::PanicTwice => panic!("on purpose"),
        }
        self.tell(End::Done);
        Progress::Done
    }

    fn abandon(&mut self, why: Abandoned) {
        self.tell(match why {
            Abandoned::Stopped => End::Stopped,
            Abandoned::Panicked => End::Panicked,
        });
        assert!(!matches!(self.work, Work::PanicTwice), "on purpose, again");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.heard {
            self.log.lock().unwrap().push((self.name, End::Unheard));
        }
    }
}

/// The log in the order of the names.
pub fn sorted(log: &Log) -> Vec<(u64, End)> {
    let mut all = log.lock().unwrap().clone();
    all.sort_unstable();
    all
}
