//! Messages between stores, made at random: the envelope, and in it one of Raft's.
//!
//! **What is left out.** An envelope that is later than what the replica knows is believed: that is how a
//! replica hears of members that joined, and of its own removal. So whoever can speak as a store of the
//! cluster can depose its leaders and end its replicas, in this as in every system of its kind; that is
//! what certificates between stores are for. Here nobody is later.
//!
//! **Not here.** What raftstore refuses (its own tests say it).

use crate::grammar::{Known, put_bytes, put_number};
use fuzz::Rng;

/// `raft_serverpb.RaftMessage`, encoded.
pub fn envelope(rng: &mut Rng, known: &Known) -> Vec<u8> {
    let of = |name: &str| known.numbers[name][0];
    let mut out = Vec::new();
    let region = match rng.below(4) {
        // Placement's own, or one that is not there.
        0 => 1 + rng.below(2) * 900,
        _ => of("region_id"),
    };
    put_number(&mut out, 1, region);
    put_bytes(&mut out, 2, &peer(900 + rng.below(9), 2 + rng.below(9)));
    let (to, store) = match rng.below(8) {
        0 => (rng.below(50), of("store_id")),
        1 => (of("peer_id"), rng.below(4)),
        _ => (of("peer_id"), of("store_id")),
    };
    put_bytes(&mut out, 3, &peer(to, store));
    let mut epoch = Vec::new();
    put_number(&mut epoch, 1, of("conf_ver").saturating_sub(rng.below(2)));
    put_number(&mut epoch, 2, of("version").saturating_sub(rng.below(3)));
    put_bytes(&mut out, 5, &epoch);
    match rng.below(10) {
        0 => put_number(&mut out, 6, 1),
        1 => {
            let mut extra = Vec::new();
            put_number(&mut extra, 1, rng.below(12));
            put_number(&mut extra, 2, number(rng));
            put_bytes(&mut out, 10, &extra);
        }
        _ => put_bytes(&mut out, 4, &message(rng, to)),
    }
    out
}

fn peer(id: u64, store: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, 1, id);
    put_number(&mut out, 2, store);
    out
}

fn number(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => *rng.pick(&[0, u64::MAX / 4, u64::MAX / 4 + 1, u64::MAX]),
        _ => rng.below(100),
    }
}

/// `eraftpb.Message`, encoded.
fn message(rng: &mut Rng, to: u64) -> Vec<u8> {
    const TYPES: u64 = 20;
    let mut out = Vec::new();
    put_number(&mut out, 1, rng.below(TYPES));
    put_number(&mut out, 2, if rng.percent(90) { to } else { number(rng) });
    put_number(&mut out, 3, 900 + rng.below(9));
    let term = number(rng);
    // Term, log term, index, commit, reject, reject hint, request for a snapshot, priorities.
    for field in [4, 5, 6, 8, 10, 11, 13, 14, 15, 16] {
        let number = match rng.below(3) {
            0 => term,
            _ => number(rng),
        };
        if rng.percent(60) {
            put_number(&mut out, field, number);
        }
    }
    for _ in 0..rng.below(4) {
        let mut entry = Vec::new();
        put_number(&mut entry, 1, rng.below(4));
        for field in [2, 3] {
            put_number(&mut entry, field, number(rng));
        }
        let data = rng.index(60);
        put_bytes(&mut entry, 4, &rng.bytes(data));
        put_bytes(&mut out, 7, &entry);
    }
    if rng.percent(20) {
        let data = rng.index(60);
        put_bytes(&mut out, 9, &rng.bytes(data));
    }
    if rng.percent(20) {
        let data = rng.index(80);
        put_bytes(&mut out, 12, &rng.bytes(data));
    }
    out
}
