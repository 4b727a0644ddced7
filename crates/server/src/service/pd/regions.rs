//! Questions about many Regions at once: `QueryRegion`, `ScanRegions` and `BatchScanRegions`.
//!
//! **Invariants.** No answer is cut short but by the limit that the client gave. The maps of a `QueryRegion` answer are parallel to the keys of its request. A scan
//! over several ranges names each Region once, and keeps to one limit for all.
//!
//! **Not here.** Questions about one Region (`rpc`).

use super::{KEY_BYTES_MAX, PdService, QUESTIONS_MAX, status, unexpected_answer};
use crate::backend::{Backend, Placed};
use crate::wire;
use bytes::Bytes;
use futures::future::try_join_all;
use placement::{RegionRoute, Request as Ask, Response as Answer};
use proto::pdpb::{
    BatchScanRegionsRequest, BatchScanRegionsResponse, ErrorType, QueryRegionRequest,
    QueryRegionResponse, RequestHeader,
};
use tonic::Status;
use types::RegionId;

/// The most Regions in one answer.
const REGIONS_MAX: usize = 65_536;
/// The most Regions that the placement driver is asked for at once.
const REGIONS_PER_PAGE: usize = 4_096;

impl<B: Backend> PdService<B> {
    /// A key of a request that is for this cluster.
    pub(super) fn checked_key(
        &self,
        header: Option<&RequestHeader>,
        key: &Bytes,
    ) -> Result<Vec<u8>, Status> {
        self.check(header)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "a key of {} bytes is over the limit of {KEY_BYTES_MAX}",
                key.len()
            )));
        }
        Ok(wire::key(key))
    }

    /// Answers by id, by key, and by the key after the Region that is meant.
    pub(super) async fn answer_query(
        &self,
        request: QueryRegionRequest,
    ) -> Result<QueryRegionResponse, Status> {
        let header = request.header.as_ref();
        self.check(header)?;
        let questions = request.ids.len() + request.keys.len() + request.prev_keys.len();
        if questions > QUESTIONS_MAX {
            return Err(Status::invalid_argument(format!(
                "{questions} questions are over the limit of {QUESTIONS_MAX}"
            )));
        }
        let by_id = |id: &u64| {
            Ok(Ask::GetRegionById {
                region_id: RegionId(*id),
            })
        };
        let by_key = |key: &Bytes| {
            Ok(Ask::GetRegion {
                key: self.checked_key(header, key)?,
            })
        };
        let before = |key: &Bytes| {
            Ok(Ask::GetPrevRegion {
                key: self.checked_key(header, key)?,
            })
        };
        let ids = request.ids.iter().map(by_id);
        let keys = request.keys.iter().map(by_key);
        let prev_keys = request.prev_keys.iter().map(before);
        let asks: Vec<Ask> = ids
            .chain(keys)
            .chain(prev_keys)
            .collect::<Result<_, Status>>()?;
        let mut routes = try_join_all(asks.into_iter().map(|ask| self.route(ask))).await?;

        let mut response = QueryRegionResponse {
            header: self.header(),
            ..Default::default()
        };
        let id_of = |route: &Option<RegionRoute>| route.as_ref().map_or(0, |r| r.region.id.get());
        let (_, by_keys) = routes.split_at(request.ids.len());
        let (keys, prev_keys) = by_keys.split_at(request.keys.len());
        response.key_id_map = keys.iter().map(id_of).collect();
        response.prev_key_id_map = prev_keys.iter().map(id_of).collect();
        for route in routes.drain(..).flatten() {
            let id = route.region.id.get();
            response
                .regions_by_id
                .entry(id)
                .or_insert_with(|| wire::region_response(&route));
        }
        Ok(response)
    }

    async fn route(&self, ask: Ask) -> Result<Option<RegionRoute>, Status> {
        match self.ask(ask).await {
            Ok(Answer::Region(route)) => Ok(route),
            Ok(_) => Err(unexpected_answer()),
            Err(error) => Err(status(&error)),
        }
    }

    /// The Regions of one range. More than one answer may have are an error: a client takes a short
    /// answer for the end of what there is.
    pub(super) async fn scan_one(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        limit: i32,
    ) -> Result<Placed, Status> {
        let limit = limit_of(limit).min(REGIONS_MAX + 1);
        let scanned = scan(&self.inner.backend, start, end, limit).await;
        if let Ok(Answer::Regions(routes)) = &scanned {
            check_count(routes.len())?;
        }
        Ok(scanned)
    }

    /// The Regions of several ranges, which are in order.
    pub(super) async fn scan_many(
        &self,
        request: BatchScanRegionsRequest,
    ) -> Result<BatchScanRegionsResponse, Status> {
        let header = request.header.as_ref();
        self.check(header)?;
        if request.ranges.len() > QUESTIONS_MAX {
            return Err(Status::invalid_argument("too many ranges"));
        }
        let limit = limit_of(request.limit);
        let mut found: Vec<RegionRoute> = Vec::new();
        for range in &request.ranges {
            if found.len() >= limit {
                break;
            }
            let start = self.checked_key(header, &range.start_key)?;
            let end = self.checked_key(header, &range.end_key)?;
            // One more than is left: the first may be the last one of the range before.
            let left = limit.min(REGIONS_MAX + 1) - found.len() + 1;
            let scanned = scan(&self.inner.backend, start.clone(), end.clone(), left).await;
            let routes = match scanned {
                Ok(Answer::Regions(routes)) => routes,
                Ok(_) => return Err(unexpected_answer()),
                Err(error) => return Err(status(&error)),
            };
            let cut = routes.len() >= left;
            if request.contain_all_key_range && has_gap(&routes, &start, &end, cut) {
                let message = "the known Regions do not contain the whole range".to_owned();
                let kind = ErrorType::RegionsNotContainAllKeyRange;
                let header = Some(self.refusal(kind, message));
                return Ok(BatchScanRegionsResponse {
                    header,
                    ..Default::default()
                });
            }
            let last = found.last().map(|route| route.region.id);
            let is_new = |route: &RegionRoute| Some(route.region.id) != last;
            found.extend(routes.into_iter().filter(is_new));
            if limit > REGIONS_MAX {
                check_count(found.len())?;
            }
        }
        found.truncate(limit);
        Ok(BatchScanRegionsResponse {
            header: self.header(),
            regions: found.iter().map(wire::region).collect(),
        })
    }
}

/// The most Regions that a request wants; without a limit it is all of them.
fn limit_of(limit: i32) -> usize {
    match usize::try_from(limit) {
        Ok(limit) if limit > 0 => limit,
        _ => usize::MAX,
    }
}

fn check_count(regions: usize) -> Result<(), Status> {
    if regions > REGIONS_MAX {
        let message = format!("more than {REGIONS_MAX} Regions: ask with a limit of that at most");
        return Err(Status::resource_exhausted(message));
    }
    Ok(())
}

/// The first `limit` Regions of `[start, end)`, asked for a page at a time: the driver has other things
/// to do in between.
pub(crate) async fn scan<B: Backend>(
    backend: &B,
    mut start: Vec<u8>,
    end: Vec<u8>,
    limit: usize,
) -> Placed {
    let mut found: Vec<RegionRoute> = Vec::new();
    while found.len() < limit {
        let ask = Ask::ScanRegions {
            start,
            end: end.clone(),
            limit: (limit - found.len()).min(REGIONS_PER_PAGE),
        };
        let page = match backend.place(ask).await? {
            Answer::Regions(page) => page,
            other => return Ok(other),
        };
        let Some(last) = page.last() else { break };
        start = last.region.range.end.clone();
        found.extend(page);
        if start.is_empty() || (!end.is_empty() && start >= end) {
            break;
        }
    }
    Ok(Answer::Regions(found))
}

/// Whether Regions, in order, leave a part of `[start, end)` out. A list that was cut at a limit may
/// end before the range does.
fn has_gap(routes: &[RegionRoute], start: &[u8], end: &[u8], cut: bool) -> bool {
    let mut reached = start;
    for route in routes {
        let range = &route.region.range;
        if range.start.as_slice() > reached {
            return true;
        }
        if range.end.is_empty() {
            return false;
        }
        reached = &range.end;
    }
    !cut && (end.is_empty() || reached < end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use types::{KeyRange, Region};

    fn route(start: &str, end: &str) -> RegionRoute {
        let range = KeyRange {
            start: start.into(),
            end: end.into(),
        };
        RegionRoute {
            region: Arc::new(Region {
                id: RegionId(2),
                range,
                ..Region::default()
            }),
            leader: None,
            down_peers: Vec::new(),
            pending_peers: Vec::new(),
            quarantined_peers: Vec::new(),
            approximate_size_bytes: 0,
            approximate_keys: 0,
            read_bytes_per_s: 0,
            written_bytes_per_s: 0,
        }
    }

    #[test]
    fn a_gap_is_found_wherever_it_is() {
        let gap = |routes: &[RegionRoute]| has_gap(routes, b"b", b"y", false);
        assert!(!gap(&[route("a", "m"), route("m", "z")]));
        assert!(!gap(&[route("", "")]));
        assert!(gap(&[]));
        assert!(gap(&[route("c", "z")]));
        assert!(gap(&[route("a", "m"), route("n", "z")]));
        assert!(gap(&[route("a", "m")]));
        assert!(!has_gap(&[route("a", "m")], b"b", b"y", true));
    }
}
