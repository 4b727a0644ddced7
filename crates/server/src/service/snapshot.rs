//! Receives snapshots from other stores: one stream for each.
//!
//! **The stream.** Its first part is the Raft message that describes the snapshot, in the same envelope
//! as any other; each further one is a frame (`node::snap`), which goes to the disk before the next one
//! is read, so that a slow disk slows the sender down.
//!
//! **Invariants.** A stream that ends early, stands still for too long or brings what it must not leaves
//! nothing. A refusal says whether it is worth trying again: `RESOURCE_EXHAUSTED` and `INTERNAL` are.
//!
//! **Not here.** What is in the frames (the node checks each).

use crate::backend::{Backend, SnapshotSink};
use crate::service::raft::{RaftReceiver, check_snapshot_body};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use node::snap::SnapshotRefused;
use proto::raft_serverpb::{Done, SnapshotChunk};
use std::pin::pin;
use std::time::Duration;
use tonic::{Response, Status};

/// How long a sender may take from one frame to the next: it may share its disk and its bound on bytes a
/// second with many others.
const FRAME_PATIENCE: Duration = Duration::from_secs(60);

impl<B: Backend> RaftReceiver<B> {
    /// Receives one snapshot.
    pub(crate) async fn receive_snapshot(
        &self,
        chunks: impl Stream<Item = Result<SnapshotChunk, Status>>,
    ) -> Result<Response<Done>, Status> {
        let received = self.take_snapshot(chunks).await;
        if let Err(status) = &received {
            tracing::warn!(reason = status.message(), "did not take a snapshot");
        }
        received.map(|()| Response::new(Done {}))
    }

    async fn take_snapshot(
        &self,
        chunks: impl Stream<Item = Result<SnapshotChunk, Status>>,
    ) -> Result<(), Status> {
        let mut chunks = pin!(chunks);
        let mut next = async || {
            let chunk = tokio::time::timeout(FRAME_PATIENCE, chunks.next()).await;
            chunk.map_err(|_| Status::deadline_exceeded("no frame for too long"))
        };
        let first = next().await?.transpose()?;
        let envelope = first.and_then(|chunk| chunk.message);
        let envelope =
            envelope.ok_or_else(|| Status::invalid_argument("the snapshot has no message"))?;
        let message = self.open(envelope, check_snapshot_body)?;
        let backend = self.backend().clone();
        let mut sink = blocking(move || backend.receive_snapshot(message)).await?;
        while let Some(chunk) = next().await? {
            let SnapshotChunk { message, data } = chunk?;
            if message.is_some() {
                return Err(Status::invalid_argument("the snapshot has two messages"));
            }
            sink = blocking(move || write(sink, &data)).await?;
        }
        blocking(move || sink.finish()).await
    }
}

fn write<S: SnapshotSink>(mut sink: S, frame: &Bytes) -> Result<S, SnapshotRefused> {
    sink.write(frame)?;
    Ok(sink)
}

/// Away from the threads that must not wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotRefused> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Status::internal(error.to_string()))?;
    done.map_err(|refused| status(&refused))
}

fn status(refused: &SnapshotRefused) -> Status {
    let text = refused.to_string();
    match refused {
        SnapshotRefused::Busy(_) | SnapshotRefused::DiskFull => Status::resource_exhausted(text),
        SnapshotRefused::Disk(_) => Status::internal(text),
        SnapshotRefused::Wrong(_) | SnapshotRefused::Message(_) => Status::invalid_argument(text),
    }
}
