//! How engines store a Region's hard state and apply state: a version byte and big-endian numbers.
//!
//! **Why here.** Two engines store them, and logs move between these; one encoding serves both.
//!
//! **Invariants.** `decode(encode(x)) == x`; decoding never panics, whatever the bytes.
//!
//! **Not here.** Entries: each engine has a format of its own for them.

use types::{ApplyState, HardState, PeerId};

const VERSION: u8 = 1;

/// The bytes of a hard state.
pub fn encode_hard_state(state: &HardState) -> Vec<u8> {
    encode(&[state.term, state.vote.get(), state.commit])
}

/// The hard state in `bytes`; none if they aren't one.
pub fn decode_hard_state(bytes: &[u8]) -> Option<HardState> {
    let [term, vote, commit] = decode(bytes)?;
    Some(HardState {
        term,
        vote: PeerId(vote),
        commit,
    })
}

/// The bytes of an apply state.
pub fn encode_apply_state(state: &ApplyState) -> Vec<u8> {
    encode(&[
        state.applied_index,
        state.applied_term,
        state.truncated_index,
        state.truncated_term,
    ])
}

/// The apply state in `bytes`; none if they aren't one.
pub fn decode_apply_state(bytes: &[u8]) -> Option<ApplyState> {
    let [applied_index, applied_term, truncated_index, truncated_term] = decode(bytes)?;
    Some(ApplyState {
        applied_index,
        applied_term,
        truncated_index,
        truncated_term,
    })
}

fn encode(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + 8 * numbers.len());
    bytes.push(VERSION);
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn decode<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION || rest.len() != 8 * N {
        return None;
    }
    let mut numbers = [0; N];
    for (number, chunk) in numbers.iter_mut().zip(rest.chunks_exact(8)) {
        *number = u64::from_be_bytes(chunk.try_into().ok()?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_as_they_were_encoded() {
        let hard = HardState {
            term: 1,
            vote: PeerId(u64::MAX),
            commit: 3,
        };
        assert_eq!(decode_hard_state(&encode_hard_state(&hard)), Some(hard));
        let apply = ApplyState {
            applied_index: 4,
            applied_term: 3,
            truncated_index: 2,
            truncated_term: u64::MAX,
        };
        assert_eq!(decode_apply_state(&encode_apply_state(&apply)), Some(apply));
    }

    #[test]
    fn fuzz_states() {
        let apply = ApplyState {
            applied_index: 4,
            ..ApplyState::default()
        };
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "states")
            .seed(encode_hard_state(&HardState::default()))
            .seed(encode_apply_state(&apply))
            .run(|input| {
                let (hard, apply) = (decode_hard_state(input), decode_apply_state(input));
                if let Some(state) = &hard {
                    assert_eq!(encode_hard_state(state), input);
                }
                if let Some(state) = &apply {
                    assert_eq!(encode_apply_state(state), input);
                }
                (hard.is_some(), apply.is_some(), input.len())
            });
    }

    #[test]
    fn foreign_bytes_are_no_state() {
        let good = encode_hard_state(&HardState::default());
        let mut other_version = good.clone();
        other_version[0] = 2;
        for bytes in [&[][..], &good[1..], &good[..good.len() - 1], &other_version] {
            assert_eq!(decode_hard_state(bytes), None);
        }
        assert_eq!(decode_apply_state(&good), None);
    }
}
