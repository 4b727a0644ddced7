//! Where a Region that has grown too large is to be cut: found exactly, by one pass over its keys.
//!
//! Cuts lie one split size apart, so that a Region of many times the size becomes many at once; a rest
//! that would be small stays with the last part (TiKV's size and key checkers work alike).
//!
//! **Not here.** When a Region is worth the pass, and the pass itself (`node`).

/// How large a Region may get, and how large its parts are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitLimits {
    /// A part has about so many bytes of keys and values.
    pub split_bytes: u64,
    /// A Region with fewer is left alone.
    pub max_bytes: u64,
    /// A part has so many keys at the most.
    pub split_keys: u64,
    /// A Region with fewer is left alone.
    pub max_keys: u64,
    /// The most cuts of one pass.
    pub cuts_max: usize,
}

impl Default for SplitLimits {
    fn default() -> Self {
        Self {
            split_bytes: 256 << 20,
            max_bytes: 384 << 20,
            split_keys: 2_560_000,
            max_keys: 3_840_000,
            cuts_max: 10,
        }
    }
}

impl SplitLimits {
    /// Whether a Region of this size is to be cut.
    pub fn are_exceeded_by(&self, size: Size) -> bool {
        size.bytes >= self.max_bytes || size.keys >= self.max_keys
    }
}

/// How much a Region holds, or has been given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Of keys and values.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
}

impl Size {
    /// Counts more.
    pub fn add(&mut self, more: Size) {
        self.bytes += more.bytes;
        self.keys += more.keys;
    }
}

/// What a pass over a Region has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Its size.
    pub size: Size,
    /// Where to cut it, ascending; empty if it is small enough.
    pub cuts: Vec<Vec<u8>>,
}

/// One pass over the keys of a Region, in their order.
#[derive(Debug)]
pub struct Measure {
    limits: SplitLimits,
    size: Size,
    /// Of the part that is open.
    part: Size,
    cuts: Vec<Vec<u8>>,
}

impl Measure {
    /// Before the first key.
    pub fn new(limits: SplitLimits) -> Self {
        Self {
            limits,
            size: Size::default(),
            part: Size::default(),
            cuts: Vec::new(),
        }
    }

    /// The next key, which takes so many bytes with its value.
    pub fn see(&mut self, key: &[u8], bytes: u64) {
        let limits = &self.limits;
        let is_full = self.part.bytes >= limits.split_bytes || self.part.keys >= limits.split_keys;
        if is_full && self.cuts.len() < limits.cuts_max {
            self.cuts.push(key.to_vec());
            self.part = Size::default();
        }
        let one = Size { bytes, keys: 1 };
        self.size.add(one);
        self.part.add(one);
    }

    /// After the last key.
    pub fn finish(mut self) -> Measured {
        let limits = &self.limits;
        if !limits.are_exceeded_by(self.size) {
            self.cuts.clear();
        }
        // What is left of an exceeded Region is worth a part of its own if one more of that size would
        // not have been cut.
        let rest_bytes = limits.max_bytes.saturating_sub(limits.split_bytes);
        let rest_keys = limits.max_keys.saturating_sub(limits.split_keys);
        if self.part.bytes < rest_bytes && self.part.keys < rest_keys && self.cuts.len() > 1 {
            self.cuts.pop();
        }
        Measured {
            size: self.size,
            cuts: self.cuts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SplitLimits = SplitLimits {
        split_bytes: 100,
        max_bytes: 150,
        split_keys: 1_000,
        max_keys: 1_500,
        cuts_max: 4,
    };

    /// Keys of ten bytes each, numbered from 0.
    fn measured(limits: SplitLimits, keys: u64) -> (Size, Vec<u64>) {
        let mut measure = Measure::new(limits);
        for key in 0..keys {
            measure.see(&key.to_be_bytes(), 10);
        }
        let Measured { size, cuts } = measure.finish();
        let number = |cut: Vec<u8>| u64::from_be_bytes(cut.try_into().unwrap());
        (size, cuts.into_iter().map(number).collect())
    }

    #[test]
    fn a_region_below_the_most_is_left_alone() {
        let (size, cuts) = measured(LIMITS, 14);
        assert_eq!(
            size,
            Size {
                bytes: 140,
                keys: 14
            }
        );
        assert!(cuts.is_empty());
    }

    #[test]
    fn cuts_lie_a_split_size_apart_and_a_small_rest_stays() {
        assert_eq!(measured(LIMITS, 15).1, [10]);
        assert_eq!(measured(LIMITS, 23).1, [10]);
        assert_eq!(measured(LIMITS, 25).1, [10, 20]);
        assert_eq!(measured(LIMITS, 1_000).1, [10, 20, 30, 40]);
    }

    #[test]
    fn many_small_keys_are_cut_by_their_number() {
        let limits = SplitLimits {
            split_keys: 7,
            max_keys: 10,
            split_bytes: 1 << 20,
            max_bytes: 1 << 21,
            ..LIMITS
        };
        assert!(measured(limits, 9).1.is_empty());
        assert_eq!(measured(limits, 10).1, [7]);
        assert_eq!(measured(limits, 21).1, [7, 14]);
    }

    #[test]
    fn one_key_larger_than_a_part_is_a_part() {
        let mut measure = Measure::new(LIMITS);
        for key in [b"a", b"b", b"c"] {
            measure.see(key, 500);
        }
        assert_eq!(measure.finish().cuts, [b"b", b"c"]);
    }
}
