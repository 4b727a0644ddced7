//! The HTTP routes by which placement is steered, for `kontiki ctl`.
//!
//! **Who is asked.** The leader, as members name it. One that leads no more redirects, or says that it is
//! not ready: then the leader is looked for again, until the deadline. What a Region's leader does goes to
//! where the placement leader redirects.
//!
//! **Invariant.** A change whose answer was lost is not sent again, but ends with
//! [`Error::Undetermined`].
//!
//! **Not here.** What the routes are, and what their answers mean: that is the caller's to know.

use crate::raw::Inner;
use crate::retry::Budget;
use crate::{Error, Result};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Display;
use std::time::Duration;
use tokio::net::TcpStream;

/// The largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The longest time in which somebody must take a connection, however long the answer may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How often one request is redirected: to another placement leader, and to a Region's leader that moves.
const REDIRECTS_MAX: usize = 4;

/// The routes of the placement leader.
pub struct Admin<'a>(pub(crate) &'a Inner);

/// Why an attempt brought no answer.
struct Lost {
    /// Whether the request may have had an effect.
    ambiguous: bool,
    reason: String,
}

/// What somebody has answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    /// Where to ask instead.
    location: Option<String>,
    body: Bytes,
}

impl Answer {
    /// The authority at which to ask instead.
    fn elsewhere(&self) -> Option<&str> {
        let is_redirect = self.status == StatusCode::TEMPORARY_REDIRECT;
        let url = self.location.as_ref().filter(|_| is_redirect)?;
        url.strip_prefix("http://")?.split('/').next()
    }
}

impl Lost {
    fn new(ambiguous: bool, reason: impl Display) -> Self {
        let reason = reason.to_string();
        Self { ambiguous, reason }
    }
}

impl Admin<'_> {
    /// Asks what is at this path.
    ///
    /// # Errors
    /// Placement refuses, with its reason; or nobody answers in time.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, &Value::Null).await
    }

    /// Sends `body` there.
    ///
    /// # Errors
    /// Placement refuses, with its reason; or nobody answers in time; or the answer was lost.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, body).await
    }

    /// Asks whom the answers name to do what may take as long as `patience`, and what does no harm if it is
    /// done twice.
    ///
    /// # Errors
    /// It is refused, with the reason; or nobody answers in time.
    pub async fn post_patiently(&self, path: &str, patience: Duration) -> Result<Value> {
        let mut budget = Budget::new(patience);
        let mut turns = 0..;
        loop {
            let turn = turns.next().unwrap_or_default();
            let url = self.0.pd.leader_url(turn, &mut budget).await?;
            let placement = url.trim_start_matches("http://").to_owned();
            let reason = match follow(placement, path, &budget).await? {
                Ok(answer) => match read(answer.status, &answer.body, path) {
                    Err(reason) => reason,
                    Ok(read) => return read,
                },
                Err(lost) => lost.reason,
            };
            budget.pause(Duration::ZERO, reason).await?;
        }
    }

    /// Removes what is there.
    ///
    /// # Errors
    /// Placement refuses, with its reason; or nobody answers in time; or the answer was lost.
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.call(Method::DELETE, path, &Value::Null).await
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let body = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let mut budget = Budget::new(self.0.config.deadline);
        let mut turns = 0..;
        loop {
            let turn = turns.next().unwrap_or_default();
            let url = self.0.pd.leader_url(turn, &mut budget).await?;
            let authority = url.trim_start_matches("http://").to_owned();
            let request = request(&method, &authority, path, body.clone())?;
            let timeout = budget.attempt(self.0.config.attempt_timeout);
            let reason = match send(&authority, request, timeout).await {
                Ok(answer) => match read(answer.status, &answer.body, path) {
                    Err(reason) => reason,
                    Ok(read) => return read,
                },
                Err(lost) if lost.ambiguous && method != Method::GET => {
                    return Err(Error::Undetermined { last: lost.reason });
                }
                Err(lost) => lost.reason,
            };
            let reason = format!("the placement leader: {reason}");
            budget.pause(Duration::ZERO, reason).await?;
        }
    }
}

/// The answer of the one to whom all others redirect.
async fn follow(
    mut authority: String,
    path: &str,
    budget: &Budget,
) -> Result<std::result::Result<Answer, Lost>> {
    let mut redirects = 0;
    loop {
        let request = request(&Method::POST, &authority, path, Bytes::new())?;
        let timeout = budget.attempt(Duration::MAX);
        let answer = send(&authority, request, timeout).await;
        let elsewhere = answer.as_ref().ok().and_then(Answer::elsewhere);
        match elsewhere.filter(|_| redirects < REDIRECTS_MAX) {
            Some(other) => authority = other.to_owned(),
            None => return Ok(answer),
        }
        redirects += 1;
    }
}

fn request(
    method: &Method,
    authority: &str,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>> {
    let request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body));
    request.map_err(|error| Error::Protocol(error.to_string()))
}

/// Asks one node's status server; with a body it is a POST.
///
/// # Errors
/// It refuses, with its reason; or does not answer in time; or the answer was lost.
pub async fn ask_status(
    address: &str,
    path: &str,
    body: Option<&Value>,
    timeout: Duration,
) -> Result<Value> {
    let method = body.map_or(Method::GET, |_| Method::POST);
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = request(&method, address, path, body.into())?;
    let answer = match send(address, request, timeout).await {
        Ok(answer) => answer,
        Err(lost) if lost.ambiguous && method == Method::POST => {
            return Err(Error::Undetermined { last: lost.reason });
        }
        Err(lost) => {
            return Err(Error::Refused {
                reason: lost.reason,
            });
        }
    };
    let read = read(answer.status, &answer.body, path);
    read.unwrap_or_else(|reason| Err(Error::Refused { reason }))
}

/// What one node's status server shows at a path, whatever the code of its answer.
///
/// # Errors
/// It does not answer in time.
pub async fn look_status(address: &str, path: &str, timeout: Duration) -> Result<Bytes> {
    let request = request(&Method::GET, address, path, Bytes::new())?;
    let answer = send(address, request, timeout).await;
    answer
        .map(|answer| answer.body)
        .map_err(|lost| Error::Refused {
            reason: lost.reason,
        })
}

/// What an answer says; or why the leader is to be looked for again.
fn read(
    status: StatusCode,
    answer: &[u8],
    path: &str,
) -> std::result::Result<Result<Value>, String> {
    let value: Option<Value> = serde_json::from_slice(answer).ok();
    if status.is_success() {
        let protocol = || Error::Protocol(format!("the answer at {path} is no JSON"));
        return Ok(value.ok_or_else(protocol));
    }
    let said = value.as_ref().and_then(|value| value["error"].as_str());
    let reason = said.map_or_else(|| format!("{status} at {path}"), str::to_owned);
    match status {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::SERVICE_UNAVAILABLE => Err(reason),
        _ => Ok(Err(Error::Refused { reason })),
    }
}

async fn send(
    authority: &str,
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> std::result::Result<Answer, Lost> {
    let before = |reason: &dyn Display| Lost::new(false, format!("{authority}: {reason}"));
    let after = |reason: &dyn Display| Lost::new(true, format!("{authority}: {reason}"));
    let late = "no answer in time";
    let connect = TcpStream::connect(authority);
    let connect = tokio::time::timeout(timeout.min(CONNECT_MAX), connect).await;
    let stream = connect.map_err(|_| before(&late))?;
    let stream = TokioIo::new(stream.map_err(|error| before(&error))?);
    let (mut sender, connection) = http1::handshake(stream)
        .await
        .map_err(|error| before(&error))?;
    // It ends when the answer has been read, or with an error that the sender tells as well.
    tokio::spawn(connection);
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| after(&error))?;
        let status = response.status();
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|to| to.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| after(&error))?;
        let body = body.to_bytes();
        Ok(Answer {
            status,
            location,
            body,
        })
    };
    let answer = tokio::time::timeout(timeout, exchange).await;
    answer.unwrap_or_else(|_| Err(after(&late)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const PATH: &str = "/pd/api/v1/stores";

    #[test]
    fn a_redirect_says_whom_to_ask_instead() {
        let answer = |status, location: Option<&str>| Answer {
            status,
            location: location.map(str::to_owned),
            body: Bytes::new(),
        };
        let to = Some("http://127.0.0.1:2379/region/2/consistency-check");
        let redirect = answer(StatusCode::TEMPORARY_REDIRECT, to);
        assert_eq!(redirect.elsewhere(), Some("127.0.0.1:2379"));
        assert_eq!(answer(StatusCode::OK, to).elsewhere(), None);
        let nowhere = answer(StatusCode::TEMPORARY_REDIRECT, None);
        assert_eq!(nowhere.elsewhere(), None);
    }

    #[test]
    fn only_who_does_not_lead_or_is_not_ready_is_asked_again() {
        let body = br#"{"error": "why"}"#;
        for status in [
            StatusCode::TEMPORARY_REDIRECT,
            StatusCode::SERVICE_UNAVAILABLE,
        ] {
            assert_eq!(read(status, body, PATH).unwrap_err(), "why");
        }
        for status in [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND] {
            let Ok(Err(Error::Refused { reason })) = read(status, body, PATH) else {
                panic!("{status} is final");
            };
            assert_eq!(reason, "why");
        }
        let Ok(Err(Error::Refused { reason })) = read(StatusCode::NOT_FOUND, b"", PATH) else {
            panic!("there is no such route");
        };
        assert_eq!(reason, "404 Not Found at /pd/api/v1/stores");
        let answer = read(StatusCode::OK, body, PATH).unwrap().unwrap();
        assert_eq!(answer["error"], "why");
        let nonsense = read(StatusCode::OK, b"<html>", PATH).unwrap();
        assert!(matches!(nonsense, Err(Error::Protocol(_))));
    }

    /// What a request comes to, whose connection is answered so and closed.
    async fn answered(answer: &'static [u8]) -> std::result::Result<Answer, Lost> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let serve = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(answer).await.unwrap();
        });
        let sent = ask(&authority).await;
        serve.await.unwrap();
        sent
    }

    async fn ask(authority: &str) -> std::result::Result<Answer, Lost> {
        let request = Request::get(PATH).header(header::HOST, authority);
        let request = request.body(Full::new(Bytes::new())).unwrap();
        send(authority, request, Duration::from_secs(60)).await
    }

    #[tokio::test]
    async fn an_answer_is_read_whole() {
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        let answer = answered(answer).await.ok().expect("it was answered");
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!((&answer.body[..], answer.location), (&b"{}"[..], None));
    }

    #[tokio::test]
    async fn a_request_that_nobody_took_had_no_effect_and_one_without_an_answer_may_have_had() {
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}";
        for answer in [&b""[..], half] {
            assert!(answered(answer).await.is_err_and(|lost| lost.ambiguous));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert!(ask(&authority).await.is_err_and(|lost| !lost.ambiguous));
    }
}
