//! The clients: what they ask for, whom they ask, and what they make of an answer.
//!
//! A client has one request under way. A refusal means that nothing happened, so it asks anew with a
//! new value; silence means that nobody knows, so the operation stays open in the history for ever.
//!
//! **Invariants.** Every value is written by one request. Keys of a *pair* are written and removed
//! together only, so whoever sees one half sees the other.
//!
//! **Not here.** The way to the store and back (`world`).

use crate::history::History;
use crate::keys::Keys;
use crate::rng::Rng;
use bytes::Bytes;
use consistency::{Action, Operation};
use engine::Cf;
use raftstore::{Command, Mutation, RequestError};
use std::collections::BTreeMap;
use types::{Region, RequestId, raw_value};

/// What a client asks for. Keys are numbers of [`Keys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Put {
        key: usize,
        value: u64,
        /// Of the value, in seconds; zero: for ever.
        ttl_s: u64,
    },
    Delete {
        key: usize,
    },
    PutPair {
        value: u64,
    },
    DeletePair,
    Swap {
        key: usize,
        expected: Option<u64>,
        new: u64,
    },
    /// Every key of the group, one by one, in one view.
    GetAll,
    /// The range of the group's keys.
    Scan,
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Refused(RequestError),
    Written,
    Swapped(bool, Option<u64>),
    /// Each key of the group with its value, at this time in seconds since the Unix epoch.
    Values(Vec<(usize, Option<u64>)>, u64),
}

/// A request under way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) client: usize,
    pub(crate) group: usize,
    pub(crate) ask: Ask,
    pub(crate) invoked: u64,
    /// What the clock of the store showed that it came to, in seconds since the Unix epoch; none: it came to
    /// none.
    pub(crate) now_s: Option<u64>,
}

/// All clients.
pub(crate) struct Clients {
    pub(crate) history: History,
    keys: Keys,
    calls: BTreeMap<RequestId, Call>,
    /// Of each client, the request under way.
    busy: Vec<Option<RequestId>>,
    last_request: u64,
    last_value: u64,
    /// What was seen of each key last, to swap it.
    seen: Vec<Option<u64>>,
    /// The Region that is believed to have them, by group.
    routes: Vec<Region>,
    /// The store that is believed to lead it, by group.
    leaders: Vec<usize>,
    /// Requests that succeeded, by what was asked.
    pub(crate) acknowledged: BTreeMap<&'static str, u64>,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
}

impl Clients {
    pub(crate) fn new(keys: Keys, clients: usize) -> Self {
        Self {
            history: History::new(keys.count()),
            calls: BTreeMap::new(),
            busy: vec![None; clients],
            last_request: 0,
            last_value: 0,
            seen: vec![None; keys.count()],
            routes: (0..keys.groups())
                .map(|group| keys.home(group).clone())
                .collect(),
            leaders: vec![0; keys.groups()],
            keys,
            acknowledged: BTreeMap::new(),
            refused: 0,
            unknown: 0,
        }
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The store to ask about a group.
    pub(crate) fn leader(&self, group: usize) -> usize {
        self.leaders[group]
    }

    /// The Region to ask for a group.
    pub(crate) fn route(&self, group: usize) -> &Region {
        &self.routes[group]
    }

    /// Somebody says that these Regions are there: what is newer than what is known counts.
    pub(crate) fn learn(&mut self, regions: &[Region]) {
        for (group, route) in self.routes.iter_mut().enumerate() {
            let newer = regions.iter().filter(|region| {
                let (new, old) = (region.epoch, route.epoch);
                let is_newer = (new.version, new.conf_ver) > (old.version, old.conf_ver);
                is_newer && self.keys.is_in(group, region)
            });
            if let Some(newest) =
                newer.max_by_key(|region| (region.epoch.version, region.epoch.conf_ver))
            {
                *route = newest.clone();
            }
        }
    }

    pub(crate) fn draw(&mut self, group: usize, rng: &mut Rng) -> Ask {
        let single = rng.pick(self.keys.singles(group));
        let what = rng.below(100);
        let value = self.last_value + 1;
        self.last_value = value;
        match what {
            0..25 => Ask::Put {
                key: single,
                value,
                ttl_s: rng.below(9).saturating_sub(5),
            },
            25..33 => Ask::Delete { key: single },
            33..50 => Ask::Swap {
                key: single,
                expected: self.seen[single].filter(|_| !rng.chance(150_000)),
                new: value,
            },
            50..62 => Ask::PutPair { value },
            62..66 => Ask::DeletePair,
            66..83 => Ask::Scan,
            _ => Ask::GetAll,
        }
    }

    /// A write that always means something, for the end of a run.
    pub(crate) fn last_put(&mut self, group: usize) -> Ask {
        self.last_value += 1;
        Ask::Put {
            key: self.keys.singles(group)[0],
            value: self.last_value,
            ttl_s: 0,
        }
    }

    /// A client that was not there before.
    pub(crate) fn join(&mut self) -> usize {
        self.busy.push(None);
        self.busy.len() - 1
    }

    /// A number that no request has had.
    pub(crate) fn number_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// Begins a request.
    pub(crate) fn call(&mut self, client: usize, group: usize, ask: Ask) -> RequestId {
        assert!(self.busy[client].is_none(), "one request at a time");
        let request = self.number_request();
        let invoked = self.history.stamp();
        let call = Call {
            client,
            group,
            ask,
            invoked,
            now_s: None,
        };
        self.calls.insert(request, call);
        self.busy[client] = Some(request);
        request
    }

    /// The request under way, if it is still this one.
    pub(crate) fn get(&self, request: RequestId) -> Option<&Call> {
        self.calls.get(&request)
    }

    /// A request has come to a store, whose clock shows this.
    pub(crate) fn came_at(&mut self, request: RequestId, now_s: u64) {
        if let Some(call) = self.calls.get_mut(&request) {
            call.now_s = Some(now_s);
        }
    }

    /// The client waits no longer. True if it still did.
    pub(crate) fn give_up(&mut self, request: RequestId, rng: &mut Rng) -> bool {
        let Some(call) = self.finish(request) else {
            return false;
        };
        self.leaders[call.group] = self.guess_leader(call.group, rng);
        self.leave_open(&call);
        true
    }

    /// An answer has come. `None` if nobody waits for it any more; else whose it was, and whether the
    /// request was done.
    pub(crate) fn hear(
        &mut self,
        request: RequestId,
        heard: &Heard,
        rng: &mut Rng,
    ) -> Result<Option<(usize, bool)>, String> {
        let Some(call) = self.finish(request) else {
            return Ok(None);
        };
        if let Heard::Refused(error) = heard {
            self.refused += 1;
            self.leaders[call.group] = match error {
                RequestError::NotLeader {
                    leader: Some(leader),
                    ..
                } => leader.store_id.get() as usize - 1,
                _ => self.guess_leader(call.group, rng),
            };
            if let RequestError::EpochNotMatch { current } = error {
                self.learn(current);
            }
            if *error == RequestError::Undetermined {
                self.leave_open(&call);
            }
            return Ok(Some((call.client, false)));
        }
        *self.acknowledged.entry(call.ask.name()).or_default() += 1;
        self.complete(&call, heard)?;
        Ok(Some((call.client, true)))
    }

    /// Every request that is still under way stays open.
    pub(crate) fn give_up_all(&mut self, rng: &mut Rng) {
        for request in self.calls.keys().copied().collect::<Vec<_>>() {
            self.give_up(request, rng);
        }
    }

    fn guess_leader(&self, group: usize, rng: &mut Rng) -> usize {
        let peers = &self.routes[group].peers;
        let peer = peers[rng.below(peers.len() as u64) as usize];
        peer.store_id.get() as usize - 1
    }

    fn finish(&mut self, request: RequestId) -> Option<Call> {
        let call = self.calls.remove(&request)?;
        self.busy[call.client] = None;
        Some(call)
    }

    fn leave_open(&mut self, call: &Call) {
        self.unknown += 1;
        // What came to no store has not happened.
        let Some(now_s) = call.now_s else {
            return;
        };
        for (key, action) in self.writes(call, now_s, None) {
            let operation = Operation {
                action,
                invoked: call.invoked,
                completed: None,
                now_s,
            };
            self.history.push(key, operation);
        }
    }

    /// What a request writes; `answer` is that of a swap.
    fn writes(
        &self,
        call: &Call,
        now_s: u64,
        answer: Option<(bool, Option<u64>)>,
    ) -> Vec<(usize, Action)> {
        let pair = self.keys.pair(call.group);
        match call.ask {
            Ask::Put { key, value, ttl_s } => {
                let put = match raw_value::expiry_of_ttl(ttl_s, now_s) {
                    None => Action::Put(value),
                    Some(expires_at_s) => Action::PutUntil {
                        value,
                        expires_at_s,
                    },
                };
                vec![(key, put)]
            }
            Ask::Delete { key } => vec![(key, Action::Delete)],
            Ask::PutPair { value } => pair.map(|key| (key, Action::Put(value))).to_vec(),
            Ask::DeletePair => pair.map(|key| (key, Action::Delete)).to_vec(),
            Ask::Swap { key, expected, new } => {
                let swap = Action::Swap {
                    expected,
                    new,
                    answer,
                };
                vec![(key, swap)]
            }
            Ask::GetAll | Ask::Scan => Vec::new(),
        }
    }

    fn complete(&mut self, call: &Call, heard: &Heard) -> Result<(), String> {
        let completed = Some(self.history.stamp());
        let mut now_s = call.now_s.ok_or("an answer, and no store was asked")?;
        let is_read = matches!(call.ask, Ask::GetAll | Ask::Scan);
        let done = match (&call.ask, heard) {
            (Ask::Swap { key, new, .. }, Heard::Swapped(succeeded, previous)) => {
                self.seen[*key] = if *succeeded { Some(*new) } else { *previous };
                self.writes(call, now_s, Some((*succeeded, *previous)))
            }
            (ask, Heard::Written) if !is_read && !matches!(ask, Ask::Swap { .. }) => {
                self.writes(call, now_s, None)
            }
            (_, Heard::Values(values, seen_s)) if is_read => {
                now_s = *seen_s;
                self.check_pair(call.group, values)?;
                for (key, value) in values {
                    self.seen[*key] = *value;
                }
                let got = |(key, value): &(usize, Option<u64>)| (*key, Action::Get(*value));
                values.iter().map(got).collect()
            }
            (ask, heard) => return Err(format!("{ask:?} was answered with {heard:?}")),
        };
        for (key, action) in done {
            let operation = Operation {
                action,
                invoked: call.invoked,
                completed,
                now_s,
            };
            self.history.push(key, operation);
        }
        Ok(())
    }

    fn check_pair(&self, group: usize, values: &[(usize, Option<u64>)]) -> Result<(), String> {
        let value_of = |wanted: usize| values.iter().find(|(key, _)| *key == wanted);
        let [first, second] = self.keys.pair(group).map(value_of);
        match first.map(|(_, value)| value) == second.map(|(_, value)| value) {
            true => Ok(()),
            false => Err(format!("half of a batch was seen: {values:?}")),
        }
    }
}

impl Ask {
    /// What it is called in a report.
    fn name(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Delete { .. } => "delete",
            Self::PutPair { .. } => "batch put",
            Self::DeletePair => "delete range",
            Self::Swap { .. } => "compare-and-swap",
            Self::GetAll => "batch get",
            Self::Scan => "scan",
        }
    }

    /// The command; none for a read. `now_ms` is the asker's wall clock.
    pub(crate) fn command(&self, group: usize, keys: &Keys, now_ms: u64) -> Option<Command> {
        let key_of = |key: usize| Bytes::copy_from_slice(keys.key(key));
        let put = |key: usize, value: u64| Mutation::Put {
            cf: Cf::Default,
            key: key_of(key),
            value: Keys::encode_value(value, None),
        };
        let [first, second] = keys.pair(group);
        Some(match *self {
            Ask::Put { key, value, ttl_s } => Command::Write(vec![Mutation::Put {
                cf: Cf::Default,
                key: key_of(key),
                value: Keys::encode_value(value, raw_value::expiry_of_ttl(ttl_s, now_ms / 1000)),
            }]),
            Ask::Delete { key } => Command::Write(vec![Mutation::Delete {
                cf: Cf::Default,
                key: key_of(key),
            }]),
            Ask::PutPair { value } => Command::Write(vec![put(first, value), put(second, value)]),
            Ask::DeletePair => Command::Write(vec![Mutation::DeleteRange {
                cf: Cf::Default,
                start: key_of(first),
                end: keys.pair_end(group),
            }]),
            Ask::Swap { key, expected, new } => Command::CompareAndSwap {
                key: key_of(key),
                expected: expected.map(|value| Bytes::copy_from_slice(&value.to_be_bytes())),
                value: Keys::encode_value(new, None),
                now_ms,
            },
            Ask::GetAll | Ask::Scan => return None,
        })
    }
}
