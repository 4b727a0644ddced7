//! The messages that wait for one store.
//!
//! **States.** *Open*: messages are taken, up to the bounds; also before the first connection, so that
//! the first election does not wait for a second one. *Shut*: the store can't be reached, messages are
//! given back. A new connection opens it again.
//!
//! **Two lanes.** Appends carry data and may fill the queue; heartbeats, votes and answers are small,
//! and a leader whose heartbeats wait behind 64 MiB of appends is deposed. So those go first. Appends
//! stay in order among themselves, since a follower refuses one before its predecessor; Raft cares
//! for no other order.
//!
//! **Invariants.** `bytes` is the sum over both lanes. A shut queue is empty.

use super::TransportOptions;
use crate::wire;
use futures::stream::{self, Stream};
use parking_lot::Mutex;
use proto::raft_serverpb::RaftMessage as Envelope;
use proto::tikvpb::BatchRaftMessage;
use raft::eraftpb::MessageType;
use raftstore::RaftMessage;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

/// One batch has at most so many messages.
const BATCH_MESSAGES_MAX: usize = 1_024;

pub(super) struct Queue {
    state: Mutex<State>,
    /// Whether something was pushed since the last wake-up.
    dirty: AtomicBool,
    messages_max: usize,
    bytes_max: usize,
    batch_bytes_target: usize,
}

/// What waits for a store.
pub(super) struct Load {
    pub(super) is_open: bool,
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

struct State {
    /// Everything but appends.
    control: VecDeque<RaftMessage>,
    appends: VecDeque<RaftMessage>,
    bytes: usize,
    open: bool,
    /// The stream that waits for messages.
    reader: Option<Waker>,
    /// Counts connections, so that a stream of an old one takes nothing any more.
    generation: u64,
}

impl State {
    fn len(&self) -> usize {
        self.control.len() + self.appends.len()
    }

    fn pop(&mut self) -> Option<RaftMessage> {
        self.control
            .pop_front()
            .or_else(|| self.appends.pop_front())
    }
}

impl Queue {
    pub(super) fn new(options: &TransportOptions) -> Self {
        let state = State {
            control: VecDeque::new(),
            appends: VecDeque::new(),
            bytes: 0,
            open: true,
            reader: None,
            generation: 0,
        };
        Self {
            state: Mutex::new(state),
            dirty: AtomicBool::new(false),
            messages_max: options.queue_messages_max,
            bytes_max: options.queue_bytes_max,
            batch_bytes_target: options.batch_bytes_target,
        }
    }

    /// Takes a message over, or gives it back when it can't be sent.
    pub(super) fn push(&self, message: RaftMessage) -> Result<(), Box<RaftMessage>> {
        let bytes = message.size_bytes();
        let mut state = self.state.lock();
        let full = state.len() >= self.messages_max || state.bytes + bytes > self.bytes_max;
        if !state.open || full {
            return Err(Box::new(message));
        }
        state.bytes += bytes;
        match message.message.get_msg_type() {
            MessageType::MsgAppend => state.appends.push_back(message),
            _ => state.control.push_back(message),
        }
        drop(state);
        self.dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Lets the stream take what was pushed.
    pub(super) fn wake(&self) {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return;
        }
        let reader = self.state.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// What waits at the moment.
    pub(super) fn load(&self) -> Load {
        let state = self.state.lock();
        Load {
            is_open: state.open,
            messages: state.len(),
            bytes: state.bytes,
        }
    }

    /// A connection is there.
    pub(super) fn open(&self) {
        self.state.lock().open = true;
    }

    /// The connection is gone: gives back what was queued for it.
    pub(super) fn shut(&self) -> Vec<RaftMessage> {
        let mut state = self.state.lock();
        state.open = false;
        state.generation += 1;
        state.bytes = 0;
        state.reader = None;
        let state = &mut *state;
        state
            .control
            .drain(..)
            .chain(state.appends.drain(..))
            .collect()
    }

    /// What is queued from now on, in batches; ends when the queue is shut.
    pub(super) fn batches(self: Arc<Self>) -> impl Stream<Item = BatchRaftMessage> + Send {
        let generation = self.state.lock().generation;
        stream::poll_fn(move |cx| self.poll_batch(generation, cx))
    }

    fn poll_batch(&self, generation: u64, cx: &mut Context<'_>) -> Poll<Option<BatchRaftMessage>> {
        let mut state = self.state.lock();
        if state.generation != generation {
            return Poll::Ready(None);
        }
        if state.len() == 0 {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_MESSAGES_MAX && bytes < self.batch_bytes_target {
            let Some(message) = state.pop() else {
                break;
            };
            bytes += message.size_bytes();
            batch.push(message);
        }
        state.bytes -= bytes;
        drop(state);
        failpoint::at!("server::transport::batch");
        // Encoded here and not by the poller that sent it: its round is what everything waits for.
        let msgs = batch.iter().map(seal).collect();
        Poll::Ready(Some(BatchRaftMessage { msgs }))
    }
}

pub(crate) fn seal(message: &RaftMessage) -> Envelope {
    let range = message.range.clone().unwrap_or_default();
    Envelope {
        region_id: message.region_id.get(),
        from_peer: Some(message.from.into()),
        to_peer: Some(message.to.into()),
        message: message.encode_body().into(),
        region_epoch: Some(message.epoch.into()),
        is_tombstone: message.is_tombstone,
        start_key: range.start.into(),
        end_key: range.end.into(),
        extra_msg: message.extra.map(wire::extra_to_wire),
        merge_target: message.merged_into.map(wire::merged_into_to_wire),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use futures::task::noop_waker_ref;
    use raft::eraftpb::Message;
    use types::{Epoch, Peer, PeerId, RegionId, StoreId};

    fn message(region: u64) -> RaftMessage {
        let peer = |id| Peer {
            id: PeerId(id),
            store_id: StoreId(id),
            ..Peer::default()
        };
        RaftMessage {
            region_id: RegionId(region),
            from: peer(1),
            to: peer(2),
            epoch: Epoch::default(),
            message: Message::default(),
            ..RaftMessage::default()
        }
    }

    fn queue(messages_max: usize, bytes_max: usize) -> Arc<Queue> {
        Arc::new(Queue::new(&TransportOptions {
            queue_messages_max: messages_max,
            queue_bytes_max: bytes_max,
            ..TransportOptions::default()
        }))
    }

    #[tokio::test]
    async fn everything_queued_leaves_in_one_batch_and_in_order() {
        let queue = queue(10, 1 << 20);
        for region in 1..=3 {
            queue.push(message(region)).unwrap();
        }
        let batch = Arc::clone(&queue).batches().next().await.unwrap();
        let regions: Vec<u64> = batch.msgs.iter().map(|message| message.region_id).collect();
        assert_eq!(regions, [1, 2, 3]);
        assert_eq!(queue.state.lock().bytes, 0);
    }

    #[tokio::test]
    async fn small_messages_overtake_appends_and_nothing_else() {
        let queue = queue(10, 1 << 20);
        let of = |msg_type, region| {
            let mut message = message(region);
            message.message.set_msg_type(msg_type);
            message
        };
        queue.push(of(MessageType::MsgAppend, 1)).unwrap();
        queue.push(of(MessageType::MsgHeartbeat, 2)).unwrap();
        queue.push(of(MessageType::MsgAppend, 3)).unwrap();
        queue.push(of(MessageType::MsgAppendResponse, 4)).unwrap();
        let batch = Arc::clone(&queue).batches().next().await.unwrap();
        let regions: Vec<u64> = batch.msgs.iter().map(|message| message.region_id).collect();
        assert_eq!(regions, [2, 4, 1, 3]);
    }

    #[tokio::test]
    async fn a_waiting_stream_is_woken_by_a_flush() {
        let queue = queue(10, 1 << 20);
        let stream = Arc::clone(&queue).batches();
        let reader = tokio::spawn(async move { Box::pin(stream).next().await });
        while queue.state.lock().reader.is_none() {
            tokio::task::yield_now().await;
        }
        queue.push(message(7)).unwrap();
        queue.wake();
        assert_eq!(reader.await.unwrap().unwrap().msgs[0].region_id, 7);
    }

    #[test]
    fn a_full_queue_gives_messages_back() {
        let by_count = queue(2, 1 << 20);
        assert!(by_count.push(message(1)).is_ok() && by_count.push(message(2)).is_ok());
        assert_eq!(
            by_count.push(message(3)).unwrap_err().region_id,
            RegionId(3)
        );
        let by_bytes = queue(100, message(1).size_bytes());
        assert!(by_bytes.push(message(1)).is_ok());
        assert!(by_bytes.push(message(2)).is_err());
    }

    #[test]
    fn a_broken_connection_loses_what_was_queued_and_refuses_more_until_it_is_back() {
        let queue = queue(10, 1 << 20);
        queue.push(message(1)).unwrap();
        let mut old = Box::pin(Arc::clone(&queue).batches());
        assert_eq!(queue.shut(), vec![message(1)]);
        assert!(queue.push(message(2)).is_err());
        queue.open();
        queue.push(message(3)).unwrap();
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(matches!(old.poll_next_unpin(&mut cx), Poll::Ready(None)));
        let mut new = Box::pin(Arc::clone(&queue).batches());
        assert!(matches!(new.poll_next_unpin(&mut cx), Poll::Ready(Some(_))));
    }
}
