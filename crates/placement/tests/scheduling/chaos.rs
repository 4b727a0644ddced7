//! Everything at random: stores that die, join, are drained and come back, Regions that split and
//! empty, placement leaders that are replaced, instructions that are lost.
//!
//! The fleet's own checks at each instruction are the properties; afterwards, everything is repaired.

use crate::fleet::*;
use placement::*;
use proptest::prelude::*;
use types::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    Run(u64),
    Kill(usize),
    Revive,
    Join,
    Drain(usize),
    CancelDrain(usize),
    Elect(bool),
    Lose(bool),
    CopyIn(u64),
    Split(usize, u8),
    Resize(usize, u64),
    Replicas(u64),
    Shuffle(bool),
    Joint(bool),
    Cancel(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (1u64..200).prop_map(|s| Op::Run(s * 1_000)),
        2 => any::<usize>().prop_map(Op::Kill),
        2 => Just(Op::Revive),
        2 => Just(Op::Join),
        1 => any::<usize>().prop_map(Op::Drain),
        1 => any::<usize>().prop_map(Op::CancelDrain),
        1 => any::<bool>().prop_map(Op::Elect),
        1 => any::<bool>().prop_map(Op::Lose),
        1 => (50u64..100_000).prop_map(Op::CopyIn),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(at, key)| Op::Split(at, key)),
        3 => (any::<usize>(), 0u64..200).prop_map(|(at, mib)| Op::Resize(at, mib)),
        1 => prop_oneof![Just(1u64), Just(3), Just(5)].prop_map(Op::Replicas),
        1 => any::<bool>().prop_map(Op::Shuffle),
        1 => any::<bool>().prop_map(Op::Joint),
        1 => any::<usize>().prop_map(Op::Cancel),
    ]
}

fn nth<T: Copy>(items: impl Iterator<Item = T>, at: usize) -> T {
    let items: Vec<T> = items.collect();
    items[at % items.len()]
}

fn dead(fleet: &Fleet) -> Vec<StoreId> {
    let dead = fleet.stores.iter().filter(|(_, store)| !store.is_alive);
    dead.map(|(id, _)| *id).collect()
}

fn revive(fleet: &mut Fleet) {
    for id in dead(fleet) {
        fleet.stores.get_mut(&id).unwrap().is_alive = true;
        // One that has left stays away.
        let _ = fleet.register(id);
    }
}

fn shuffle(fleet: &mut Fleet, runs: bool) {
    for name in [SchedulerName::ShuffleLeader, SchedulerName::ShuffleRegion] {
        let control = match runs {
            true => Control::AddScheduler(name),
            false => Control::RemoveScheduler(name),
        };
        // It may not run.
        let _ = fleet.control(control);
    }
}

fn run(fleet: &mut Fleet, op: Op) {
    let store = |fleet: &Fleet, at| nth(fleet.stores.keys().copied(), at);
    let region = |fleet: &Fleet, at| nth(fleet.regions.keys().copied(), at);
    match op {
        Op::Run(ms) => fleet.run(ms),
        // One at a time, so that every Region has a leader.
        Op::Kill(at) if dead(fleet).is_empty() => {
            let id = store(fleet, at);
            fleet.kill(id);
        }
        Op::Kill(_) | Op::Revive => revive(fleet),
        Op::Join => _ = fleet.join(),
        Op::Drain(at) => {
            let store_id = store(fleet, at);
            // It may be refused.
            let _ = fleet.control(Control::DrainStore { store_id });
        }
        Op::CancelDrain(at) => {
            let store_id = store(fleet, at);
            let _ = fleet.control(Control::CancelDrain { store_id });
        }
        Op::Elect(true) => fleet.elect(),
        Op::Elect(false) => fleet.elect_silently(),
        Op::Lose(loses) => fleet.hears_at_once = !loses,
        Op::CopyIn(ms) => fleet.copy_ms = ms,
        Op::Split(at, key) => {
            let id = region(fleet, at);
            let key = [&fleet.regions[&id].region.range.start[..], &[key]].concat();
            let range = &fleet.regions[&id].region.range;
            if range.contains(&key) && fleet.is_reported(id) {
                fleet.split(id, &[key]);
            }
        }
        Op::Resize(at, mib) => {
            let id = region(fleet, at);
            fleet.regions.get_mut(&id).unwrap().size_bytes = mib * MIB;
        }
        Op::Replicas(replicas) => fleet.set("max-replicas", &replicas.to_string()),
        Op::Shuffle(runs) => shuffle(fleet, runs),
        Op::Joint(is_on) => fleet.set("enable-joint-consensus", &is_on.to_string()),
        Op::Cancel(at) => {
            let region_id = region(fleet, at);
            let _ = fleet.control(Control::CancelOperator { region_id });
        }
    }
    fleet.placement.check_invariants();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_region_is_repaired_and_balance_comes_to_rest(
        ops in proptest::collection::vec(op(), 1..60)
    ) {
        let plan = Plan { stores: 4, regions: 12, ..Plan::default() };
        let mut fleet = Fleet::with(&plan, |settings| {
            settings.merge_schedule_limit = 8;
            settings.split_merge_interval_ms = 60_000;
            settings.store_down_ms = 300_000;
        });
        for op in ops {
            run(&mut fleet, op);
        }
        revive(&mut fleet);
        shuffle(&mut fleet, false);
        // There have to be enough that are not drained.
        for _ in 0..3 {
            fleet.join();
        }
        fleet.set("max-replicas", "3");
        fleet.copy_ms = 1_000;
        fleet.settle(400_000, 24 * 3_600_000);
        fleet.assert_replicated(3);
        fleet.placement.check_invariants();
    }
}
