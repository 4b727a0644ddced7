//! Placement at scale, with simulated stores: how long balance takes, how many moves, and what a
//! heartbeat costs.
//!
//! `cargo run --release -p placement --example scale -- --stores 100 --regions 1000000`
//!
//! A half of the Regions begins on a tenth of the stores; later one store is killed and replaced. Time is
//! simulated but for what is measured of this process.

#![allow(
    clippy::disallowed_methods,
    reason = "what is measured is this process, not the driver's time"
)]

#[path = "../tests/common/fleet.rs"]
mod fleet;

use fleet::*;
use std::time::Instant;
use types::*;

fn main() {
    let (stores, regions) = arguments();
    let memory_before = resident_bytes();
    let mut fleet = load(stores, regions);
    balance(&mut fleet, regions * 3 / stores);
    rest(&mut fleet);
    fleet.kill(StoreId(stores / 2));
    let took_ms = fleet.settle(420_000, 48 * 3_600_000);
    fleet.assert_replicated(3);
    let took = minutes(took_ms);
    println!("a dead store is replaced after {took:.1} min, its time-out of 5 included");
    let memory = resident_bytes().saturating_sub(memory_before);
    println!(
        "memory: {} bytes a Region, of which the simulated stores have about a half",
        memory / regions
    );
}

fn minutes(ms: u64) -> f64 {
    ms as f64 / 60_000.0
}

fn load(stores: u64, regions: u64) -> Fleet {
    let began = Instant::now();
    let plan = Plan {
        stores,
        regions,
        places: |at| {
            let (stores, first) = if at % 2 == 0 {
                (10, at / 2)
            } else {
                (100, at * 7)
            };
            (0..3).map(|nth| (first + nth) % stores + 1).collect()
        },
        ..Plan::default()
    };
    // What a minute may move has to grow with what there is to move.
    let per_minute = (regions * 3 / stores / 10).max(15);
    let fleet = Fleet::with(&plan, |settings| {
        settings.store_limit_add_peer = per_minute;
        settings.store_limit_remove_peer = per_minute * 10;
        settings.leader_schedule_limit = 256;
        settings.replica_schedule_limit = 4_096;
        settings.store_down_ms = 300_000;
    });
    println!(
        "{regions} Regions on {stores} stores, loaded in {:.1} s; {per_minute} replicas a minute and store",
        began.elapsed().as_secs_f64()
    );
    fleet
}

fn balance(fleet: &mut Fleet, mean: u64) {
    let replicas = fleet.replicas();
    let ideal: u64 = replicas
        .values()
        .map(|count| count.saturating_sub(mean))
        .sum();
    let began = Instant::now();
    let took_ms = fleet.settle(120_000, 48 * 3_600_000);
    let moves = fleet.done.replicas_added;
    println!(
        "balance after {:.1} min of simulated time ({:.1} s here)",
        minutes(took_ms),
        began.elapsed().as_secs_f64()
    );
    let ratio = moves as f64 / ideal.max(1) as f64;
    println!("moves: {moves}, ideal {ideal} ({ratio:.3} of it)");
    println!(
        "replicas a store: {:?}",
        spread(&fleet.replicas(), |_| true)
    );
    println!("leaders a store: {:?}", spread(&fleet.leaders(), |_| true));
}

fn rest(fleet: &mut Fleet) {
    let before = fleet.done;
    let began = Instant::now();
    fleet.run(120_000);
    let heartbeats = fleet.done.heartbeats - before.heartbeats;
    let each_us = began.elapsed().as_secs_f64() * 1e6 / heartbeats as f64;
    println!(
        "at rest: {heartbeats} heartbeats in two minutes, {each_us:.2} µs each with the simulated store's part"
    );
    assert_eq!(
        fleet.done.replicas_added, before.replicas_added,
        "it oscillates"
    );
    assert_eq!(fleet.done.transfers, before.transfers, "it oscillates");
}

fn arguments() -> (u64, u64) {
    let (mut stores, mut regions) = (100, 1_000_000);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let number = arguments.next().and_then(|text| text.parse().ok());
        let number = number.unwrap_or_else(|| panic!("{name} needs a number"));
        match name.as_str() {
            "--stores" => stores = number,
            "--regions" => regions = number,
            _ => panic!("{name} is unknown: --stores N, --regions N"),
        }
    }
    assert!(stores >= 100, "the first Regions are on a hundred stores");
    (stores, regions)
}

/// Memory of this process that is resident; zero where the system does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}
