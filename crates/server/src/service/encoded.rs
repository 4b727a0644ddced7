//! Large answers are encoded on threads of the read pool.
//!
//! **Why.** A runtime's thread that writes 32 MiB into one buffer does nothing else for as long, and who asks
//! for one row on a connection of the same thread waits for it: their p99 beside scans was that time.
//!
//! **How.** What the generated service would encode is empty, and the message goes along as an extension of the
//! response; the listener makes a body of it (`listener::answer`).
//!
//! **In parts**, each of which is freed when it is sent: allocators give one of many megabytes back to the system at once, and
//! for the one or two milliseconds that this takes the connection's thread serves nobody.
//!
//! **Invariants.** A large answer is there twice, as rows and as bytes, for as many calls as the pool has threads at the
//! most.
//!
//! **Not here.** Streams of batched commands: their outboxes cut what they send into small responses.

use super::read_pool::ReadPool;
use crate::error::FailableResponse;
use bytes::buf::UninitSlice;
use bytes::{BufMut, Bytes};
use prost::Message;
use std::collections::VecDeque;
use tonic::Response;

/// To encode less is done before another thread has woken.
const LARGE_BYTES: usize = 128 << 10;
/// HTTP/2 is given an answer in parts of this.
const PART_BYTES: usize = 256 << 10;

/// A message as gRPC sends it, after a byte that says it is not compressed and its length.
#[derive(Clone)]
pub(crate) struct Encoded(pub(crate) VecDeque<Bytes>);

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
        let mut parts = Parts::default();
        parts.put_u8(0);
        parts.put_u32(head_len);
        message.encode_raw(&mut parts);
        parts.finish()
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

/// Bytes that are written one after the other, and kept in parts.
#[derive(Default)]
struct Parts {
    full: VecDeque<Bytes>,
    last: Vec<u8>,
}

impl Parts {
    fn finish(mut self) -> Encoded {
        self.put_last_aside();
        Encoded(self.full)
    }

    fn put_last_aside(&mut self) {
        let last = std::mem::take(&mut self.last);
        if !last.is_empty() {
            self.full.push_back(last.into());
        }
    }
}

// SAFETY: the vector says how much room there is and where, and how much of it was written. It is put aside only when a
// place for more is asked for, so never between that and the word that so much was written.
unsafe impl BufMut for Parts {
    fn remaining_mut(&self) -> usize {
        self.last.remaining_mut()
    }

    unsafe fn advance_mut(&mut self, written: usize) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.last.advance_mut(written) };
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.last.len() == self.last.capacity() {
            self.put_last_aside();
            node::rest_if_due();
            self.last = Vec::with_capacity(PART_BYTES);
        }
        self.last.chunk_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::kvrpcpb::{KvPair, RawScanResponse};

    #[test]
    fn a_message_in_parts_is_the_message() {
        for values in [1, 10, 1_000] {
            let pair = |number: usize| KvPair {
                key: number.to_string().into(),
                value: vec![number as u8; number * 3].into(),
                ..Default::default()
            };
            let message = RawScanResponse {
                kvs: (0..values).map(pair).collect(),
                ..Default::default()
            };
            let mut parts = Parts::default();
            message.encode_raw(&mut parts);
            let Encoded(parts) = parts.finish();
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES));
            let whole = message.encode_to_vec();
            assert_eq!(parts.len(), whole.len().div_ceil(PART_BYTES));
            assert!(parts.into_iter().flatten().eq(whole), "{values} values");
        }
    }
}
