//! Large answers are encoded on a thread of their own.
//!
//! **Why.** A runtime's thread that writes 32 MiB into one buffer does nothing else for as long, and who asks
//! for one row on a connection of the same thread waits for it: their p99 beside scans was that time.
//!
//! **How.** What the generated service would encode is empty, and the message goes along as an extension of the
//! response; the listener makes a body of it (`listener::answer`).
//!
//! **Invariants.** A large answer is there twice, as rows and as bytes, for half as many calls as there are
//! processors at the most.
//!
//! **Not here.** Streams of batched commands: their outboxes cut what they send into small responses.

use bytes::Bytes;
use prost::Message;
use std::sync::LazyLock;
use tokio::sync::Semaphore;
use tonic::{Response, Status};

/// To encode less is done before another thread has woken.
const LARGE_BYTES: usize = 128 << 10;
/// Whether the message is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// So many encode at once: half of the processors are left to others.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new(processors.div_ceil(2))
});

/// A message as gRPC sends it, with its head.
#[derive(Clone)]
pub(crate) struct Encoded(pub(crate) Bytes);

/// The response with a message, which is encoded by now if it is large.
///
/// # Errors
/// The runtime ends.
pub(crate) async fn respond<M>(message: M) -> Result<Response<M>, Status>
where
    M: Message + Default + 'static,
{
    let len = message.encoded_len();
    let head_len = u32::try_from(len).ok();
    let Some(head_len) = head_len.filter(|_| len >= LARGE_BYTES) else {
        return Ok(Response::new(message));
    };
    let ends = |_| Status::unavailable("the server stops");
    let turn = TURNS
        .acquire()
        .await
        .map_err(|_| Status::internal("turns end"))?;
    let encode = move || {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + len);
        bytes.push(0);
        bytes.extend(head_len.to_be_bytes());
        message.encode_raw(&mut bytes);
        // Whoever has asked may have left, and this goes on all the same.
        drop(turn);
        Encoded(bytes.into())
    };
    let encoded = tokio::task::spawn_blocking(encode).await.map_err(ends)?;
    let mut response = Response::new(M::default());
    response.extensions_mut().insert(encoded);
    Ok(response)
}
