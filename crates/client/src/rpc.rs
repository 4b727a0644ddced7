//! The requests to stores, seen alike: each has a Region context, an RPC, and two places for errors.

use proto::errorpb;
use proto::kvrpcpb::*;
use proto::tikvpb::tikv_client::TikvClient;
use std::future::Future;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// What an attempt that got no answer means for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It reads: nothing can have happened.
    None,
    /// It writes the same whenever it is sent again.
    Absolute,
    /// Its answer depends on whether it happened before.
    Conditional,
}

pub(crate) trait RawRequest: Clone + Send + 'static {
    type Response: Send;
    const EFFECT: Effect;

    fn set_context(&mut self, context: Context);
    fn send(
        client: TikvClient<Channel>,
        request: Request<Self>,
    ) -> impl Future<Output = Result<Response<Self::Response>, Status>> + Send;
    fn region_error(response: &mut Self::Response) -> Option<errorpb::Error>;
    /// The server's complaint about the request itself; empty for none.
    fn complaint(response: &Self::Response) -> &str;
}

macro_rules! raw_request {
    ($request:ident, $response:ident, $method:ident, $effect:ident, |$r:ident| $complaint:expr) => {
        impl RawRequest for $request {
            type Response = $response;
            const EFFECT: Effect = Effect::$effect;

            fn set_context(&mut self, context: Context) {
                self.context = Some(context);
            }

            async fn send(
                mut client: TikvClient<Channel>,
                request: Request<Self>,
            ) -> Result<Response<Self::Response>, Status> {
                client.$method(request).await
            }

            fn region_error(response: &mut Self::Response) -> Option<errorpb::Error> {
                response.region_error.take()
            }

            fn complaint($r: &Self::Response) -> &str {
                $complaint
            }
        }
    };
}

raw_request!(RawGetRequest, RawGetResponse, raw_get, None, |r| &r.error);
raw_request!(RawPutRequest, RawPutResponse, raw_put, Absolute, |r| &r
    .error);
raw_request!(
    RawDeleteRequest,
    RawDeleteResponse,
    raw_delete,
    Absolute,
    |r| &r.error
);
raw_request!(
    RawBatchGetRequest,
    RawBatchGetResponse,
    raw_batch_get,
    None,
    |r| pairs_complaint(&r.pairs)
);
raw_request!(
    RawBatchPutRequest,
    RawBatchPutResponse,
    raw_batch_put,
    Absolute,
    |r| &r.error
);
raw_request!(
    RawBatchDeleteRequest,
    RawBatchDeleteResponse,
    raw_batch_delete,
    Absolute,
    |r| &r.error
);
raw_request!(RawScanRequest, RawScanResponse, raw_scan, None, |r| {
    pairs_complaint(&r.kvs)
});
raw_request!(
    RawDeleteRangeRequest,
    RawDeleteRangeResponse,
    raw_delete_range,
    Absolute,
    |r| &r.error
);
raw_request!(
    RawGetKeyTtlRequest,
    RawGetKeyTtlResponse,
    raw_get_key_ttl,
    None,
    |r| &r.error
);
raw_request!(
    RawCasRequest,
    RawCasResponse,
    raw_compare_and_swap,
    Conditional,
    |r| &r.error
);

raw_request!(
    SplitRegionRequest,
    SplitRegionResponse,
    split_region,
    Absolute,
    |_r| ""
);

/// Lists of pairs say what is wrong in the place of a pair.
fn pairs_complaint(pairs: &[KvPair]) -> &str {
    let mut errors = pairs.iter().filter_map(|pair| pair.error.as_ref());
    errors
        .next()
        .map_or("", |error| match (&*error.abort, &*error.retryable) {
            ("", "") => "a pair could not be read",
            ("", retryable) => retryable,
            (abort, _) => abort,
        })
}
