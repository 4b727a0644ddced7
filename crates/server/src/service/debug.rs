//! `debugpb.Debug`: failpoints, as TiKV's tools set them.
//!
//! **Invariants.** In a build without points each of them answers `UNIMPLEMENTED`, as do TiKV's other
//! methods in any.
//!
//! **Not here.** What a point does (`failpoint`); the same over HTTP (`status::fail`).

use failpoint::{Control, Refused, Setting};
use proto::debugpb::debug_server::Debug;
use proto::debugpb::list_fail_points_response::Entry;
use proto::debugpb::{
    InjectFailPointRequest, InjectFailPointResponse, ListFailPointsRequest, ListFailPointsResponse,
    RecoverFailPointRequest, RecoverFailPointResponse,
};
use tonic::{Request, Response, Status};

/// The service, over the points of this process.
pub(crate) struct DebugService {
    points: Option<Control>,
}

impl DebugService {
    /// Over the points that the process was built with.
    pub(crate) fn new() -> Self {
        Self {
            points: failpoint::control(),
        }
    }

    fn act<T>(
        &self,
        act: impl FnOnce(Control) -> Result<T, Refused>,
    ) -> Result<Response<T>, Status> {
        let done = self.points.ok_or(Refused::NotBuiltIn).and_then(act);
        done.map(Response::new).map_err(|refused| {
            let text = refused.to_string();
            match refused {
                Refused::NotBuiltIn => Status::unimplemented(text),
                Refused::Unknown(_) => Status::not_found(text),
                Refused::Actions { .. } | Refused::Variable(_) => Status::invalid_argument(text),
            }
        })
    }
}

#[tonic::async_trait]
impl Debug for DebugService {
    async fn inject_fail_point(
        &self,
        request: Request<InjectFailPointRequest>,
    ) -> Result<Response<InjectFailPointResponse>, Status> {
        let InjectFailPointRequest { name, actions } = request.into_inner();
        self.act(|points| {
            points.set(&name, &actions)?;
            tracing::warn!(name, actions, "a failpoint is set");
            Ok(InjectFailPointResponse {})
        })
    }

    async fn recover_fail_point(
        &self,
        request: Request<RecoverFailPointRequest>,
    ) -> Result<Response<RecoverFailPointResponse>, Status> {
        let name = request.into_inner().name;
        self.act(|points| {
            points.remove(&name)?;
            tracing::warn!(name, "a failpoint is removed");
            Ok(RecoverFailPointResponse {})
        })
    }

    async fn list_fail_points(
        &self,
        _: Request<ListFailPointsRequest>,
    ) -> Result<Response<ListFailPointsResponse>, Status> {
        // As TiKV does, those that are set.
        let entry = |Setting { point, actions, .. }: Setting| {
            let name = point.name.to_owned();
            (!actions.is_empty()).then_some(Entry { name, actions })
        };
        self.act(|points| {
            let entries = points.list().into_iter().filter_map(entry).collect();
            Ok(ListFailPointsResponse { entries })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[tokio::test]
    async fn a_build_without_points_implements_nothing() {
        let service = DebugService { points: None };
        let listed = service
            .list_fail_points(Request::new(Default::default()))
            .await;
        assert_eq!(listed.unwrap_err().code(), Code::Unimplemented);
        let injected = service
            .inject_fail_point(Request::new(Default::default()))
            .await;
        assert_eq!(injected.unwrap_err().code(), Code::Unimplemented);
    }

    #[tokio::test]
    async fn a_point_that_is_not_there_is_not_found() {
        let service = DebugService::new();
        let recovered = service
            .recover_fail_point(Request::new(Default::default()))
            .await;
        let expected = match service.points {
            Some(_) => Code::NotFound,
            None => Code::Unimplemented,
        };
        assert_eq!(recovered.unwrap_err().code(), expected);
    }
}
