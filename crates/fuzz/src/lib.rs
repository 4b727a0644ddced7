//! Fuzzing for the tests of the other crates: a [`Target`] feeds one decoder with damaged inputs for a
//! number of rounds, or for a time, and says which input broke it.
//!
//! **Why our own.** Fuzzers that learn from coverage need a nightly compiler, and without coverage they
//! only draw random bytes, which no decoder with a magic number lets past its first line. Here inputs
//! are *mutated from valid ones*, and an input with an outcome that was not seen before (another error,
//! another number of parts) becomes one to mutate further.
//!
//! **How to run.** With every `cargo test`, some thousand inputs a target; `FUZZ_SECONDS=60` makes it that
//! long a target (`make fuzz`), and `FUZZ_SEED` repeats a run. Inputs that broke something once are kept
//! in the crate's `corpus` folder and come first each time.
//!
//! **Invariants.** The same seed makes the same inputs. A failure names the target and shows the input in
//! the form in which the corpus keeps it.
//!
//! **Not here.** What a decoder promises: each target says it. No crate links this outside of its tests.

mod alloc;
mod corpus;
mod mutate;
mod rng;
mod target;

pub use alloc::{Counting, held, peak_of};
pub use corpus::{from_hex, to_hex};
pub use mutate::mutate;
pub use rng::Rng;
pub use target::Target;
