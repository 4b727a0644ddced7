//! Routes for whoever looks for a fault; what they find is `diagnosticspb.Diagnostics`'s, as JSON.
//!
//! | route | answer |
//! |---|---|
//! | `GET /diagnosis/log?start=&end=&level=&pattern=&target=slow&limit=` | the newest lines of the log that match; times in ms, levels and patterns several times |
//! | `GET /diagnosis/server-info?type=hardware` | the machine: `hardware`, `load`, `system`, or all |
//! | `GET /diagnosis/clock` | this machine's time, to be compared with others' |
//!
//! **Invariants.** An answer is bounded in lines and bytes, and says whether lines were left out.
//!
//! **Not here.** Finding out (`diagnosis`).

use crate::diagnosis::{Diagnosis, Item, Refused, Topic};
use crate::service::diagnostics::no_file;
use axum::Router;
use axum::extract::{Query as Params, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::get;
use logs::{Found, Level, Query};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines, unless `limit` says otherwise; and the most.
const LINES_DEFAULT: usize = 1_000;
const LINES_MAX: usize = 10_000;
/// What the lines of an answer may have together.
const BYTES_MAX: usize = 8 << 20;

type Reply = Result<Json<Value>, (StatusCode, Json<Value>)>;
type Flags = Params<Vec<(String, String)>>;

/// The routes.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/diagnosis/log", get(log))
        .route("/diagnosis/server-info", get(server_info))
        .route("/diagnosis/clock", get(clock))
        .with_state(Diagnosis::default())
}

fn error(code: StatusCode, reason: impl ToString) -> (StatusCode, Json<Value>) {
    (code, Json(json!({ "error": reason.to_string() })))
}

fn busy(refused: Refused) -> (StatusCode, Json<Value>) {
    error(StatusCode::SERVICE_UNAVAILABLE, refused)
}

/// What is asked of the log.
#[derive(Debug)]
struct Asked {
    range: (i64, i64),
    levels: Vec<Level>,
    patterns: Vec<String>,
    target: String,
    limit: usize,
}

impl Asked {
    fn read(flags: Vec<(String, String)>) -> Result<Self, String> {
        let mut asked = Self {
            range: (0, i64::MAX),
            levels: Vec::new(),
            patterns: Vec::new(),
            target: String::new(),
            limit: LINES_DEFAULT,
        };
        for (name, value) in flags {
            let number = || {
                value
                    .parse::<i64>()
                    .map_err(|_| format!("{name}={value}: no number"))
            };
            match name.as_str() {
                "start" => asked.range.0 = number()?,
                "end" => asked.range.1 = number()?,
                "limit" => asked.limit = usize::try_from(number()?).unwrap_or(0).min(LINES_MAX),
                "pattern" => asked.patterns.push(value),
                "target" if matches!(&*value, "normal" | "slow") => asked.target = value,
                "level" => {
                    for name in value.split(',') {
                        let level =
                            Level::of_name(name).ok_or(format!("level={name}: no level"))?;
                        asked.levels.push(level);
                    }
                }
                _ => {
                    return Err(format!(
                        "{name}={value}: no such parameter, or no value of it"
                    ));
                }
            }
        }
        Ok(asked)
    }
}

async fn log(State(diagnosis): State<Diagnosis>, Params(flags): Flags) -> Reply {
    let bad = |reason| error(StatusCode::BAD_REQUEST, reason);
    let asked = Asked::read(flags).map_err(bad)?;
    let query = Query::new(asked.range, asked.levels, &asked.patterns);
    let query = query.map_err(|reason| bad(reason.to_string()))?;
    let files = logs::files(&asked.target);
    let files = files.ok_or_else(|| error(StatusCode::NOT_FOUND, no_file(&asked.target)))?;
    let mut found = diagnosis.search(files, query).map_err(busy)?;
    let mut newest = Newest::new(asked.limit);
    while let Some(batch) = found.recv().await {
        batch.into_iter().for_each(|line| newest.add(line));
    }
    Ok(Json(newest.json()))
}

/// The newest lines, as far as there is room.
struct Newest {
    lines: VecDeque<Found>,
    lines_max: usize,
    bytes: usize,
    is_complete: bool,
}

impl Newest {
    fn new(lines_max: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            lines_max,
            bytes: 0,
            is_complete: true,
        }
    }

    fn add(&mut self, line: Found) {
        self.bytes += line.message.len();
        self.lines.push_back(line);
        while self.lines.len() > self.lines_max || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.message.len();
            self.is_complete = false;
        }
    }

    fn json(&self) -> Value {
        let line = |line: &Found| {
            json!({
                "time_ms": line.time_ms,
                "level": line.level.name(),
                "message": line.message,
            })
        };
        json!({
            "messages": self.lines.iter().map(line).collect::<Vec<_>>(),
            "is_complete": self.is_complete,
        })
    }
}

async fn server_info(State(diagnosis): State<Diagnosis>, Params(flags): Flags) -> Reply {
    let mut topics = Vec::new();
    for (name, value) in &flags {
        let mut all = Topic::ALL.into_iter();
        match all.find(|topic| name == "type" && topic.name() == value) {
            Some(topic) => topics.push(topic),
            None => {
                let reason = format!("{name}={value}: type is hardware, load or system");
                return Err(error(StatusCode::BAD_REQUEST, reason));
            }
        }
    }
    if topics.is_empty() {
        topics = Topic::ALL.to_vec();
    }
    let looked = diagnosis.machine(topics).map_err(busy)?.await;
    let failed = |_| {
        error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the machine could not be looked at",
        )
    };
    let items = looked.map_err(failed)?;
    Ok(Json(
        json!({ "items": items.iter().map(item).collect::<Vec<_>>() }),
    ))
}

fn item(item: &Item) -> Value {
    let pairs = item.pairs.iter();
    let pairs: serde_json::Map<_, _> = pairs
        .map(|(key, value)| (key.clone(), value.as_str().into()))
        .collect();
    json!({ "type": item.kind, "name": item.name, "pairs": pairs })
}

async fn clock() -> Json<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    Json(json!({ "now_ms": now_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(flags: &[(&str, &str)]) -> Result<Asked, String> {
        let flags = flags
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Asked::read(flags.collect())
    }

    #[test]
    fn a_search_is_asked_for_by_parameters() {
        let all = asked(&[
            ("start", "5"),
            ("end", "9"),
            ("level", "warn,ERROR"),
            ("pattern", "a"),
            ("pattern", "b"),
            ("target", "slow"),
            ("limit", "99999999"),
        ]);
        let all = all.unwrap();
        assert_eq!((all.range, all.limit), ((5, 9), LINES_MAX));
        assert_eq!(
            (all.levels, all.patterns),
            (
                vec![Level::Warn, Level::Error],
                vec!["a".into(), "b".into()]
            )
        );
        assert_eq!(all.target, "slow");
        for wrong in [
            ("start", "x"),
            ("level", "loud"),
            ("target", "other"),
            ("patern", "a"),
        ] {
            assert!(asked(&[wrong]).unwrap_err().contains(wrong.1), "{wrong:?}");
        }
    }

    #[test]
    fn the_newest_lines_are_kept_within_bounds_and_what_is_left_out_is_said() {
        let line = |time_ms, bytes| Found {
            time_ms,
            level: Level::Info,
            message: "x".repeat(bytes),
        };
        let mut newest = Newest::new(2);
        newest.add(line(1, 1));
        assert_eq!(newest.json()["is_complete"], true);
        newest.add(line(2, 1));
        newest.add(line(3, BYTES_MAX / 2));
        newest.add(line(4, BYTES_MAX / 2 + 1));
        let times: Vec<i64> = newest.lines.iter().map(|line| line.time_ms).collect();
        assert_eq!((times, newest.is_complete), (vec![4], false));
    }
}
