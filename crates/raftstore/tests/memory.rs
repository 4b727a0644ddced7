//! What an idle replica holds in memory, in bytes as they were asked for, pinned: a store has a hundred
//! thousand of them.
//!
//! **How.** The allocator counts for each thread, and a test has a thread of its own: what a replica
//! held is what its drop gives back.
//!
//! **Not here.** What the allocator adds, and what the runtime keeps for each actor (`batch-system`).

use bytes::Bytes;
use engine::Cf;
use raftstore::apply::{Applied, Applier, ApplyStore, Change};
use raftstore::bootstrap::{FIRST_INDEX, first_apply_state, first_hard_state, first_regions};
use raftstore::op::consistency::HashWish;
use raftstore::peer::{Input, LogInfo, PeerOptions, TermRun};
use raftstore::{Command, Effect, MonotonicTime, Mutation, Peer, RaftMessage, RequestContext};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use types::{ApiVersion, Region, RequestId};

/// A Peer without what it points to. As an actor it has three words more and is a block of its own:
/// allocators make the next larger ones for 768, 896 and 1,024 bytes.
const PEER_BYTES: usize = 872;
/// A Peer with all that belongs to it: of three that leads or follows, and of one.
const LEADER_BYTES: usize = 3_220;
const FOLLOWER_BYTES: usize = 3_190;
const ALONE_BYTES: usize = 2_980;
/// The same while they sleep.
const SLEEPING_LEADER_BYTES: usize = 1_400;
const SLEEPING_FOLLOWER_BYTES: usize = 1_400;
const SLEEPING_ALONE_BYTES: usize = 1_400;
/// Without its Region, which is its Peer's.
const APPLIER_BYTES: usize = 296;

struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

fn count(change: impl FnOnce(usize) -> usize) {
    // A thread that ends has nobody to count for.
    let _ = HELD.try_with(|held| held.set(change(held.get())));
}

// SAFETY: hands every call to the system's allocator unchanged; the counter is of no concern to it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|held| held.wrapping_add(layout.size()));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(|held| held.wrapping_sub(layout.size()));
        // SAFETY: as above; the block came from `alloc`, hence from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is given back with `held`, and its own size.
fn bytes_of<T>(held: T) -> usize {
    let before = HELD.get();
    drop(held);
    before.wrapping_sub(HELD.get()) + size_of::<T>()
}

/// A key-value engine that keeps nothing.
struct Nowhere;

impl ApplyStore for Nowhere {
    fn begin_reads(&mut self) -> engine::Result<()> {
        Ok(())
    }

    fn get(&mut self, _cf: Cf, _key: &[u8]) -> engine::Result<Option<Bytes>> {
        Ok(None)
    }

    fn put(&mut self, _cf: Cf, _key: &[u8], _value: &[u8]) {}

    fn delete(&mut self, _cf: Cf, _key: &[u8]) {}

    fn delete_range(&mut self, _cf: Cf, _start: &[u8], _end: &[u8]) {}

    fn pin(&mut self, _wish: HashWish) {}
}

/// The replicas of one Region, with disks and appliers that are done at once.
struct Group {
    peers: Vec<Peer>,
    appliers: Vec<Applier>,
    /// What is counted for nobody: the store's options, and the Region, which each Peer has once more.
    _shared: (Arc<PeerOptions>, Arc<Region>),
    wire: VecDeque<Box<RaftMessage>>,
    now: MonotonicTime,
}

impl Group {
    fn new(members: usize, hibernate_ticks: u64) -> Self {
        let region = Arc::new(first_regions(members, ApiVersion::V1).swap_remove(1));
        let options = Arc::new(PeerOptions {
            hibernate_ticks,
            ..PeerOptions::default()
        });
        let peer = |me: &types::Peer| {
            let log = LogInfo {
                hard_state: first_hard_state(),
                runs: vec![TermRun {
                    index: FIRST_INDEX,
                    term: FIRST_INDEX,
                }],
                last_index: FIRST_INDEX,
                tail: vec![],
            };
            let shape = Region::clone(&region);
            Peer::new(shape, *me, log, FIRST_INDEX, Arc::clone(&options)).unwrap()
        };
        let applier =
            |me: &types::Peer| Applier::new(Arc::clone(&region), me.store_id, first_apply_state());
        let peers = region.peers.iter().map(peer).collect();
        let appliers = region.peers.iter().map(applier).collect();
        Self {
            peers,
            appliers,
            _shared: (options, region),
            wire: VecDeque::new(),
            now: MonotonicTime::default(),
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        let mut effects = Vec::new();
        self.peers[at].set_now(self.now);
        self.peers[at].step(input, &mut effects);
        self.peers[at].finish_round(&mut effects);
        for effect in effects {
            match effect {
                Effect::Send(message) => self.wire.push_back(message),
                Effect::Persist(write) => {
                    let number = write.number;
                    self.step(at, Input::Persisted { number });
                }
                Effect::Apply(task) => {
                    let (applier, mut out) = (&mut self.appliers[at], Applied::default());
                    let applied = applier.apply(task.entries, &mut Nowhere, &mut out);
                    applied.expect("entries can be applied");
                    applier.finish_round(&mut Nowhere);
                    let index = applier.state().applied_index;
                    for change in out.changes {
                        let is_hashing = change.change == Change::Hashing;
                        self.step(at, Input::Changed(change));
                        if is_hashing {
                            self.step(at, Input::Hashed { index, hash: None });
                        }
                    }
                    self.step(at, Input::Applied { index });
                }
                Effect::SyncKv { applied_index, .. } => {
                    self.step(at, Input::KvSynced { applied_index });
                }
                Effect::CompactLog { .. }
                | Effect::Heartbeat(_)
                | Effect::Leadership(_)
                | Effect::Reply(..)
                | Effect::Lease(_)
                | Effect::Slept(_)
                | Effect::Woke(_) => {}
                other => panic!("no part of this: {other:?}"),
            }
        }
    }

    fn settle(&mut self) {
        while let Some(message) = self.wire.pop_front() {
            let to = message.to.store_id.get() as usize - 1;
            self.step(to, Input::Message(message));
        }
    }

    /// So many ticks for all.
    fn tick(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now = self.now.after(PeerOptions::default().tick);
            for at in 0..self.peers.len() {
                self.step(at, Input::Tick);
                self.settle();
            }
        }
    }

    fn leader(&self) -> usize {
        let at = self.peers.iter().position(Peer::is_leader);
        at.expect("one leads")
    }

    /// Elects a leader, writes and reads a little, compares the replicas, and then leaves it alone.
    fn used_and_idle(mut self) -> Self {
        self.tick(40);
        let leader = self.leader();
        let peer = &self.peers[leader];
        let context = RequestContext {
            region_id: peer.region().id,
            epoch: peer.region().epoch,
            ..RequestContext::default()
        };
        for number in 0..20 {
            let command = Command::Write(vec![Mutation::Put {
                cf: Cf::Default,
                key: Bytes::from("key"),
                value: Bytes::from(vec![0; 100]),
            }]);
            let (request, context) = (RequestId(number), context.clone());
            let propose = Input::Propose {
                request,
                context,
                command,
            };
            self.step(leader, propose);
            self.settle();
        }
        self.step(leader, Input::RenewLease);
        self.settle();
        let request = RequestId(20);
        self.step(leader, Input::CheckConsistency { request, context });
        self.settle();
        // Until followers have said their hash for the last time.
        self.tick(50);
        self
    }
}

/// A replica of such a group that leads, and one that does not if there is any.
fn two_of(mut group: Group) -> (Peer, Option<Peer>) {
    let leader = group.peers.swap_remove(group.leader());
    (leader, group.peers.pop())
}

fn is_about(bytes: usize, pinned: usize, what: &str) {
    assert!(
        (pinned - pinned / 16..=pinned).contains(&bytes),
        "{what} holds {bytes} bytes, and {pinned} are pinned"
    );
}

#[test]
fn an_idle_replica_holds_few_bytes() {
    let never = 0;
    let (leader, follower) = two_of(Group::new(3, never).used_and_idle());
    let mut alone = Group::new(1, never).used_and_idle();
    is_about(size_of::<Peer>(), PEER_BYTES, "a Peer itself");
    is_about(bytes_of(leader), LEADER_BYTES, "a leader");
    is_about(bytes_of(follower.unwrap()), FOLLOWER_BYTES, "a follower");
    is_about(bytes_of(alone.peers.pop()), ALONE_BYTES, "a Peer alone");
    is_about(bytes_of(alone.appliers.pop()), APPLIER_BYTES, "an applier");
}

#[test]
fn a_sleeping_replica_holds_fewer() {
    let soon = 6;
    let (leader, follower) = two_of(Group::new(3, soon).used_and_idle());
    let (alone, _) = two_of(Group::new(1, soon).used_and_idle());
    is_about(bytes_of(leader), SLEEPING_LEADER_BYTES, "a leader");
    is_about(
        bytes_of(follower.unwrap()),
        SLEEPING_FOLLOWER_BYTES,
        "a follower",
    );
    is_about(bytes_of(alone), SLEEPING_ALONE_BYTES, "a Peer alone");
}
