//! Asking another server over HTTP for the console.
//!
//! **Invariants.** An answer comes within a while, and is bounded.
//!
//! **Not here.** Whom to ask: that is for `stores` to say, never for whoever asks the console.

use axum::body::Bytes;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// For a connection; what is near takes no longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// For the whole answer: one that needs the disk of a slow store, say.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer: all Regions of a large cluster.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The placement leader is somewhere else, and then somewhere else again.
const REDIRECTS_MAX: usize = 3;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Below the host, with the query.
    pub(super) path: String,
    /// JSON, or empty.
    pub(super) body: Bytes,
}

impl Ask {
    /// To be shown something.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: Bytes::new(),
        }
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) kind: Option<HeaderValue>,
    pub(super) body: Bytes,
    /// Where it is answered, if it is not here.
    elsewhere: Option<String>,
}

/// Asks the server at this `host:port`, and those that it names instead.
///
/// # Errors
/// Nobody answers, in words.
pub(super) async fn ask(address: &str, ask: &Ask) -> Result<Answer, String> {
    let mut address = address.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let answered = timeout(ANSWER_TIMEOUT, ask_once(&address, ask)).await;
        let answer = answered.unwrap_or_else(|_| Err("it took too long".to_owned()));
        let answer = answer.map_err(|reason| format!("{address} does not answer: {reason}"))?;
        match &answer.elsewhere {
            Some(elsewhere) => address = elsewhere.clone(),
            None => return Ok(answer),
        }
    }
    Err("the nodes send each other on: there is no placement leader at the moment".to_owned())
}

async fn ask_once(address: &str, ask: &Ask) -> Result<Answer, String> {
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let connected = connected.map_err(|_| "it does not take connections".to_owned())?;
    let stream = TokioIo::new(connected.map_err(|error| error.to_string())?);
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(stream).await.map_err(words)?;
    // Ends with this call.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::builder()
        .method(ask.method.clone())
        .uri(&ask.path)
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(ask.body.clone()));
    let request = request.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(words)?;
    let (parts, body) = answer.into_parts();
    let elsewhere = parts.headers.get(header::LOCATION).and_then(|location| {
        let location = location.to_str().ok()?.strip_prefix("http://")?;
        location.split('/').next().map(str::to_owned)
    });
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    Ok(Answer {
        code: parts.status,
        kind: parts.headers.get(header::CONTENT_TYPE).cloned(),
        body: body.map_err(|error| error.to_string())?.to_bytes(),
        elsewhere: elsewhere.filter(|_| parts.status.is_redirection()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get;
    use hyper::server::conn::http1 as server;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;
    use tower_service::Service;

    async fn serve(router: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let router = router.clone();
                let service = service_fn(move |request| router.clone().call(request));
                let served = server::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(served);
            }
        });
        address
    }

    #[tokio::test]
    async fn who_is_elsewhere_is_asked_there_and_a_circle_ends() {
        let leader = serve(Router::new().route("/a", get(|| async { "here" }))).await;
        let location = format!("http://{leader}/a");
        let other = Router::new().route(
            "/a",
            get(move || async move { Redirect::temporary(&location) }),
        );
        let other = serve(other).await;
        let answer = ask(&other, &Ask::get("/a")).await.unwrap();
        assert_eq!(
            (answer.code, &answer.body[..]),
            (StatusCode::OK, &b"here"[..])
        );
        let circle = Router::new().route(
            "/a",
            get(|| async { Redirect::temporary("http://127.0.0.1:1/a") }),
        );
        let circle = serve(circle).await;
        assert!(
            ask(&circle, &Ask::get("/a"))
                .await
                .unwrap_err()
                .contains("127.0.0.1:1")
        );
    }
}
