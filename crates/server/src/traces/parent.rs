//! The `traceparent` header of W3C Trace Context: which trace a request belongs to, as its caller says.
//!
//! **Invariants.** What is not of the header's form counts as if it were not there, as the specification has it:
//! a caller's mistake costs him his trace and nothing else.
//!
//! **Not here.** `tracestate`.

use http::HeaderMap;
use opentelemetry::trace::{SpanId, TraceId};

/// The header's name.
pub(super) const HEADER: http::HeaderName = http::HeaderName::from_static("traceparent");
/// `00-`, a trace, `-`, a span, `-`, flags.
const LEN: usize = 55;
const SAMPLED: u8 = 1;

/// What a caller says of the span that its request is a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) is_sampled: bool,
}

impl Parent {
    /// That of a request.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HEADER).iter();
        let only = values.next()?;
        // Nobody knows which of several counts.
        match values.next() {
            None => Self::parse(only.as_bytes()),
            Some(_) => None,
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, later) = text.split_at_checked(LEN)?;
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let version = hex(&known[..2])?;
        // Later versions may say more behind it.
        let ends = match version {
            0 => later.is_empty(),
            0xff => false,
            _ => later.is_empty() || later[0] == b'-',
        };
        let trace_id = TraceId::from(hex(&known[3..35])?);
        let span_id = SpanId::from(u64::try_from(hex(&known[36..52])?).ok()?);
        let flags = u8::try_from(hex(&known[53..])?).ok()?;
        let is_valid = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
        (dashes && ends && is_valid).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & SAMPLED != 0,
        })
    }
}

/// The number; only lower case is allowed.
fn hex(digits: &[u8]) -> Option<u128> {
    let mut number = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u128::from(value);
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(values: &[&[u8]]) -> Option<Parent> {
        let value = |bytes: &&[u8]| (HEADER, HeaderValue::from_bytes(bytes).unwrap());
        Parent::of(&HeaderMap::from_iter(values.iter().map(value)))
    }

    #[test]
    fn a_header_names_its_trace_its_span_and_whether_it_is_sampled() {
        let parent = of(&[GOOD.as_bytes()]).unwrap();
        let trace_id = parent.trace_id.to_string();
        assert_eq!(trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span_id.to_string(), "b7ad6b7169203331");
        assert!(parent.is_sampled);
        let with_flags = |flags: &str| of(&[GOOD.replace("-01", flags).as_bytes()]);
        assert!(!with_flags("-00").unwrap().is_sampled);
        assert!(with_flags("-03").unwrap().is_sampled);
        assert!(!with_flags("-fe").unwrap().is_sampled);
    }

    #[test]
    fn a_later_version_may_say_more() {
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(of(&[later.as_bytes()]), of(&[GOOD.as_bytes()]));
        let more = format!("{later}-what-the-future-holds");
        assert_eq!(of(&[more.as_bytes()]), of(&[GOOD.as_bytes()]));
    }

    #[test]
    fn what_is_not_of_this_form_is_as_if_it_were_not_there() {
        let zero_trace = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16));
        let cut = |end: usize| GOOD[..end].to_owned();
        let mut bad = vec![zero_trace, zero_span, GOOD.to_uppercase()];
        bad.extend((0..GOOD.len()).map(cut));
        bad.push(format!("{GOOD}-more"));
        bad.push(format!("{GOOD} "));
        bad.push(GOOD.replacen("00", "ff", 1));
        bad.push(GOOD.replacen("00", "0x", 1));
        bad.push(format!("{}.", GOOD.replacen("00", "cc", 1)));
        for at in 0..GOOD.len() {
            let mut one = GOOD.to_owned();
            one.replace_range(at..=at, "g");
            bad.push(one);
        }
        for text in bad {
            assert_eq!(of(&[text.as_bytes()]), None, "{text}");
        }
        let bytes = [0xff; LEN];
        assert_eq!(of(&[&bytes]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[GOOD.as_bytes(), GOOD.as_bytes()]), None, "two of them");
    }
}
