//! Sends snapshots: each over a stream, and a connection, of its own, so that heartbeats don't wait behind
//! it.
//!
//! **Why a channel.** Frames come from the disk, at the store's bound on bytes a second, on a thread that
//! may wait; HTTP/2 pulls them through a channel of two. A receiver that is slow, or gone, stops the
//! reading.
//!
//! **Invariants.** Whatever ends a stream ends the reading as well, and with it the view that the engine
//! keeps. A stream takes at most [`TransportOptions::snapshot_timeout`](super::TransportOptions).
//!
//! **Not here.** How many there are at once (`node::snap`).

use super::{Shared, describe};
use bytes::Bytes;
use futures::stream;
use node::snap::OutgoingSnapshot;
use proto::raft_serverpb::SnapshotChunk;
use proto::tikvpb::tikv_client::TikvClient;
use std::sync::Arc;
use tokio::sync::mpsc;
use types::StoreId;

/// Frames that are read and not sent yet.
const FRAMES_AHEAD: usize = 2;

/// Sends one snapshot and reports how that ended.
pub(super) async fn send(shared: Arc<Shared>, snapshot: OutgoingSnapshot) {
    let OutgoingSnapshot {
        message,
        frames,
        ticket,
    } = snapshot;
    let (region, store) = (message.region_id, message.to.store_id);
    let envelope = super::seal(&message);
    let (to_stream, frames_read) = mpsc::channel(FRAMES_AHEAD);
    let reader = tokio::task::spawn_blocking(move || read(frames, &to_stream));
    let first = SnapshotChunk {
        message: Some(envelope),
        ..SnapshotChunk::default()
    };
    let sending = shared.send_snapshot(store, first, frames_read);
    let sent = tokio::time::timeout(shared.options.snapshot_timeout, sending).await;
    let sent = sent.unwrap_or_else(|_| Err("it took too long".to_owned()));
    // The stream is gone, so the reader ends at its next frame at the latest.
    let read = reader.await.unwrap_or_else(|error| Err(error.to_string()));
    match read.and(sent) {
        Ok(()) => {
            tracing::info!(%region, %store, "sent a snapshot");
            ticket.succeed();
        }
        Err(reason) => tracing::warn!(%region, %store, %reason, "could not send a snapshot"),
    }
}

/// Reads all frames, for as long as somebody wants them.
fn read(
    frames: Box<dyn Iterator<Item = engine::Result<Bytes>> + Send>,
    to_stream: &mpsc::Sender<Bytes>,
) -> Result<(), String> {
    for frame in frames {
        let frame = frame.map_err(|error| describe(&error))?;
        if to_stream.blocking_send(frame).is_err() {
            break;
        }
    }
    Ok(())
}

impl Shared {
    async fn send_snapshot(
        &self,
        store: StoreId,
        first: SnapshotChunk,
        frames: mpsc::Receiver<Bytes>,
    ) -> Result<(), String> {
        let channel = self.dial(store, &mut None).await?;
        let chunks = stream::unfold((Some(first), frames), |(first, mut frames)| async move {
            let chunk = match first {
                Some(first) => first,
                None => SnapshotChunk {
                    data: frames.recv().await?,
                    ..SnapshotChunk::default()
                },
            };
            failpoint::at!("server::snapshot::chunk");
            Some((chunk, (None, frames)))
        });
        let sent = TikvClient::new(channel).snapshot(self.signed(chunks)).await;
        sent.map(drop).map_err(|status| status.message().to_owned())
    }
}
