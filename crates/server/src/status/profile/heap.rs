//! Where memory was asked for that is still held: what jemalloc's sampling writes down.
//!
//! **How it is read.** A stack is sampled once in so many bytes on the average, so small objects are seen more
//! rarely than large ones; each stack's bytes are scaled by the chance that they were seen, as `pprof` does it.
//!
//! **Not here.** Calling the allocator: the binary has it.

use super::stacks::{Stacks, functions_at};
use std::collections::BTreeMap;

/// An allocator that knows where memory was asked for.
pub trait HeapProfiler: Send + Sync {
    /// Begins or ends to write that down.
    ///
    /// # Errors
    /// It can't, in words.
    fn activate(&self, is_active: bool) -> Result<(), String>;

    /// What it has written down, in jemalloc's text form. May take a while.
    ///
    /// # Errors
    /// There is nothing, or it can't be read; in words, with what to do.
    fn dump(&self) -> Result<String, String>;
}

/// Reads jemalloc's text form.
///
/// # Errors
/// It is in another form.
pub(super) fn read(dump: &str) -> Result<Stacks, String> {
    let mut lines = dump.lines();
    let head = lines.next().and_then(|line| line.strip_prefix("heap_v2/"));
    let interval = head.and_then(|interval| interval.trim().parse::<u64>().ok());
    let interval = interval.ok_or("the allocator's profile is in a form that is not known")?;
    let mut names = BTreeMap::new();
    let mut stacks = BTreeMap::new();
    let mut stack: Option<Vec<usize>> = None;
    for line in lines.take_while(|line| !line.starts_with("MAPPED_LIBRARIES")) {
        if let Some(addresses) = line.strip_prefix('@') {
            stack = Some(addresses.split_whitespace().filter_map(address).collect());
        } else if let Some(counts) = line.trim_start().strip_prefix("t*:")
            && let Some(addresses) = stack.take()
            && let Some((objects, bytes)) = held(counts)
        {
            let functions = addresses.iter().rev().flat_map(|address| {
                let names = names.entry(*address);
                // The address is that of the return: the call stands before it.
                let names = names.or_insert_with(|| functions_at(address.saturating_sub(1)));
                names.iter().rev().cloned().collect::<Vec<String>>()
            });
            *stacks.entry(functions.collect()).or_default() += scaled(objects, bytes, interval);
        }
    }
    Ok(Stacks {
        kind: ("inuse_space", "bytes"),
        duration_ns: 0,
        period: interval,
        stacks,
    })
}

fn address(text: &str) -> Option<usize> {
    usize::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Objects and bytes of ` 13: 6688 [0: 0]`; none of nothing.
fn held(counts: &str) -> Option<(u64, u64)> {
    let (objects, rest) = counts.split_once(':')?;
    let bytes = rest.split_whitespace().next()?;
    let held = (objects.trim().parse().ok()?, bytes.parse().ok()?);
    (held != (0, 0)).then_some(held)
}

/// What was seen, divided by the chance to see it.
fn scaled(objects: u64, bytes: u64, interval: u64) -> u64 {
    let size = bytes as f64 / objects.max(1) as f64;
    let chance = 1.0 - (-size / interval.max(1) as f64).exp();
    (bytes as f64 / chance.max(f64::EPSILON)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_read_with_their_names_and_scaled_by_their_chance() {
        let place = read as *const () as usize + 1;
        let dump = format!(
            "heap_v2/524288\n  t*: 3: 1114112 [0: 0]\n  t1: 3: 1114112 [0: 0]\n@ {place:#x} 0x2\n  \
             t*: 1: 1048576 [0: 0]\n  t1: 1: 1048576 [0: 0]\n@ 0x2\n  t*: 1: 64 [0: 0]\n@ 0x3\n  \
             t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n@ 0x4\n  t*: 9: 9 [0: 0]\n"
        );
        let found = read(&dump).unwrap();
        let weights: Vec<u64> = found.stacks.values().copied().collect();
        let stacks: Vec<&Vec<String>> = found.stacks.keys().collect();
        assert_eq!(stacks[0], &["0x1"]);
        assert!(stacks[1][0] == "0x1" && stacks[1].last().unwrap().contains("read"));
        // An object of 64 bytes that was seen stands for about 512 KiB of its like.
        assert!((524_000..525_000).contains(&weights[0]), "{weights:?}");
        assert!((1_200_000..1_220_000).contains(&weights[1]), "{weights:?}");
        assert_eq!(stacks.len(), 2);
        assert!(read("heap profile: 1: 2").is_err());
    }
}
