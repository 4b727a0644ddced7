//! Two neighbours on the same three stores, one of which takes the other in.

use super::*;
use crate::admin::Cut;
use crate::apply::Change;
use crate::op::merge::{MergeAsk, ReadySource, SourceWish};
use crate::state::{MergedInto, Merging};
use crate::store::{self, Store, StoreOptions};
use types::{KeyRange, RegionId};

mod quarantine;

/// The source before `m`, the target behind it, and the stores between them.
struct Pair {
    source: Net,
    target: Net,
    stores: Vec<Store>,
    /// Whom the target has been told to be ready.
    told: Vec<(usize, SourceWish)>,
    ended: Vec<usize>,
}

fn region(id: u64, start: &str, end: &str) -> Region {
    let mut region = first_regions(3, ApiVersion::V1).swap_remove(REGION);
    region.id = RegionId(id);
    region.range = KeyRange {
        start: start.into(),
        end: end.into(),
    };
    region
}

impl Pair {
    /// Both are led at store 1.
    fn new() -> Self {
        let peer = PeerOptions::default();
        let options = StoreOptions::new(1000, &peer);
        let (source, target) = (region(5, "", "m"), region(6, "m", ""));
        let regions = vec![source.clone(), target.clone()];
        let store = |id| {
            Store::new(
                StoreId(id),
                regions.clone(),
                BTreeMap::new(),
                options.clone(),
            )
        };
        let mut pair = Self {
            source: Net::of(source, &peer),
            target: Net::of(target, &peer),
            stores: [1, 2, 3].map(store).into(),
            told: vec![],
            ended: vec![],
        };
        pair.source.elect(0);
        pair.target.elect(0);
        pair.tick();
        pair.tick();
        pair
    }

    fn merge(&mut self) {
        let target = self.target.replicas[0].peer.region().clone();
        let input = Input::Propose {
            request: RequestId(1),
            context: self.source.context(0),
            command: Command::Admin(Admin::PrepareMerge(Box::new(target))),
        };
        self.source.step(0, input);
        self.settle();
    }

    /// One tick of the leaders.
    fn tick(&mut self) {
        self.source.step(0, Input::Tick);
        self.target.step(0, Input::Tick);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            self.source.settle();
            self.target.settle();
            let mut effects = std::mem::take(&mut self.source.told);
            effects.append(&mut self.target.told);
            let is_quiet = effects.is_empty();
            for (at, effect) in effects {
                self.perform(at, effect);
            }
            if !self.wake_targets() && is_quiet {
                return;
            }
        }
    }

    fn perform(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Reshaped(region) => self.tell_store(at, store::Input::Reshaped(region)),
            Effect::AskMerge(ask) => self.tell_store(at, store::Input::MergeAsked(ask)),
            Effect::Merged(merge) => {
                let source = merge.source;
                self.tell_store(at, store::Input::Merged(merge));
                self.source.step(at, Input::TakenIn(source));
            }
            Effect::AwaitSource(wish) => self.source.step(at, Input::SourceAwaited(wish)),
            Effect::Freeze(wish) => self.source.replicas[at].applier.freeze(wish),
            Effect::EndApplier(_) => self.ended.push(at),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn tell_store(&mut self, at: usize, input: store::Input) {
        let mut out = Vec::new();
        self.stores[at].step(input, &mut out);
        for effect in out {
            match effect {
                store::Effect::AskMerge(_, ask) => self.target.step(at, Input::MergeAsked(ask)),
                store::Effect::RefuseMerge(_, index) => {
                    self.source.step(at, Input::MergeRefused { index });
                }
                store::Effect::End(tombstone) => {
                    self.source.step(at, Input::MergedElsewhere(tombstone));
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Sources that have come so far let their targets go on.
    fn wake_targets(&mut self) -> bool {
        let mut woken = false;
        for at in 0..3 {
            let fulfilled = self.source.replicas[at].applier.fulfils();
            let is_news = |ready: &ReadySource| !self.told.contains(&(at, ready.wish));
            let Some(ready) = fulfilled.filter(is_news) else {
                continue;
            };
            woken = true;
            self.told.push((at, ready.wish));
            let replica = &mut self.target.replicas[at];
            let mut out = Applied::default();
            let went_on = replica
                .applier
                .source_is_ready(ready, &mut replica.map, &mut out);
            went_on.unwrap();
            replica.applier.finish_round(&mut replica.map);
            self.target.hear(at, out);
        }
        woken
    }

    /// Its applier goes on.
    fn release_source(&mut self, at: usize) {
        self.source.release_applier(at);
        self.settle();
    }

    fn assert_source_serves(&mut self) {
        assert!(self.source.replicas[0].peer.merging().is_none());
        self.source.propose(0, 9);
        self.settle();
        assert_eq!(self.source.answer(9), Some(WRITTEN));
        assert_eq!(self.target.replicas[0].peer.region().range.start, b"m");
    }

    fn range(&self, at: usize) -> KeyRange {
        self.target.replicas[at].peer.region().range.clone()
    }

    fn epochs(&self) -> (Epoch, Epoch) {
        let of = |net: &Net| net.replicas[0].peer.region().epoch;
        (of(&self.source), of(&self.target))
    }
}

#[test]
fn the_target_takes_the_range_over_and_every_replica_of_the_source_ends() {
    let mut pair = Pair::new();
    pair.merge();
    for _ in 0..3 {
        pair.tick();
    }
    for at in 0..3 {
        let target = &pair.target.replicas[at];
        assert_eq!(target.peer.region().range, KeyRange::default());
        assert_eq!(target.applier.region(), target.peer.region());
        assert!(pair.source.replicas[at].peer.is_stopped());
        assert!(
            pair.source.replicas[at].log.is_empty(),
            "its log is removed"
        );
    }
    pair.ended.sort();
    assert_eq!(pair.ended, [0, 1, 2]);
    assert!(
        pair.source
            .removed
            .iter()
            .all(|(_, tombstone)| tombstone.merged_into.is_some())
    );
    let wide = pair.target.context(0);
    pair.target.propose_as(0, 7, wide);
    pair.settle();
    assert_eq!(pair.target.answer(7), Some(WRITTEN), "a key of the source");
}

#[test]
fn who_is_merging_has_no_lease_and_serves_nobody_in_any_epoch() {
    let mut pair = Pair::new();
    let before = pair.source.context(0);
    pair.source.cut = vec![2];
    pair.merge();
    assert!(pair.source.replicas[0].lease.is_none());
    let during = pair.source.context(0);
    pair.source.propose_as(0, 2, before);
    pair.source.propose_as(0, 3, during.clone());
    let request = RequestId(4);
    let context = during.clone();
    pair.source.step(0, Input::Read { request, context });
    let request = RequestId(5);
    let (context, changes) = (during, vec![]);
    pair.source.step(
        0,
        Input::ChangePeers {
            request,
            context,
            changes,
        },
    );
    pair.settle();
    let answer = |net: &mut Net, request| net.answer(request).expect("an answer");
    assert!(matches!(
        answer(&mut pair.source, 2),
        Err(RequestError::EpochNotMatch { .. })
    ));
    for request in 3..=5 {
        assert!(matches!(
            answer(&mut pair.source, request),
            Err(RequestError::RegionNotFound { .. })
        ));
    }
}

#[test]
fn a_merge_that_one_replica_can_not_follow_is_rolled_back_without_the_target() {
    let mut pair = Pair::new();
    let (source, target) = pair.epochs();
    pair.source.cut = vec![2];
    pair.merge();
    let patience = pair.source.replicas[0].peer.options.merge_patience_ticks;
    for _ in 0..patience - 1 {
        pair.tick();
    }
    assert!(pair.source.replicas[0].peer.merging().is_some());
    for _ in 0..3 {
        pair.tick();
    }
    assert_eq!(pair.epochs().1, target, "it has never heard of it");
    assert_eq!(pair.epochs().0.version, source.version + 2);
    pair.assert_source_serves();
}

#[test]
fn a_sealed_merge_into_a_target_that_has_changed_is_rolled_back() {
    let mut pair = Pair::new();
    let (source, target) = pair.epochs();
    pair.target.cut = vec![1, 2];
    pair.merge();
    let merging = pair.source.replicas[0].peer.merging();
    assert!(merging.is_some_and(|merging| merging.is_sealed));
    let mut moved = pair.target.replicas[0].peer.region().clone();
    moved.epoch.conf_ver += 1;
    pair.tell_store(0, store::Input::Reshaped(moved));
    pair.tick();
    assert_eq!(pair.epochs().0.version, source.version + 2);
    assert_eq!(pair.epochs().1, target);
    pair.assert_source_serves();
}

#[test]
fn a_replica_that_alone_knows_of_the_refusal_tells_the_leader_whose_store_does_not() {
    let mut pair = Pair::new();
    let (source, _) = pair.epochs();
    pair.target.cut = vec![1, 2];
    pair.merge();
    let mut moved = pair.target.replicas[0].peer.region().clone();
    moved.epoch.conf_ver += 1;
    // On the others a snapshot has carried the target behind it.
    pair.tell_store(1, store::Input::Reshaped(moved));
    pair.tick();
    assert!(pair.source.replicas[0].peer.merging().is_some());
    pair.source.step(1, Input::Tick);
    pair.settle();
    assert_eq!(pair.epochs().0.version, source.version + 2);
    pair.assert_source_serves();
}

#[test]
fn a_target_that_can_not_take_a_sealed_source_in_refuses_it_in_its_log() {
    let mut pair = Pair::new();
    let (source, target) = pair.epochs();
    // One of its replicas needs a snapshot, which would carry it over the merge.
    pair.target.cut = vec![2];
    std::sync::Arc::make_mut(&mut pair.target.replicas[0].peer.options).log_gc = LogGcOptions {
        threshold: 1,
        count_max: 2,
        ..LogGcOptions::default()
    };
    for request in 100..110 {
        let input = Input::Propose {
            request: RequestId(request),
            context: pair.target.context(0),
            command: Command::Write(vec![]),
        };
        pair.target.step(0, input);
        pair.tick();
    }
    pair.merge();
    let patience = pair.source.replicas[0].peer.options.merge_patience_ticks;
    for _ in 0..patience + 3 {
        pair.tick();
    }
    assert_eq!(pair.epochs().1.version, target.version + 1);
    assert_eq!(pair.epochs().0.version, source.version + 2);
    pair.assert_source_serves();
}

#[test]
fn a_replica_that_hears_of_the_merge_last_answers_no_read_from_before() {
    let mut pair = Pair::new();
    pair.target.cut = vec![1, 2];
    pair.source.replicas[2].holds_apply = true;
    pair.merge();
    let context = RequestContext {
        replica_read: true,
        ..pair.source.context(2)
    };
    let request = RequestId(7);
    pair.source.step(2, Input::Read { request, context });
    pair.settle();
    assert_eq!(pair.source.answer(7), None, "it waits for the applier");
    pair.release_source(2);
    assert!(matches!(
        pair.source.answer(7),
        Some(Err(RequestError::RegionNotFound { .. }))
    ));
}

#[test]
fn a_source_whose_target_here_went_before_it_took_it_in_is_told_and_ends() {
    let mut pair = Pair::new();
    pair.target.replicas[2].holds_apply = true;
    pair.merge();
    for _ in 0..3 {
        pair.tick();
    }
    assert_eq!(pair.source.removed.len(), 2);
    for (at, tombstone) in pair.source.removed.clone() {
        pair.tell_store(at, store::Input::Removed(tombstone));
    }
    for _ in 0..40 {
        pair.source.step(2, Input::Tick);
    }
    let asks = pair.source.wire.iter();
    let question = asks.rev().find(|message| message.to.store_id == StoreId(1));
    let question = question.expect("it asks").clone();
    pair.source.told.clear();
    let mut out = Vec::new();
    pair.stores[0].step(store::Input::Stray(question), &mut out);
    let Some(store::Effect::Send(farewell)) = out.pop() else {
        panic!("it is told what became of its Region");
    };
    let told = || store::Input::MergedElsewhere(farewell.clone());
    pair.tell_store(2, told());
    assert_eq!(pair.source.removed.len(), 2, "its target here needs it");
    let (from, to) = (
        pair.target.replicas[0].peer.me(),
        pair.target.replicas[2].peer.me(),
    );
    let later = Epoch {
        conf_ver: 9,
        version: 9,
    };
    let removal = RaftMessage::farewell(RegionId(6), from, to, later);
    pair.target.step(2, Input::Message(Box::new(removal)));
    let (_, tombstone) = pair.target.removed.pop().expect("it is removed");
    pair.tell_store(2, store::Input::Removed(tombstone));
    pair.tell_store(2, told());
    assert_eq!(pair.source.removed.len(), 3);
    assert!(pair.source.replicas[2].peer.is_stopped());
}

/// The target's replica 2 has missed the commit, and its leader's log begins behind that.
fn carried_over() -> Pair {
    let mut pair = Pair::new();
    pair.target.cut = vec![2];
    pair.merge();
    for _ in 0..3 {
        pair.tick();
    }
    assert_eq!(pair.range(1), KeyRange::default());
    // As that of a replica is that has joined since.
    let last = pair.target.applied(0);
    pair.target.compact(0, last);
    pair.target.cut = vec![];
    pair
}

#[test]
fn a_snapshot_that_carries_the_target_over_a_merge_takes_the_source_in() {
    let mut pair = carried_over();
    for _ in 0..6 {
        pair.tick();
    }
    assert_eq!(pair.range(2), KeyRange::default());
    assert_eq!(pair.target.applied(2), pair.target.applied(0));
    assert!(pair.source.replicas[2].peer.is_stopped());
    let tombstones = pair.source.removed.iter().map(|(_, it)| it.merged_into);
    let into = MergedInto {
        region_id: RegionId(6),
        version: pair.target.replicas[0].peer.region().epoch.version,
    };
    assert_eq!(tombstones.collect::<Vec<_>>(), [Some(into); 3]);
}

#[test]
fn a_snapshot_waits_for_an_applier_of_the_source_that_is_behind() {
    let mut pair = Pair::new();
    pair.source.replicas[2].holds_apply = true;
    pair.target.cut = vec![2];
    pair.merge();
    for _ in 0..3 {
        pair.tick();
    }
    let last = pair.target.applied(0);
    pair.target.compact(0, last);
    pair.target.cut = vec![];
    for _ in 0..6 {
        pair.tick();
    }
    assert_ne!(pair.range(2), KeyRange::default(), "it waits");
    assert!(!pair.source.replicas[2].peer.is_stopped());
    pair.release_source(2);
    assert_eq!(pair.range(2), KeyRange::default());
    assert!(pair.source.replicas[2].peer.is_stopped());
}

#[test]
fn a_target_takes_the_next_source_in_only_once_all_have_the_entry_of_the_last() {
    let mut pair = Pair::new();
    pair.target.cut = vec![2];
    pair.merge();
    for _ in 0..3 {
        pair.tick();
    }
    let cut = Cut {
        key: Bytes::from_static(b"x"),
        region_id: RegionId(9),
        peer_ids: [91, 92, 93].map(PeerId).into(),
    };
    let split = Input::Propose {
        request: RequestId(2),
        context: pair.target.context(0),
        command: Command::Admin(Admin::Split(vec![cut])),
    };
    pair.target.step(0, split);
    pair.settle();
    let target = pair.target.replicas[0].peer.region().clone();
    let source = Region {
        id: RegionId(9),
        range: KeyRange {
            start: Vec::new(),
            end: b"x".to_vec(),
        },
        ..target.clone()
    };
    assert_eq!(target.range.start, b"x");
    let ask = || {
        Input::MergeAsked(Box::new(MergeAsk {
            source: source.clone(),
            merging: Merging {
                target: target.clone(),
                index: 9,
                term: 6,
                is_sealed: true,
            },
            gives_up: false,
        }))
    };
    let logged = |pair: &Pair| pair.target.replicas[0].log.len();
    let before = logged(&pair);
    pair.target.step(0, ask());
    assert_eq!(
        logged(&pair),
        before,
        "one has yet to hear of the last merge"
    );
    pair.target.cut = vec![];
    for _ in 0..4 {
        pair.tick();
    }
    pair.target.step(0, ask());
    assert_eq!(logged(&pair), before + 1);
}

#[test]
fn a_target_waits_for_an_applier_of_the_source_that_is_behind() {
    let mut pair = Pair::new();
    pair.source.replicas[2].holds_apply = true;
    pair.merge();
    for _ in 0..3 {
        pair.tick();
    }
    assert_eq!(pair.range(1), KeyRange::default());
    assert_ne!(pair.range(2), KeyRange::default(), "it waits");
    assert!(!pair.source.replicas[2].peer.is_stopped());
    pair.release_source(2);
    assert_eq!(pair.range(2), KeyRange::default());
    assert!(pair.source.replicas[2].peer.is_stopped());
}

#[test]
fn a_source_that_has_not_heard_of_the_commit_learns_it_from_the_target() {
    // It is cut off after it has acknowledged the entry, and before it hears that others have.
    let mut late = Pair::new();
    late.source.step(0, prepare(&late));
    let appends = std::mem::take(&mut late.source.wire);
    for message in appends {
        let at = message.to.store_id.get() as usize - 1;
        late.source.step(at, Input::Message(message));
    }
    let answers = std::mem::take(&mut late.source.wire);
    for message in answers {
        late.source.step(0, Input::Message(message));
    }
    late.source.cut = vec![2];
    for _ in 0..3 {
        late.tick();
    }
    assert!(late.source.replicas[2].peer.is_stopped());
    let target = &late.target.replicas[2];
    assert_eq!(target.peer.region().range, KeyRange::default());
}

fn prepare(pair: &Pair) -> Input {
    let target = pair.target.replicas[0].peer.region().clone();
    Input::Propose {
        request: RequestId(1),
        context: pair.source.context(0),
        command: Command::Admin(Admin::PrepareMerge(Box::new(target))),
    }
}

#[test]
fn a_merge_does_not_begin_while_a_replica_is_not_heard() {
    let mut pair = Pair::new();
    pair.source.cut = vec![2];
    for _ in 0..pair.source.replicas[0].peer.options.election_ticks_max + 2 {
        pair.tick();
    }
    pair.merge();
    let refused = pair.source.answer(1).expect("an answer");
    assert!(matches!(refused, Err(RequestError::InvalidChange { .. })));
    assert!(pair.source.replicas[0].peer.merging().is_none());
}

#[test]
fn clients_can_not_ask_for_what_only_leaders_propose() {
    let mut pair = Pair::new();
    for (request, admin) in [
        (1, Admin::SealMerge { index: 6 }),
        (
            2,
            Admin::RollbackMerge {
                index: 6,
                unless_sealed: true,
            },
        ),
        (
            3,
            Admin::RefuseMerge {
                source_id: RegionId(6),
            },
        ),
    ] {
        let context = pair.source.context(0);
        let command = Command::Admin(admin);
        let request_id = RequestId(request);
        pair.source.step(
            0,
            Input::Propose {
                request: request_id,
                context,
                command,
            },
        );
        let refused = pair.source.answer(request).expect("an answer");
        assert!(matches!(refused, Err(RequestError::InvalidChange { .. })));
    }
}

#[test]
fn a_target_that_leaves_still_tells_whom_it_has_taken_in() {
    let mut pair = Pair::new();
    let (from, to) = (
        pair.target.replicas[0].peer.me(),
        pair.target.replicas[2].peer.me(),
    );
    let source = Tombstone {
        region_id: RegionId(5),
        epoch: pair.epochs().0,
        peer_id: pair.source.replicas[2].peer.me().id,
        merged_into: Some(MergedInto {
            region_id: RegionId(6),
            version: 9,
        }),
    };
    let later = Epoch {
        conf_ver: 9,
        version: 9,
    };
    let removal = RaftMessage::farewell(RegionId(6), from, to, later);
    let mut out = Vec::new();
    let target = &mut pair.target.replicas[2].peer;
    target.step(Input::Message(Box::new(removal)), &mut out);
    out.clear();
    let region = target.region().clone();
    let inherits = None;
    let change = Change::Merged {
        term: 6,
        region,
        source,
        inherits,
    };
    let (region_id, index) = (RegionId(6), 8);
    let change = RegionChange {
        region_id,
        index,
        change,
    };
    target.step(Input::Changed(change), &mut out);
    let told = |effect: &Effect| matches!(effect, Effect::Merged(merge) if merge.source == source);
    assert!(out.iter().any(told), "{out:?}");
}

#[test]
fn two_regions_that_sleep_wake_to_merge_and_nobody_sleeps_before_it_is_done() {
    let mut pair = Pair::new();
    for _ in 0..40 {
        pair.tick();
    }
    assert!(pair.source.replicas[0].peer.is_asleep());
    assert!(pair.target.replicas[0].peer.is_asleep());
    pair.source.replicas[2].holds_disk = true;
    pair.merge();
    let patience = pair.source.replicas[0].peer.options.merge_patience_ticks;
    for _ in 0..patience - 5 {
        pair.tick();
    }
    assert!(!pair.source.replicas[0].peer.is_asleep());
    assert!(pair.source.replicas[0].peer.merging().is_some());
    pair.source.release_disk(2);
    for _ in 0..3 {
        pair.tick();
    }
    assert!(pair.source.replicas[0].peer.is_stopped());
}
