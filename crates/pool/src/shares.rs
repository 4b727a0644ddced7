//! Which level is next: each gets its share of the run time.
//!
//! **How.** Fair queueing by virtual time, between level 0 and the rest, and within the rest between level 1 and
//! level 2. A slice moves its side's virtual time on by the slice's length divided by the side's share; the side
//! whose slice would end first, in virtual time, is next, and of equals the better. So sides that always
//! have something to run get their shares exactly, whatever their slices' lengths, and what one does not
//! use goes to the other. A side that was idle starts at the present virtual time: it can't save up. (Demers,
//! Keshav, Shenker: *Analysis and Simulation of a Fair Queueing Algorithm*, SIGCOMM 1989; Goyal, Vin, Cheng:
//! *Start-time Fair Queuing*, SIGCOMM 1996.)
//!
//! **Why not draw lots**, with a chance that is corrected now and then: at times that are short beside the
//! corrections, the share would be a matter of luck; and short reads that find only long ones before them are
//! here always next.
//!
//! **Invariants.** A slice is charged when it begins, with what slices of its side have taken lately,
//! and corrected when it ends: otherwise several threads that take one after the other would all take from the
//! same side.

use crate::config::{Config, LEVELS};
use std::time::Duration;

/// The shares of all levels.
pub(crate) struct Shares {
    /// Level 0 and all others.
    first: Pair,
    /// Level 1 and level 2.
    rest: Pair,
}

/// What a slice was charged with when it began.
#[derive(Clone, Copy, Default)]
pub(crate) struct Charge {
    first_ns: u64,
    rest_ns: u64,
}

impl Shares {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            first: Pair::new(config),
            rest: Pair::new(config),
        }
    }

    /// Takes the shares from `config`.
    pub(crate) fn set_config(&mut self, config: &Config) {
        self.first.set_config(config);
        self.rest.set_config(config);
    }

    /// A level has something to do that had nothing. `busy` says which others have.
    pub(crate) fn wake(&mut self, level: usize, busy: [bool; LEVELS]) {
        if level == 0 {
            self.first.wake(0);
            return;
        }
        if !busy[1] && !busy[2] {
            self.first.wake(1);
        }
        self.rest.wake(level - 1);
    }

    /// The one of the `ready` levels that is next.
    pub(crate) fn next(&self, ready: [bool; LEVELS]) -> Option<usize> {
        match self.first.next([ready[0], ready[1] || ready[2]])? {
            0 => Some(0),
            _ => self.rest.next([ready[1], ready[2]]).map(|side| side + 1),
        }
    }

    /// A slice of `level` begins. Hand what comes out to [`Self::end`].
    pub(crate) fn begin(&mut self, level: usize) -> Charge {
        if level == 0 {
            return Charge {
                first_ns: self.first.begin(0),
                rest_ns: 0,
            };
        }
        Charge {
            first_ns: self.first.begin(1),
            rest_ns: self.rest.begin(level - 1),
        }
    }

    /// A slice of `level` has ended. It took `elapsed`; for `contended` of this others waited.
    pub(crate) fn end(
        &mut self,
        level: usize,
        charge: Charge,
        elapsed: Duration,
        contended: Duration,
    ) {
        let (elapsed_ns, owed_ns) = (nanoseconds(elapsed), nanoseconds(elapsed.min(contended)));
        let side = usize::from(level > 0);
        self.first.end(side, charge.first_ns, elapsed_ns, owed_ns);
        if level > 0 {
            self.rest
                .end(level - 1, charge.rest_ns, elapsed_ns, owed_ns);
        }
    }
}

/// Two sides that share run time: the better one, and the other.
struct Pair {
    /// In nanoseconds of a thread that does nothing else.
    virtual_ns: [u128; 2],
    /// Where the latest of the slices that were taken began.
    present_ns: u128,
    /// What a slice takes while others wait, averaged.
    usual_ns: [u64; 2],
    /// What it takes at the most then.
    slice_ns: u64,
    percents: [u32; 2],
}

impl Pair {
    fn new(config: &Config) -> Self {
        let slice_ns = nanoseconds(config.slice);
        let mut pair = Self {
            virtual_ns: [0; 2],
            present_ns: 0,
            usual_ns: [slice_ns; 2],
            slice_ns,
            percents: [0; 2],
        };
        pair.set_config(config);
        pair
    }

    fn set_config(&mut self, config: &Config) {
        self.slice_ns = nanoseconds(config.slice);
        self.percents = [
            config.level0_share_percent,
            100 - config.level0_share_percent,
        ];
    }

    fn wake(&mut self, side: usize) {
        self.virtual_ns[side] = self.virtual_ns[side].max(self.present_ns);
    }

    fn next(&self, ready: [bool; 2]) -> Option<usize> {
        (0..2)
            .filter(|side| ready[*side])
            .min_by_key(|side| self.virtual_ns[*side] + self.scaled(*side, self.usual_ns[*side]))
    }

    fn begin(&mut self, side: usize) -> u64 {
        self.present_ns = self.present_ns.max(self.virtual_ns[side]);
        let charged_ns = self.usual_ns[side];
        self.virtual_ns[side] += self.scaled(side, charged_ns);
        charged_ns
    }

    fn end(&mut self, side: usize, charged_ns: u64, elapsed_ns: u64, owed_ns: u64) {
        let (charged, owed) = (self.scaled(side, charged_ns), self.scaled(side, owed_ns));
        self.virtual_ns[side] = (self.virtual_ns[side] + owed).saturating_sub(charged);
        let usual = 7 * u128::from(self.usual_ns[side]) + u128::from(elapsed_ns.min(self.slice_ns));
        self.usual_ns[side] = (usual / 8) as u64;
    }

    fn scaled(&self, side: usize, ns: u64) -> u128 {
        u128::from(ns) * 100 / u128::from(self.percents[side])
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
