//! `POST /region/{id}/consistency-check`: compares the replicas of a Region, and answers with the hash of
//! each.
//!
//! **Who answers.** The Region's leader; everybody else redirects to it, or to the placement leader, who
//! knows it. The answer may take minutes: all of the Region is read, at a bounded rate.
//!
//! **Not here.** What follows from a difference (`raftstore::op::consistency`).

use super::{Http, path, peer_json};
use crate::backend::Backend;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use placement::{Request as Ask, Response as Answer};
use raftstore::RequestError;
use raftstore::op::consistency::{Hash, Report};
use serde_json::{Value, json};
use types::{Peer, RegionId};

pub(super) async fn check<B: Backend>(
    State(http): State<Http<B>>,
    Path(id): Path<u64>,
    uri: Uri,
) -> Result<Json<Value>, Response> {
    let region_id = RegionId(id);
    match http.backend.check_consistency(region_id).await {
        Ok(report) => Ok(Json(report_json(&report))),
        Err(RequestError::NotLeader { leader, .. } | RequestError::Quarantined { leader, .. }) => {
            Err(http.refer_to(region_id, leader, &uri).await)
        }
        Err(RequestError::RegionNotFound { .. }) => Err(http.refer_to(region_id, None, &uri).await),
        Err(error) => Err(unavailable(&error.to_string())),
    }
}

impl<B: Backend> Http<B> {
    /// A redirect to the leader of a Region, if anybody knows it.
    async fn refer_to(&self, region_id: RegionId, leader: Option<Peer>, uri: &Uri) -> Response {
        let found = match leader {
            Some(leader) => Ok(leader),
            None => self.find_leader(region_id, uri).await,
        };
        let address = match found {
            Ok(leader) if leader.store_id == self.backend.identity().store_id => Err(unavailable(
                "the Region's leader is about to be another one",
            )),
            Ok(leader) => self.address(&leader, uri).await,
            Err(refusal) => Err(refusal),
        };
        match address {
            Ok(address) => {
                let location = format!("http://{address}{}", path(uri));
                let headers = [(header::LOCATION, location)];
                (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
            }
            Err(refusal) => refusal,
        }
    }

    async fn find_leader(&self, region_id: RegionId, uri: &Uri) -> Result<Peer, Response> {
        match self.ask(Ask::GetRegionById { region_id }, uri).await? {
            Answer::Region(Some(route)) => route
                .leader
                .ok_or_else(|| unavailable("the Region's leader is not known")),
            _ => Err(StatusCode::NOT_FOUND.into_response()),
        }
    }

    async fn address(&self, leader: &Peer, uri: &Uri) -> Result<String, Response> {
        let store_id = leader.store_id;
        if let Some(address) = self.book.address(store_id) {
            return Ok(address);
        }
        match self.ask(Ask::GetStore { store_id }, uri).await? {
            Answer::Store(view) => Ok(view.store.address.clone()),
            _ => Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        }
    }
}

fn unavailable(reason: &str) -> Response {
    let body = Json(json!({ "error": reason }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

fn report_json(report: &Report) -> Value {
    let text = |hash: &Option<Hash>| hash.map(|hash| hash.to_string());
    let replica = |(peer, hash): &(Peer, Option<Hash>)| {
        let mut replica = peer_json(peer);
        replica["hash"] = json!(text(hash));
        replica
    };
    let verdict = report.verdict();
    let deviating = verdict.iter().flat_map(|verdict| &verdict.deviating);
    json!({
        "region_id": report.region_id.get(),
        "index": report.index,
        "differs": report.differs(),
        "agreed_hash": text(&report.agreed),
        "replicas": report.hashes.iter().map(replica).collect::<Vec<_>>(),
        "quarantined": deviating.map(|(peer, _)| peer.get()).collect::<Vec<_>>(),
    })
}
