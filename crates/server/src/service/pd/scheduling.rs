//! RPCs that concern scheduling: ids for splits, splits and scattering by request, operators.
//!
//! **Not here.** Region heartbeats, by which operators work (`heartbeats`).

use super::PdService;
use crate::backend::Backend;
use placement::Response as Answer;
use placement::{Control, OperatorStatus as Status_, Request as Ask};
use proto::pdpb::*;
use tonic::{Response, Status};
use types::{Region, RegionId};

type Reply<T> = Result<Response<T>, Status>;

/// How long a split by request is waited for, for each time that the client would try again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(50);
/// The most times that it is looked whether splits are made.
const RETRIES_MAX: u64 = 200;

fn control(control: Control) -> Ask {
    Ask::Control(Box::new(control))
}

impl<B: Backend> PdService<B> {
    pub(super) async fn ids_for_split(
        &self,
        request: AskBatchSplitRequest,
    ) -> Reply<AskBatchSplitResponse> {
        self.check(request.header.as_ref())?;
        let region = request
            .region
            .ok_or_else(|| Status::invalid_argument("no Region"))?;
        let region = Region::try_from(region);
        let region = region.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let parts = request.split_count;
        let result = self
            .ask(control(Control::AskBatchSplit { region, parts }))
            .await;
        self.finish(result, |answer, response: &mut AskBatchSplitResponse| {
            let Answer::SplitIds(ids) = answer else {
                return None;
            };
            let id = |ids: placement::SplitIds| SplitId {
                new_region_id: ids.region_id.get(),
                new_peer_ids: ids.peer_ids.iter().map(|id| id.get()).collect(),
            };
            response.ids = ids.into_iter().map(id).collect();
            Some(())
        })
    }

    pub(super) async fn split_done(
        &self,
        request: ReportBatchSplitRequest,
    ) -> Reply<ReportBatchSplitResponse> {
        self.check(request.header.as_ref())?;
        let parts = request.regions.into_iter().map(Region::try_from);
        let parts = parts.collect::<Result<Vec<_>, _>>();
        let parts = parts.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let result = self.ask(Ask::SplitDone(parts)).await;
        self.finish(result, |answer, _: &mut ReportBatchSplitResponse| {
            matches!(answer, Answer::Done).then_some(())
        })
    }

    pub(super) async fn scatter(
        &self,
        request: ScatterRegionRequest,
    ) -> Reply<ScatterRegionResponse> {
        self.check(request.header.as_ref())?;
        let mut ids: Vec<RegionId> = request.regions_id.into_iter().map(RegionId).collect();
        ids.extend((request.region_id > 0).then_some(RegionId(request.region_id)));
        let ask = Control::ScatterRegions {
            region_ids: ids,
            group: request.group,
        };
        let result = self.ask(control(ask)).await;
        self.finish(result, |answer, response: &mut ScatterRegionResponse| {
            let Answer::Begun { begun, refused } = answer else {
                return None;
            };
            response.finished_percentage = percentage(begun.len(), begun.len() + refused.len());
            Some(())
        })
    }

    pub(super) async fn operator(&self, request: GetOperatorRequest) -> Reply<GetOperatorResponse> {
        self.check(request.header.as_ref())?;
        let region_id = RegionId(request.region_id);
        let result = self.ask(control(Control::GetOperator { region_id })).await;
        self.finish(result, |answer, response: &mut GetOperatorResponse| {
            let Answer::Operator(record) = answer else {
                return None;
            };
            response.region_id = region_id.get();
            response.desc = record.operator.purpose.into();
            response.kind = format!("{:?}", record.operator.kind).to_lowercase().into();
            response.status = match record.status {
                Status_::Running => OperatorStatus::Running,
                Status_::Finished => OperatorStatus::Success,
                Status_::TimedOut => OperatorStatus::Timeout,
                Status_::Cancelled(_) => OperatorStatus::Cancel,
            } as i32;
            Some(())
        })
    }

    /// Has Regions split, and waits a while until they are.
    pub(super) async fn split(&self, request: SplitRegionsRequest) -> Reply<SplitRegionsResponse> {
        self.check(request.header.as_ref())?;
        let header = request.header.as_ref();
        let keys = request.split_keys.iter();
        let keys = keys.map(|key| self.checked_key(header, key));
        let keys: Vec<Vec<u8>> = keys.collect::<Result<_, _>>()?;
        let ask = Control::SplitRegions { keys: keys.clone() };
        let mut result = self.ask(control(ask)).await;
        let mut found = Vec::new();
        for retry in 0..=request.retry_limit.min(RETRIES_MAX) {
            if retry > 0 {
                tokio::time::sleep(RETRY).await;
            }
            match self.starting_at(&keys).await {
                Ok(ids) => found = ids,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            if found.len() == keys.len() {
                break;
            }
        }
        self.finish(result, |_, response: &mut SplitRegionsResponse| {
            response.finished_percentage = percentage(found.len(), keys.len());
            response.regions_id = found;
            Some(())
        })
    }

    /// The Regions that start at one of these keys.
    async fn starting_at(&self, keys: &[Vec<u8>]) -> Result<Vec<u64>, placement::Error> {
        let mut found = Vec::new();
        for key in keys {
            let route = self.ask(Ask::GetRegion { key: key.clone() }).await?;
            if let Answer::Region(Some(route)) = route
                && route.region.range.start == *key
            {
                found.push(route.region.id.get());
            }
        }
        Ok(found)
    }
}

/// Of nothing, all is done.
fn percentage(done: usize, all: usize) -> u64 {
    (done as u64 * 100).checked_div(all as u64).unwrap_or(100)
}
