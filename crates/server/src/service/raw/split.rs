//! `SplitRegion`: a client has a Region cut at keys of its choice.
//!
//! **Not here.** Scattering what comes of it: that is asked of the placement driver.

use super::Raw;
use crate::backend::Backend;
use crate::context;
use crate::error::{FailableResponse, Failure};
use proto::kvrpcpb::{SplitRegionRequest, SplitRegionResponse};
use proto::metapb;
use types::{ApiVersion, Region, keys};

impl<B: Backend> Raw<B> {
    /// Splits a Region. Keys of transactions, and all keys under API V2, are cut at where they are stored.
    pub(crate) async fn split_region(&self, request: SplitRegionRequest) -> SplitRegionResponse {
        let fill = |response: &mut SplitRegionResponse, regions: Vec<Region>| {
            let wire: Vec<_> = regions.iter().map(metapb::Region::from).collect();
            #[allow(deprecated)] // Older clients read only these.
            if let [left, right] = &wire[..] {
                response.left = Some(left.clone());
                response.right = Some(right.clone());
            }
            response.regions = wire;
        };
        FailableResponse::from_result(self.try_split(request).await, fill)
    }

    async fn try_split(&self, request: SplitRegionRequest) -> Result<Vec<Region>, Failure> {
        let checked = context::check(&self.identity, request.context)?;
        #[allow(deprecated)] // Older clients send only this one.
        let cuts = match request.split_keys.is_empty() {
            true => vec![request.split_key],
            false => request.split_keys,
        };
        let is_plain = request.is_raw_kv && self.identity.api_version == ApiVersion::V1;
        let mut at = Vec::with_capacity(cuts.len());
        for key in cuts {
            self.limits.check_key(&key)?;
            at.push(match is_plain {
                true => key.to_vec(),
                false => keys::encode(&key),
            });
        }
        Ok(self.backend.split(checked.request, at).await?)
    }
}
