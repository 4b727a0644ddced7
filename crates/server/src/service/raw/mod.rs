//! The raw key-value RPCs, each once: from the typed request to the typed response. Unary calls and
//! `BatchCommands` both come here.
//!
//! **The way of a request.** Context, column family, keys and sizes are checked first; then the node
//! is asked; then the answer is translated back. What fails on the way becomes the response's error
//! (see [`crate::error`]), so that these functions always return a response.
//!
//! **Invariants.** An expired value does not exist, for any read. Point reads run where they are;
//! whatever reads many rows runs in slices on the read pool (`sliced`), and only so many at a time. What is
//! sent is counted by whoever sends it ([`Raw::count`]).
//!
//! **Not here.** What a compare-and-swap compares: that is decided in log order (`raftstore`).
//! `for_cas` of a request is ignored, since every write goes through the log.

mod budget;
mod cursor;
mod read;
mod scan;
mod sliced;
mod split;
mod write;

pub(crate) use budget::ROW_OVERHEAD_BYTES;

use crate::backend::Backend;
use crate::context::{self, Checked};
use crate::error::{FailableResponse, Failure};
use crate::gate::Gate;
use crate::limits::{Limits, Refusal};
use crate::meters::{ServiceMeters, StreamKind};
use crate::service::answers::{Answers, Gathered, Held};
use crate::service::encoded;
use crate::service::read_pool::ReadPool;
use crate::service::slow::Asked;
use crate::traces::Tracer;
use bytes::Bytes;
use metrics::Label;
use node::Identity;
use prost::Message;
use proto::kvrpcpb;
use raftstore::RequestError;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::Response;
use types::{ApiVersion, KeyMode, KeyRange, Region, keys};

/// The raw RPCs over a node.
pub(crate) struct Raw<B> {
    backend: B,
    identity: Identity,
    limits: Limits,
    reads: ReadPool,
    answers: Answers,
    meters: ServiceMeters,
    gate: Gate,
    tracer: Tracer,
}

impl<B: Backend> Raw<B> {
    /// Serves `backend` within `limits`.
    ///
    /// # Panics
    /// The operating system refuses the threads of the read pool.
    pub(crate) fn new(backend: B, limits: Limits, meters: ServiceMeters) -> Self {
        Self {
            identity: backend.identity().clone(),
            reads: ReadPool::start(&limits),
            answers: Answers::new(limits.answer_bytes_max, backend.memory()),
            meters,
            backend,
            limits,
            gate: Gate::default(),
            tracer: Tracer::default(),
        }
    }

    /// Refuses as busy what comes while this gate is closed.
    pub(crate) fn behind(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// Traces some of the commands that come by streams.
    pub(crate) fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Which of them are traced.
    pub(crate) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Counts the answer to a request: by its method, and among those that wait to be sent; and logs it if it was slow.
    pub(crate) fn count<R: FailableResponse>(
        &self,
        asked: &Asked,
        answer: impl Into<Gathered<R>>,
        held: &mut Option<Held>,
    ) -> R {
        let answer = self.answers.count(answer, held);
        let error = answer.error_kind();
        self.meters.answered(asked.method, &asked.since, error);
        asked.end(error);
        if let Some(kind) = error {
            node::note_failure(kind.value());
        }
        answer
    }

    /// Whether there is room for more answers.
    pub(crate) fn has_room_for_answers(&self) -> bool {
        self.answers.have_room()
    }

    /// Counts a stream that begins.
    pub(crate) fn count_stream(&self, kind: StreamKind) {
        self.meters.streams(kind);
    }

    /// The response with an answer, which is encoded by now if it is large.
    pub(crate) async fn respond<R>(&self, answer: R) -> Response<R>
    where
        R: Message + FailableResponse + 'static,
    {
        encoded::respond(answer, &self.reads).await
    }

    /// The limits that it was made with.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    fn check(&self, context: Option<kvrpcpb::Context>, cf: String) -> Result<Checked, Failure> {
        if self.gate.is_paused() {
            let reason = "an operator has paused this node (PUT /resume_grpc)";
            return Err(RequestError::ServerIsBusy { reason }.into());
        }
        if !cf.is_empty() && cf != "default" {
            return Err(Refusal::ColumnFamily { name: cf }.into());
        }
        context::check(&self.identity, context)
    }

    /// The Region key of a client's key.
    fn region_key(&self, checked: &Checked, key: Bytes) -> Result<Bytes, Failure> {
        self.limits.check_key(&key)?;
        let api_version = self.identity.api_version;
        match checked.keyspace {
            Some(keyspace) => api_version.check_key_in(KeyMode::Raw, &key, keyspace)?,
            None => api_version.check_key(KeyMode::Raw, &key).map(|_| ())?,
        }
        Ok(if api_version.is_encoded(KeyMode::Raw) {
            keys::encode(&key).into()
        } else {
            key
        })
    }

    /// The range of Region keys of a client's range `[start, end)`.
    fn region_range(
        &self,
        checked: &Checked,
        start: &[u8],
        end: &[u8],
    ) -> Result<KeyRange, Failure> {
        self.limits.check_key(start)?;
        self.limits.check_key(end)?;
        let api_version = self.identity.api_version;
        let range = api_version.region_range(KeyMode::Raw, start, end)?;
        if let Some(keyspace) = checked.keyspace {
            let whole = KeyRange {
                start: keys::encode(&keyspace.prefix(KeyMode::Raw)),
                end: keys::encode(&keyspace.end(KeyMode::Raw)),
            };
            if !whole.contains_range(&range.start, &range.end) {
                let bound = if start.is_empty() { end } else { start };
                let (found, _) = types::api::split_v2(KeyMode::Raw, bound)?;
                return Err(types::CodecError::WrongKeyspace {
                    expected: keyspace,
                    found,
                }
                .into());
            }
        }
        Ok(range)
    }
}

/// The response of a read of many rows: filled by `fill`, or failed.
fn gathered<R: FailableResponse, T>(
    result: Result<(T, Held), Failure>,
    fill: impl FnOnce(&mut R, T),
) -> Gathered<R> {
    match result {
        Ok((rows, held)) => Gathered::new(R::from_result(Ok(rows), fill), Some(held)),
        Err(failure) => R::failed(failure).into(),
    }
}

/// The key as the client sent it, of a Region key.
fn client_key(api_version: ApiVersion, region_key: &[u8]) -> Result<Bytes, Failure> {
    if api_version.is_encoded(KeyMode::Raw) {
        let key = api_version.client_key(KeyMode::Raw, region_key);
        key.map(Bytes::from)
            .map_err(|error| unreadable("key", &error))
    } else {
        Ok(Bytes::copy_from_slice(region_key))
    }
}

fn key_not_in_region(key: &[u8], region: &Region) -> Failure {
    Failure::Request(RequestError::KeyNotInRegion {
        key: key.to_vec(),
        region: Box::new(region.clone()),
    })
}

fn unreadable(what: &str, error: &types::CodecError) -> Failure {
    Failure::Internal(format!("a stored {what} can't be read: {error}"))
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch.
fn now_s() -> u64 {
    now_ms() / 1_000
}
