//! The router: how messages find their FSM, and how FSMs come and go.
//!
//! **Invariants.** A message is either accepted, and then handled, put among the dead letters or (by a
//! crash of the deterministic driver) dropped with its system; or it is handed back with the reason.
//! No call blocks beyond a short lock: a full mailbox or budget is an error, so a poller may send.

use crate::budget::ByteBudget;
use crate::config::Config;
use crate::directory::Taken;
use crate::error::{RegisterError, SendError};
use crate::fsm::{Address, Fsm, Message};
use crate::mailbox::{Mailbox, Refused};
use crate::meters::SystemStats;
use crate::shared::{Shared, Task, give_way};
use crate::stats::FsmStats;
use std::cmp::Reverse;
use std::sync::Arc;

/// A handle to a batch system, for everybody who sends. Clones are cheap.
pub struct Router<N: Fsm, C: Fsm> {
    shared: Arc<Shared<N, C>>,
}

impl<N: Fsm, C: Fsm> Clone for Router<N, C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// How much waits in a system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Normal FSMs registered.
    pub fsms: usize,
    /// FSMs that wait for a poller.
    pub ready: usize,
    /// Bytes of the shared budget in use, by this and every other system that shares it.
    pub bytes_used: usize,
}

/// Normal FSMs that stand out, with what they have done; in each list the first is the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actors {
    /// By the time that handlers spent on them.
    pub slowest: Vec<(Address, FsmStats)>,
    /// By what waits for them; only those for whom something does.
    pub longest: Vec<(Address, FsmStats)>,
    /// By the messages that they handled.
    pub busiest: Vec<(Address, FsmStats)>,
    /// By how often they were moved on to another poller; only those that were.
    pub moved: Vec<(Address, FsmStats)>,
}

impl<N: Fsm, C: Fsm> Router<N, C> {
    pub(crate) fn new(shared: Arc<Shared<N, C>>) -> Self {
        Self { shared }
    }

    /// Sends to a normal FSM, within the bounds.
    pub fn send(&self, address: Address, message: N::Message) -> Result<(), SendError<N::Message>> {
        let capacity = self.shared.tunables.mailbox_capacity();
        let bytes = message.size_bytes();
        if !self.shared.budget.try_acquire(bytes) {
            return Err(self.full(message));
        }
        self.deliver(address, message, bytes, capacity)
    }

    /// Sends to a normal FSM beyond the bounds: for internal completions, whose number is bounded by
    /// what was accepted before.
    pub fn force_send(
        &self,
        address: Address,
        message: N::Message,
    ) -> Result<(), SendError<N::Message>> {
        let bytes = message.size_bytes();
        self.shared.budget.force_acquire(bytes);
        self.deliver(address, message, bytes, usize::MAX)
    }

    fn deliver(
        &self,
        address: Address,
        message: N::Message,
        bytes: usize,
        capacity: usize,
    ) -> Result<(), SendError<N::Message>> {
        let mut message = Some(message);
        let outcome = self.shared.directory.with(address, |mailbox| {
            let message = message.take().expect("called once");
            let fsm = mailbox.send(message, bytes, capacity)?;
            Ok(fsm.map(|fsm| Task::Normal(Arc::clone(mailbox), fsm)))
        });
        match outcome {
            Some(Ok(None)) => Ok(()),
            Some(Ok(Some(task))) => {
                self.shared.schedule(task);
                Ok(())
            }
            Some(Err(refused)) => Err(self.refuse(refused, bytes)),
            None => {
                let message = message.take().expect("no mailbox took it");
                Err(self.refuse(Refused::Gone(message), bytes))
            }
        }
    }

    fn refuse<M>(&self, refused: Refused<M>, bytes: usize) -> SendError<M> {
        self.shared.budget.release(bytes);
        match refused {
            Refused::Full(message) => self.full(message),
            Refused::Gone(message) if self.shared.is_stopped() => SendError::Stopped(message),
            Refused::Gone(message) => SendError::NotFound(message),
        }
    }

    /// Whoever sends more than is handled lets those have the processor who handle it.
    fn full<M>(&self, message: M) -> SendError<M> {
        self.shared.meters.refused.add(1);
        give_way();
        SendError::Full(message)
    }

    /// Sends to the control FSM, within the bounds.
    pub fn send_control(&self, message: C::Message) -> Result<(), SendError<C::Message>> {
        let capacity = self.shared.tunables.mailbox_capacity();
        let bytes = message.size_bytes();
        if !self.shared.budget.try_acquire(bytes) {
            return Err(self.full(message));
        }
        self.deliver_control(message, bytes, capacity)
    }

    /// Sends to the control FSM beyond the bounds.
    pub fn force_send_control(&self, message: C::Message) -> Result<(), SendError<C::Message>> {
        let bytes = message.size_bytes();
        self.shared.budget.force_acquire(bytes);
        self.deliver_control(message, bytes, usize::MAX)
    }

    fn deliver_control(
        &self,
        message: C::Message,
        bytes: usize,
        capacity: usize,
    ) -> Result<(), SendError<C::Message>> {
        match self.shared.control.send(message, bytes, capacity) {
            Ok(None) => Ok(()),
            Ok(Some(fsm)) => {
                self.shared.schedule(Task::Control(fsm));
                Ok(())
            }
            Err(refused) => Err(self.refuse(refused, bytes)),
        }
    }

    /// Adds a normal FSM. It rests until the first message.
    pub fn register(&self, address: Address, fsm: Box<N>) -> Result<(), RegisterError<N>> {
        let mailbox = Arc::new(Mailbox::new(address, fsm));
        let taken = match self
            .shared
            .directory
            .insert(Arc::clone(&mailbox), || !self.shared.is_stopped())
        {
            Ok(()) => return Ok(()),
            Err(taken) => taken,
        };
        let fsm = mailbox
            .kill()
            .fsm
            .expect("nobody else has seen this mailbox");
        Err(match taken {
            Taken::Duplicate => RegisterError::Duplicate(fsm),
            Taken::Stopped => RegisterError::Stopped(fsm),
        })
    }

    /// Closes a mailbox: new messages are refused, those inside are handled, then the FSM is removed
    /// and the address is free. False if there is no such mailbox.
    pub fn close(&self, address: Address) -> bool {
        let closed = self.shared.directory.with(address, |mailbox| {
            mailbox
                .close()
                .map(|fsm| Task::Normal(Arc::clone(mailbox), fsm))
        });
        if let Some(Some(task)) = closed {
            self.shared.schedule(task);
            return true;
        }
        closed.is_some()
    }

    /// Sends to every normal FSM for which `message` makes one, by address, beyond the bounds. Returns
    /// how many accepted theirs.
    pub fn broadcast(&self, mut message: impl FnMut(Address) -> Option<N::Message>) -> usize {
        let mut sent = 0;
        for address in self.addresses() {
            if let Some(message) = message(address) {
                sent += usize::from(self.force_send(address, message).is_ok());
            }
        }
        sent
    }

    /// The addresses of all normal FSMs, ascending.
    pub fn addresses(&self) -> Vec<Address> {
        self.shared
            .directory
            .all()
            .iter()
            .map(|mailbox| mailbox.address)
            .collect()
    }

    /// True if the address is taken, be it by an FSM that is stopping.
    pub fn contains(&self, address: Address) -> bool {
        self.shared.directory.with(address, |_| ()).is_some()
    }

    /// What one normal FSM has done.
    pub fn stats(&self, address: Address) -> Option<FsmStats> {
        self.shared.directory.with(address, |mailbox| {
            mailbox.stats.read(mailbox.pending() as u64)
        })
    }

    /// What the control FSM has done.
    pub fn control_stats(&self) -> FsmStats {
        self.shared
            .control
            .stats
            .read(self.shared.control.pending() as u64)
    }

    /// The `count` normal FSMs that used most poll time, the slowest first. Looks at all of them.
    pub fn slowest(&self, count: usize) -> Vec<(Address, FsmStats)> {
        self.actors(count).slowest
    }

    /// The `count` normal FSMs that stand out in each respect. Looks at all of them.
    pub fn actors(&self, count: usize) -> Actors {
        let all = self.shared.directory.all();
        let stats = |mailbox: &Arc<Mailbox<N>>| mailbox.stats.read(mailbox.pending() as u64);
        let all = all.iter().map(|mailbox| (mailbox.address, stats(mailbox)));
        let mut all: Vec<_> = all.collect();
        let mut actors = Actors {
            slowest: most(&mut all, count, |stats| stats.poll_time.as_nanos()),
            longest: most(&mut all, count, |stats| stats.pending.into()),
            busiest: most(&mut all, count, |stats| stats.messages.into()),
            moved: most(&mut all, count, |stats| stats.moves.into()),
        };
        actors.longest.retain(|(_, stats)| stats.pending > 0);
        actors.moved.retain(|(_, stats)| stats.moves > 0);
        actors
    }

    /// What the system has done since it began.
    pub fn system_stats(&self) -> SystemStats {
        self.shared.meters.read()
    }

    /// How much waits at this moment.
    pub fn load(&self) -> Load {
        Load {
            fsms: self.shared.directory.len(),
            ready: self.shared.normal_lane.ready() + self.shared.low_lane.ready(),
            bytes_used: self.shared.budget.used_bytes(),
        }
    }

    /// The config in force.
    pub fn config(&self) -> Config {
        self.shared.config()
    }

    /// The byte budget, perhaps shared with other systems.
    pub fn budget(&self) -> &ByteBudget {
        &self.shared.budget
    }

    /// True once the system has been shut down.
    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }
}

/// The FSMs with most of something, the first of all first.
fn most(
    all: &mut [(Address, FsmStats)],
    count: usize,
    measure: fn(&FsmStats) -> u128,
) -> Vec<(Address, FsmStats)> {
    all.sort_by_key(|(address, stats)| (Reverse(measure(stats)), *address));
    all.iter().take(count).copied().collect()
}
