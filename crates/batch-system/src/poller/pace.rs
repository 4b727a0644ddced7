//! [`Pace`]: how long things have been taking a poller, and what follows for its rounds.
//!
//! **A round with a backlog** is cut after a small multiple of what its `end` takes: batching pays by sharing
//! `end`, and where that costs nothing, newcomers should not wait for the busy ones. While others wait, an
//! FSM gets no more messages in one turn than fit into that time. A newcomer gets some in any case: most have
//! few, and one whose turn is cut has to wait behind all others.
//!
//! **A look into a mailbox** should be worth some microseconds of work: it finds the lock with another processor,
//! and so costs the sender more than a message does that is handled in no time. After less, a turn is over
//! without another look, and a poller pauses before a round that would only look into the same mailboxes.
//!
//! **A brisk poller** is back sooner than another one would be awake: what waits need not wake it. One that
//! has left a backlog for a while can do with help, and is never brisk.
//!
//! **Not here.** The clock: the poller says what took how long.

use std::time::Duration;

/// The least time after which a round with a backlog is cut, and how many times what its `end` takes.
const SLICE_MIN: Duration = Duration::from_micros(2);
const SLICE_PER_END: u32 = 4;
/// Messages in the turn of a newcomer, at least, while others wait.
const FIRST_TURN: u64 = 64;
/// The work that a look into a mailbox should be worth.
const LOOK: Duration = Duration::from_micros(3);
/// Rounds shorter than this are over before a sleeping poller would be awake.
const BRISK_ROUND: Duration = Duration::from_micros(20);

/// What a poller has learned about its FSMs.
pub(super) struct Pace {
    /// What the handler takes for a message, on average; zero if that is not known.
    message: Duration,
    /// What the handler's `end` takes, on average.
    end: Duration,
    /// The longest round lately, forgotten by a sixteenth each round, so that a slow `end` now and then is
    /// remembered.
    longest: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            message: Duration::ZERO,
            end: Duration::ZERO,
            longest: BRISK_ROUND,
        }
    }

    /// So many messages of an FSM took so long.
    pub(super) fn learn_turn(&mut self, messages: u64, took: Duration) {
        if let Ok(messages @ 1..) = u32::try_from(messages) {
            let now = took / messages;
            self.message = match self.message {
                Duration::ZERO => now,
                average => (average * 7 + now) / 8,
            };
        }
    }

    /// A round took so long, of which its `end` took a part.
    pub(super) fn learn_round(&mut self, round: Duration, end: Duration) {
        self.end = (self.end * 3 + end) / 4;
        self.longest = round.max(self.longest - self.longest / 16);
    }

    /// How the next round is divided.
    pub(super) fn turns(&self) -> Turns {
        let slice = SLICE_MIN.max(self.end * SLICE_PER_END);
        Turns {
            slice,
            messages: self.fit(slice).unwrap_or(u64::MAX),
            worth_a_look: self.fit(LOOK).unwrap_or(1),
        }
    }

    /// How many messages are handled in such a time, at least one; `None` if that is not known.
    fn fit(&self, time: Duration) -> Option<u64> {
        let fit = time.as_nanos().checked_div(self.message.as_nanos())?;
        Some(u64::try_from(fit).unwrap_or(u64::MAX).max(1))
    }

    /// How long to pause after a round that took so long, if the next one would only look again into
    /// mailboxes that it has emptied.
    pub(super) fn pause_after(&self, round: Duration) -> Duration {
        match round < LOOK {
            true => LOOK,
            false => Duration::ZERO,
        }
    }

    /// True if rounds are so short that a sleeping poller would not be there earlier.
    pub(super) fn is_brisk(&self) -> bool {
        self.longest < BRISK_ROUND
    }
}

/// How a round is divided among FSMs with a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turns {
    /// After so long, FSMs that stayed wait for the next round.
    pub(super) slice: Duration,
    /// While others wait, so many messages of an FSM that stayed.
    messages: u64,
    /// Messages that are worth another look into the mailbox.
    pub(super) worth_a_look: u64,
}

impl Turns {
    /// The messages in one turn of an FSM while others wait.
    pub(super) fn messages(&self, stayed: bool) -> u64 {
        match stayed {
            true => self.messages,
            false => self.messages.max(FIRST_TURN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(message: Duration, end: Duration) -> Pace {
        let mut pace = Pace::new();
        for _ in 0..100 {
            pace.learn_turn(10, message * 10);
            pace.learn_round(message * 10 + end, end);
        }
        pace
    }

    #[test]
    fn turns_are_as_long_as_a_few_ends() {
        let turns = pace(Duration::from_micros(10), Duration::from_millis(1)).turns();
        assert_eq!(turns.slice.as_micros().div_ceil(100), 40);
        assert!((390..=410).contains(&turns.messages(true)), "{turns:?}");
        assert_eq!(turns.messages(false), turns.messages(true));
        assert_eq!(turns.worth_a_look, 1);
    }

    #[test]
    fn where_an_end_costs_nothing_only_newcomers_have_more_than_a_moment() {
        let turns = pace(Duration::from_nanos(100), Duration::ZERO).turns();
        assert_eq!(turns.slice, SLICE_MIN);
        assert!((20..=22).contains(&turns.messages(true)), "{turns:?}");
        assert_eq!(turns.messages(false), FIRST_TURN);
        assert!((30..=31).contains(&turns.worth_a_look), "{turns:?}");
    }

    #[test]
    fn before_anything_is_known_nothing_is_cut_and_each_look_is_worth_it() {
        let turns = Pace::new().turns();
        assert_eq!((turns.messages(true), turns.worth_a_look), (u64::MAX, 1));
    }

    #[test]
    fn one_slow_end_is_remembered_for_some_rounds() {
        let mut pace = pace(Duration::from_nanos(100), Duration::ZERO);
        assert!(pace.is_brisk());
        pace.learn_round(BRISK_ROUND * 2, BRISK_ROUND);
        let rounds = (0..).find(|_| {
            pace.learn_round(Duration::ZERO, Duration::ZERO);
            pace.is_brisk()
        });
        assert_eq!(rounds, Some(10));
    }
}
