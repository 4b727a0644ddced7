//! `POST /compact`: drops what was removed and overwritten from the files of a range, and answers when it is done.
//!
//! The body says what: `{"cf": "default", "start_key": "HEX", "end_key": "HEX"}`, all of it optional. Keys are those of
//! Regions. Nothing is taken back if whoever has asked leaves.
//!
//! **Not here.** The compaction (`node`), and how it goes on beside readers and writers (`engine`).

use super::NodeStatus;
use super::routes::{Shown, failure, waiting};
use crate::http::unhex;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use engine::Cf;
use node::{CompactError, Compaction};
use serde::Deserialize;
use types::KeyRange;

/// The route.
pub(super) fn router() -> Router<NodeStatus> {
    Router::new().route("/compact", post(compact))
}

/// The body of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    cf: Option<String>,
    start_key: String,
    end_key: String,
}

impl Wanted {
    fn parse(self) -> Result<Compaction, String> {
        let name = self.cf.as_deref().unwrap_or(Cf::Default.name());
        // What is in the other one belongs to the store itself.
        let mut families = [Cf::Default, Cf::Lock, Cf::Write].into_iter();
        let cf = families
            .find(|cf| cf.name() == name)
            .ok_or_else(|| format!("cf: there is no {name:?}: default, lock or write"))?;
        let key = |name, hex: &str| unhex(hex).ok_or_else(|| format!("{name} is not hexadecimal"));
        let range = KeyRange {
            start: key("start_key", &self.start_key)?,
            end: key("end_key", &self.end_key)?,
        };
        match range.is_empty() {
            true => Err("end_key has to be behind start_key".to_owned()),
            false => Ok(Compaction { cf, range }),
        }
    }
}

async fn compact(State(status): Shown, Json(wanted): Json<Wanted>) -> Response {
    let wanted = match wanted.parse() {
        Ok(wanted) => wanted,
        Err(reason) => return failure(StatusCode::BAD_REQUEST, &reason),
    };
    let Some(node) = status.node() else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "the node does not run");
    };
    match waiting(move || node.compact(&wanted)).await {
        Ok(done) => Json(done).into_response(),
        Err(error) => {
            let code = match error {
                CompactError::UnderWay => StatusCode::CONFLICT,
                CompactError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
                CompactError::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            failure(code, &error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Compaction, String> {
        let wanted: Wanted = serde_json::from_str(body).map_err(|error| error.to_string())?;
        wanted.parse()
    }

    #[test]
    fn without_a_range_it_is_all_that_clients_store() {
        let all = Compaction {
            cf: Cf::Default,
            range: KeyRange::default(),
        };
        assert_eq!(parse("{}"), Ok(all));
        let part = parse(r#"{"cf": "write", "start_key": "610a", "end_key": "62"}"#).unwrap();
        assert_eq!((part.cf, part.range.start), (Cf::Write, b"a\n".to_vec()));
        assert_eq!(part.range.end, b"b");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (body, reason) in [
            (r#"{"cf": "raft"}"#, "default, lock or write"),
            (r#"{"start_key": "6"}"#, "start_key"),
            (r#"{"end_key": "6g"}"#, "end_key"),
            (r#"{"start_key": "62", "end_key": "61"}"#, "behind"),
            (r#"{"from": "62"}"#, "from"),
        ] {
            let refused = parse(body).unwrap_err();
            assert!(refused.contains(reason), "{body}: {refused}");
        }
    }
}
