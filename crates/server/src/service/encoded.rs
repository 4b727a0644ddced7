//! Large answers are encoded on threads of the read pool.
//!
//! **Why.** A runtime's thread that writes 32 MiB into one buffer does nothing else for as long, and who asks
//! for one row on a connection of the same thread waits for it: their p99 beside scans was that time.
//!
//! **How.** What the generated service would encode is empty, and the message goes along as an extension of the
//! response; the listener makes a body of it (`listener::answer`).
//!
//! **Invariants.** A large answer is there twice, as rows and as bytes, for as many calls as the pool has threads at the
//! most.
//!
//! **Not here.** Streams of batched commands: their outboxes cut what they send into small responses.

use super::read_pool::ReadPool;
use crate::error::FailableResponse;
use bytes::Bytes;
use prost::Message;
use tonic::Response;

/// To encode less is done before another thread has woken.
const LARGE_BYTES: usize = 128 << 10;
/// Whether the message is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// A message as gRPC sends it, with its head.
#[derive(Clone)]
pub(crate) struct Encoded(pub(crate) Bytes);

/// The response with a message, which is encoded by now if it is large. If that can't be done, it says why.
pub(super) async fn respond<M>(message: M, pool: &ReadPool) -> Response<M>
where
    M: Message + FailableResponse + 'static,
{
    let len = message.encoded_len();
    let head_len = u32::try_from(len).ok();
    let Some(head_len) = head_len.filter(|_| len >= LARGE_BYTES) else {
        return Response::new(message);
    };
    let encode = move || {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + len);
        bytes.push(0);
        bytes.extend(head_len.to_be_bytes());
        message.encode_raw(&mut bytes);
        Encoded(bytes.into())
    };
    match pool.finish(encode).await {
        Ok(encoded) => {
            let mut response = Response::new(M::default());
            response.extensions_mut().insert(encoded);
            response
        }
        Err(failure) => Response::new(M::failed(failure)),
    }
}
