//! How messages are encoded and decoded on a stream: as protobuf, with a bound on what a request may
//! grow to, and in a buffer of the message's own size.
//!
//! **Why.** An empty element of a list is two bytes on the wire (and fewer compressed) and hundreds
//! in memory: a request of 16 MiB could take gigabytes before anybody has looked at it. So a request
//! whose message repeats something is walked over first. And a buffer that doubles while a message of
//! 30 MiB is written into it leaves as much again behind for the allocator.
//!
//! **Invariants.** A decoded request's lists take about [`DECODED_BYTES_MAX`] at the most. What
//! repeats comes from the `.proto` files, through a table that the build writes; a request that
//! repeats nothing is not walked over.
//!
//! **Not here.** A bound on answers, which only clients decode: those trust their servers.

use crate::walk::{self, Content};
use bytes::Buf;
use prost::{Message, Name};
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// What the lists of one request may take in memory, in bytes, by the estimate below.
pub const DECODED_BYTES_MAX: usize = 64 << 20;
/// The largest of what lists hold (a command of a batch) is a little smaller.
const ELEMENT_BYTES: usize = 256;
/// A packed number is one byte at least, and eight in memory.
const BYTES_PER_PACKED_BYTE: usize = 8;

/// What of a message repeats.
pub(crate) struct Shape {
    package: &'static str,
    name: &'static str,
    is_request: bool,
    fields: &'static [(u32, Kind)],
}

/// A field that repeats, or in which something does. Positions are of [`SHAPES`].
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A list of messages, bytes or texts.
    Elements(Option<usize>),
    /// A list of numbers.
    Numbers,
    /// One message.
    Message(usize),
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

impl Shape {
    /// `None` for what is no request, or repeats nothing.
    fn of<M: Name>() -> Option<&'static Self> {
        SHAPES
            .iter()
            .filter(|shape| shape.is_request)
            .find(|shape| shape.name == M::NAME && shape.package == M::PACKAGE)
    }

    /// Fails when the lists of an encoded message would take more than `left`.
    fn check(&self, message: &[u8], left: &mut usize) -> Result<(), &'static str> {
        walk::fields(message, |number, content| {
            let kind = self.fields.iter().find(|(field, _)| *field == number);
            let Some((_, kind)) = kind else {
                return Ok(());
            };
            let (bytes, inner) = match (kind, content) {
                (Kind::Message(inner), _) => (0, Some(*inner)),
                (Kind::Numbers, Content::Bytes(packed)) => {
                    (packed.len() * BYTES_PER_PACKED_BYTE, None)
                }
                (Kind::Numbers, Content::Number) => (BYTES_PER_PACKED_BYTE, None),
                (Kind::Elements(inner), _) => (ELEMENT_BYTES, *inner),
            };
            *left = left
                .checked_sub(bytes)
                .ok_or("it has too many elements in its lists")?;
            match (inner, content) {
                (Some(inner), Content::Bytes(message)) => SHAPES[inner].check(message, left),
                _ => Ok(()),
            }
        })
    }
}

/// Protobuf, bounded.
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Name + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = SizedEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        SizedEncoder(ProstEncoder::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder {
            shape: Shape::of::<U>(),
            decoder: ProstDecoder::default(),
        }
    }
}

/// Encodes each message into a buffer that was made large enough before.
pub struct SizedEncoder<T>(ProstEncoder<T>);

impl<T: Message> Encoder for SizedEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        self.0.encode(item, buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Decodes messages that are within the bound.
pub struct BoundedDecoder<U> {
    shape: Option<&'static Shape>,
    decoder: ProstDecoder<U>,
}

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(shape) = self.shape {
            // The whole message: tonic collects it in one piece.
            let mut left = DECODED_BYTES_MAX;
            shape.check(buffer.chunk(), &mut left).map_err(|reason| {
                Status::resource_exhausted(format!("{} refused: {reason}", shape.name))
            })?;
        }
        self.decoder.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.decoder.buffer_settings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvrpcpb::{KvPair, RawBatchGetRequest, RawBatchPutRequest, RawGetRequest};
    use crate::tikvpb::batch_commands_request::{Request, request::Cmd};
    use crate::tikvpb::{BatchCommandsRequest, BatchCommandsResponse};

    fn check<M: Message + Name>(message: &M) -> Result<(), &'static str> {
        let shape = Shape::of::<M>().expect("it repeats something");
        let mut left = DECODED_BYTES_MAX;
        shape.check(&message.encode_to_vec(), &mut left)
    }

    type Decode = fn(&[u8]) -> Result<(), bool>;

    /// Messages that come over the network.
    const EVERY: &[Decode] = &[
        one::<crate::kvrpcpb::RawGetRequest>,
        one::<crate::kvrpcpb::RawBatchGetRequest>,
        one::<crate::kvrpcpb::RawPutRequest>,
        one::<crate::kvrpcpb::RawBatchPutRequest>,
        one::<crate::kvrpcpb::RawDeleteRequest>,
        one::<crate::kvrpcpb::RawBatchDeleteRequest>,
        one::<crate::kvrpcpb::RawScanRequest>,
        one::<crate::kvrpcpb::RawDeleteRangeRequest>,
        one::<crate::kvrpcpb::RawBatchScanRequest>,
        one::<crate::kvrpcpb::RawGetKeyTtlRequest>,
        one::<crate::kvrpcpb::RawCasRequest>,
        one::<crate::kvrpcpb::RawChecksumRequest>,
        one::<crate::kvrpcpb::SplitRegionRequest>,
        one::<crate::pdpb::TsoRequest>,
        one::<crate::pdpb::BootstrapRequest>,
        one::<crate::pdpb::PutStoreRequest>,
        one::<crate::pdpb::StoreHeartbeatRequest>,
        one::<crate::pdpb::RegionHeartbeatRequest>,
        one::<crate::pdpb::AskBatchSplitRequest>,
        one::<crate::pdpb::ReportBatchSplitRequest>,
        one::<crate::pdpb::ScatterRegionRequest>,
        one::<crate::pdpb::SplitRegionsRequest>,
        one::<crate::pdpb::GetRegionRequest>,
        one::<crate::pdpb::ScanRegionsRequest>,
        one::<crate::pdpb::BatchScanRegionsRequest>,
        one::<crate::pdpb::QueryRegionRequest>,
        one::<crate::keyspacepb::LoadKeyspaceRequest>,
        one::<crate::keyspacepb::GetAllKeyspacesRequest>,
        one::<crate::tikvpb::BatchCommandsRequest>,
        one::<crate::tikvpb::BatchRaftMessage>,
        one::<crate::raft_serverpb::RaftMessage>,
        one::<crate::raft_serverpb::SnapshotChunk>,
        one::<crate::healthpb::HealthCheckRequest>,
    ];

    /// What came out: whether it was refused before anything was decoded, or is no such message.
    fn one<M: Message + Name + Default + PartialEq>(input: &[u8]) -> Result<(), bool> {
        if let Some(shape) = Shape::of::<M>() {
            let mut left = DECODED_BYTES_MAX;
            shape.check(input, &mut left).map_err(|_| true)?;
        }
        let message = M::decode(input).map_err(|_| false)?;
        let again = M::decode(&message.encode_to_vec()[..]);
        assert!(again.is_ok_and(|again| again == message), "{}", M::NAME);
        Ok(())
    }

    #[test]
    fn fuzz_messages() {
        let put = RawBatchPutRequest {
            pairs: vec![KvPair::default(); 3],
            ttls: vec![1, 2],
            ..Default::default()
        };
        let batch = BatchCommandsRequest {
            requests: vec![Request {
                cmd: Some(Cmd::RawBatchPut(put.clone())),
            }],
            request_ids: vec![1, u64::MAX],
        };
        let region = crate::metapb::Region {
            id: 7,
            start_key: b"a".to_vec().into(),
            peers: vec![Default::default(); 3],
            ..Default::default()
        };
        let heartbeat = crate::pdpb::RegionHeartbeatRequest {
            region: Some(region),
            down_peers: vec![Default::default()],
            ..Default::default()
        };
        let seed = |kind: u8, message: Vec<u8>| [vec![kind], message].concat();
        // An empty element is two bytes, and in memory as large as the largest, in a list that doubles.
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "messages")
            .allocates(16 << 10, 4 * ELEMENT_BYTES)
            .seed(seed(3, put.encode_to_vec()))
            .seed(seed(17, heartbeat.encode_to_vec()))
            .seed(seed(28, batch.encode_to_vec()))
            .run(|input| {
                let (kind, message) = input.split_first()?;
                let kind = usize::from(*kind) % EVERY.len();
                Some((kind, EVERY[kind](message), message.len() / 64))
            });
    }

    #[test]
    fn what_clients_send_passes() {
        let pairs = vec![KvPair::default(); 10_000];
        let put = RawBatchPutRequest {
            pairs,
            ..Default::default()
        };
        assert_eq!(check(&put), Ok(()));
        let cmd = Some(Cmd::RawBatchPut(put));
        let batch = BatchCommandsRequest {
            requests: vec![Request { cmd }; 10],
            request_ids: (0..10).collect(),
        };
        assert_eq!(check(&batch), Ok(()));
    }

    #[test]
    fn lists_of_nothing_are_refused_at_any_depth() {
        let many = DECODED_BYTES_MAX / ELEMENT_BYTES + 1;
        let batch = BatchCommandsRequest {
            requests: vec![Request::default(); many],
            request_ids: Vec::new(),
        };
        assert!(check(&batch).is_err());
        let get = RawBatchGetRequest {
            keys: vec![Default::default(); many],
            ..Default::default()
        };
        assert!(check(&get).is_err());
        let cmd = Some(Cmd::RawBatchGet(get));
        let batch = BatchCommandsRequest {
            requests: vec![Request { cmd }],
            request_ids: vec![1],
        };
        assert!(check(&batch).is_err());
        let ids = BatchCommandsRequest {
            requests: Vec::new(),
            request_ids: vec![1; DECODED_BYTES_MAX / BYTES_PER_PACKED_BYTE + 1],
        };
        assert!(check(&ids).is_err());
    }

    #[test]
    fn what_repeats_nothing_and_what_is_an_answer_is_not_walked_over() {
        assert!(Shape::of::<RawGetRequest>().is_none());
        assert!(Shape::of::<BatchCommandsResponse>().is_none());
    }

    #[test]
    fn no_element_is_larger_than_it_is_taken_for() {
        assert!(size_of::<Request>() <= ELEMENT_BYTES);
        assert!(size_of::<KvPair>() <= ELEMENT_BYTES);
        assert!(size_of::<crate::raft_serverpb::RaftMessage>() <= ELEMENT_BYTES);
    }
}
