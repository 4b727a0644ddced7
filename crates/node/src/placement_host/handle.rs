//! The host's two doors: the handle by which questions come in, and the observer that tells who leads.
//!
//! **Invariants.** Whoever learns here that this node leads, and asks it then, is heard after the host
//! was told of the election. Nobody is sent back to this node by a "not leader".
//!
//! **Not here.** Answers (`placement_host`).

use crate::ports::LeadershipObserver;
use futures::Stream;
use placement::{Error, RegionInstruction, Request, Response};
use raftstore::Leadership;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use types::{RegionId, StoreId};

const CALLS_MAX: usize = 4096;
/// Instructions that a listener may be behind; it loses older ones, which are said again.
const INSTRUCTIONS_MAX: usize = 1024;

pub(super) type Answer = Result<Response, Error>;

/// A question, and whom to answer.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Who leads the placement Region, as far as this node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// As this node's replica knows it.
    leader: Option<StoreId>,
    /// The replica's term; zero if there is no replica here.
    term: u64,
    /// As somebody else has told, since the replica here last heard something new.
    told: Option<StoreId>,
}

/// Asks this node's placement driver. Clones are the same.
#[derive(Clone)]
pub struct PlacementHandle {
    here: StoreId,
    calls: mpsc::Sender<Call>,
    known: Arc<watch::Sender<Known>>,
    instructions: broadcast::Sender<RegionInstruction>,
}

/// An answer to come.
pub struct PlacementAnswer {
    receiver: oneshot::Receiver<Answer>,
    handle: PlacementHandle,
}

impl PlacementHandle {
    /// Asks. A node that does not lead the placement Region answers [`Error::NotLeader`], with the
    /// leader's store where it is known.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn call(&self, request: Request) -> Result<Response, Error> {
        self.enqueue(request).await.get().await
    }

    /// Asks, and does not wait for the answer. The driver hears questions in the order in which these
    /// calls end.
    pub async fn enqueue(&self, request: Request) -> PlacementAnswer {
        let (answer, receiver) = oneshot::channel();
        // A host that is gone drops the call, which answers it.
        let _ = self.calls.send(Call { request, answer }).await;
        PlacementAnswer {
            receiver,
            handle: self.clone(),
        }
    }

    /// The store whose placement driver leads, as this node knows it.
    pub fn leader(&self) -> Option<StoreId> {
        let known = *self.known.borrow();
        known.leader.or(known.told)
    }

    /// Tells this node what it can't know without a replica of the placement Region: who leads.
    pub fn tell_leader(&self, leader: Option<StoreId>) {
        self.known.send_if_modified(|known| {
            let told = std::mem::replace(&mut known.told, leader);
            told != leader
        });
    }

    /// What the driver tells leaders of Regions from now on, beside the answers to their reports. A
    /// slow listener loses some of it.
    pub fn instructions(&self) -> impl Stream<Item = RegionInstruction> + Send + use<> {
        let receiver = self.instructions.subscribe();
        futures::stream::unfold(receiver, |mut receiver| async {
            loop {
                match receiver.recv().await {
                    Ok(told) => return Some((told, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
    }

    /// Ready when this node does not lead, or not any more in the term in which it does now.
    pub fn leadership_lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut known = self.known.subscribe();
        let (now, here) = (*known.borrow(), Some(self.here));
        async move {
            let is_lost = |then: &Known| then.leader != here || then.term != now.term;
            // An error means that the node is gone, which is as good.
            let _ = known.wait_for(is_lost).await;
        }
    }
}

impl PlacementAnswer {
    /// Waits for it.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get(self) -> Result<Response, Error> {
        let mut answer = self.receiver.await.unwrap_or(Err(Error::NOT_LEADER));
        if let Err(Error::NotLeader { leader }) = &mut answer {
            // This node may lead again by now; the answer is of a moment when it did not.
            let here = self.handle.here;
            *leader = self.handle.leader().filter(|leader| *leader != here);
        }
        answer
    }
}

/// Tells the host who leads the placement Region.
pub(crate) struct PlacementObserver {
    elections: mpsc::UnboundedSender<Leadership>,
    known: Arc<watch::Sender<Known>>,
}

impl LeadershipObserver for PlacementObserver {
    fn leadership(&self, leadership: &Leadership) {
        if leadership.region_id != RegionId::PLACEMENT {
            return;
        }
        // First the host, then everybody: see the invariant above. The host is gone only when the
        // node stops.
        let _ = self.elections.send(leadership.clone());
        let known = Known {
            leader: leadership.leader.map(|peer| peer.store_id),
            term: leadership.term,
            told: None,
        };
        self.known
            .send_if_modified(|before| std::mem::replace(before, known) != known);
    }

    fn removed(&self, region: RegionId) {
        // A leader hands over before it is removed, so the host knows already that it does not lead.
        if region == RegionId::PLACEMENT {
            self.known.send_modify(|known| {
                *known = Known {
                    told: known.leader.or(known.told),
                    ..Known::default()
                };
            });
        }
    }
}

/// The host's ends of its channels, before it runs.
pub(crate) struct Inbox {
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) elections: mpsc::UnboundedReceiver<Leadership>,
    pub(super) instructions: broadcast::Sender<RegionInstruction>,
}

/// The doors of the host of the store `here`.
pub(crate) fn channel(here: StoreId) -> (PlacementHandle, PlacementObserver, Inbox) {
    let (call_sender, calls) = mpsc::channel(CALLS_MAX);
    let (election_sender, elections) = mpsc::unbounded_channel();
    let known = Arc::new(watch::Sender::new(Known::default()));
    let (instructions, _) = broadcast::channel(INSTRUCTIONS_MAX);
    let handle = PlacementHandle {
        here,
        calls: call_sender,
        known: Arc::clone(&known),
        instructions: instructions.clone(),
    };
    let observer = PlacementObserver {
        elections: election_sender,
        known,
    };
    let inbox = Inbox {
        calls,
        elections,
        instructions,
    };
    (handle, observer, inbox)
}
