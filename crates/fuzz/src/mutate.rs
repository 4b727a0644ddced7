//! Damages an input, in ways that decoders tend to stumble over: lengths and counts that are huge or off
//! by one, pieces that are gone, doubled or from elsewhere, and ends in the middle of something.
//!
//! **Not here.** Whether the outcome is worth keeping (`target`).

use crate::Rng;

/// Numbers at which arithmetic and comparisons change their minds.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64 - 1,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// Changes `input` in one to six ways. `other` is something to take pieces from, `words` are bytes that
/// mean something to the decoder. It gets no longer than `bytes_max`.
pub fn mutate(
    rng: &mut Rng,
    input: &mut Vec<u8>,
    other: &[u8],
    words: &[Vec<u8>],
    bytes_max: usize,
) {
    for _ in 0..=rng.below(6) {
        match rng.below(5) {
            0 | 1 => change_in_place(rng, input),
            2 => take_out(rng, input),
            3 => put_in(rng, input, words),
            _ => splice(rng, input, other),
        }
        input.truncate(bytes_max);
    }
}

fn change_in_place(rng: &mut Rng, input: &mut [u8]) {
    if input.is_empty() {
        return;
    }
    let at = rng.index(input.len());
    match rng.below(5) {
        0 => input[at] ^= 1 << rng.below(8),
        1 => input[at] = rng.number() as u8,
        2 => input[at] = *rng.pick(&NUMBERS) as u8,
        3 => input[at] = input[at].wrapping_add(if rng.percent(50) { 1 } else { u8::MAX }),
        _ => {
            let number = number(rng);
            let end = input.len().min(at + number.len());
            input[at..end].copy_from_slice(&number[..end - at]);
        }
    }
}

/// A number as somebody would write it.
fn number(rng: &mut Rng) -> Vec<u8> {
    let number = *rng.pick(&NUMBERS);
    match rng.below(5) {
        0 => number.to_be_bytes().to_vec(),
        1 => number.to_le_bytes().to_vec(),
        2 => (number as u32).to_be_bytes().to_vec(),
        3 => (number as u32).to_le_bytes().to_vec(),
        _ => varint(number),
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// Where a piece begins and ends.
fn piece(rng: &mut Rng, of: &[u8]) -> (usize, usize) {
    let start = rng.index(of.len() + 1);
    let longest = (of.len() - start).min(1 << rng.below(10));
    (start, start + rng.index(longest + 1))
}

fn take_out(rng: &mut Rng, input: &mut Vec<u8>) {
    let (start, end) = piece(rng, input);
    if rng.percent(40) {
        input.truncate(start);
    } else {
        input.drain(start..end);
    }
}

fn put_in(rng: &mut Rng, input: &mut Vec<u8>, words: &[Vec<u8>]) {
    let at = rng.index(input.len() + 1);
    let new = match rng.below(5) {
        0 => number(rng),
        1 => {
            let count = 1 + rng.index(16);
            rng.bytes(count)
        }
        2 => {
            let (start, end) = piece(rng, input);
            input[start..end].to_vec()
        }
        3 => vec![rng.number() as u8; rng.index(200)],
        _ if words.is_empty() => Vec::new(),
        _ => rng.pick(words).clone(),
    };
    input.splice(at..at, new);
}

fn splice(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let (start, end) = piece(rng, other);
    let at = rng.index(input.len() + 1);
    if rng.percent(50) {
        input.truncate(at);
        input.extend_from_slice(&other[start..]);
    } else {
        input.splice(at..at, other[start..end].iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn inputs_differ_and_never_outgrow_their_bound() {
        let mut rng = Rng::new(5);
        let words = [b"word".to_vec()];
        let mut seen = BTreeSet::new();
        for _ in 0..2_000 {
            let mut input = b"something to begin with".to_vec();
            mutate(&mut rng, &mut input, b"another one", &words, 64);
            assert!(input.len() <= 64);
            seen.insert(input);
        }
        assert!(seen.len() > 1_000, "{}", seen.len());
        assert!(seen.iter().any(|input| input.ends_with(b"word")));
    }

    #[test]
    fn nothing_is_mutated_into_something() {
        let mut rng = Rng::new(6);
        let grown = (0..100).filter(|_| {
            let mut input = Vec::new();
            mutate(&mut rng, &mut input, b"", &[], 64);
            !input.is_empty()
        });
        assert!(grown.count() > 20);
    }
}
