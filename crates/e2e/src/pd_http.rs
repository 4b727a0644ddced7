//! PD's HTTP routes, at whichever node of a cluster answers them.
//!
//! **Not here.** Following redirects: all nodes are tried instead.

use crate::Cluster;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The body of the answer to a GET of `path`, if some node gives one.
pub fn pd_get(cluster: &Cluster, path: &str) -> Option<String> {
    ask_all(cluster, "GET", path, "")
}

/// The body of the answer to a POST of this JSON to `path`, if some node gives one.
pub fn pd_post(cluster: &Cluster, path: &str, json: &str) -> Option<String> {
    ask_all(cluster, "POST", path, json)
}

/// The body of the answer to a GET of `path` at this `host:port`, if it is one.
pub fn http_get(address: &str, path: &str) -> Option<String> {
    let answer = ask(address, "GET", path, "").ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

fn ask_all(cluster: &Cluster, method: &str, path: &str, body: &str) -> Option<String> {
    cluster.endpoints().iter().find_map(|endpoint| {
        let answer = ask(endpoint, method, path, body).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    })
}

fn ask(endpoint: &str, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(endpoint)?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {endpoint}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
