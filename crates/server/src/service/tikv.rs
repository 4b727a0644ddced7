//! `tikvpb.Tikv` as tonic wants it: unwraps requests, calls the one implementation of each RPC, wraps
//! responses.
//!
//! **Not here.** Anything else.

use crate::backend::Backend;
use crate::connection::Requests;
use crate::meters::{Method, StreamKind};
use crate::service::batch_commands;
use crate::service::raft::RaftReceiver;
use crate::service::raw::Raw;
use crate::service::slow::Asked;
use crate::stop::Stop;
use futures::stream::{BoxStream, StreamExt};
use proto::kvrpcpb::*;
use proto::raft_serverpb::{Done, RaftMessage, SnapshotChunk};
use proto::tikvpb::tikv_server::Tikv;
use proto::tikvpb::{BatchCommandsRequest, BatchCommandsResponse, BatchRaftMessage};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The service of a store.
pub(crate) struct TikvService<B> {
    raw: Arc<Raw<B>>,
    raft: RaftReceiver<B>,
    stop: Stop,
}

impl<B: Backend> TikvService<B> {
    /// Serves raw RPCs and receives Raft messages; streams end at `stop`, those of stores last.
    pub(crate) fn new(raw: Arc<Raw<B>>, raft: RaftReceiver<B>, stop: Stop) -> Self {
        Self { raw, raft, stop }
    }
}

macro_rules! raw_rpcs {
    ($($rpc:ident, $method:ident, $counted:ident, $request:ident, $response:ident;)*) => {
        #[tonic::async_trait]
        impl<B: Backend> Tikv for TikvService<B> {
            $(async fn $rpc(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let request = request.into_inner();
                let asked = Asked::begin(Method::$counted, &request);
                let answer = self.raw.$method(request).await;
                let mut held = None;
                let answer = self.raw.count(&asked, answer, &mut held);
                let Some(held) = held else {
                    return Ok(Response::new(answer));
                };
                let mut response = self.raw.respond(answer).await;
                response.extensions_mut().insert(Arc::new(held));
                Ok(response)
            })*

            async fn raft(
                &self,
                request: Request<Streaming<RaftMessage>>,
            ) -> Result<Response<Done>, Status> {
                self.raft.admit(&request)?;
                self.raw.count_stream(StreamKind::Raft);
                let messages = self.stop.end_of_store(request.into_inner());
                self.raft.receive(messages.map(|message| message.map(|one| vec![one]))).await
            }

            async fn batch_raft(
                &self,
                request: Request<Streaming<BatchRaftMessage>>,
            ) -> Result<Response<Done>, Status> {
                self.raft.admit(&request)?;
                self.raw.count_stream(StreamKind::BatchRaft);
                let messages = self.stop.end_of_store(request.into_inner());
                self.raft.receive(messages.map(|batch| batch.map(|batch| batch.msgs))).await
            }

            async fn snapshot(
                &self,
                request: Request<Streaming<SnapshotChunk>>,
            ) -> Result<Response<Done>, Status> {
                self.raft.admit(&request)?;
                self.raw.count_stream(StreamKind::Snapshot);
                let chunks = self.stop.end_of_store(request.into_inner());
                self.raft.receive_snapshot(chunks).await
            }

            type BatchCommandsStream = BoxStream<'static, Result<BatchCommandsResponse, Status>>;

            async fn batch_commands(
                &self,
                request: Request<Streaming<BatchCommandsRequest>>,
            ) -> Result<Response<Self::BatchCommandsStream>, Status> {
                self.raw.count_stream(StreamKind::BatchCommands);
                let connection = request.extensions().get::<Requests>().cloned();
                let connection = connection.ok_or_else(|| Status::internal("it came by no connection"))?;
                let requests = self.stop.end(request.into_inner());
                let responses = batch_commands::serve(self.raw.clone(), requests, &connection);
                Ok(Response::new(responses.boxed()))
            }
        }
    };
}

raw_rpcs! {
    raw_get, get, RawGet, RawGetRequest, RawGetResponse;
    raw_batch_get, batch_get, RawBatchGet, RawBatchGetRequest, RawBatchGetResponse;
    raw_put, put, RawPut, RawPutRequest, RawPutResponse;
    raw_batch_put, batch_put, RawBatchPut, RawBatchPutRequest, RawBatchPutResponse;
    raw_delete, delete, RawDelete, RawDeleteRequest, RawDeleteResponse;
    raw_batch_delete, batch_delete, RawBatchDelete, RawBatchDeleteRequest, RawBatchDeleteResponse;
    raw_scan, scan, RawScan, RawScanRequest, RawScanResponse;
    raw_delete_range, delete_range, RawDeleteRange, RawDeleteRangeRequest, RawDeleteRangeResponse;
    raw_batch_scan, batch_scan, RawBatchScan, RawBatchScanRequest, RawBatchScanResponse;
    raw_get_key_ttl, get_key_ttl, RawGetKeyTtl, RawGetKeyTtlRequest, RawGetKeyTtlResponse;
    raw_compare_and_swap, compare_and_swap, RawCompareAndSwap, RawCasRequest, RawCasResponse;
    raw_checksum, checksum, RawChecksum, RawChecksumRequest, RawChecksumResponse;
    split_region, split_region, SplitRegion, SplitRegionRequest, SplitRegionResponse;
}
