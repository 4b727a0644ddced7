//! The HTTP routes by which placement is steered, for `kontiki ctl`.
//!
//! **Who is asked.** The leader, as members name it. One that leads no more redirects, or says that it is
//! not ready: then the leader is looked for again, until the deadline.
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

/// The routes of the placement leader.
pub struct Admin<'a>(pub(crate) &'a Inner);

/// Why an attempt brought no answer.
struct Lost {
    /// Whether the request may have had an effect.
    ambiguous: bool,
    reason: String,
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
            let request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header(header::HOST, &authority)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(body.clone()));
            let request = request.map_err(|error| Error::Protocol(error.to_string()))?;
            let timeout = budget.attempt(self.0.config.attempt_timeout);
            let reason = match send(&authority, request, timeout).await {
                Ok((status, answer)) => match read(status, &answer, path) {
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
    let request = Request::builder()
        .method(&method)
        .uri(path)
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(
            body.map(Value::to_string).unwrap_or_default().into(),
        ));
    let request = request.map_err(|error| Error::Protocol(error.to_string()))?;
    let (status, answer) = match send(address, request, timeout).await {
        Ok(answered) => answered,
        Err(lost) if lost.ambiguous && method == Method::POST => {
            return Err(Error::Undetermined { last: lost.reason });
        }
        Err(lost) => {
            return Err(Error::Refused {
                reason: lost.reason,
            });
        }
    };
    read(status, &answer, path).unwrap_or_else(|reason| Err(Error::Refused { reason }))
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
) -> std::result::Result<(StatusCode, Bytes), Lost> {
    let before = |reason: &dyn Display| Lost::new(false, format!("{authority}: {reason}"));
    let after = |reason: &dyn Display| Lost::new(true, format!("{authority}: {reason}"));
    let late = "no answer in time";
    let connect = tokio::time::timeout(timeout, TcpStream::connect(authority)).await;
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
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| after(&error))?;
        Ok((status, body.to_bytes()))
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
    async fn answered(answer: &'static [u8]) -> std::result::Result<(StatusCode, Bytes), Lost> {
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

    async fn ask(authority: &str) -> std::result::Result<(StatusCode, Bytes), Lost> {
        let request = Request::get(PATH).header(header::HOST, authority);
        let request = request.body(Full::new(Bytes::new())).unwrap();
        send(authority, request, Duration::from_secs(60)).await
    }

    #[tokio::test]
    async fn an_answer_is_read_whole() {
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        let Ok((status, body)) = answered(answer).await else {
            panic!("it was answered");
        };
        assert_eq!((status, &body[..]), (StatusCode::NOT_FOUND, &b"{}"[..]));
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
