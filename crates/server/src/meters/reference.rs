//! The reference of all metrics, as `docs/metrics.md` has it.

use super::CATALOGUE;
use std::fmt::Write;

const HEAD: &str = "\
# Metrics

Every node shows its metrics on its status port (`server.status-addr`), in Prometheus's text format:

    curl http://127.0.0.1:20180/metrics

This page is made from the code, by `kontiki metrics docs`; a test holds it to that. All times are in
seconds, all sizes in bytes. A histogram `x` has the series `x_bucket`, `x_sum` and `x_count`. Counters begin at
zero when the process starts, those of placement when its leader is elected. No label holds a key or the id of a
Region. `etc/prometheus` has alert rules and `etc/grafana` a dashboard that go by them.

**What they cost.** Hot paths add to plain numbers of their own thread, which reach the shared ones once a round of a
poller. `metrics.enable = false`, at start or online, turns this counting off, so that its cost can be measured; what is
only read when the page is asked for stays.

**In the playground** all nodes live in one process: what is said of the process is then of all of them.
";

/// The whole page.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for (title, families) in CATALOGUE {
        let _ = write!(
            text,
            "\n## {title}\n\n| name | kind | labels | |\n|---|---|---|---|\n"
        );
        for desc in *families {
            let labels: Vec<String> = desc.labels.iter().map(|name| format!("`{name}`")).collect();
            let (name, kind, help) = (desc.name, desc.kind.name(), desc.help);
            let _ = writeln!(
                text,
                "| `{name}` | {kind} | {} | {help} |",
                labels.join(", ")
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        let now = super::reference();
        assert!(
            written == now,
            "docs/metrics.md is out of date: kontiki metrics docs > docs/metrics.md"
        );
    }
}
