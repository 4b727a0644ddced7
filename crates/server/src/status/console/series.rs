//! Some families of metrics of all stores, in one answer.
//!
//! **Why.** A page that draws a cluster of a hundred nodes would ask a hundred times each second or two, for pages of
//! which it needs a tenth.
//!
//! **Not here.** What becomes of them: the page computes rates and quantiles.

use serde_json::{Map, Value, json};

/// The series of these families in a page of Prometheus's form: by name and labels, as the page has them.
pub(super) fn pick(page: &str, families: &[&str]) -> Map<String, Value> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let picked = lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next().unwrap_or(series);
        let is_wanted = families.iter().any(|family| {
            let rest = name.strip_prefix(family);
            rest.is_some_and(|rest| matches!(rest, "" | "_bucket" | "_sum" | "_count"))
        });
        let value: f64 = value.parse().ok().filter(|_| is_wanted)?;
        Some((series.to_owned(), json!(value)))
    });
    picked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_picked_whole_and_others_are_not() {
        let page =
            "# HELP a x\na{m=\"1\"} 2\na_b 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 0.5\nh_count 4\nb 1\n";
        let found = Value::Object(pick(page, &["a", "h"]));
        let expected = json!({ "a{m=\"1\"}": 2.0, "h_bucket{le=\"+Inf\"}": 4.0, "h_sum": 0.5, "h_count": 4.0 });
        assert_eq!(found, expected);
    }
}
