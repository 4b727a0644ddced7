//! The stream of Region heartbeats of one store: reports come in, instructions go out.
//!
//! **How.** Each report is answered, with what its Region's leader has to do if there is something. What
//! the placement driver wants between two reports goes out on the stream of the leader's store as well.
//!
//! **Invariants.** A report that is refused is answered with the reason, and the stream goes on. The
//! stream ends with the leadership in which it was opened.
//!
//! **Not here.** What is to be done (`placement`).

use super::{Later, PdService};
use crate::backend::Backend;
use crate::wire::{self, instruction};
use futures::StreamExt;
use futures::future::FutureExt;
use futures::stream::{self, BoxStream};
use placement::Request as Ask;
use placement::Response as Answer;
use proto::pdpb::{RegionHeartbeatRequest, RegionHeartbeatResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use tonic::{Status, Streaming};
use types::StoreId;

type Responses = BoxStream<'static, Result<RegionHeartbeatResponse, Status>>;

impl<B: Backend> PdService<B> {
    /// Answers a store's reports, and tells its leaders what to do.
    pub(super) fn hear_of_regions(&self, requests: Streaming<RegionHeartbeatRequest>) -> Responses {
        // Told by the first report; no store has the id zero.
        let reports = Arc::new(AtomicU64::new(0));
        let told_by = Arc::clone(&reports);
        let take_in = move |this: Self, request: RegionHeartbeatRequest| {
            if let Some(leader) = &request.leader {
                told_by.store(leader.store_id, Ordering::Relaxed);
            }
            this.hear_of_region(request)
        };
        let leads_until = self.inner.backend.placement_lost();
        let mut answers = self.answer_each(requests.take_until(leads_until), take_in);
        let mut instructions = self.inner.backend.instructions().fuse();
        let this = self.clone();
        let both = stream::poll_fn(move |cx| {
            if let Poll::Ready(answer) = answers.poll_next_unpin(cx) {
                return Poll::Ready(answer);
            }
            while let Poll::Ready(Some(told)) = instructions.poll_next_unpin(cx) {
                if told.leader.store_id == StoreId(reports.load(Ordering::Relaxed)) {
                    return Poll::Ready(Some(Ok(instruction::to_wire(this.header(), &told))));
                }
            }
            Poll::Pending
        });
        both.boxed()
    }

    async fn hear_of_region(
        self,
        request: RegionHeartbeatRequest,
    ) -> Result<Later<RegionHeartbeatResponse>, Status> {
        self.check(request.header.as_ref())?;
        let heartbeat = wire::heartbeat_from_wire(request).map_err(Status::invalid_argument)?;
        let region = &heartbeat.region;
        let mut response = RegionHeartbeatResponse {
            header: self.header(),
            region_id: region.id.get(),
            region_epoch: Some(region.epoch.into()),
            target_peer: region.peer(heartbeat.leader).copied().map(Into::into),
            ..Default::default()
        };
        let report = Ask::RegionHeartbeat(Box::new(heartbeat));
        let answer = self.inner.backend.enqueue(report).await;
        let later = async move {
            match answer.await {
                Ok(Answer::Instruction(told)) => {
                    return Ok(instruction::to_wire(self.header(), &told));
                }
                Ok(_) => {}
                Err(error) => response.header = Some(self.error_header(&error)?),
            }
            Ok(response)
        };
        Ok(later.boxed())
    }
}
