//! Random worlds: elections, stale leaders, crashes, lost and late writes, clocks that jump.
//!
//! The world's own checks (see `common`) are the properties: timestamps strictly increase, ids are
//! unique, what was promised is persisted, every request gets one answer.

mod common;

use common::*;
use placement::*;
use proptest::prelude::*;
use types::StoreId;

#[derive(Clone, Copy, Debug)]
enum Op {
    Elect(usize),
    Win(usize),
    Load(usize),
    Depose(usize),
    Crash(usize),
    Tso(usize, u32),
    AllocId(usize),
    PutStore(usize, u64, u64),
    SafePoint(usize, u64),
    Heartbeat(usize, u64, u8, u8, u64),
    Drain(usize, u64),
    CancelDrain(usize, u64),
    Set(usize, u64),
    AskSplit(usize, u64, u32),
    Persist(usize, u8),
    Acknowledge(usize),
    Confirm(usize),
    Advance(usize, u64),
    Jump(usize, i64),
}

fn op() -> impl Strategy<Value = Op> {
    let node = || 0usize..3;
    prop_oneof![
        2 => node().prop_map(Op::Elect),
        1 => node().prop_map(Op::Win),
        2 => node().prop_map(Op::Load),
        1 => node().prop_map(Op::Depose),
        1 => node().prop_map(Op::Crash),
        6 => (node(), prop_oneof![Just(1u32), 1u32..5_000, Just(1 << 18)])
            .prop_map(|(at, count)| Op::Tso(at, count)),
        3 => node().prop_map(Op::AllocId),
        2 => (node(), 1u64..6, 1u64..6).prop_map(|(at, id, port)| Op::PutStore(at, id, port)),
        1 => (node(), 0u64..50).prop_map(|(at, safe_point)| Op::SafePoint(at, safe_point)),
        4 => (node(), 2u64..6, 0u8..5, 0u8..5, 1u64..6)
            .prop_map(|(at, id, start, end, version)| Op::Heartbeat(at, id, start, end, version)),
        1 => (node(), 1u64..6).prop_map(|(at, id)| Op::Drain(at, id)),
        1 => (node(), 1u64..6).prop_map(|(at, id)| Op::CancelDrain(at, id)),
        1 => (node(), 1u64..5).prop_map(|(at, value)| Op::Set(at, value)),
        2 => (node(), 2u64..6, 1u32..9).prop_map(|(at, id, parts)| Op::AskSplit(at, id, parts)),
        9 => (node(), 0u8..6).prop_map(|(at, outcome)| Op::Persist(at, outcome)),
        4 => node().prop_map(Op::Acknowledge),
        6 => node().prop_map(Op::Confirm),
        3 => (node(), 0u64..2_500).prop_map(|(at, ms)| Op::Advance(at, ms)),
        1 => (node(), -10_000i64..10_000).prop_map(|(at, ms)| Op::Jump(at, ms)),
    ]
}

/// A config whose windows are small, so that they are used up often.
fn small_config() -> Config {
    let mut config = config();
    config.tso_window_ms = 40;
    config.id_step = 3;
    config.write_bytes_max = 300;
    config
}

fn control(world: &mut World, at: usize, control: Control) {
    world.ask(at, Request::Control(Box::new(control)));
}

fn run(world: &mut World, op: Op) {
    let key = |at: u8| if at == 0 { vec![] } else { vec![at] };
    match op {
        Op::Elect(at) => world.elect(at),
        Op::Win(at) => world.win(at),
        Op::Load(at) => world.load(at),
        Op::Depose(at) => world.depose(at),
        Op::Crash(at) => world.crash(at),
        Op::Tso(at, count) => _ = world.ask(at, Request::Tso { count }),
        Op::AllocId(at) => _ = world.ask(at, Request::AllocId),
        Op::PutStore(at, id, port) => {
            let store = Store {
                address: format!("s:{port}"),
                ..store(id)
            };
            world.ask(at, Request::PutStore(store));
        }
        Op::SafePoint(at, safe_point) => {
            world.ask(at, Request::UpdateGcSafePoint { safe_point });
        }
        Op::Heartbeat(at, id, start, end, version) => {
            let region = region(id, &key(start), &key(end), version);
            world.ask(at, heartbeat(&region, 0, version));
        }
        Op::Drain(at, id) => {
            let store_id = StoreId(id);
            control(world, at, Control::DrainStore { store_id });
        }
        Op::CancelDrain(at, id) => {
            let store_id = StoreId(id);
            control(world, at, Control::CancelDrain { store_id });
        }
        Op::Set(at, value) => {
            let pair = ("max-replicas".to_string(), value.to_string());
            control(world, at, Control::SetSettings(vec![pair]));
        }
        Op::AskSplit(at, id, parts) => {
            let region = region(id, b"", b"", 5);
            control(world, at, Control::AskBatchSplit { region, parts });
        }
        Op::Persist(at, outcome) => world.persist(
            at,
            match outcome {
                0 => Outcome::Lost,
                1 => Outcome::Undetermined,
                2 => Outcome::CommittedLate,
                _ => Outcome::Committed,
            },
        ),
        Op::Acknowledge(at) => world.acknowledge(at),
        Op::Confirm(at) => world.confirm(at),
        Op::Advance(at, ms) => world.advance(at, ms),
        Op::Jump(at, ms) => world.jump(at, ms),
    }
}

/// After all that, one leader serves, and what it serves is in order.
fn heal(world: &mut World) {
    for at in 0..3 {
        world.depose(at);
    }
    assert_eq!(world.unanswered(), 0);
    world.elect(1);
    world.settle();
    for _ in 0..5 {
        world.id(1);
        world.timestamps(1, 1_000);
    }
    let Ok(Response::Stores(stores)) = world.call(1, Request::GetAllStores) else {
        panic!("the stores can't be read");
    };
    let mut addresses: Vec<&str> = stores
        .iter()
        .map(|view| view.store.address.as_str())
        .collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), stores.len(), "two stores have one address");
    let scan = Request::ScanRegions {
        start: vec![],
        end: vec![],
        limit: 0,
    };
    let Ok(Response::Regions(regions)) = world.call(1, scan) else {
        panic!("the Regions can't be read");
    };
    for pair in regions.windows(2) {
        assert!(pair[0].region.range.end <= pair[1].region.range.start);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_promised_is_broken_by_elections_crashes_and_clock_jumps(
        ops in proptest::collection::vec(op(), 1..150)
    ) {
        let mut world = World::with_config(3, small_config());
        world.elect(0);
        world.settle();
        for op in ops {
            run(&mut world, op);
        }
        heal(&mut world);
    }

    #[test]
    fn arbitrary_first_writes_of_a_cluster_may_fail(
        ops in proptest::collection::vec(op(), 1..40)
    ) {
        let mut world = World::with_config(3, small_config());
        for op in ops {
            run(&mut world, op);
        }
        heal(&mut world);
    }
}
