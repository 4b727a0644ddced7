//! Where a Region that is read too much is to be cut: by what it is asked for, not by what it holds.
//!
//! **Why reads only.** Parts of a Region can be read side by side, on several stores. Writes gain little: each
//! Region writes an entry of its own and sends messages of its own, which one Region does for many writes at
//! once; and what they add is cut for its size. TiKV counts reads only, too (`AutoSplitController`).
//!
//! **How.** A Region over a limit is watched: of each stretch of time a few of its requests are drawn, each
//! as likely as any other ([`Sample`]). Once it has been over a limit for long enough without a break, the
//! cut is the key that leaves about as many of the drawn requests on both sides, and few on both at once. If
//! there is none (one key is all that is asked for, or every request is for everything) a cut would not help,
//! and the watch begins anew.
//!
//! **Invariants.** Requests lie on both sides of a cut. A Region that is not over a limit costs nothing here.
//!
//! **Not here.** Counting and drawing (`node::traffic`), and doing the cut. Requests count alike, whatever they
//! cost: a Region that is over the limit in bytes is cut where its requests are halved.

use std::collections::BTreeMap;
use std::time::Duration;
use types::RegionId;

/// When a Region is read too much. Names and defaults follow TiKV's `split` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadLimits {
    /// More requests a second are too many.
    pub qps: u64,
    /// More bytes a second are too many.
    pub bytes: u64,
    /// More time of threads a second is too much.
    pub cpu: Duration,
    /// A Region must have been over a limit for so long.
    pub patience: Duration,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self {
            qps: 3_000,
            bytes: 30 << 20,
            cpu: Duration::from_millis(250),
            patience: Duration::from_secs(10),
        }
    }
}

impl LoadLimits {
    /// Whether this is too much, for a stretch of time of this length.
    pub fn are_exceeded_by(&self, load: &Load, length: Duration) -> bool {
        let a_second = |amount: u128| amount * 1_000_000_000 / length.as_nanos().max(1);
        a_second(load.requests.into()) > self.qps.into()
            || a_second(load.bytes.into()) > self.bytes.into()
            || a_second(load.busy.as_nanos()) > self.cpu.as_nanos()
    }
}

/// What was read of a Region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How often.
    pub requests: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Time of threads.
    pub busy: Duration,
}

/// The keys that one request is about, as Regions hold keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: Vec<u8>,
    /// The last; empty for the Region's end.
    pub last: Vec<u8>,
}

/// The most requests that are drawn of one stretch of time.
const DRAWN_MAX: usize = 20;
/// With fewer nothing is decided.
const DRAWN_MIN: usize = 20;
/// What the sides of a cut may differ by, as a part of what lies on one side only.
const UNEVEN_PERCENT_MAX: usize = 25;
/// What may lie on both sides of it at once, as a part of all.
const STRADDLING_PERCENT_MAX: usize = 50;

/// Requests that are drawn as they come, without knowing how many there will be (Vitter's algorithm R).
#[derive(Debug)]
pub struct Sample {
    spans: Vec<Span>,
    offered: u64,
    dice: u64,
}

impl Sample {
    /// Draws by this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            spans: Vec::new(),
            offered: 0,
            dice: seed,
        }
    }

    /// A request, with the first and the last of its keys.
    pub fn offer(&mut self, first: &[u8], last: &[u8]) {
        self.offered += 1;
        let place = match self.spans.len() {
            DRAWN_MAX => self.roll(),
            drawn => drawn,
        };
        if place >= DRAWN_MAX {
            return;
        }
        let span = Span {
            first: first.to_vec(),
            last: last.to_vec(),
        };
        match self.spans.get_mut(place) {
            Some(replaced) => *replaced = span,
            None => self.spans.push(span),
        }
    }

    /// What was drawn since this was asked last.
    pub fn take(&mut self) -> Vec<Span> {
        self.offered = 0;
        std::mem::take(&mut self.spans)
    }

    /// A number below that of the requests (SplitMix64).
    fn roll(&mut self) -> usize {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % self.offered).unwrap_or(usize::MAX)
    }
}

/// The Regions of one store that are watched.
#[derive(Debug)]
pub struct LoadSplits {
    limits: LoadLimits,
    watched: BTreeMap<RegionId, Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    /// For how long it has been over a limit.
    length: Duration,
    spans: Vec<Span>,
}

impl LoadSplits {
    /// Nothing is watched.
    pub fn new(limits: LoadLimits) -> Self {
        Self {
            limits,
            watched: BTreeMap::new(),
        }
    }

    /// What is too much from now on. What is watched stays watched.
    pub fn set_limits(&mut self, limits: LoadLimits) {
        self.limits = limits;
    }

    /// A stretch of time is over, in which these Regions were over a limit and no others; with what was drawn
    /// of each. Returns those that are to be cut, and where.
    pub fn look(
        &mut self,
        length: Duration,
        exceeding: Vec<(RegionId, Vec<Span>)>,
    ) -> Vec<(RegionId, Vec<u8>)> {
        let mut watched = std::mem::take(&mut self.watched);
        let mut cuts = Vec::new();
        for (region, spans) in exceeding {
            let mut watch = watched.remove(&region).unwrap_or_default();
            watch.length += length;
            watch.spans.extend(spans);
            if watch.length >= self.limits.patience && watch.spans.len() >= DRAWN_MIN {
                cuts.extend(even_cut(&watch.spans).map(|cut| (region, cut)));
                watch = Watch::default();
            }
            self.watched.insert(region, watch);
        }
        cuts
    }
}

/// The key that divides the requests evenly, if one does.
fn even_cut(spans: &[Span]) -> Option<Vec<u8>> {
    let mut firsts: Vec<&[u8]> = spans.iter().map(|span| &span.first[..]).collect();
    let ends = spans.iter().filter(|span| !span.last.is_empty());
    let mut lasts: Vec<&[u8]> = ends.map(|span| &span.last[..]).collect();
    firsts.sort_unstable();
    lasts.sort_unstable();
    let cost = |cut: &&[u8]| {
        let left = lasts.partition_point(|last| last < cut);
        let right = spans.len() - firsts.partition_point(|first| first < cut);
        let straddling = spans.len() - left - right;
        let is_even = left.abs_diff(right) * 100 <= (left + right) * UNEVEN_PERCENT_MAX;
        let is_clean = straddling * 100 <= spans.len() * STRADDLING_PERCENT_MAX;
        let divides = left > 0 && right > 0;
        (divides && is_even && is_clean).then_some(left.max(right) + straddling)
    };
    let mut candidates = firsts.clone();
    candidates.dedup();
    let costs = candidates
        .into_iter()
        .filter_map(|cut| Some((cost(&cut)?, cut)));
    costs.min().map(|(_, cut)| cut.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionId = RegionId(2);
    const SECOND: Duration = Duration::from_secs(1);

    fn point(key: u8) -> (Vec<u8>, Vec<u8>) {
        (vec![key], vec![key])
    }

    /// What comes of `seconds` in which the Region is over a limit and is asked for these keys.
    fn hot(
        splits: &mut LoadSplits,
        seconds: u64,
        requests: &[(Vec<u8>, Vec<u8>)],
    ) -> Vec<(u64, Vec<u8>)> {
        let mut sample = Sample::new(7);
        let mut cuts = Vec::new();
        for second in 1..=seconds {
            requests
                .iter()
                .for_each(|(first, last)| sample.offer(first, last));
            let found = splits.look(SECOND, vec![(REGION, sample.take())]);
            cuts.extend(found.into_iter().map(|(_, cut)| (second, cut)));
        }
        cuts
    }

    fn splits() -> LoadSplits {
        LoadSplits::new(LoadLimits::default())
    }

    #[test]
    fn each_limit_is_one_of_its_own_and_counts_by_the_second() {
        let limits = LoadLimits::default();
        let most = Load {
            requests: 3_000,
            bytes: 30 << 20,
            busy: Duration::from_millis(250),
        };
        assert!(!limits.are_exceeded_by(&most, SECOND));
        assert!(limits.are_exceeded_by(&most, SECOND / 2));
        let mut more = [most; 3];
        more[0].requests += 1;
        more[1].bytes += 1;
        more[2].busy += Duration::from_nanos(1);
        for load in more {
            assert!(limits.are_exceeded_by(&load, SECOND));
            assert!(!limits.are_exceeded_by(&load, 2 * SECOND));
        }
        assert!(!limits.are_exceeded_by(&Load::default(), Duration::ZERO));
    }

    #[test]
    fn a_region_that_stays_hot_is_cut_in_the_middle_of_its_requests_and_not_of_its_keys() {
        let requests: Vec<_> = (0..4_000u32).map(|n| point((200 + n % 50) as u8)).collect();
        let cuts = hot(&mut splits(), 19, &requests);
        assert_eq!(cuts.len(), 1, "one in ten seconds");
        let (second, cut) = &cuts[0];
        assert_eq!(*second, 10);
        assert!((215..=235).contains(&cut[0]), "{cut:?}");
    }

    #[test]
    fn a_pause_begins_the_watch_anew() {
        let requests: Vec<_> = (0..100u8).map(point).collect();
        let mut splits = splits();
        assert!(hot(&mut splits, 9, &requests).is_empty());
        assert!(splits.look(SECOND, vec![]).is_empty());
        assert!(splits.watched.is_empty());
        assert!(hot(&mut splits, 9, &requests).is_empty());
        assert_eq!(hot(&mut splits, 1, &requests).len(), 1);
    }

    #[test]
    fn one_hot_key_is_not_cut_and_two_are() {
        let one = vec![point(9); 500];
        assert!(hot(&mut splits(), 30, &one).is_empty());
        let mut both = one.clone();
        both.extend(vec![point(7); 500]);
        assert_eq!(hot(&mut splits(), 10, &both), [(10, vec![9])]);
        let mut mostly_one = one;
        mostly_one.extend(vec![point(7); 100]);
        assert!(hot(&mut splits(), 30, &mostly_one).is_empty());
    }

    #[test]
    fn scans_are_cut_between_and_not_through_where_that_can_be() {
        let scan = |first: u8, last: u8| (vec![first], vec![last]);
        let mut scans = vec![scan(10, 19); 40];
        scans.extend(vec![scan(20, 29); 40]);
        scans.extend((10..30).map(point));
        assert_eq!(hot(&mut splits(), 10, &scans), [(10, vec![20])]);
    }

    #[test]
    fn scans_of_everything_are_not_cut() {
        let all = vec![(vec![], vec![]); 100];
        assert!(hot(&mut splits(), 30, &all).is_empty());
        let to_the_end: Vec<_> = (0..100u8).map(|first| (vec![first], vec![])).collect();
        assert!(hot(&mut splits(), 30, &to_the_end).is_empty());
    }

    #[test]
    fn few_heavy_requests_are_waited_for_until_there_are_enough() {
        let cuts = hot(&mut splits(), 20, &[point(3)]);
        assert!(cuts.is_empty());
        let mut splits = splits();
        let keys = |second: u8| vec![point(second % 2)];
        let cut = (0..30).find_map(|second| hot(&mut splits, 1, &keys(second)).pop());
        assert_eq!(cut, Some((1, vec![1])), "of twenty requests");
    }

    #[test]
    fn every_request_is_as_likely_to_be_drawn() {
        let mut drawn = [0u32; 100];
        let mut sample = Sample::new(1);
        for _ in 0..2_000 {
            (0..100u8).for_each(|key| sample.offer(&[key], &[key]));
            for span in sample.take() {
                drawn[usize::from(span.first[0])] += 1;
            }
        }
        // 400 on average, and 18 is the standard deviation.
        assert!(
            drawn.iter().all(|times| (310..490).contains(times)),
            "{drawn:?}"
        );
    }
}
