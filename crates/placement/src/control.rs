//! What operators of a cluster, and leaders of Regions, ask of scheduling.
//!
//! **Invariants.** A request that changes what is persisted is answered when it is persisted. One that
//! begins an operator is answered when the operator is admitted: how it goes is asked by
//! [`Control::GetOperator`].
//!
//! **Not here.** What schedulers and checkers begin by themselves: `scheduling`.

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::ids::PeerIds;
use crate::leader::Planned;
use crate::message::{Request, Response};
use crate::operator::Operator;
use crate::requested::{self, OperatorRequest};
use crate::schedule::scatter;
use crate::schedulers::SchedulerName;
use crate::scheduling::{self, Known, Scheduling};
use crate::state::{Change, Durable};
use crate::{heat, service, settings, split, stores};
use std::sync::Arc;
use types::{Region, RegionId, StoreId};

/// More ids than one operator needs.
const IDS_PER_OPERATOR: u64 = 16;
/// The most Regions in one request to scatter.
const SCATTER_MAX: usize = 256;

/// What can be asked of scheduling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Moves everything away from a store, which then leaves. Answered by [`Response::Done`].
    DrainStore {
        /// Which.
        store_id: StoreId,
    },
    /// Takes a store that is drained back into service. Answered by [`Response::Done`].
    CancelDrain {
        /// Which.
        store_id: StoreId,
    },
    /// Sets labels of a store; an empty value removes one. Answered by [`Response::Done`].
    LabelStore {
        /// Which.
        store_id: StoreId,
        /// Names and values.
        labels: Vec<(String, String)>,
    },
    /// Forgets all stores that have left. Answered by [`Response::Done`].
    RemoveTombstones,
    /// Ids for a split that a leader is about to make. Answered by [`Response::SplitIds`].
    AskBatchSplit {
        /// The Region, as its leader knows it.
        region: Region,
        /// How many new Regions there will be.
        parts: u32,
    },
    /// Splits Regions at these keys. Answered by [`Response::Begun`].
    SplitRegions {
        /// As Regions' boundaries are encoded.
        keys: Vec<Vec<u8>>,
    },
    /// Spreads Regions over all stores. Answered by [`Response::Begun`].
    ScatterRegions {
        /// Which; 256 at the most.
        region_ids: Vec<RegionId>,
        /// Regions of one group are spread evenly.
        group: String,
    },
    /// The operator of a Region, or the last that it had. Answered by [`Response::Operator`].
    GetOperator {
        /// The Region.
        region_id: RegionId,
    },
    /// All operators. Answered by [`Response::Operators`].
    ListOperators {
        /// Those that have ended lately, instead of those that are at work.
        ended: bool,
    },
    /// Begins an operator. Answered by [`Response::Done`].
    AddOperator(OperatorRequest),
    /// Gives the operator of a Region up. Answered by [`Response::Done`].
    CancelOperator {
        /// The Region.
        region_id: RegionId,
    },
    /// The schedulers that run. Answered by [`Response::Schedulers`].
    ListSchedulers,
    /// Lets a scheduler run. Answered by [`Response::Done`].
    AddScheduler(SchedulerName),
    /// Lets it run no more. Answered by [`Response::Done`].
    RemoveScheduler(SchedulerName),
    /// Lets it rest. Answered by [`Response::Done`].
    PauseScheduler {
        /// Which.
        name: SchedulerName,
        /// For how long, in milliseconds; zero to let it go on.
        pause_ms: u64,
    },
    /// How busy stores are, and their busiest Regions. Answered by [`Response::Hot`].
    ListHot,
    /// The settings in effect. Answered by [`Response::Settings`].
    GetSettings,
    /// Sets settings, all of them or none. Answered by [`Response::Done`].
    SetSettings(Vec<(String, String)>),
}

impl Control {
    /// About how much memory the request holds beyond its own size.
    pub(crate) fn heap_bytes(&self) -> usize {
        let keys = |keys: &[Vec<u8>]| -> usize { keys.iter().map(|key| 24 + key.len()).sum() };
        let heap = match self {
            Control::AskBatchSplit { region, .. } => {
                region.range.start.len() + region.range.end.len() + region.peers.len() * 32
            }
            Control::SplitRegions { keys: at } => keys(at),
            Control::AddOperator(OperatorRequest::Split { keys: at, .. }) => keys(at),
            Control::ScatterRegions { region_ids, group } => region_ids.len() * 8 + group.len(),
            Control::SetSettings(pairs) | Control::LabelStore { labels: pairs, .. } => pairs
                .iter()
                .map(|(name, text)| 48 + name.len() + text.len())
                .sum(),
            _ => 0,
        };
        size_of::<Self>() + heap
    }
}

/// Where a request is dealt with.
pub(crate) struct Desk<'a> {
    /// With what is visible.
    pub(crate) known: Known<'a>,
    /// On this, changes are evaluated.
    pub(crate) staged: &'a Durable,
    pub(crate) scheduling: &'a mut Scheduling,
}

impl Desk<'_> {
    /// What a request comes to.
    pub(crate) fn plan(mut self, control: Control) -> Result<Planned> {
        let needed = self.ids_needed(&control)?;
        if !self.known.peer_ids().has(needed) {
            return Ok(Planned::Ids(needed, Request::Control(Box::new(control))));
        }
        let response = match control {
            Control::DrainStore { store_id } => return self.drain(store_id),
            Control::CancelDrain { store_id } => {
                let change = service::plan_cancel_drain(self.staged, store_id)?;
                return changed(change.into_iter().collect());
            }
            Control::LabelStore { store_id, labels } => {
                let change = stores::plan_label(self.staged, store_id, &labels)?;
                return changed(change.into_iter().collect());
            }
            Control::RemoveTombstones => {
                return changed(service::plan_remove_tombstones(self.staged));
            }
            Control::AskBatchSplit { region, parts } => {
                let ids = split::ids(&mut self.known.peer_ids(), &region, parts);
                Response::SplitIds(ids.expect("there are enough ids"))
            }
            Control::SplitRegions { keys } => self.split(&keys),
            Control::ScatterRegions { region_ids, group } => self.scatter(&region_ids, &group),
            Control::GetOperator { region_id } => {
                let record = self.scheduling.operators.record(region_id)?;
                Response::Operator(Box::new(record))
            }
            Control::ListOperators { ended } => {
                Response::Operators(self.scheduling.operators.list(ended))
            }
            Control::AddOperator(request) => self.begin(request)?,
            Control::CancelOperator { region_id } => {
                let (now, reason) = (self.known.now, "somebody asked for it");
                self.scheduling.operators.cancel(now, region_id, reason)?;
                Response::Done
            }
            Control::ListSchedulers => {
                let now = self.known.now;
                Response::Schedulers(self.scheduling.schedulers(self.known.state, now))
            }
            Control::AddScheduler(name) => return self.set_scheduler(name, true),
            Control::RemoveScheduler(name) => return self.set_scheduler(name, false),
            Control::PauseScheduler { name, pause_ms } => {
                if !scheduling::names(self.known.state).contains(&name) {
                    return Err(not_running(name));
                }
                self.scheduling.pause(name, self.known.now, pause_ms);
                Response::Done
            }
            Control::ListHot => Response::Hot(heat::list(self.known.state, self.known.observed)),
            Control::GetSettings => Response::Settings(self.scheduling.settings.list()),
            Control::SetSettings(wanted) => {
                let overrides = settings::plan_set(&self.staged.overrides, &wanted)?;
                return changed(vec![Change::Settings(Arc::new(overrides))]);
            }
        };
        Ok(Planned::Answer(response))
    }

    /// How many ids there have to be before the request is dealt with.
    fn ids_needed(&self, control: &Control) -> Result<u64> {
        Ok(match control {
            Control::AskBatchSplit { region, parts } => {
                split::ids_needed(self.staged, region, *parts)?
            }
            Control::AddOperator(_) => IDS_PER_OPERATOR,
            Control::ScatterRegions { region_ids, .. } => {
                IDS_PER_OPERATOR * region_ids.len().min(SCATTER_MAX) as u64
            }
            _ => 0,
        })
    }

    fn drain(self, store_id: StoreId) -> Result<Planned> {
        let mut health = self.known.health(&self.scheduling.settings);
        health.state = self.staged;
        let change = service::plan_drain(&health, self.known.config, store_id)?;
        let (now, reason) = (self.known.now, "the store is drained");
        self.scheduling.operators.cancel_onto(now, store_id, reason);
        changed(change.into_iter().collect())
    }

    fn set_scheduler(self, name: SchedulerName, runs: bool) -> Result<Planned> {
        let mut names = scheduling::names(self.staged);
        let ran = names.contains(&name);
        if ran == runs {
            return if runs {
                changed(Vec::new())
            } else {
                Err(not_running(name))
            };
        }
        if let SchedulerName::EvictLeader(store) = name
            && runs
        {
            self.staged.stores.get(store)?;
        }
        names.retain(|known| *known != name);
        names.extend(runs.then_some(name));
        changed(vec![Change::Schedulers(Arc::new(names))])
    }

    fn split(&mut self, keys: &[Vec<u8>]) -> Response {
        let found = split::operators(&self.known, keys);
        self.begin_each(found)
    }

    fn scatter(&mut self, ids: &[RegionId], group: &str) -> Response {
        let mut begun = Vec::new();
        let mut refused = Vec::new();
        for id in ids.iter().take(SCATTER_MAX) {
            let found = self
                .scheduling
                .with_cluster(&mut self.known, |cluster, ids, groups| {
                    let seen = cluster.idle(*id).ok_or(Error::OperatorRefused {
                        region_id: *id,
                        reason: "it is not in order, or has an operator already",
                    })?;
                    Ok(scatter(cluster, ids, groups, seen, group))
                });
            let result = found.and_then(|found| match found {
                Some(operator) => self.scheduling.begin(&self.known, vec![operator]),
                None => Ok(()),
            });
            match result {
                Ok(()) => begun.push(*id),
                Err(error) => refused.push((*id, error)),
            }
        }
        Response::Begun { begun, refused }
    }

    fn begin_each(&mut self, found: Vec<(RegionId, Result<Operator>)>) -> Response {
        let mut begun = Vec::new();
        let mut refused = Vec::new();
        for (id, operator) in found {
            let result =
                operator.and_then(|operator| self.scheduling.begin(&self.known, vec![operator]));
            match result {
                Ok(()) => begun.push(id),
                Err(error) => refused.push((id, error)),
            }
        }
        Response::Begun { begun, refused }
    }

    fn begin(&mut self, request: OperatorRequest) -> Result<Response> {
        let make = |cluster: &Cluster<'_>, ids: &mut PeerIds<'_>, _: &mut _| {
            requested::operators(cluster, ids, request)
        };
        let operators = self.scheduling.with_cluster(&mut self.known, make)?;
        self.scheduling.begin(&self.known, operators)?;
        Ok(Response::Done)
    }
}

fn changed(changes: Vec<Change>) -> Result<Planned> {
    Ok(Planned::Change(changes, Response::Done))
}

fn not_running(name: SchedulerName) -> Error {
    Error::UnknownScheduler {
        name: name.to_string(),
        nearest: None,
    }
}
