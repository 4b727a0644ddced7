//! Failpoints over HTTP.
//!
//! | route | answer |
//! |---|---|
//! | `GET /fail` | all points, with their actions, and how often the process has come there |
//! | `PUT /fail/{name}` | has a point do what the body says, as in `docs/failpoints.md` |
//! | `DELETE /fail/{name}` | has it do nothing any more |
//!
//! **Invariants.** In a build without points each of them answers 501 and says why.
//!
//! **Not here.** What a point does (`failpoint`).

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{get, put};
use failpoint::{Control, Refused, Setting};
use serde_json::{Value, json};

type Answer = (StatusCode, Json<Value>);

/// The routes, for the points of this process.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let points = failpoint::control();
    Router::new()
        .route("/fail", get(move || async move { list(points) }))
        .route(
            "/fail/{name}",
            put(
                move |Path(name): Path<String>, actions: String| async move {
                    set(points, &name, &actions)
                },
            )
            .delete(move |Path(name): Path<String>| async move { remove(points, &name) }),
        )
}

fn list(points: Option<Control>) -> Answer {
    let shown = |setting: Setting| {
        json!({
            "name": setting.point.name,
            "actions": setting.actions,
            "hits": setting.hits,
        })
    };
    answer(points, |points| {
        Ok(points.list().into_iter().map(shown).collect())
    })
}

fn set(points: Option<Control>, name: &str, actions: &str) -> Answer {
    answer(points, |points| {
        points.set(name, actions)?;
        tracing::warn!(name, actions, "a failpoint is set");
        Ok(json!({ "name": name, "actions": actions }))
    })
}

fn remove(points: Option<Control>, name: &str) -> Answer {
    answer(points, |points| {
        points.remove(name)?;
        tracing::warn!(name, "a failpoint is removed");
        Ok(json!({ "name": name, "actions": "" }))
    })
}

fn answer(points: Option<Control>, act: impl FnOnce(Control) -> Result<Value, Refused>) -> Answer {
    match points.ok_or(Refused::NotBuiltIn).and_then(act) {
        Ok(body) => (StatusCode::OK, Json(body)),
        Err(refused) => {
            let code = match refused {
                Refused::NotBuiltIn => StatusCode::NOT_IMPLEMENTED,
                Refused::Unknown(_) => StatusCode::NOT_FOUND,
                Refused::Actions { .. } | Refused::Variable(_) => StatusCode::BAD_REQUEST,
            };
            (code, Json(json!({ "error": refused.to_string() })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_points_says_so_to_whatever_is_asked() {
        for (code, body) in [list(None), set(None, "a", "off"), remove(None, "a")] {
            assert_eq!(code, StatusCode::NOT_IMPLEMENTED);
            assert!(
                body["error"]
                    .as_str()
                    .unwrap()
                    .contains("without failpoints")
            );
        }
    }

    #[test]
    fn each_refusal_has_a_code_of_its_own() {
        let Some(points) = failpoint::control() else {
            return assert_eq!(list(None).0, StatusCode::NOT_IMPLEMENTED);
        };
        let code = |name, actions| set(Some(points), name, actions).0;
        assert_eq!(code("nobody", "off"), StatusCode::NOT_FOUND);
        assert_eq!(
            code("node::log::written", "explode"),
            StatusCode::BAD_REQUEST
        );
        assert_eq!(
            code("node::log::written", "return"),
            StatusCode::BAD_REQUEST
        );
        assert_eq!(remove(Some(points), "nobody").0, StatusCode::NOT_FOUND);
        let (code, body) = list(Some(points));
        assert_eq!(code, StatusCode::OK);
        assert_eq!(body.as_array().unwrap().len(), failpoint::POINTS.len());
    }
}
