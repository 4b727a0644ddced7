//! A small world around placement drivers: nodes that believe to lead, one that does, a log that
//! commits what the true leader writes, and clocks that jump.
//!
//! **Why.** The rules of Raft that placement relies on are modelled here, and only these: a write
//! of a leader that was replaced never commits; a write whose outcome is unknown may have committed;
//! an election hands over everything that did.
//!
//! **What it checks by itself**, at each reply: it is the only one for its request, timestamps and
//! ids are new, timestamps are above all that were answered before they were asked for, and what was
//! promised is persisted.

#![allow(dead_code, reason = "each test file uses a part of it")]

use placement::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use types::*;

pub type Answer = Result<Response, Error>;

/// How the log deals with a write of the true leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed, and acknowledged.
    Committed,
    /// Committed; the acknowledgement comes with [`World::acknowledge`].
    CommittedLate,
    /// Not committed, and the node is told.
    Lost,
    /// Committed, but the node is told that it failed.
    Undetermined,
}

type Puts = Vec<(Vec<u8>, Option<Vec<u8>>)>;

pub struct Node {
    pub placement: Placement,
    pub clock: Now,
    /// The term in which the node believes to lead.
    pub leads: Option<u64>,
    pub writes: VecDeque<(u64, WriteId, Puts)>,
    pub confirms: VecDeque<(u64, ConfirmId)>,
    acknowledgements: VecDeque<WriteId>,
}

struct Asked {
    node: usize,
    request: Request,
    /// The last timestamp that anybody had when it was asked.
    after: Timestamp,
}

pub struct World {
    pub config: Config,
    pub nodes: Vec<Node>,
    pub disk: BTreeMap<Vec<u8>, Vec<u8>>,
    term: u64,
    /// The node that leads, and its term.
    leader: Option<(usize, u64)>,
    asked: BTreeMap<RequestId, Asked>,
    answers: BTreeMap<RequestId, Answer>,
    last_request: u64,
    last_timestamp: Timestamp,
    ids: BTreeSet<u64>,
    batches: BTreeMap<Timestamp, Timestamp>,
    safe_point: u64,
    pub notices: Vec<Notice>,
    pub instructions: Vec<RegionInstruction>,
}

/// As it stands in the list of first members.
pub fn store(id: u64) -> Store {
    Store {
        id: StoreId(id),
        address: format!("127.0.0.1:{}", 20_000 + id),
        version: "0.1.0".to_string(),
        ..Store::default()
    }
}

/// As it registers itself.
pub fn started(id: u64) -> Store {
    Store {
        start_time_s: 900,
        ..store(id)
    }
}

pub fn region(id: u64, start: &[u8], end: &[u8], version: u64) -> Region {
    let peer = |at| Peer {
        id: PeerId(id * 10 + at),
        store_id: StoreId(at),
        role: PeerRole::Voter,
    };
    Region {
        id: RegionId(id),
        range: KeyRange {
            start: start.to_vec(),
            end: end.to_vec(),
        },
        epoch: Epoch {
            conf_ver: 1,
            version,
        },
        peers: vec![peer(1), peer(2), peer(3)],
    }
}

pub fn heartbeat(region: &Region, leader_at: usize, term: u64) -> Request {
    Request::RegionHeartbeat(Box::new(RegionHeartbeat {
        region: region.clone(),
        leader: region.peers[leader_at].id,
        term,
        ..RegionHeartbeat::default()
    }))
}

pub fn config() -> Config {
    Config::new(Bootstrap {
        cluster_id: ClusterId(77),
        stores: (1..=3).map(store).collect(),
        regions: vec![region(1, b"", b"", 1), region(2, b"", b"", 1)],
    })
}

impl World {
    pub fn new(nodes: usize) -> Self {
        Self::with_config(nodes, config())
    }

    pub fn with_config(nodes: usize, config: Config) -> Self {
        let node = |_| Node {
            placement: Placement::new(config.clone()),
            clock: Now {
                monotonic_ms: 5_000,
                wall_ms: 1_000_000,
            },
            leads: None,
            writes: VecDeque::new(),
            confirms: VecDeque::new(),
            acknowledgements: VecDeque::new(),
        };
        Self {
            nodes: (0..nodes).map(node).collect(),
            config,
            disk: BTreeMap::new(),
            term: 5,
            leader: None,
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            last_request: 0,
            last_timestamp: Timestamp::ZERO,
            ids: BTreeSet::new(),
            batches: BTreeMap::new(),
            safe_point: 0,
            notices: Vec::new(),
            instructions: Vec::new(),
        }
    }

    /// A world of one node that leads and has written its first state.
    pub fn settled() -> Self {
        let mut world = Self::new(1);
        world.elect(0);
        world.settle();
        world
    }

    pub fn step(&mut self, at: usize, input: Input) {
        let node = &mut self.nodes[at];
        let mut effects = Vec::new();
        node.placement.step(node.clock, input, &mut effects);
        node.placement.check_invariants();
        for effect in effects {
            let node = &mut self.nodes[at];
            let term = node.leads;
            match effect {
                Effect::Persist { write, puts } => {
                    assert!(!puts.is_empty(), "a write without a pair");
                    node.writes
                        .push_back((term.expect("only leaders write"), write, puts));
                }
                Effect::Confirm { confirm } => {
                    node.confirms
                        .push_back((term.expect("only leaders confirm"), confirm));
                }
                Effect::Reply { id, result } => self.reply(at, id, result),
                Effect::Notice(notice) => self.notices.push(notice),
                Effect::Instruct(instruction) => self.instructions.push(instruction),
            }
        }
    }

    fn reply(&mut self, at: usize, id: RequestId, result: Answer) {
        let asked = self
            .asked
            .remove(&id)
            .expect("a request has one answer, and was asked");
        assert_eq!(asked.node, at);
        match (&asked.request, &result) {
            (Request::Tso { count }, Ok(Response::Timestamps { last, count: got })) => {
                assert_eq!(count, got);
                let logical = last.logical().checked_sub(u64::from(*count) - 1);
                let first =
                    Timestamp::new(last.physical_ms(), logical.expect("of one millisecond"));
                assert!(
                    first > asked.after,
                    "{first:?} was answered, {:?} was known",
                    asked.after
                );
                let below = self.batches.range(..=*last).next_back();
                assert!(
                    below.is_none_or(|(_, end)| *end < first),
                    "{first:?} was given out twice"
                );
                self.batches.insert(first, *last);
                self.last_timestamp = self.last_timestamp.max(*last);
            }
            (Request::AllocId, Ok(Response::Id(id))) => {
                assert!(self.ids.insert(*id), "id {id} was given out twice");
                assert!(*id > 23, "{id} is in use from the beginning");
            }
            (Request::Control(_), Ok(Response::SplitIds(ids))) => {
                for part in ids {
                    let peers = part.peer_ids.iter().map(|id| id.get());
                    for id in peers.chain([part.region_id.get()]) {
                        assert!(self.ids.insert(id), "id {id} was given out twice");
                    }
                }
            }
            (Request::UpdateGcSafePoint { .. }, Ok(Response::GcSafePoint(safe_point))) => {
                assert!(*safe_point >= self.safe_point, "the safe point went back");
                self.safe_point = *safe_point;
            }
            (Request::PutStore(store), Ok(_)) => {
                let key = [&b"s"[..], &store.id.get().to_be_bytes()].concat();
                assert!(
                    self.disk.contains_key(&key),
                    "a promised store is not persisted"
                );
            }
            _ => {}
        }
        self.answers.insert(id, result);
    }

    /// Asks a node; the answer may come later.
    pub fn ask(&mut self, node: usize, request: Request) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let asked = Asked {
            node,
            request: request.clone(),
            after: self.last_timestamp,
        };
        self.asked.insert(id, asked);
        self.step(node, Input::Request { id, request });
        id
    }

    pub fn answer(&self, id: RequestId) -> Option<&Answer> {
        self.answers.get(&id)
    }

    /// Asks a node and lets the log and the leader's confirmations go on until there is an answer.
    pub fn call(&mut self, node: usize, request: Request) -> Answer {
        let id = self.ask(node, request);
        self.settle();
        self.answers.remove(&id).expect("an answer")
    }

    pub fn is_answered(&self, id: RequestId) -> bool {
        self.answers.contains_key(&id)
    }

    /// A node wins an election, and its host reads the state at once. Whoever led does not know.
    pub fn elect(&mut self, at: usize) {
        self.win(at);
        self.load(at);
        assert!(
            self.nodes[at].placement.is_leader(),
            "the state that was handed over is unusable"
        );
    }

    /// A node wins an election. Its state is not there yet.
    pub fn win(&mut self, at: usize) {
        self.term += 1;
        self.leader = Some((at, self.term));
        self.nodes[at].leads = Some(self.term);
        self.step(at, Input::Elected { term: self.term });
    }

    /// The node's host has read the state, if the node still leads.
    pub fn load(&mut self, at: usize) {
        if self.leader == Some((at, self.term)) {
            let state = self.state();
            self.step(
                at,
                Input::Loaded {
                    term: self.term,
                    state,
                },
            );
        }
    }

    /// All that is persisted.
    pub fn state(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.disk.clone().into_iter().collect()
    }

    /// A node learns that it does not lead.
    pub fn depose(&mut self, at: usize) {
        if self.leader.is_some_and(|(leader, _)| leader == at) {
            self.leader = None;
        }
        self.nodes[at].leads = None;
        self.step(at, Input::Deposed);
        assert!(
            self.asked.values().all(|asked| asked.node != at),
            "a request was not answered"
        );
    }

    /// A node's process dies and starts anew: its requests never get an answer.
    pub fn crash(&mut self, at: usize) {
        if self.leader.is_some_and(|(leader, _)| leader == at) {
            self.leader = None;
        }
        let node = &mut self.nodes[at];
        node.placement = Placement::new(self.config.clone());
        node.clock.monotonic_ms = 17;
        node.leads = None;
        node.writes.clear();
        node.confirms.clear();
        node.acknowledgements.clear();
        self.asked.retain(|_, asked| asked.node != at);
    }

    /// The log deals with the node's oldest write.
    pub fn persist(&mut self, at: usize, outcome: Outcome) {
        let Some((term, write, puts)) = self.nodes[at].writes.pop_front() else {
            return;
        };
        let leads = self.leader == Some((at, term));
        let outcome = if leads { outcome } else { Outcome::Lost };
        if outcome != Outcome::Lost {
            for (key, value) in puts {
                match value {
                    Some(value) => self.disk.insert(key, value),
                    None => self.disk.remove(&key),
                };
            }
        }
        let failed = || {
            Err(PersistFailed {
                reason: "lost".to_string(),
            })
        };
        match outcome {
            Outcome::Committed => self.step(
                at,
                Input::Persisted {
                    write,
                    result: Ok(()),
                },
            ),
            Outcome::CommittedLate => self.nodes[at].acknowledgements.push_back(write),
            Outcome::Lost | Outcome::Undetermined => {
                self.step(
                    at,
                    Input::Persisted {
                        write,
                        result: failed(),
                    },
                );
            }
        }
    }

    /// A late acknowledgement arrives, even after another election.
    pub fn acknowledge(&mut self, at: usize) {
        if let Some(write) = self.nodes[at].acknowledgements.pop_front() {
            self.step(
                at,
                Input::Persisted {
                    write,
                    result: Ok(()),
                },
            );
        }
    }

    /// The node's oldest question, whether it still leads, is answered with the truth.
    pub fn confirm(&mut self, at: usize) {
        if let Some((term, confirm)) = self.nodes[at].confirms.pop_front() {
            let leads = self.leader == Some((at, term));
            self.step(at, Input::Confirmed { confirm, leads });
        }
    }

    /// Time passes on a node, and it notices.
    pub fn advance(&mut self, at: usize, ms: u64) {
        self.nodes[at].clock.monotonic_ms += ms;
        self.nodes[at].clock.wall_ms += ms;
        self.step(at, Input::Tick);
    }

    /// A node's wall clock is set.
    pub fn jump(&mut self, at: usize, ms: i64) {
        let wall_ms = &mut self.nodes[at].clock.wall_ms;
        *wall_ms = wall_ms.saturating_add_signed(ms);
    }

    /// Everything that is under way comes to a good end.
    pub fn settle(&mut self) {
        for at in 0..self.nodes.len() {
            loop {
                let node = &self.nodes[at];
                if !node.acknowledgements.is_empty() {
                    self.acknowledge(at);
                } else if !node.writes.is_empty() {
                    self.persist(at, Outcome::Committed);
                } else if !node.confirms.is_empty() {
                    self.confirm(at);
                } else {
                    break;
                }
            }
        }
    }

    /// Requests without an answer.
    pub fn unanswered(&self) -> usize {
        self.asked.len()
    }

    pub fn timestamps(&mut self, node: usize, count: u32) -> Timestamp {
        match self.call(node, Request::Tso { count }) {
            Ok(Response::Timestamps { last, .. }) => last,
            other => panic!("{other:?}"),
        }
    }

    pub fn id(&mut self, node: usize) -> u64 {
        match self.call(node, Request::AllocId) {
            Ok(Response::Id(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    pub fn route(&mut self, node: usize, key: &[u8]) -> Option<RegionRoute> {
        match self.call(node, Request::GetRegion { key: key.to_vec() }) {
            Ok(Response::Region(route)) => route,
            other => panic!("{other:?}"),
        }
    }

    pub fn store(&mut self, node: usize, id: u64) -> Result<StoreView, Error> {
        match self.call(
            node,
            Request::GetStore {
                store_id: StoreId(id),
            },
        ) {
            Ok(Response::Store(view)) => Ok(*view),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    }
}
