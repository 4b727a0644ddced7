//! What was collected, in Prometheus's text format (version 0.0.4).
//!
//! **Invariants.** A family stands once on the page, however many collectors know it, and families are in
//! the order of their names. A series (a family and its labels' values) stands once.
//!
//! **Not here.** The OpenMetrics format, which Prometheus does not need.

use crate::desc::{Desc, Kind};
use crate::histogram::Observed;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write;

/// Writes what it knows to a page. It must not wait for anything.
pub trait Collect: Send + Sync {
    /// Adds its families.
    fn collect(&self, page: &mut Page);
}

/// A page under construction.
#[derive(Debug, Default)]
pub struct Page {
    families: BTreeMap<&'static str, Family>,
}

#[derive(Debug)]
struct Family {
    desc: &'static Desc,
    /// By the labels as they are written; the lines of each.
    series: BTreeMap<String, String>,
}

impl Page {
    /// The Content-Type of a rendered page.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// A counter's number.
    pub fn counter(&mut self, desc: &'static Desc, labels: &[&str], value: u64) {
        self.number(desc, Kind::Counter, labels, value.to_string());
    }

    /// A counter of a time, in seconds.
    pub fn seconds(&mut self, desc: &'static Desc, labels: &[&str], seconds: f64) {
        self.number(desc, Kind::Counter, labels, seconds.to_string());
    }

    /// A gauge's number.
    pub fn gauge(&mut self, desc: &'static Desc, labels: &[&str], value: u64) {
        self.number(desc, Kind::Gauge, labels, value.to_string());
    }

    /// A histogram.
    pub fn histogram(&mut self, desc: &'static Desc, labels: &[&str], observed: &Observed) {
        assert_eq!(desc.kind, Kind::Histogram, "{}", desc.name);
        let (name, pairs) = (desc.name, pairs(desc, labels));
        let comma = if pairs.is_empty() { "" } else { "," };
        let mut lines = String::new();
        for (bound, count) in observed.cumulative() {
            let _ = writeln!(
                lines,
                "{name}_bucket{{{pairs}{comma}le=\"{bound}\"}} {count}"
            );
        }
        let braces = braces(&pairs);
        let _ = writeln!(lines, "{name}_sum{braces} {}", observed.shown_sum());
        let _ = writeln!(lines, "{name}_count{braces} {}", observed.count());
        self.put(desc, pairs, lines);
    }

    fn number(&mut self, desc: &'static Desc, kind: Kind, labels: &[&str], value: String) {
        assert_eq!(desc.kind, kind, "{}", desc.name);
        let pairs = pairs(desc, labels);
        let line = format!("{}{} {value}\n", desc.name, braces(&pairs));
        self.put(desc, pairs, line);
    }

    fn put(&mut self, desc: &'static Desc, pairs: String, lines: String) {
        let family = self.families.entry(desc.name).or_insert_with(|| Family {
            desc,
            series: BTreeMap::new(),
        });
        match family.series.entry(pairs) {
            Entry::Vacant(vacant) => _ = vacant.insert(lines),
            Entry::Occupied(taken) => panic!("{}{{{}}} stands twice", desc.name, taken.key()),
        }
    }

    /// The names of the families that are on the page.
    pub fn families(&self) -> impl Iterator<Item = &'static str> {
        self.families.keys().copied()
    }

    /// The whole page.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, family) in &self.families {
            let desc = family.desc;
            let _ = writeln!(text, "# HELP {name} {}", escaped(desc.help, false));
            let _ = writeln!(text, "# TYPE {name} {}", desc.kind.name());
            for lines in family.series.values() {
                text.push_str(lines);
            }
        }
        text
    }
}

fn pairs(desc: &Desc, labels: &[&str]) -> String {
    assert_eq!(desc.labels.len(), labels.len(), "{}", desc.name);
    let mut pairs = String::new();
    for (name, value) in desc.labels.iter().zip(labels) {
        let comma = if pairs.is_empty() { "" } else { "," };
        let _ = write!(pairs, "{comma}{name}=\"{}\"", escaped(value, true));
    }
    pairs
}

fn braces(pairs: &str) -> String {
    match pairs {
        "" => String::new(),
        pairs => format!("{{{pairs}}}"),
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    match quotes {
        true => text.replace('"', "\\\""),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Histogram, SIZES};

    static RUNS: Desc = Desc::counter("kontiki_runs_total", "Runs.").by(&["who", "how"]);
    static HEAT: Desc = Desc::gauge("kontiki_heat", "A \\ and\na line.");
    static SIZE: Desc = Desc::histogram("kontiki_size", "Sizes.").by(&["of"]);

    #[test]
    fn a_page_is_in_the_text_format() {
        let mut page = Page::default();
        page.counter(&RUNS, &["b", "q\"\\\n"], 2);
        page.gauge(&HEAT, &[], 7);
        page.counter(&RUNS, &["a", "x"], 1);
        let expected = "# HELP kontiki_heat A \\\\ and\\na line.\n\
                        # TYPE kontiki_heat gauge\n\
                        kontiki_heat 7\n\
                        # HELP kontiki_runs_total Runs.\n\
                        # TYPE kontiki_runs_total counter\n\
                        kontiki_runs_total{who=\"a\",how=\"x\"} 1\n\
                        kontiki_runs_total{who=\"b\",how=\"q\\\"\\\\\\n\"} 2\n";
        assert_eq!(page.render(), expected);
    }

    #[test]
    fn a_histogram_has_its_buckets_its_sum_and_its_count() {
        let histogram = Histogram::new(&SIZES);
        histogram.observe(2);
        histogram.observe(3);
        let mut page = Page::default();
        page.histogram(&SIZE, &["x"], &histogram.read());
        let text = page.render();
        for line in [
            "kontiki_size_bucket{of=\"x\",le=\"1\"} 0\n",
            "kontiki_size_bucket{of=\"x\",le=\"2\"} 1\n",
            "kontiki_size_bucket{of=\"x\",le=\"+Inf\"} 2\n",
            "kontiki_size_sum{of=\"x\"} 5\n",
            "kontiki_size_count{of=\"x\"} 2\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    #[should_panic(expected = "stands twice")]
    fn a_series_stands_once() {
        let mut page = Page::default();
        page.gauge(&HEAT, &[], 1);
        page.gauge(&HEAT, &[], 1);
    }
}
