//! [`Target`]: one decoder under fuzzing.
//!
//! **Not here.** How inputs are damaged (`mutate`).

use crate::{Rng, alloc, corpus, mutate};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Says how long each target runs, instead of [`ROUNDS`].
const SECONDS: &str = "FUZZ_SECONDS";
const SEED: &str = "FUZZ_SEED";
const ROUNDS: u64 = 5_000;
/// The clock is looked at once in so many rounds.
const ROUNDS_A_LOOK: u64 = 64;
/// Inputs that are kept to mutate further.
const POOL_MAX: usize = 512;
const OUTCOMES_MAX: usize = 1 << 14;
const INPUT_BYTES_MAX: usize = 4 << 10;
const ALLOCATED: (usize, usize) = (16 << 10, 64);

/// A decoder to feed.
#[derive(Debug)]
pub struct Target {
    name: &'static str,
    folder: PathBuf,
    pool: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    /// What the decoder may allocate: so much, and a multiple of its input.
    allocated: (usize, usize),
}

impl Target {
    /// Of a crate, whose folder is given as `env!("CARGO_MANIFEST_DIR")`: its corpus of this target is in
    /// `corpus/NAME` there.
    pub fn new(crate_folder: &str, name: &'static str) -> Self {
        Self {
            name,
            folder: PathBuf::from(crate_folder).join("corpus").join(name),
            pool: Vec::new(),
            words: Vec::new(),
            allocated: ALLOCATED,
        }
    }

    /// Adds a valid input, or one that is nearly.
    #[must_use]
    pub fn seed(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.pool.push(input.into());
        self
    }

    /// Adds bytes that mean something to the decoder.
    #[must_use]
    pub fn words<W: AsRef<[u8]>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        let words = words.into_iter().map(|word| word.as_ref().to_vec());
        self.words.extend(words);
        self
    }

    /// Lets the decoder allocate so many bytes, and so many times its input.
    #[must_use]
    pub fn allocates(mut self, bytes: usize, factor: usize) -> Self {
        self.allocated = (bytes, factor);
        self
    }

    /// Feeds `check`, which panics where the decoder breaks a promise, and answers what came out, in as
    /// few words as tell one outcome from another.
    ///
    /// # Panics
    /// `check` did, or it allocated too much.
    pub fn run<O: Hash>(mut self, mut check: impl FnMut(&[u8]) -> O) {
        let seed = Rng::seed_of(SEED);
        let mut rng = Rng::new(seed);
        let mut outcomes = BTreeSet::new();
        let mut peak_bytes = 0;
        let mut feed = |target: &Self, input: &[u8]| {
            let (outcome, bytes) = target.feed(input, seed, &mut check);
            peak_bytes = peak_bytes.max(bytes);
            let is_new = outcomes.len() < OUTCOMES_MAX && outcomes.insert(outcome);
            (is_new, outcomes.len(), peak_bytes)
        };
        self.pool.extend(corpus::load(&self.folder));
        if self.pool.is_empty() {
            self.pool.push(Vec::new());
        }
        for input in &self.pool {
            feed(&self, input);
        }
        let seconds = std::env::var(SECONDS)
            .ok()
            .and_then(|text| text.parse().ok());
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut rounds = 0;
        let mut seen = (false, 0, 0);
        while !is_over(rounds, until) {
            let mut input = rng.pick(&self.pool).clone();
            let other = rng.index(self.pool.len());
            mutate(
                &mut rng,
                &mut input,
                &self.pool[other],
                &self.words,
                INPUT_BYTES_MAX,
            );
            seen = feed(&self, &input);
            if seen.0 {
                self.keep(&mut rng, input);
            }
            rounds += 1;
        }
        if until.is_some() {
            let (_, outcomes, peak_bytes) = seen;
            let name = self.name;
            println!(
                "{name}: {rounds} inputs, {outcomes} outcomes, {peak_bytes} bytes at the most"
            );
        }
    }

    fn keep(&mut self, rng: &mut Rng, input: Vec<u8>) {
        if self.pool.len() < POOL_MAX {
            self.pool.push(input);
        } else {
            let at = rng.index(POOL_MAX);
            self.pool[at] = input;
        }
    }

    fn feed<O: Hash>(
        &self,
        input: &[u8],
        seed: u64,
        check: &mut impl FnMut(&[u8]) -> O,
    ) -> (u64, usize) {
        let fed = catch_unwind(AssertUnwindSafe(|| alloc::peak_of(|| check(input))));
        let (outcome, peak_bytes) = match fed {
            Ok(fed) => fed,
            Err(panic) => {
                self.show(input, seed);
                resume_unwind(panic)
            }
        };
        let (bytes, factor) = self.allocated;
        let allowed = bytes + factor * input.len();
        if peak_bytes > allowed {
            self.show(input, seed);
            panic!(
                "{}: {peak_bytes} bytes allocated for {} bytes of input, {allowed} allowed",
                self.name,
                input.len()
            );
        }
        let mut hasher = DefaultHasher::new();
        outcome.hash(&mut hasher);
        (hasher.finish(), peak_bytes)
    }

    fn show(&self, input: &[u8], seed: u64) {
        eprintln!(
            "fuzz target {} ({SEED}={seed}) breaks on this input; keep it as {}/NAME:\n{}",
            self.name,
            self.folder.display(),
            corpus::to_hex(input)
        );
    }
}

fn is_over(rounds: u64, until: Option<Instant>) -> bool {
    match until {
        None => rounds >= ROUNDS,
        Some(until) => rounds.is_multiple_of(ROUNDS_A_LOOK) && Instant::now() >= until,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::new(env!("CARGO_MANIFEST_DIR"), "none").seed(*b"MAGIC\x03abcdef")
    }

    /// Expects a magic word, a length, and at least so many bytes.
    fn decode(input: &[u8]) -> Result<usize, &'static str> {
        let rest = input.strip_prefix(b"MAGIC").ok_or("no magic")?;
        let (length, rest) = rest.split_first().ok_or("no length")?;
        match rest.len() >= usize::from(*length) {
            true => Ok(usize::from(*length)),
            false => Err("too short"),
        }
    }

    #[test]
    fn valid_inputs_are_mutated_into_every_outcome() {
        let mut seen = BTreeSet::new();
        target().run(|input| {
            let outcome = decode(input);
            seen.insert(outcome.map(|length| length > 3));
            outcome
        });
        let outcomes = [Err("no magic"), Err("no length"), Err("too short")];
        assert!(
            outcomes.iter().all(|outcome| seen.contains(outcome)),
            "{seen:?}"
        );
        assert!(
            seen.contains(&Ok(true)) && seen.contains(&Ok(false)),
            "{seen:?}"
        );
    }

    #[test]
    fn a_panic_of_the_decoder_is_one_of_the_run() {
        let run = || target().run(|input| assert!(decode(input) != Ok(2), "two"));
        assert!(catch_unwind(run).is_err());
    }

    #[test]
    fn an_allocation_that_no_input_explains_ends_the_run() {
        let believes = |input: &[u8]| match input.strip_prefix(b"MAGIC") {
            Some([count, ..]) => {
                Vec::<u64>::with_capacity(usize::from(*count) << 10).capacity() > 0
            }
            _ => false,
        };
        assert!(catch_unwind(|| target().run(believes)).is_err());
    }
}
