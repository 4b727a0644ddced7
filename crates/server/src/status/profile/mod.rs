//! `/debug/pprof`: where a process spends its processor time, and where its memory was asked for.
//!
//! | route | answer |
//! |---|---|
//! | `GET /debug/pprof/profile?seconds=&frequency=&format=` | processor time over some seconds, for all threads |
//! | `GET /debug/pprof/heap?format=` | memory that is held, by where it was asked for, since that is looked at |
//! | `PUT /debug/pprof/heap_activate`, `heap_deactivate` | begins and ends to look at it |
//! | `GET /debug/pprof/cmdline` | how the process was called |
//! | `GET POST /debug/pprof/symbol` | names of addresses, as `pprof` asks for them |
//!
//! **Forms.** `format=svg` is a flame graph, `format=pprof` what `go tool pprof` reads, `format=folded` a line for
//! each stack, and of the heap `format=jemalloc` the allocator's own. Without `format` a client that says
//! which it accepts gets that, `go tool pprof` (which says nothing) its own, and everybody else the flame graph.
//!
//! **Invariants.** One profile of the processor at a time. It ends when whoever asked for it is gone.
//!
//! **Not here.** Which allocator the process has: that is the binary's ([`HeapProfiler`]).

mod cpu;
mod flame;
mod heap;
mod proto;
mod stacks;

pub use heap::HeapProfiler;

use super::NodeStatus;
use super::routes::{Flags, Shown, failure, waiting};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, put};
use serde_json::json;
use stacks::Stacks;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Unless it is asked for another; and the longest.
const SECONDS_DEFAULT: u64 = 10;
const SECONDS_MAX: u64 = 300;
/// Samples a second, of each core that is busy. A prime, so that no timer of a node is in step with it.
const FREQUENCY_DEFAULT: u32 = 99;
const FREQUENCY_MAX: u32 = 999;

/// The routes.
pub(super) fn router() -> Router<NodeStatus> {
    let at = |path: &str| format!("/debug/pprof/{path}");
    Router::new()
        .route(&at("profile"), get(profile))
        .route(&at("heap"), get(heap_profile))
        .route(&at("heap_activate"), put(activate))
        .route(&at("heap_deactivate"), put(deactivate))
        .route(&at("cmdline"), get(cmdline))
        .route(
            &at("symbol"),
            get(|| async { "num_symbols: 1\n" }).post(symbol),
        )
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Svg,
    Pprof,
    Folded,
    Jemalloc,
}

impl Form {
    fn of(flags: &BTreeMap<String, String>, headers: &HeaderMap) -> Result<Self, String> {
        match flags.get("format").map(String::as_str) {
            Some("svg") => return Ok(Form::Svg),
            Some("pprof" | "protobuf") => return Ok(Form::Pprof),
            Some("folded") => return Ok(Form::Folded),
            Some("jemalloc") => return Ok(Form::Jemalloc),
            Some(other) => {
                return Err(format!(
                    "format {other:?} is none: svg, pprof, folded or jemalloc"
                ));
            }
            None => {}
        }
        let Some(accept) = headers.get(header::ACCEPT) else {
            return Ok(Form::Pprof);
        };
        let accept = accept.to_str().unwrap_or_default();
        let is_wanted = |kind| accept.contains(kind);
        match is_wanted("protobuf") || is_wanted("octet-stream") {
            true => Ok(Form::Pprof),
            false => Ok(Form::Svg),
        }
    }

    fn answer(self, stacks: &Stacks) -> Response {
        let (kind, body) = match self {
            Form::Svg => ("image/svg+xml", flame::svg(stacks).into_bytes()),
            Form::Pprof => ("application/octet-stream", proto::encode(stacks)),
            Form::Folded | Form::Jemalloc => {
                ("text/plain; charset=utf-8", stacks.folded().into_bytes())
            }
        };
        ([(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

/// A number within bounds, or what is wrong with it.
fn number(
    flags: &BTreeMap<String, String>,
    name: &str,
    usual: u64,
    max: u64,
) -> Result<u64, String> {
    let Some(text) = flags.get(name) else {
        return Ok(usual);
    };
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("{name} has to be a number from 1 to {max}"))
}

async fn profile(Query(flags): Flags, headers: HeaderMap) -> Response {
    let asked = || {
        let form = Form::of(&flags, &headers)?;
        if form == Form::Jemalloc {
            return Err("format jemalloc is for the heap".to_owned());
        }
        let seconds = number(&flags, "seconds", SECONDS_DEFAULT, SECONDS_MAX)?;
        let frequency = number(
            &flags,
            "frequency",
            FREQUENCY_DEFAULT.into(),
            FREQUENCY_MAX.into(),
        )?;
        Ok((form, seconds, frequency as u32))
    };
    let (form, seconds, frequency) = match asked() {
        Ok(asked) => asked,
        Err(reason) => return failure(StatusCode::BAD_REQUEST, &reason),
    };
    let (here, there) = cpu::attention();
    let work = move || {
        let taken = cpu::take(Duration::from_secs(seconds), frequency, &there);
        taken.map(|stacks| form.answer(&stacks))
    };
    let taken = waiting(work).await;
    drop(here);
    match taken {
        Ok(answer) => answer,
        Err(cpu::Error::Busy) => {
            let reason = "a profile of the processor is being taken: one at a time";
            failure(StatusCode::CONFLICT, reason)
        }
        Err(cpu::Error::Failed(reason)) => failure(StatusCode::INTERNAL_SERVER_ERROR, &reason),
    }
}

async fn heap_profile(State(status): Shown, Query(flags): Flags, headers: HeaderMap) -> Response {
    let form = match Form::of(&flags, &headers) {
        Ok(form) => form,
        Err(reason) => return failure(StatusCode::BAD_REQUEST, &reason),
    };
    let Some(heap) = status.heap() else {
        return without_heap();
    };
    let work = move || {
        let dump = heap.dump()?;
        if form == Form::Jemalloc {
            return Ok(dump.into_response());
        }
        heap::read(&dump).map(|stacks| form.answer(&stacks))
    };
    let found: Result<Response, String> = waiting(work).await;
    found.unwrap_or_else(|reason| failure(StatusCode::SERVICE_UNAVAILABLE, &reason))
}

async fn activate(State(status): Shown) -> Response {
    switch(&status, true)
}

async fn deactivate(State(status): Shown) -> Response {
    switch(&status, false)
}

fn switch(status: &NodeStatus, is_active: bool) -> Response {
    let Some(heap) = status.heap() else {
        return without_heap();
    };
    match heap.activate(is_active) {
        Ok(()) => Json(json!({ "active": is_active })).into_response(),
        Err(reason) => failure(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

fn without_heap() -> Response {
    let reason = "this program was built without an allocator that can tell";
    failure(StatusCode::NOT_IMPLEMENTED, reason)
}

async fn cmdline() -> Vec<u8> {
    let args: Vec<Vec<u8>> = std::env::args_os()
        .map(|arg| arg.as_bytes().to_vec())
        .collect();
    args.join(&0)
}

async fn symbol(body: String) -> Result<String, Response> {
    waiting(move || stacks::symbols(&body))
        .await
        .map_err(|reason| failure(StatusCode::BAD_REQUEST, &reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(format: Option<&str>, accept: Option<&'static str>) -> Result<Form, String> {
        let format = format.map(|format| ("format".to_owned(), format.to_owned()));
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        Form::of(&format.into_iter().collect(), &headers)
    }

    #[test]
    fn a_form_is_what_is_asked_for_or_accepted_or_what_pprof_reads() {
        assert_eq!(
            form(Some("svg"), Some("application/protobuf")),
            Ok(Form::Svg)
        );
        assert_eq!(form(None, Some("application/protobuf")), Ok(Form::Pprof));
        assert_eq!(form(None, Some("text/html,image/svg+xml")), Ok(Form::Svg));
        assert_eq!(form(None, Some("*/*")), Ok(Form::Svg));
        assert_eq!(form(None, None), Ok(Form::Pprof));
        assert!(form(Some("png"), None).unwrap_err().contains("png"));
    }

    #[test]
    fn numbers_out_of_bounds_are_refused_with_the_bounds() {
        let flags = |value: &str| BTreeMap::from([("seconds".to_owned(), value.to_owned())]);
        assert_eq!(number(&flags("5"), "seconds", 10, 300), Ok(5));
        assert_eq!(number(&BTreeMap::new(), "seconds", 10, 300), Ok(10));
        for wrong in ["0", "301", "-1", "x", ""] {
            let refused = number(&flags(wrong), "seconds", 10, 300);
            assert!(refused.unwrap_err().contains("1 to 300"), "{wrong}");
        }
    }
}
