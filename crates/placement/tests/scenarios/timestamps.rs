//! Timestamps and ids.

use crate::common::*;
use placement::*;
use types::*;

const TSO: Request = Request::Tso { count: 1 };

fn limit_ms(world: &World) -> u64 {
    u64::from_be_bytes(world.disk[&b"t"[..]][1..].try_into().unwrap())
}

#[test]
fn no_timestamp_is_taken_before_a_window_is_persisted() {
    let mut world = World::new(1);
    world.elect(0);
    let asked = world.ask(0, TSO);
    assert!(
        world.nodes[0].confirms.is_empty(),
        "nothing was taken, so nothing is to be confirmed"
    );
    world.persist(0, Outcome::Committed);
    assert!(!world.is_answered(asked));
    world.confirm(0);
    assert!(world.is_answered(asked));
}

#[test]
fn a_window_is_saved_three_seconds_ahead() {
    let world = World::settled();
    assert_eq!(limit_ms(&world), world.nodes[0].clock.wall_ms + 3_000);
}

#[test]
fn a_batch_ends_with_its_answer_and_lies_in_one_millisecond() {
    let mut world = World::settled();
    let first = world.timestamps(0, 1);
    let second = world.timestamps(0, 100);
    assert_eq!(second.physical_ms(), world.nodes[0].clock.wall_ms);
    assert_eq!(second.into_u64() - first.into_u64(), 100);
}

#[test]
fn requests_that_wait_share_one_confirmation() {
    let mut world = World::settled();
    let first = world.ask(0, TSO);
    let others: Vec<RequestId> = (0..10).map(|_| world.ask(0, TSO)).collect();
    world.confirm(0);
    assert!(world.is_answered(first));
    assert!(
        others.iter().all(|id| !world.is_answered(*id)),
        "they were asked after the confirmation"
    );
    assert_eq!(world.nodes[0].confirms.len(), 1);
    world.confirm(0);
    assert!(others.iter().all(|id| world.is_answered(*id)));
}

#[test]
fn a_replaced_leader_that_does_not_know_it_answers_no_timestamp() {
    let mut world = World::new(2);
    world.elect(0);
    world.settle();
    world.elect(1);
    world.settle();
    world.timestamps(1, 1);
    assert_eq!(world.call(0, TSO), Err(Error::NotLeader { leader: None }));
}

#[test]
fn a_new_leader_with_a_slow_clock_begins_above_the_old_one() {
    let mut world = World::new(2);
    world.elect(0);
    world.settle();
    let before = world.timestamps(0, 1 << 18);
    world.jump(1, -3_600_000);
    world.elect(1);
    world.settle();
    let after = world.timestamps(1, 1);
    assert!(after > before);
    assert_eq!(after.physical_ms(), world.nodes[0].clock.wall_ms + 3_000);
}

#[test]
fn timestamps_survive_the_loss_of_every_process() {
    let mut world = World::settled();
    let before = world.timestamps(0, 7);
    world.crash(0);
    world.jump(0, -1_000_000);
    world.elect(0);
    world.settle();
    assert!(world.timestamps(0, 1) > before);
}

#[test]
fn a_clock_that_jumps_back_takes_no_timestamp_back() {
    let mut world = World::settled();
    let before = world.timestamps(0, 1);
    world.jump(0, -500_000);
    let after = world.timestamps(0, 1);
    assert_eq!(after.into_u64(), before.into_u64() + 1);
}

#[test]
fn a_clock_that_jumps_forward_is_followed_after_one_write() {
    let mut world = World::settled();
    world.timestamps(0, 1);
    world.jump(0, 3_600_000);
    let asked = world.ask(0, TSO);
    assert!(world.nodes[0].confirms.is_empty());
    assert_eq!(world.nodes[0].writes.len(), 1);
    world.settle();
    assert!(world.is_answered(asked));
    let wall_ms = world.nodes[0].clock.wall_ms;
    assert_eq!(world.timestamps(0, 1).physical_ms(), wall_ms);
    assert_eq!(limit_ms(&world), wall_ms + 3_000);
}

#[test]
fn the_next_millisecond_is_taken_when_one_is_used_up() {
    let mut world = World::settled();
    let first = world.timestamps(0, 1 << 18);
    assert_eq!(first.logical(), Timestamp::LOGICAL_COUNT - 1);
    let second = world.timestamps(0, 1);
    assert_eq!(
        (second.physical_ms(), second.logical()),
        (first.physical_ms() + 1, 0)
    );
}

#[test]
fn a_batch_that_does_not_fit_begins_the_next_millisecond() {
    let mut world = World::settled();
    let first = world.timestamps(0, (1 << 18) - 10);
    let second = world.timestamps(0, 11);
    assert_eq!(
        (second.physical_ms(), second.logical()),
        (first.physical_ms() + 1, 10)
    );
}

#[test]
fn a_flood_of_large_batches_waits_for_real_time() {
    let mut world = World::settled();
    let wall_ms = world.nodes[0].clock.wall_ms;
    let mut waiting = world.ask(0, Request::Tso { count: 1 << 18 });
    for _ in 0..10_000 {
        world.settle();
        if !world.is_answered(waiting) {
            break;
        }
        waiting = world.ask(0, Request::Tso { count: 1 << 18 });
    }
    assert!(
        !world.is_answered(waiting),
        "time runs ahead without a bound"
    );
    world.advance(0, 1_000);
    world.settle();
    assert!(world.is_answered(waiting));
    let ahead = world.timestamps(0, 1).physical_ms();
    assert!(ahead <= wall_ms + 1_000 + 3_000, "{ahead}");
}

#[test]
fn an_idle_oracle_writes_nothing() {
    let mut world = World::settled();
    for _ in 0..100 {
        world.advance(0, 500);
    }
    assert!(world.nodes[0].writes.is_empty());
}

#[test]
fn an_oracle_in_use_never_waits_for_its_window() {
    let mut world = World::settled();
    for _ in 0..200 {
        let asked = world.ask(0, TSO);
        world.confirm(0);
        assert!(world.is_answered(asked), "it had to wait for a write");
        world.settle();
        world.advance(0, 50);
    }
}

#[test]
fn absurd_batches_are_refused() {
    let mut world = World::settled();
    for count in [0, (1 << 18) + 1, u32::MAX] {
        let refused = world.call(0, Request::Tso { count });
        assert_eq!(
            refused,
            Err(Error::InvalidTimestampCount {
                count,
                max: 1 << 18
            })
        );
    }
}

#[test]
fn a_clock_that_shows_what_can_not_be_is_not_followed_and_told_of_once() {
    let mut world = World::settled();
    let before = world.timestamps(0, 1);
    let bound_ms = limit_ms(&world);
    for wall_ms in [1 << 45, 1 << 46, u64::MAX] {
        world.nodes[0].clock.wall_ms = wall_ms;
        assert!(world.timestamps(0, 1).physical_ms() <= before.physical_ms());
    }
    let notice = Notice::ClockAbsurd { wall_ms: 1 << 45 };
    assert_eq!(world.notices, [notice]);
    assert_eq!(limit_ms(&world), bound_ms, "no way back from there");
    world.elect(0);
    world.settle();
    world.timestamps(0, 1);
    world.nodes[0].clock.wall_ms = 5_000_000;
    assert_eq!(world.timestamps(0, 1).physical_ms(), 5_000_000);
}

#[test]
fn a_cluster_without_a_clock_gives_out_timestamps_all_the_same_but_not_zero() {
    for wall_ms in [0, u64::MAX] {
        let mut world = World::new(1);
        world.nodes[0].clock.wall_ms = wall_ms;
        world.elect(0);
        world.settle();
        assert!(world.timestamps(0, 1) > Timestamp::ZERO);
    }
}

#[test]
fn only_a_jump_of_the_clock_is_told_of() {
    let mut world = World::settled();
    for _ in 0..10 {
        world.advance(0, 5_000);
        world.jump(0, 900);
        world.timestamps(0, 1);
    }
    world.jump(0, -100_000);
    world.timestamps(0, 1);
    world.jump(0, 100_000);
    world.timestamps(0, 1);
    assert_eq!(world.notices, []);
    world.jump(0, 40_000);
    world.timestamps(0, 1);
    assert_eq!(world.notices, [Notice::ClockJumped { ahead_ms: 40_000 }]);
}

#[test]
fn timestamps_that_are_used_up_are_an_error() {
    let mut world = World::settled();
    let end_ms: u64 = 1 << 46;
    let bound = [&[1][..], &end_ms.to_be_bytes()].concat();
    world.disk.insert(b"t".to_vec(), bound);
    world.elect(0);
    assert_eq!(world.call(0, TSO), Err(Error::TimestampsExhausted));
}

#[test]
fn a_lost_window_is_told_and_asked_for_again() {
    let mut world = World::settled();
    world.jump(0, 10_000);
    let asked = world.ask(0, TSO);
    world.persist(0, Outcome::Lost);
    assert!(matches!(
        world.answer(asked),
        Some(Err(Error::PersistFailed(_)))
    ));
    world.timestamps(0, 1);
}

#[test]
fn a_failed_write_of_something_else_fails_no_timestamp() {
    let mut world = World::settled();
    world.ask(0, Request::UpdateGcSafePoint { safe_point: 5 });
    let asked = [world.ask(0, TSO), world.ask(0, TSO)];
    world.persist(0, Outcome::Lost);
    world.settle();
    assert!(
        asked
            .iter()
            .all(|id| matches!(world.answer(*id), Some(Ok(_))))
    );
}

#[test]
fn ids_begin_above_those_of_the_bootstrap_and_follow_each_other() {
    let mut world = World::settled();
    assert_eq!(
        world.id(0),
        24,
        "the largest id of the beginning is a peer's, 23"
    );
    assert_eq!(world.id(0), 25);
}

#[test]
fn a_thousand_ids_cost_one_write() {
    let mut world = World::settled();
    world.id(0);
    for _ in 1..1_000 {
        world.ask(0, Request::AllocId);
    }
    assert_eq!(world.unanswered(), 0);
    world.ask(0, Request::AllocId);
    assert_eq!(world.unanswered(), 1, "the window is used up");
    assert_eq!(world.nodes[0].writes.len(), 1);
    world.settle();
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn more_waiting_requests_than_a_window_has_ids_are_all_answered() {
    let mut world = World::settled();
    for _ in 0..2_500 {
        world.ask(0, Request::AllocId);
    }
    world.settle();
    assert_eq!(world.unanswered(), 0);
}

#[test]
fn a_new_leader_gives_out_no_id_of_the_old_ones_window() {
    let mut world = World::new(2);
    world.elect(0);
    world.settle();
    world.id(0);
    world.elect(1);
    world.settle();
    assert_eq!(world.id(1), 1_024);
    assert_eq!(world.id(0), 25, "the old leader's window is still its own");
}

#[test]
fn an_id_window_that_is_lost_gives_out_nothing() {
    let mut world = World::settled();
    let asked = world.ask(0, Request::AllocId);
    world.persist(0, Outcome::Lost);
    assert!(matches!(
        world.answer(asked),
        Some(Err(Error::PersistFailed(_)))
    ));
    assert_eq!(world.id(0), 24);
}
