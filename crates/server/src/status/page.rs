//! The page that a browser shows first: what the node is, how it does, and where to look further.
//!
//! **Invariants.** It works without anything from elsewhere, in light and dark. What comes from the
//! configuration or from the network is escaped.
//!
//! **Not here.** A console that changes anything.

use super::{NodeStatus, Stage};
use crate::VERSION;
use std::fmt::Write;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin:0}p{margin:.3rem 0 1.5rem}\
table{border-collapse:collapse;width:100%}\
td{padding:.35rem .8rem .35rem 0;border-bottom:1px solid #8884;vertical-align:top}\
td:first-child{white-space:nowrap}code{font-size:.95em}";

/// The routes, and what they are for.
const LINKS: &[(&str, &str)] = &[
    ("/status", "version, name, ids, uptime"),
    (
        "/ready?verbose",
        "where the node is in its life, and how long each stage took",
    ),
    ("/config", "the configuration in force"),
    (
        "/config/items",
        "each item with its default, and whether it can be changed online",
    ),
    ("/metrics", "what is counted, for Prometheus"),
    (
        "/debug/actors",
        "the slowest, longest, busiest and most restless actors",
    ),
    (
        "/diagnosis/log?level=warn,error",
        "the newest warnings and errors of the log, if it has a file",
    ),
    (
        "/diagnosis/server-info",
        "the machine: hardware, load, how its system is set",
    ),
    ("/region/1", "a Region as this store knows it, by its id"),
];

/// The page.
pub(super) fn page(status: &NodeStatus) -> String {
    let shown = status.status();
    let text = |key: &str| match &shown[key] {
        serde_json::Value::String(text) => escaped(text),
        serde_json::Value::Null => "not known yet".to_owned(),
        other => escaped(&other.to_string()),
    };
    let stage = status.stage();
    let mark = if stage == Stage::Serving {
        "✓"
    } else {
        "…"
    };
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\">\
         <title>Kontiki {name}</title><style>{STYLE}</style>\
         <h1>Kontiki {name}</h1><p>{mark} {stage}</p><table>\n",
        name = text("name"),
        stage = stage.name(),
    );
    for (title, value) in [
        ("version", VERSION.to_owned()),
        ("store", text("store_id")),
        ("cluster", text("cluster_id")),
        ("address", text("address")),
        ("up for", format!("{} s", text("uptime_s"))),
    ] {
        let _ = writeln!(page, "<tr><td>{title}<td>{value}");
    }
    for (path, purpose) in LINKS {
        let _ = writeln!(
            page,
            "<tr><td><a href=\"{path}\"><code>{path}</code></a><td>{purpose}"
        );
    }
    page.push_str("</table></html>\n");
    page
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::Arc;

    #[test]
    fn the_page_shows_the_stage_and_escapes_the_name() {
        let status = NodeStatus::new("<n1>".into(), "h:1".into(), Arc::new(Value::Null));
        let shown = page(&status);
        assert!(shown.contains("&lt;n1&gt;") && !shown.contains("<n1>"));
        assert!(shown.contains(Stage::OpeningData.name()));
        status.enter(Stage::Serving);
        assert!(page(&status).contains("✓ serving"));
    }
}
