//! How fast writes may come, by how far the engine is behind: pure.
//!
//! **Why.** An engine that can't flush and compact as fast as it is written stops all writes at once, inside the thread
//! that applies them, and with it every Region of the store. Writes that are slowed down before they are proposed
//! wait one by one, can be refused, and hold nobody else up.
//!
//! **How.** What is undone is held against thresholds: at 1 the engine is behind, at 2 it gets a trickle. In
//! between a rate is looked for at which the engine just keeps up: it begins at half of what was written lately, falls
//! from when more was left undone until less is, and rises from then on. (What is undone is counted in buffers and files:
//! between two changes nothing is known but which way the last one went.)
//!
//! **Invariants.** Below the thresholds there is no rate. A rate never falls below [`RATE_MIN`], so that writes
//! go on.
//!
//! **Not here.** Who waits, and for how long (`flow`).

use engine::Backlog;
use std::time::Duration;

/// Bytes a second.
const RATE_MIN: f64 = (256 << 10) as f64;
/// Of what came in the time before the engine fell behind.
const BEGIN: f64 = 0.5;
/// That time. In the moment itself there may be a lull, and who begins with that holds everybody up for seconds.
const LATELY: Duration = Duration::from_secs(2);
/// What came is forgotten only so slowly: clients that write to many stores bring less while another one is behind.
const FORGOTTEN_IN: Duration = Duration::from_secs(30);
/// In a second a rate falls to this part of itself while the engine falls further behind: down to a trickle of what it
/// began with. A compaction shows nothing of what it does until it ends.
const FALL: f64 = 0.7;
/// A rate at which the engine came so far behind is cut to this part of itself, and stays while that lasts.
const CUT: f64 = 0.7;
/// In a second a rate rises so many times while the engine catches up.
const RISE: f64 = 1.3;
/// An engine that has caught up is left alone after so long; until then the rate rises.
const CALM: Duration = Duration::from_secs(2);
/// In a second a rate rises so many times once the engine has caught up.
const CALM_RISE: f64 = 4.0;
/// Less of a difference is none.
const NOTABLE: f64 = 0.01;
/// An engine that is so many times as far behind as it may be gets a trickle.
const FULL: f64 = 2.0;
/// That part of the rate. A flush takes a second or two, and clients that are not refused meanwhile don't fail; a
/// compaction may take a minute, and what comes until then must not fill the engine up.
const TRICKLE: f64 = 0.1;

/// From where on an engine is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOptions {
    /// Whether writes are slowed down at all.
    pub enable: bool,
    /// So many memtables of a family wait to be flushed.
    pub memtables: u64,
    /// So many files of a family lie at level 0.
    pub level0_files: u64,
    /// So many bytes of a family wait to be compacted.
    pub compaction_bytes_soft: u64,
    /// With so many a trickle is taken.
    pub compaction_bytes_hard: u64,
}

impl Default for FlowOptions {
    fn default() -> Self {
        Self {
            enable: true,
            memtables: 3,
            level0_files: 20,
            compaction_bytes_soft: 48 << 30,
            compaction_bytes_hard: 192 << 30,
        }
    }
}

/// How writes may come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flow {
    /// As they like.
    Free,
    /// So many bytes a second.
    Paced(f64),
}

impl FlowOptions {
    /// How far an engine is behind: from 1 on it is.
    fn pressure(&self, backlog: &Backlog) -> f64 {
        let part = |has: u64, may: u64| has as f64 / may.max(1) as f64;
        let (soft, hard) = (self.compaction_bytes_soft, self.compaction_bytes_hard);
        let bytes = match backlog.compaction_bytes.checked_sub(soft) {
            Some(more) => 1.0 + part(more, hard.saturating_sub(soft)),
            None => part(backlog.compaction_bytes, soft),
        };
        let memtables = part(backlog.memtables, self.memtables);
        let files = part(backlog.level0_files, self.level0_files);
        bytes.max(memtables).max(files)
    }
}

/// A rate that is being looked for.
#[derive(Clone, Copy, Debug)]
struct Search {
    rate: f64,
    /// It does not fall below this while the engine is behind, and not far behind.
    least: f64,
    /// Whether less was undone when that has last changed.
    catches_up: bool,
    /// When the engine has last been behind.
    behind_at: Duration,
}

impl Search {
    fn begin(rate: f64, now: Duration) -> Self {
        let rate = rate.max(RATE_MIN);
        Self {
            rate,
            least: (TRICKLE * rate).max(RATE_MIN),
            catches_up: false,
            behind_at: now,
        }
    }

    /// The engine has come far behind.
    fn cut(&mut self) {
        self.rate = (self.rate * CUT).max(RATE_MIN);
        self.least = (self.least * CUT).max(RATE_MIN);
    }

    /// A trickle was written.
    fn rest(&mut self, catches_up: bool, now: Duration) {
        self.behind_at = now;
        self.catches_up |= catches_up;
    }

    /// So many seconds later: by how much further the engine is behind, if it is.
    fn go_on(&mut self, change: Option<f64>, passed: f64, now: Duration) {
        let factor = match change {
            None => CALM_RISE,
            Some(change) => {
                self.behind_at = now;
                if change.abs() > NOTABLE {
                    self.catches_up = change < 0.0;
                }
                if self.catches_up { RISE } else { FALL }
            }
        };
        self.rate = (self.rate * factor.powf(passed)).max(self.least);
    }
}

/// What is known of an engine.
#[derive(Clone, Debug)]
pub struct Pace {
    options: FlowOptions,
    pressure: f64,
    /// Bytes a second that came lately.
    came: f64,
    search: Option<Search>,
    looked_at: Duration,
}

impl Pace {
    /// Of an engine that has nothing to catch up with, at this time of a monotonic clock.
    pub fn new(options: FlowOptions, now: Duration) -> Self {
        Self {
            options,
            pressure: 0.0,
            came: 0.0,
            search: None,
            looked_at: now,
        }
    }

    /// Goes by these from now on.
    pub fn set_options(&mut self, options: FlowOptions) {
        self.options = options;
    }

    /// To be called some times in a second, with what has been written since the last time. Bytes.
    pub fn observe(&mut self, backlog: &Backlog, written: u64, now: Duration) -> Flow {
        let passed = now.saturating_sub(self.looked_at).as_secs_f64();
        self.looked_at = now;
        let comes = written as f64 / passed.max(0.001);
        let lasts = match comes > self.came {
            true => LATELY,
            false => FORGOTTEN_IN,
        };
        self.came += (comes - self.came) * (passed / lasts.as_secs_f64()).min(1.0);
        if !self.options.enable {
            self.search = None;
            return Flow::Free;
        }
        let pressure = self.options.pressure(backlog);
        let before = std::mem::replace(&mut self.pressure, pressure);
        let is_behind = pressure >= 1.0;
        match &mut self.search {
            Some(search) if before >= FULL => search.rest(pressure < before, now),
            Some(search) => {
                search.go_on(is_behind.then_some(pressure - before), passed, now);
                if pressure >= FULL {
                    search.cut();
                }
            }
            None if is_behind => {
                self.search = Some(Search::begin(BEGIN * self.came, now));
            }
            None => {}
        }
        self.search = self
            .search
            .filter(|search| now.saturating_sub(search.behind_at) < CALM);
        self.flow()
    }

    fn flow(&self) -> Flow {
        match self.search {
            None => Flow::Free,
            Some(Search { rate, .. }) if self.pressure >= FULL => {
                Flow::Paced((TRICKLE * rate).max(RATE_MIN))
            }
            Some(Search { rate, .. }) => Flow::Paced(rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = (1 << 20) as f64;
    const STEP: Duration = Duration::from_millis(100);

    const FILE: f64 = 4.0 * MIB;

    /// An engine that merges so many bytes a second, and has files at level 0 with those that it has not.
    struct Engine {
        merges: f64,
        undone: f64,
    }

    impl Engine {
        fn backlog(&self) -> Backlog {
            Backlog {
                level0_files: (self.undone / FILE) as u64,
                ..Backlog::default()
            }
        }

        /// Writers come with this rate, for so long. Returns what was written a second, and what was undone at
        /// the most.
        fn work(&mut self, pace: &mut Pace, wanted: f64, for_s: u64) -> (f64, f64) {
            let (mut flow, mut written, mut most) = (Flow::Free, 0.0, 0.0_f64);
            let mut now = pace.looked_at;
            for _ in 0..for_s * 10 {
                let rate = match flow {
                    Flow::Free => wanted,
                    Flow::Paced(rate) => rate.min(wanted),
                };
                let bytes = rate * STEP.as_secs_f64();
                written += bytes;
                self.undone = (self.undone + bytes - self.merges * STEP.as_secs_f64()).max(0.0);
                most = most.max(self.undone);
                now += STEP;
                flow = pace.observe(&self.backlog(), bytes as u64, now);
            }
            (written / for_s as f64, most)
        }
    }

    fn pace() -> Pace {
        Pace::new(FlowOptions::default(), Duration::ZERO)
    }

    #[test]
    fn an_engine_that_keeps_up_is_left_alone() {
        let mut pace = pace();
        let mut engine = Engine {
            merges: 50.0 * MIB,
            undone: 0.0,
        };
        let (written, _) = engine.work(&mut pace, 45.0 * MIB, 60);
        assert!((written - 45.0 * MIB).abs() < MIB, "{written}");
        assert!(pace.search.is_none());
    }

    #[test]
    fn writers_that_want_more_get_about_what_the_engine_does_and_it_is_never_far_behind() {
        for wanted in [12.0, 40.0, 200.0] {
            let mut pace = pace();
            let mut engine = Engine {
                merges: 10.0 * MIB,
                undone: 0.0,
            };
            engine.work(&mut pace, wanted * MIB, 30);
            let (written, most) = engine.work(&mut pace, wanted * MIB, 120);
            let share = written / engine.merges;
            assert!((0.9..1.1).contains(&share), "{wanted}: {share}");
            assert!(most < 46.0 * FILE, "{wanted}: {}", most / FILE);
        }
    }

    #[test]
    fn an_engine_that_falls_behind_in_a_lull_gets_half_of_what_came_before() {
        let mut pace = pace();
        let none = Backlog::default();
        for step in 1..=100 {
            let written = if step < 70 { 10 << 20 } else { 1 << 20 };
            assert_eq!(pace.observe(&none, written, STEP * step), Flow::Free);
        }
        let behind = Backlog {
            memtables: 3,
            ..none
        };
        let Flow::Paced(rate) = pace.observe(&behind, 0, STEP * 101) else {
            panic!("{pace:?}");
        };
        assert!((40.0 * MIB..50.0 * MIB).contains(&rate), "{}", rate / MIB);
    }

    #[test]
    fn an_engine_that_has_caught_up_is_left_alone_again() {
        let mut pace = pace();
        let mut engine = Engine {
            merges: 10.0 * MIB,
            undone: 0.0,
        };
        engine.work(&mut pace, 40.0 * MIB, 30);
        assert!(pace.search.is_some());
        engine.work(&mut pace, 5.0 * MIB, 10);
        assert!(pace.search.is_none());
    }

    #[test]
    fn during_one_long_compaction_writers_get_a_trickle_at_the_least() {
        let mut pace = pace();
        pace.observe(&Backlog::default(), 40 << 20, STEP);
        let mut rates = Vec::new();
        for step in 2..=300 {
            let backlog = Backlog {
                level0_files: (20 + step / 20).into(),
                ..Backlog::default()
            };
            if let Flow::Paced(rate) = pace.observe(&backlog, 0, STEP * step) {
                rates.push(rate);
            }
        }
        let (first, last) = (rates[0], rates[rates.len() - 1]);
        assert!((0.09..0.11).contains(&(last / first)), "{first}, {last}");
    }

    #[test]
    fn a_trickle_is_taken_far_beyond_the_thresholds_and_more_once_it_is_better() {
        let mut pace = pace();
        let files = |level0_files| Backlog {
            level0_files,
            ..Backlog::default()
        };
        pace.observe(&files(30), 200 << 20, STEP);
        let mut rate = |has, at| match pace.observe(&files(has), 0, at) {
            Flow::Paced(rate) => rate,
            Flow::Free => panic!("it is behind"),
        };
        let trickle = rate(40, STEP * 2);
        assert!(trickle > RATE_MIN);
        assert!(rate(39, STEP * 3) > 9.0 * trickle);
    }

    #[test]
    fn bytes_to_compact_count_between_the_two_thresholds() {
        let options = FlowOptions::default();
        let pressure = |gib: u64| {
            let compaction_bytes = gib << 30;
            options.pressure(&Backlog {
                compaction_bytes,
                ..Backlog::default()
            })
        };
        assert!((pressure(24) - 0.5).abs() < 0.01);
        assert!((pressure(48) - 1.0).abs() < 0.01);
        assert!((pressure(120) - 1.5).abs() < 0.01);
        assert!(pressure(192) >= FULL);
    }

    #[test]
    fn who_is_switched_off_lets_all_pass() {
        let mut pace = pace();
        let far = Backlog {
            level0_files: 1_000,
            ..Backlog::default()
        };
        assert_eq!(pace.observe(&far, 0, STEP), Flow::Paced(RATE_MIN));
        pace.set_options(FlowOptions {
            enable: false,
            ..FlowOptions::default()
        });
        assert_eq!(pace.observe(&far, 0, STEP * 2), Flow::Free);
    }
}
