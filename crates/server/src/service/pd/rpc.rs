//! Each RPC of `pdpb.PD`: from the request to a question, from the answer to the response.
//!
//! **Not here.** Questions about many Regions at once (`regions`).

use super::{Later, PdService, status, unexpected_answer};
use crate::backend::Backend;
use crate::inquiry::API_VERSION_HEADER;
use crate::wire;
use futures::future::{FutureExt, ready};
use futures::stream::BoxStream;
use placement::Request as Ask;
use placement::Response as Answer;
use proto::pdpb::pd_server::Pd;
use proto::pdpb::*;
use tonic::{Request, Response, Status, Streaming};
use types::{RegionId, StoreId};

type Reply<T> = Result<Response<T>, Status>;
type ReplyStream<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl<B: Backend> Pd for PdService<B> {
    type TsoStream = ReplyStream<TsoResponse>;
    type RegionHeartbeatStream = ReplyStream<RegionHeartbeatResponse>;
    type QueryRegionStream = ReplyStream<QueryRegionResponse>;

    async fn get_cluster_info(
        &self,
        _: Request<GetClusterInfoRequest>,
    ) -> Reply<GetClusterInfoResponse> {
        Ok(Response::new(GetClusterInfoResponse {
            header: self.header(),
            service_modes: vec![ServiceMode::PdSvcMode as i32],
            tso_urls: Vec::new(),
        }))
    }

    async fn get_members(&self, _: Request<GetMembersRequest>) -> Reply<GetMembersResponse> {
        let mut response = Response::new(self.members_response().await);
        let api_version = self.inner.identity.api_version.number();
        let header = response.metadata_mut();
        header.insert(API_VERSION_HEADER, api_version.into());
        Ok(response)
    }

    async fn tso(&self, request: Request<Streaming<TsoRequest>>) -> Reply<Self::TsoStream> {
        let take_in = |this: Self, request| async move { this.timestamps(request).await };
        Ok(Response::new(
            self.answer_each(request.into_inner(), take_in),
        ))
    }

    async fn bootstrap(&self, request: Request<BootstrapRequest>) -> Reply<BootstrapResponse> {
        self.check(request.get_ref().header.as_ref())?;
        let message = "the cluster bootstraps itself from its list of first members".to_owned();
        Ok(Response::new(BootstrapResponse {
            header: Some(self.refusal(ErrorType::AlreadyBootstrapped, message)),
        }))
    }

    async fn is_bootstrapped(
        &self,
        request: Request<IsBootstrappedRequest>,
    ) -> Reply<IsBootstrappedResponse> {
        self.check(request.get_ref().header.as_ref())?;
        let result = self.ask(Ask::IsBootstrapped).await;
        self.finish(result, |_, response: &mut IsBootstrappedResponse| {
            response.bootstrapped = true;
            Some(())
        })
    }

    async fn alloc_id(&self, request: Request<AllocIdRequest>) -> Reply<AllocIdResponse> {
        self.check(request.get_ref().header.as_ref())?;
        let result = self.ask(Ask::AllocId).await;
        self.finish(result, |answer, response: &mut AllocIdResponse| {
            let Answer::Id(id) = answer else { return None };
            response.id = id;
            Some(())
        })
    }

    async fn get_store(&self, request: Request<GetStoreRequest>) -> Reply<GetStoreResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let result = self
            .ask(Ask::GetStore {
                store_id: StoreId(request.store_id),
            })
            .await;
        self.finish(result, |answer, response: &mut GetStoreResponse| {
            let Answer::Store(view) = answer else {
                return None;
            };
            response.store = Some(wire::store_to_wire(&view));
            response.stats = view.stats.as_ref().map(wire::stats_to_wire);
            Some(())
        })
    }

    async fn put_store(&self, request: Request<PutStoreRequest>) -> Reply<PutStoreResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let store = request
            .store
            .ok_or_else(|| Status::invalid_argument("no store"))?;
        let result = self.ask(Ask::PutStore(wire::store_from_wire(store))).await;
        self.finish(result, |_, _: &mut PutStoreResponse| Some(()))
    }

    async fn get_all_stores(
        &self,
        request: Request<GetAllStoresRequest>,
    ) -> Reply<GetAllStoresResponse> {
        self.check(request.get_ref().header.as_ref())?;
        let without_tombstones = request.get_ref().exclude_tombstone_stores;
        let result = self.ask(Ask::GetAllStores).await;
        self.finish(result, |answer, response: &mut GetAllStoresResponse| {
            let Answer::Stores(views) = answer else {
                return None;
            };
            let wanted = |view: &&placement::StoreView| {
                !without_tombstones || view.store.state != placement::StoreState::Tombstone
            };
            let views = views.iter().filter(wanted);
            response.stores = views.map(wire::store_to_wire).collect();
            Some(())
        })
    }

    async fn store_heartbeat(
        &self,
        request: Request<StoreHeartbeatRequest>,
    ) -> Reply<StoreHeartbeatResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let stats = request
            .stats
            .ok_or_else(|| Status::invalid_argument("no store figures"))?;
        let result = self
            .ask(Ask::StoreHeartbeat(wire::stats_from_wire(&stats)))
            .await;
        self.finish(result, |_, response: &mut StoreHeartbeatResponse| {
            response.cluster_version = crate::VERSION.to_owned();
            Some(())
        })
    }

    async fn region_heartbeat(
        &self,
        request: Request<Streaming<RegionHeartbeatRequest>>,
    ) -> Reply<Self::RegionHeartbeatStream> {
        Ok(Response::new(self.hear_of_regions(request.into_inner())))
    }

    async fn ask_batch_split(
        &self,
        request: Request<AskBatchSplitRequest>,
    ) -> Reply<AskBatchSplitResponse> {
        self.ids_for_split(request.into_inner()).await
    }

    async fn report_batch_split(
        &self,
        request: Request<ReportBatchSplitRequest>,
    ) -> Reply<ReportBatchSplitResponse> {
        self.split_done(request.into_inner()).await
    }

    async fn scatter_region(
        &self,
        request: Request<ScatterRegionRequest>,
    ) -> Reply<ScatterRegionResponse> {
        self.scatter(request.into_inner()).await
    }

    async fn get_operator(
        &self,
        request: Request<GetOperatorRequest>,
    ) -> Reply<GetOperatorResponse> {
        self.operator(request.into_inner()).await
    }

    async fn split_regions(
        &self,
        request: Request<SplitRegionsRequest>,
    ) -> Reply<SplitRegionsResponse> {
        self.split(request.into_inner()).await
    }

    async fn get_region(&self, request: Request<GetRegionRequest>) -> Reply<GetRegionResponse> {
        let request = request.into_inner();
        let key = self.checked_key(request.header.as_ref(), &request.region_key)?;
        let result = self.ask(Ask::GetRegion { key }).await;
        self.finish(result, fill_region)
    }

    async fn get_prev_region(
        &self,
        request: Request<GetRegionRequest>,
    ) -> Reply<GetRegionResponse> {
        let request = request.into_inner();
        let key = self.checked_key(request.header.as_ref(), &request.region_key)?;
        let result = self.ask(Ask::GetPrevRegion { key }).await;
        self.finish(result, fill_region)
    }

    async fn get_region_by_id(
        &self,
        request: Request<GetRegionByIdRequest>,
    ) -> Reply<GetRegionResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let region_id = RegionId(request.region_id);
        let result = self.ask(Ask::GetRegionById { region_id }).await;
        self.finish(result, fill_region)
    }

    async fn query_region(
        &self,
        request: Request<Streaming<QueryRegionRequest>>,
    ) -> Reply<Self::QueryRegionStream> {
        let take_in = |this: Self, request| {
            let answer = async move { this.answer_query(request).await };
            ready(Ok(answer.boxed()))
        };
        Ok(Response::new(
            self.answer_each(request.into_inner(), take_in),
        ))
    }

    async fn scan_regions(
        &self,
        request: Request<ScanRegionsRequest>,
    ) -> Reply<ScanRegionsResponse> {
        let request = request.into_inner();
        let start = self.checked_key(request.header.as_ref(), &request.start_key)?;
        let end = self.checked_key(request.header.as_ref(), &request.end_key)?;
        let result = self.scan_one(start, end, request.limit).await?;
        self.finish(result, |answer, response: &mut ScanRegionsResponse| {
            let Answer::Regions(routes) = answer else {
                return None;
            };
            response.regions = routes.iter().map(wire::region).collect();
            for region in &response.regions {
                response.region_metas.extend(region.region.clone());
                response.leaders.push(region.leader.unwrap_or_default());
            }
            Some(())
        })
    }

    async fn batch_scan_regions(
        &self,
        request: Request<BatchScanRegionsRequest>,
    ) -> Reply<BatchScanRegionsResponse> {
        self.scan_many(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_gc_safe_point(
        &self,
        request: Request<GetGcSafePointRequest>,
    ) -> Reply<GetGcSafePointResponse> {
        self.check(request.get_ref().header.as_ref())?;
        let result = self.ask(Ask::GetGcSafePoint).await;
        self.finish(result, |answer, response: &mut GetGcSafePointResponse| {
            let Answer::GcSafePoint(safe_point) = answer else {
                return None;
            };
            response.safe_point = safe_point;
            Some(())
        })
    }

    async fn update_gc_safe_point(
        &self,
        request: Request<UpdateGcSafePointRequest>,
    ) -> Reply<UpdateGcSafePointResponse> {
        let request = request.into_inner();
        self.check(request.header.as_ref())?;
        let safe_point = request.safe_point;
        let result = self.ask(Ask::UpdateGcSafePoint { safe_point }).await;
        self.finish(
            result,
            |answer, response: &mut UpdateGcSafePointResponse| {
                let Answer::GcSafePoint(safe_point) = answer else {
                    return None;
                };
                response.new_safe_point = safe_point;
                Some(())
            },
        )
    }
}

fn fill_region(answer: Answer, response: &mut GetRegionResponse) -> Option<()> {
    let Answer::Region(route) = answer else {
        return None;
    };
    if let Some(route) = route {
        *response = GetRegionResponse {
            header: response.header.take(),
            ..wire::get_region_response(&route)
        };
    }
    Some(())
}

impl<B: Backend> PdService<B> {
    async fn timestamps(self, request: TsoRequest) -> Result<Later<TsoResponse>, Status> {
        self.check(request.header.as_ref())?;
        let count = request.count;
        let answer = self.inner.backend.enqueue(Ask::Tso { count }).await;
        let later = async move {
            match answer.await {
                Ok(Answer::Timestamps { last, count }) => Ok(TsoResponse {
                    header: self.header(),
                    count,
                    timestamp: Some(wire::timestamp(last)),
                }),
                Ok(_) => Err(unexpected_answer()),
                Err(error) => Err(status(&error)),
            }
        };
        Ok(later.boxed())
    }
}
