//! The console: a web page at every node, for the whole cluster.
//!
//! **How.** The page is plain files, in the binary, and asks this node alone; what others know, this node asks for it
//! (`api`). So it needs no other origin, and works wherever one status port can be reached.
//!
//! **Invariants.** The page loads nothing from elsewhere, and a browser holds it to that. It is never older than the
//! node that shows it.
//!
//! **Not here.** What the page looks like: `console/` in this crate.

mod api;
mod client;
mod series;
mod stores;

pub(super) use stores::Stores;

use super::NodeStatus;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page may load: itself.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal $kind:ident;)*) => {
        &[$(($name, $kind, include_str!(concat!("../../../console/", $name))),)*]
    };
}

/// Name, kind and text.
const FILES: &[(&str, &str, &str)] = files! {
    "index.html" HTML;
    "icon.svg" ICON;
    "style.css" CSS;
    "parts.css" CSS;
    "app.js" SCRIPT;
    "api.js" SCRIPT;
    "dom.js" SCRIPT;
    "format.js" SCRIPT;
    "chart.js" SCRIPT;
    "series.js" SCRIPT;
    "overview.js" SCRIPT;
    "stores.js" SCRIPT;
    "regions.js" SCRIPT;
    "region.js" SCRIPT;
    "hot.js" SCRIPT;
    "operators.js" SCRIPT;
    "actors.js" SCRIPT;
    "logs.js" SCRIPT;
    "config.js" SCRIPT;
};

/// The routes.
pub(super) fn router() -> Router<NodeStatus> {
    let router = Router::new()
        .route(
            "/console",
            get(|| async { Redirect::permanent("/console/") }),
        )
        .route("/console/", get(|| async { file(&FILES[0]) }));
    let shown = FILES.iter().fold(router, |router, one| {
        router.route(
            &format!("/console/{}", one.0),
            get(move || async move { file(one) }),
        )
    });
    shown.merge(api::router())
}

fn file(&(_, kind, text): &(&str, &'static str, &'static str)) -> Response {
    let mut answer = text.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    let sniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, sniff);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_another_one_names_is_there_and_nothing_comes_from_elsewhere() {
        for (name, _, text) in FILES {
            for quoted in text.split(['"', '\'']) {
                let Some(path) = quoted.strip_prefix("./") else {
                    continue;
                };
                assert!(
                    FILES.iter().any(|(known, ..)| *known == path),
                    "{name} names {path}"
                );
            }
            let strange = text.lines().filter(|line| line.contains("://"));
            let strange: Vec<&str> = strange
                .filter(|line| {
                    !line.contains("http://www.w3.org/2000/svg") && !line.contains("`http://${")
                })
                .collect();
            assert!(strange.is_empty(), "{name} names elsewhere: {strange:?}");
        }
    }
}
