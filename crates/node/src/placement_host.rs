//! Hosts the placement driver: feeds it, and performs its effects through the placement Region.
//!
//! The driver's state is the reserved Region; whoever leads that Region under a confirmed term is the
//! placement leader. On an election the host reads all of the state (a linearizable read, so the
//! leader has committed in its own term and sees every earlier write), and only then the driver serves.
//!
//! **Invariants.** A write of the driver is bound to the term it was elected in, so that a deposed
//! leader's late write is refused, never applied after its successor has loaded. A timestamp is
//! released only after leadership was confirmed at a moment after it was allocated.
//!
//! **Not here.** Decisions (`placement`).

use crate::handle::NodeHandle;
use crate::ports::LeadershipObserver;
use bytes::Bytes;
use engine::{Cf, KvEngine, KvIterator};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use placement::{
    ConfirmId, Effect, Error, Input, Now, PersistFailed, Placement, Request, Response, WriteId,
};
use raftstore::{Command, Leadership, Mutation, RequestContext, RequestError};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use types::{Peer, RegionId, RequestId, StoreId};

const TICK: Duration = Duration::from_millis(50);
const LOAD_RETRY: Duration = Duration::from_millis(20);
const CALLS_MAX: usize = 4096;

type Answer = Result<Response, Error>;

enum Event {
    Call(Request, oneshot::Sender<Answer>),
    Leadership(Leadership),
}

/// Asks this node's placement driver.
#[derive(Clone)]
pub struct PlacementHandle {
    events: mpsc::Sender<Event>,
    /// Zero: unknown.
    leader: Arc<AtomicU64>,
}

impl PlacementHandle {
    /// Asks. A node that does not lead the placement Region answers [`Error::NotLeader`], with the
    /// leader's store where it is known.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn call(&self, request: Request) -> Result<Response, Error> {
        let (sender, receiver) = oneshot::channel();
        let gone = || Error::NotLeader { leader: None };
        let event = Event::Call(request, sender);
        self.events.send(event).await.map_err(|_| gone())?;
        let mut answer = receiver.await.unwrap_or_else(|_| Err(gone()));
        if let Err(Error::NotLeader { leader }) = &mut answer {
            *leader = self.leader();
        }
        answer
    }

    /// The store whose placement driver leads, as this node knows it.
    pub fn leader(&self) -> Option<StoreId> {
        match self.leader.load(Ordering::Acquire) {
            0 => None,
            store => Some(StoreId(store)),
        }
    }
}

/// Tells the host who leads the placement Region.
pub(crate) struct PlacementObserver {
    events: mpsc::UnboundedSender<Event>,
    leader: Arc<AtomicU64>,
}

impl LeadershipObserver for PlacementObserver {
    fn leadership(&self, leadership: &Leadership) {
        if leadership.region_id != RegionId::PLACEMENT {
            return;
        }
        let leader = leadership.leader.map_or(0, |peer| peer.store_id.get());
        self.leader.store(leader, Ordering::Release);
        // The host is gone only when the node stops.
        let _ = self.events.send(Event::Leadership(leadership.clone()));
    }
}

/// The host's ends of its channels, before it runs.
pub(crate) struct Inbox {
    calls: mpsc::Receiver<Event>,
    elections: mpsc::UnboundedReceiver<Event>,
}

pub(crate) fn channel() -> (PlacementHandle, PlacementObserver, Inbox) {
    let (events, calls) = mpsc::channel(CALLS_MAX);
    let (election_sender, elections) = mpsc::unbounded_channel();
    let leader = Arc::new(AtomicU64::new(0));
    let handle = PlacementHandle {
        events,
        leader: Arc::clone(&leader),
    };
    let observer = PlacementObserver {
        events: election_sender,
        leader,
    };
    (handle, observer, Inbox { calls, elections })
}

/// A piece of work that has ended.
enum Done {
    Loaded(u64, Vec<(Vec<u8>, Vec<u8>)>),
    LoadFailed(RequestContext),
    Persisted(WriteId, Result<(), PersistFailed>),
    Confirmed(ConfirmId, bool),
}

pub(crate) struct Host<K: KvEngine> {
    node: NodeHandle<K>,
    placement: Placement,
    /// How to address the placement Region in the term in which this node leads it.
    leading: Option<RequestContext>,
    started: Instant,
    last_id: u64,
    waiting: HashMap<RequestId, oneshot::Sender<Answer>>,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl<K: KvEngine> Host<K> {
    pub(crate) fn new(node: NodeHandle<K>, config: placement::Config) -> Self {
        Self {
            node,
            placement: Placement::new(config),
            leading: None,
            started: Instant::now(),
            last_id: 0,
            waiting: HashMap::new(),
            jobs: FuturesUnordered::new(),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: Inbox) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                Some(event) = inbox.elections.recv() => self.event(event),
                Some(done) = self.jobs.next() => self.done(done),
                event = inbox.calls.recv() => match event {
                    Some(event) => self.event(event),
                    None => return,
                },
                _ = ticks.tick() => self.step(Input::Tick),
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Call(request, sender) => {
                self.last_id += 1;
                let id = RequestId(self.last_id);
                self.waiting.insert(id, sender);
                self.step(Input::Request { id, request });
            }
            Event::Leadership(leadership) => self.leadership(&leadership),
        }
    }

    fn leadership(&mut self, leadership: &Leadership) {
        if leadership.is_self && self.is_leading(leadership.term) {
            // Nothing new: a term has one leader, and this one has been told.
            return;
        }
        let context = RequestContext {
            region_id: RegionId::PLACEMENT,
            epoch: leadership.epoch,
            peer: Peer::default(),
            term: leadership.term,
        };
        if self.leading.take().is_some() {
            self.step(Input::Deposed);
        }
        if leadership.is_self {
            self.leading = Some(context.clone());
            self.jobs.push(Box::pin(load(self.node.clone(), context)));
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Loaded(term, state) => {
                if self.is_leading(term) {
                    self.step(Input::Elected { term, state });
                }
            }
            Done::LoadFailed(context) => {
                if self.is_leading(context.term) {
                    let node = self.node.clone();
                    self.jobs.push(Box::pin(async move {
                        tokio::time::sleep(LOAD_RETRY).await;
                        load(node, context).await
                    }));
                }
            }
            Done::Persisted(write, result) => self.step(Input::Persisted { write, result }),
            Done::Confirmed(confirm, leads) => self.step(Input::Confirmed { confirm, leads }),
        }
    }

    fn is_leading(&self, term: u64) -> bool {
        self.leading
            .as_ref()
            .is_some_and(|context| context.term == term)
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.placement.step(self.now(), input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Reply { id, result } => {
                    if let Some(sender) = self.waiting.remove(&id) {
                        // The asker may have gone.
                        let _ = sender.send(result);
                    }
                }
                Effect::Notice(notice) => tracing::warn!("{notice}"),
                Effect::Persist { write, puts } => {
                    let (node, context) = (self.node.clone(), self.leading.clone());
                    self.jobs
                        .push(Box::pin(persist(node, context, write, puts)));
                }
                Effect::Confirm { confirm } => {
                    let (node, context) = (self.node.clone(), self.leading.clone());
                    self.jobs.push(Box::pin(async move {
                        let leads = match context {
                            Some(context) => node.read(context).await.is_ok(),
                            None => false,
                        };
                        Done::Confirmed(confirm, leads)
                    }));
                }
            }
        }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            monotonic_ms: self.started.elapsed().as_millis() as u64,
            wall_ms: wall.map_or(0, |wall| wall.as_millis() as u64),
        }
    }
}

async fn load<K: KvEngine>(node: NodeHandle<K>, context: RequestContext) -> Done {
    let term = context.term;
    let read = async {
        let snapshot = node
            .read(context.clone())
            .await
            .map_err(|e| e.to_string())?;
        let mut iter = snapshot
            .iter(Cf::Default, &[], &[])
            .map_err(|e| e.to_string())?;
        let mut state = Vec::new();
        let mut valid = iter.seek_to_first().map_err(|e| e.to_string())?;
        while valid {
            state.push((iter.key().to_vec(), iter.value().to_vec()));
            valid = iter.next().map_err(|e| e.to_string())?;
        }
        Ok::<_, String>(state)
    };
    match read.await {
        Ok(state) => Done::Loaded(term, state),
        Err(error) => {
            tracing::debug!(term, error, "the placement state is not readable yet");
            Done::LoadFailed(context)
        }
    }
}

async fn persist<K: KvEngine>(
    node: NodeHandle<K>,
    context: Option<RequestContext>,
    write: WriteId,
    puts: Vec<(Vec<u8>, Option<Vec<u8>>)>,
) -> Done {
    let mutation = |(key, value): (Vec<u8>, Option<Vec<u8>>)| {
        let (cf, key) = (Cf::Default, Bytes::from(key));
        match value {
            Some(value) => Mutation::Put {
                cf,
                key,
                value: value.into(),
            },
            None => Mutation::Delete { cf, key },
        }
    };
    let command = Command::Write(puts.into_iter().map(mutation).collect());
    let result = match context {
        Some(context) => node.write(context, command).await.map(drop),
        None => Err(RequestError::StaleCommand),
    };
    let failed = |error: RequestError| PersistFailed {
        reason: error.to_string(),
    };
    Done::Persisted(write, result.map_err(failed))
}
