//! `tikvpb.Tikv` as tonic wants it: unwraps requests, calls the one implementation of each RPC, wraps
//! responses.
//!
//! **Not here.** Anything else.

use crate::backend::Backend;
use crate::service::batch_commands;
use crate::service::raft::RaftReceiver;
use crate::service::raw::Raw;
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
    ($($rpc:ident, $method:ident, $request:ident, $response:ident;)*) => {
        #[tonic::async_trait]
        impl<B: Backend> Tikv for TikvService<B> {
            $(async fn $rpc(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let answer = self.raw.$method(request.into_inner()).await;
                let mut held = None;
                let mut response = Response::new(self.raw.count(answer, &mut held));
                if let Some(held) = held {
                    response.extensions_mut().insert(Arc::new(held));
                }
                Ok(response)
            })*

            async fn raft(
                &self,
                request: Request<Streaming<RaftMessage>>,
            ) -> Result<Response<Done>, Status> {
                self.raft.admit(&request)?;
                let messages = self.stop.end_of_store(request.into_inner());
                self.raft.receive(messages.map(|message| message.map(|one| vec![one]))).await
            }

            async fn batch_raft(
                &self,
                request: Request<Streaming<BatchRaftMessage>>,
            ) -> Result<Response<Done>, Status> {
                self.raft.admit(&request)?;
                let messages = self.stop.end_of_store(request.into_inner());
                self.raft.receive(messages.map(|batch| batch.map(|batch| batch.msgs))).await
            }

            async fn snapshot(
                &self,
                request: Request<Streaming<SnapshotChunk>>,
            ) -> Result<Response<Done>, Status> {
                self.raft.admit(&request)?;
                let chunks = self.stop.end_of_store(request.into_inner());
                self.raft.receive_snapshot(chunks).await
            }

            type BatchCommandsStream = BoxStream<'static, Result<BatchCommandsResponse, Status>>;

            async fn batch_commands(
                &self,
                request: Request<Streaming<BatchCommandsRequest>>,
            ) -> Result<Response<Self::BatchCommandsStream>, Status> {
                let responses = batch_commands::serve(self.raw.clone(), self.stop.end(request.into_inner()));
                Ok(Response::new(responses.boxed()))
            }
        }
    };
}

raw_rpcs! {
    raw_get, get, RawGetRequest, RawGetResponse;
    raw_batch_get, batch_get, RawBatchGetRequest, RawBatchGetResponse;
    raw_put, put, RawPutRequest, RawPutResponse;
    raw_batch_put, batch_put, RawBatchPutRequest, RawBatchPutResponse;
    raw_delete, delete, RawDeleteRequest, RawDeleteResponse;
    raw_batch_delete, batch_delete, RawBatchDeleteRequest, RawBatchDeleteResponse;
    raw_scan, scan, RawScanRequest, RawScanResponse;
    raw_delete_range, delete_range, RawDeleteRangeRequest, RawDeleteRangeResponse;
    raw_batch_scan, batch_scan, RawBatchScanRequest, RawBatchScanResponse;
    raw_get_key_ttl, get_key_ttl, RawGetKeyTtlRequest, RawGetKeyTtlResponse;
    raw_compare_and_swap, compare_and_swap, RawCasRequest, RawCasResponse;
    raw_checksum, checksum, RawChecksumRequest, RawChecksumResponse;
    split_region, split_region, SplitRegionRequest, SplitRegionResponse;
}
