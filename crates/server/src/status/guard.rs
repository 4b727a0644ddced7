//! What a request has to be before anything is changed for it.
//!
//! **Why.** The status server trusts whoever reaches its port, and a browser reaches it for every page that it
//! shows. A page from elsewhere must not change a node by way of its reader: so a change that a browser sends
//! names its origin, which has to be this server, under a name that nobody else can give it. (A name of
//! somebody else's can be made to lead here; an address, `localhost` and the node's own name can't.)
//!
//! **Invariants.** A body is bounded, and has to come within a while: nobody occupies a place by sending none.
//! What is only shown is not looked at.
//!
//! **Not here.** Who may ask: no TLS yet, so the port itself is the border.

use super::NodeStatus;
use super::routes::{Shown, failure};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// The largest body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Lets a request pass that may.
pub(super) async fn guard(State(status): Shown, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    if let Err(reason) = check_origin(request.headers(), &status) {
        return failure(StatusCode::FORBIDDEN, &reason);
    }
    let (parts, body) = request.into_parts();
    match timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => {
            next.run(Request::from_parts(parts, Body::from(bytes)))
                .await
        }
        Ok(Err(_)) => {
            let reason = format!("a body of more than {BODY_BYTES_MAX} bytes, or half of one");
            failure(StatusCode::PAYLOAD_TOO_LARGE, &reason)
        }
        Err(_) => failure(StatusCode::REQUEST_TIMEOUT, "the body did not come"),
    }
}

/// Whether a browser sends this for one of our own pages, or no browser does.
fn check_origin(headers: &HeaderMap, status: &NodeStatus) -> Result<(), String> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let Some(origin) = text(header::ORIGIN) else {
        return Ok(());
    };
    let host = text(header::HOST).unwrap_or("");
    let from = origin.strip_prefix("http://");
    if from != Some(host) {
        return Err(format!("a page of {origin} may not change this node"));
    }
    let name = name_of(host);
    let is_own = name == "localhost" || name.parse::<IpAddr>().is_ok();
    if is_own || name == name_of(status.address()) {
        return Ok(());
    }
    Err(format!(
        "{name} is no name of this node: open the console by its address, or by the name in server.advertise-addr"
    ))
}

/// The name or address, without a port.
fn name_of(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::Arc;

    fn check(host: &'static str, origin: Option<&'static str>) -> Result<(), String> {
        let address = "node-1.example:2379".to_owned();
        let status = NodeStatus::new("n1".into(), address, Arc::new(Value::Null));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        check_origin(&headers, &status)
    }

    #[test]
    fn a_browser_changes_something_for_our_own_page_only() {
        for host in [
            "127.0.0.1:20180",
            "[::1]:20180",
            "localhost",
            "node-1.example:20180",
        ] {
            let origin: &'static str = Box::leak(format!("http://{host}").into_boxed_str());
            assert_eq!(check(host, Some(origin)), Ok(()), "{host}");
            assert_eq!(check(host, None), Ok(()), "{host}");
        }
        for origin in [
            "http://elsewhere.example",
            "http://127.0.0.1:80",
            "null",
            "https://x",
        ] {
            assert!(check("127.0.0.1:20180", Some(origin)).is_err(), "{origin}");
        }
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_is_refused() {
        let host = "rebound.example:20180";
        let refused = check(host, Some("http://rebound.example:20180")).unwrap_err();
        assert!(refused.contains("advertise-addr"), "{refused}");
    }
}
