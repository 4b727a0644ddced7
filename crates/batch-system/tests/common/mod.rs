//! A small system that tests of both drivers share: FSMs that log what they are told.
#![allow(dead_code, reason = "each test binary uses its own part")]

use batch_system::{Address, Batch, Fsm, Handler, Inbox, Message, Priority, RoundInfo, Router};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

/// What a test tells an FSM.
pub enum Say {
    /// Remember this number.
    Note(u64),
    /// Something that holds so many bytes.
    Heavy(usize),
    /// Send this number on to that FSM.
    Pass(Address, u64),
    /// Answer through the channel.
    Ask(Sender<u64>),
    /// Wait here until the test says go; tells it first that it is there.
    Wait(Sender<()>, std::sync::mpsc::Receiver<()>),
    /// Come to an end.
    Stop,
    /// Panic with this text.
    Panic(&'static str),
    /// Change the pool.
    Become(Priority),
}

impl Message for Say {
    fn size_bytes(&self) -> usize {
        match self {
            Say::Heavy(bytes) => *bytes,
            _ => 0,
        }
    }
}

/// An FSM that remembers.
#[derive(Default)]
pub struct Note {
    pub heard: Vec<u64>,
    pub stopped: bool,
    pub priority: Priority,
    pub effects: u64,
}

impl Fsm for Note {
    type Message = Say;

    fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn priority(&self) -> Priority {
        self.priority
    }
}

/// What all handlers of a test saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Begin(usize),
    Heard(Address, u64),
    Control(u64),
    End(usize),
    Removed(Address),
    On(Address, String),
}

/// A log that all handlers of a test share.
pub type Log = Arc<Mutex<Vec<Seen>>>;

/// Does what it is told.
pub struct Scribe {
    pub log: Log,
    pub router: Router<Note, Note>,
}

impl Scribe {
    fn write(&self, seen: Seen) {
        self.log.lock().unwrap().push(seen);
    }

    fn hear(&self, fsm: &mut Note, inbox: &mut Inbox<'_, Say>, name: impl Fn(u64) -> Seen) {
        while let Some(message) = inbox.pop() {
            match message {
                Say::Note(number) => {
                    fsm.heard.push(number);
                    self.write(name(number));
                }
                Say::Heavy(_) => {}
                Say::Pass(to, number) => self.router.send(to, Say::Note(number)).unwrap(),
                Say::Ask(answer) => answer.send(fsm.heard.len() as u64).unwrap(),
                Say::Wait(there, go) => {
                    there.send(()).unwrap();
                    go.recv().unwrap();
                }
                Say::Stop => fsm.stopped = true,
                Say::Panic(text) => panic!("{text}"),
                Say::Become(priority) => fsm.priority = priority,
            }
        }
    }
}

impl Handler<Note, Note> for Scribe {
    fn begin(&mut self, round: RoundInfo) {
        self.write(Seen::Begin(round.batch_size));
    }

    fn handle_control(&mut self, control: &mut Note, inbox: &mut Inbox<'_, Say>) {
        self.hear(control, inbox, Seen::Control);
    }

    fn handle_normal(&mut self, fsm: &mut Note, inbox: &mut Inbox<'_, Say>) {
        let address = inbox.address();
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.write(Seen::On(address, name));
        self.hear(fsm, inbox, |number| Seen::Heard(address, number));
    }

    fn end(&mut self, batch: &mut Batch<'_, Note>) {
        for (_, fsm) in batch.iter_mut() {
            fsm.effects += 1;
        }
        self.write(Seen::End(batch.len()));
    }

    fn removed(&mut self, address: Address, _: Box<Note>) {
        self.write(Seen::Removed(address));
    }
}

/// The numbers that an FSM heard, in order.
pub fn heard(log: &Log, address: Address) -> Vec<u64> {
    let log = log.lock().unwrap();
    log.iter()
        .filter_map(|seen| match seen {
            Seen::Heard(at, number) if *at == address => Some(*number),
            _ => None,
        })
        .collect()
}

/// Registers FSMs 1 to `count`.
pub fn populate(router: &Router<Note, Note>, count: u64) {
    for address in 1..=count {
        router.register(address, Box::default()).unwrap();
    }
}
