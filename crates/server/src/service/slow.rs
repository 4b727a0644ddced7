//! Requests that take too long, in the slow log.
//!
//! **Why noted before.** When a request has its answer its key is gone; to keep it costs a count of references.
//!
//! **Not here.** Where a write's time goes: the node knows, and logs it beside.

use crate::meters::{ErrorKind, Method};
use bytes::Bytes;
use logs::{redact, slow};
use metrics::{Label, Stopwatch};
use proto::kvrpcpb::*;
use std::time::Instant;

/// A request that was asked.
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// For the metrics.
    pub(crate) since: Stopwatch,
    /// None while nothing can be slow.
    subject: Option<Subject>,
}

/// What it is about.
struct Subject {
    since: Instant,
    region_id: u64,
    /// The first one.
    key: Bytes,
}

impl Asked {
    /// A request that begins now.
    pub(crate) fn begin(method: Method, request: &impl About) -> Self {
        let subject = slow::is_wanted().then(|| {
            let (context, key) = request.about();
            Subject {
                since: Instant::now(),
                region_id: context.as_ref().map_or(0, |context| context.region_id),
                key: key.cloned().unwrap_or_default(),
            }
        });
        Self {
            method,
            since: Stopwatch::start(),
            subject,
        }
    }

    /// It has its answer.
    pub(crate) fn end(&self, error: Option<ErrorKind>) {
        let Some(subject) = &self.subject else {
            return;
        };
        let took = subject.since.elapsed();
        if slow::is_slow(took) {
            logs::slow!(
                method = self.method.value(),
                region = subject.region_id,
                key = %redact(&subject.key),
                took_ms = slow::ms(took),
                error = error.map(|kind| kind.value()),
                "a request"
            );
        }
    }
}

/// A request that is about keys of a Region.
pub(crate) trait About {
    /// What it is addressed to, and its first key if it has one.
    fn about(&self) -> (&Option<Context>, Option<&Bytes>);
}

macro_rules! about {
    ($($request:ident: $this:ident => $key:expr;)*) => {
        $(impl About for $request {
            fn about(&self) -> (&Option<Context>, Option<&Bytes>) {
                let $this = self;
                (&self.context, $key)
            }
        })*
    };
}

about! {
    RawGetRequest: it => Some(&it.key);
    RawBatchGetRequest: it => it.keys.first();
    RawPutRequest: it => Some(&it.key);
    RawBatchPutRequest: it => it.pairs.first().map(|pair| &pair.key);
    RawDeleteRequest: it => Some(&it.key);
    RawBatchDeleteRequest: it => it.keys.first();
    RawScanRequest: it => Some(&it.start_key);
    RawDeleteRangeRequest: it => Some(&it.start_key);
    RawBatchScanRequest: it => it.ranges.first().map(|range| &range.start_key);
    RawGetKeyTtlRequest: it => Some(&it.key);
    RawCasRequest: it => Some(&it.key);
    RawChecksumRequest: it => it.ranges.first().map(|range| &range.start_key);
    SplitRegionRequest: it => it.split_keys.first();
}
