//! How slow a store's disk is, as a score from 1 (fast) to 100: by how long writes of the Raft log take.
//!
//! **How.** At each look, if too many of the writes since the last one took too long, the score is tripled;
//! otherwise it sinks steadily (additive decrease, multiplicative increase: the other way round than TCP's
//! window, as in TiKV). So a disk that hesitates once a minute is not slow, one that stays slow is found with
//! the fourth look in a row, and one that recovers proves it for minutes.
//!
//! **Invariants.** A write that hangs counts at each look as one that took too long. Without writes the score
//! sinks: otherwise a store that was relieved of all work would be slow for ever.
//!
//! **Not here.** What is done about a slow store (`placement`).

use crate::op::lease::MonotonicTime;
use std::time::Duration;

/// The score of a fast store, and that of the slowest: in thousandths of a point.
const FAST: u64 = 1_000;
const SLOWEST: u64 = 100_000;
const FACTOR: u64 = 3;

/// What is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowScoreOptions {
    /// A write that takes longer took too long.
    pub timeout: Duration,
    /// So many of a hundred writes are too many.
    pub slow_percent: u64,
    /// How long the way from the worst score to the best takes.
    pub recovery: Duration,
}

impl Default for SlowScoreOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(500),
            slow_percent: 10,
            recovery: Duration::from_secs(300),
        }
    }
}

/// The score of one store.
#[derive(Debug)]
pub struct SlowScore {
    options: SlowScoreOptions,
    /// In thousandths.
    score: u64,
    looked_at: MonotonicTime,
    /// Since the last look.
    ended: u64,
    ended_slow: u64,
    /// When each of those that have not ended began.
    under_way: Vec<MonotonicTime>,
}

impl SlowScore {
    /// Of a fast store.
    pub fn new(options: SlowScoreOptions) -> Self {
        Self {
            options,
            score: FAST,
            looked_at: MonotonicTime::default(),
            ended: 0,
            ended_slow: 0,
            under_way: Vec::new(),
        }
    }

    /// What counts as slow from now on.
    pub fn set_options(&mut self, options: SlowScoreOptions) {
        self.options = options;
    }

    /// A write begins.
    pub fn begin(&mut self, now: MonotonicTime) {
        self.under_way.push(now);
    }

    /// A write that began at this moment has ended.
    pub fn end(&mut self, begun: MonotonicTime, now: MonotonicTime) {
        let mut under_way = self.under_way.iter();
        let at = under_way.position(|other| *other == begun);
        self.under_way.swap_remove(at.expect("it has begun"));
        self.ended += 1;
        self.ended_slow += u64::from(self.took_too_long(begun, now));
    }

    /// To be called about once a second. Says whether the score has risen.
    pub fn look(&mut self, now: MonotonicTime) -> bool {
        let passed = std::mem::replace(&mut self.looked_at, now).until(now);
        let hang = |begun: &&MonotonicTime| self.took_too_long(**begun, now);
        let hanging = self.under_way.iter().filter(hang).count() as u64;
        let slow = std::mem::take(&mut self.ended_slow) + hanging;
        let all = std::mem::take(&mut self.ended) + hanging;
        let before = self.score;
        if slow > 0 && slow * 100 >= all * self.options.slow_percent {
            self.score = (self.score * FACTOR).min(SLOWEST);
        } else {
            let range = u128::from(SLOWEST - FAST);
            let sinks = passed.as_nanos() * range / self.options.recovery.as_nanos().max(1);
            let sinks = u64::try_from(sinks).unwrap_or(u64::MAX);
            self.score = self.score.saturating_sub(sinks).max(FAST);
        }
        self.score > before
    }

    /// From 1 to 100.
    pub fn score(&self) -> u64 {
        self.score / 1_000
    }

    fn took_too_long(&self, begun: MonotonicTime, now: MonotonicTime) -> bool {
        begun.until(now) > self.options.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A store that does nothing but write, one write after the other.
    struct Disk {
        score: SlowScore,
        now: MonotonicTime,
        looks_at: MonotonicTime,
    }

    impl Disk {
        fn new() -> Self {
            let now = MonotonicTime::default().after(SECOND);
            let mut score = SlowScore::new(SlowScoreOptions::default());
            score.look(now);
            Self {
                score,
                now,
                looks_at: now.after(SECOND),
            }
        }

        /// Time passes, with a look each second; returns when the score came to this first.
        fn pass(&mut self, time: Duration, wanted: u64) -> Option<Duration> {
            let (begun, end) = (self.now, self.now.after(time));
            let mut found = None;
            while self.looks_at <= end {
                self.score.look(self.looks_at);
                if self.score.score() == wanted && found.is_none() {
                    found = Some(begun.until(self.looks_at));
                }
                self.looks_at = self.looks_at.after(SECOND);
            }
            self.now = end;
            found
        }

        /// Writes for so long, each as long as the next of these; when did the score come to `wanted`?
        fn write(&mut self, time: Duration, writes_ms: &[u64], wanted: u64) -> Option<Duration> {
            let (from, end) = (self.now, self.now.after(time));
            let mut found = None;
            for ms in writes_ms.iter().cycle() {
                let (begun, passed) = (self.now, from.until(self.now));
                if begun >= end {
                    break;
                }
                self.score.begin(begun);
                let at = self.pass(Duration::from_millis(*ms), wanted);
                found = found.or(at.map(|at| passed + at));
                self.score.end(begun, self.now);
            }
            found
        }
    }

    #[test]
    fn a_disk_that_turns_slow_is_found_within_six_seconds() {
        for slow_ms in [600, 1_000, 3_000, 60_000] {
            let mut disk = Disk::new();
            disk.write(60 * SECOND, &[20], 1);
            assert_eq!(disk.score.score(), 1);
            let found = disk.write(20 * SECOND, &[slow_ms], 100);
            assert!(
                found.is_some_and(|time| time <= 6 * SECOND),
                "{slow_ms}: {found:?}"
            );
        }
    }

    #[test]
    fn a_disk_that_hesitates_now_and_then_is_not_slow() {
        let mut disk = Disk::new();
        let mut mostly_fast = vec![20; 3_000];
        mostly_fast.push(900);
        disk.write(601 * SECOND, &mostly_fast, 1);
        assert!(disk.score.score() <= 9, "{}", disk.score.score());
        // Many at once, of which few are slow.
        let mut score = SlowScore::new(SlowScoreOptions::default());
        let now = MonotonicTime::default().after(SECOND);
        for write in 0..100u64 {
            score.begin(now);
            let ms = if write < 9 { 600 } else { 10 };
            score.end(now, now.after(Duration::from_millis(ms)));
        }
        assert!(!score.look(now.after(SECOND)));
    }

    #[test]
    fn a_disk_that_recovers_is_fast_after_minutes_whether_it_is_written_to_or_not() {
        for is_idle in [false, true] {
            let mut disk = Disk::new();
            disk.write(20 * SECOND, &[1_000], 100);
            assert_eq!(disk.score.score(), 100);
            let recovery = 310 * SECOND;
            let found = match is_idle {
                true => disk.pass(recovery, 1),
                false => disk.write(recovery, &[20], 1),
            };
            let found = found.expect("it recovers");
            assert!((295 * SECOND..=302 * SECOND).contains(&found), "{found:?}");
        }
    }

    #[test]
    fn each_rise_is_said_and_nothing_else() {
        let mut score = SlowScore::new(SlowScoreOptions::default());
        let at = |s: u64| MonotonicTime::default().after(SECOND * s as u32);
        score.begin(at(1));
        let rises: Vec<bool> = (2..9).map(|second| score.look(at(second))).collect();
        assert_eq!(rises, [true, true, true, true, true, false, false]);
        assert_eq!(score.score(), 100);
        score.end(at(1), at(9));
        assert!(!score.look(at(9)), "the worst is the worst");
        assert!(!score.look(at(10)));
        assert_eq!(score.score(), 99);
    }
}
