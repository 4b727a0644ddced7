//! The timestamp oracle: physical milliseconds and a logical counter, strictly increasing.
//!
//! **How.** A bound in milliseconds is persisted ahead; timestamps below it are given out from
//! memory. A new leader begins at the persisted bound, so above everything that was ever given out.
//! The physical part follows the wall clock forwards, never backwards; while the clock is behind,
//! the logical part counts on, and its overflow takes the next millisecond. A clock that shows a time
//! which can't be is no clock: it is not followed either, or the bound would be persisted where there
//! is no way back from.
//!
//! **Why a confirmation.** A leader that was replaced and does not know it still has a window, below
//! its successor's. A client that has seen the successor's timestamps must not get one from it. So
//! timestamps are taken first, then the host confirms that this node still leads, then they are
//! answered: a successor elected after that begins above them. One confirmation covers all requests
//! that wait.
//!
//! **Invariants.**
//! - Every timestamp taken is above the one taken before, and below the persisted bound.
//! - No timestamp is answered without a confirmation that was asked for after it was taken.
//! - Without a jump of the clock, the physical part is never ahead of real time by more than a
//!   window plus what the logical part overflowed in it: a flood of large batches waits.
//!
//! **Not here.** Writing the bound: the leader does when [`Tso::wants_limit`] says so.

use crate::error::Result;
use crate::leader::{Step, Ticket};
use crate::message::{ConfirmId, Effect, Notice, Now};
use crate::{Error, Response};
use std::collections::VecDeque;
use types::Timestamp;

/// The last millisecond that fits beside the logical part.
const PHYSICAL_MAX_MS: u64 = u64::MAX >> Timestamp::LOGICAL_BITS;
/// No clock shows this time (the year 3084): a thousand years before there are no milliseconds left.
const WALL_END_MS: u64 = 1 << 45;
/// The wall clock has jumped, and does not just run a little faster.
const JUMP_MS: u64 = 1_000;

/// The oracle of a leader.
#[derive(Debug)]
pub(crate) struct Tso {
    window_ms: u64,
    /// The millisecond of the next timestamp.
    physical_ms: u64,
    /// How many timestamps of that millisecond were taken.
    logical: u64,
    /// When the wall clock last set the physical part, and to what.
    set_at_monotonic_ms: u64,
    set_to_ms: u64,
    /// Whether the wall clock shows a time that can't be.
    is_clock_absurd: bool,
    waiting: VecDeque<(Ticket, u32)>,
    /// Taken, not yet answered.
    confirming: Option<(ConfirmId, Vec<(Ticket, Response)>)>,
    /// A timestamp was taken since a bound was last asked for.
    is_used: bool,
}

impl Tso {
    /// All timestamps from `saved_limit_ms` on are free.
    pub(crate) fn new(window_ms: u64, saved_limit_ms: u64, now: Now) -> Self {
        let wall_ms = Some(now.wall_ms).filter(|wall_ms| *wall_ms < WALL_END_MS);
        // Never zero, which is no timestamp.
        let physical_ms = saved_limit_ms.max(wall_ms.unwrap_or(0)).max(1);
        Self {
            window_ms,
            physical_ms,
            logical: 0,
            set_at_monotonic_ms: now.monotonic_ms,
            set_to_ms: physical_ms,
            is_clock_absurd: false,
            waiting: VecDeque::new(),
            confirming: None,
            is_used: false,
        }
    }

    /// Refuses a size that no batch can have.
    pub(crate) fn check(count: u32) -> Result<()> {
        if count == 0 || u64::from(count) > Timestamp::LOGICAL_COUNT {
            return Err(Error::InvalidTimestampCount {
                count,
                max: Timestamp::LOGICAL_COUNT,
            });
        }
        Ok(())
    }

    /// Queues a request that was checked.
    pub(crate) fn wait(&mut self, ticket: Ticket, count: u32) {
        self.waiting.push_back((ticket, count));
    }

    /// Takes timestamps for those that wait, as far as the persisted bound allows, and asks for
    /// their confirmation. While one is under way the others wait for the next.
    pub(crate) fn take(&mut self, limit_ms: u64, step: &mut Step<'_>) {
        self.follow(step);
        if self.confirming.is_some() {
            return;
        }
        let mut taken = Vec::new();
        while let Some(&(_, count)) = self.waiting.front()
            && let Some(last) = self.take_batch(step.now, limit_ms, count)
            && let Some((ticket, count)) = self.waiting.pop_front()
        {
            taken.push((ticket, Response::Timestamps { last, count }));
        }
        if !taken.is_empty() {
            self.is_used = true;
            let confirm = ConfirmId(step.next_number());
            self.confirming = Some((confirm, taken));
            step.effects.push(Effect::Confirm { confirm });
        }
    }

    /// Follows the wall clock, forwards only.
    fn follow(&mut self, step: &mut Step<'_>) {
        let Now {
            wall_ms,
            monotonic_ms,
        } = step.now;
        let was_absurd = std::mem::replace(&mut self.is_clock_absurd, wall_ms >= WALL_END_MS);
        if self.is_clock_absurd {
            if !was_absurd {
                step.notice(Notice::ClockAbsurd { wall_ms });
            }
        } else if wall_ms > self.physical_ms {
            let elapsed_ms = monotonic_ms.saturating_sub(self.set_at_monotonic_ms);
            let ahead_ms = wall_ms.saturating_sub(self.set_to_ms.saturating_add(elapsed_ms));
            if ahead_ms >= JUMP_MS {
                step.notice(Notice::ClockJumped { ahead_ms });
            }
            self.physical_ms = wall_ms;
            self.logical = 0;
            self.set_at_monotonic_ms = monotonic_ms;
            self.set_to_ms = wall_ms;
        }
    }

    fn take_batch(&mut self, now: Now, limit_ms: u64, count: u32) -> Option<Timestamp> {
        let count = u64::from(count);
        if self.logical + count > Timestamp::LOGICAL_COUNT {
            let elapsed_ms = now.monotonic_ms.saturating_sub(self.set_at_monotonic_ms);
            let ceiling_ms = self
                .set_to_ms
                .saturating_add(elapsed_ms)
                .saturating_add(self.window_ms);
            if self.physical_ms >= ceiling_ms.min(PHYSICAL_MAX_MS) {
                return None;
            }
            self.physical_ms += 1;
            self.logical = 0;
        }
        if self.physical_ms >= limit_ms {
            return None;
        }
        self.logical += count;
        Some(Timestamp::new(self.physical_ms, self.logical - 1))
    }

    /// The bound to persist, in milliseconds, if the one that is persisted or on its way is too low:
    /// when a request is stuck, or when the oracle is in use and half of its window is gone. An idle
    /// oracle writes nothing.
    pub(crate) fn wants_limit(&mut self, staged_limit_ms: u64) -> Option<u64> {
        let left_ms = staged_limit_ms.saturating_sub(self.physical_ms);
        let is_low = self.is_used && left_ms < self.window_ms / 2;
        if self.is_stuck(staged_limit_ms) || is_low {
            self.next_limit(staged_limit_ms)
        } else {
            None
        }
    }

    /// Whether requests wait for a bound above this one.
    pub(crate) fn is_stuck(&self, limit_ms: u64) -> bool {
        !self.waiting.is_empty() && self.physical_ms >= limit_ms
    }

    /// A window above the present time, in milliseconds, unless it is persisted or on its way.
    pub(crate) fn next_limit(&mut self, staged_limit_ms: u64) -> Option<u64> {
        self.is_used = false;
        let wanted_ms = self
            .physical_ms
            .saturating_add(self.window_ms)
            .min(PHYSICAL_MAX_MS + 1);
        Some(wanted_ms).filter(|wanted_ms| *wanted_ms > staged_limit_ms)
    }

    /// Whether there are no milliseconds left, so that no bound can help.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.physical_ms >= PHYSICAL_MAX_MS
    }

    /// What is answered by this confirmation.
    pub(crate) fn confirmed(&mut self, confirm: ConfirmId) -> Vec<(Ticket, Response)> {
        match self.confirming.take_if(|(id, _)| *id == confirm) {
            Some((_, taken)) => taken,
            None => Vec::new(),
        }
    }

    /// Gives up on the requests for which nothing was taken yet.
    pub(crate) fn give_up_waiting(&mut self) -> impl Iterator<Item = Ticket> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|(ticket, _)| ticket)
    }

    /// Gives up on the requests whose timestamps are not confirmed.
    pub(crate) fn give_up_confirming(&mut self) -> impl Iterator<Item = Ticket> {
        let taken = self.confirming.take().map(|(_, taken)| taken);
        taken.into_iter().flatten().map(|(ticket, _)| ticket)
    }

    /// What waits, for checks.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Ticket> {
        let taken = self.confirming.iter().flat_map(|(_, taken)| taken);
        self.waiting
            .iter()
            .map(|(ticket, _)| ticket)
            .chain(taken.map(|(ticket, _)| ticket))
    }
}
