//! How findings are shown, and what the archive has.
//!
//! **Not here.** The archive's format.

use super::collect::Collected;
use super::rules::Finding;
use serde_json::{Value, json};
use std::fmt::Write;

/// The folder that an archive unpacks to.
const FOLDER: &str = "kontiki-diagnosis";

/// For people.
pub fn text(findings: &[Finding]) -> String {
    let mut text = match findings.len() {
        0 => "nothing was found to be wrong".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings, the most severe first"),
    };
    for finding in findings {
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "\n\n{}: {}",
            finding.severity.name().to_uppercase(),
            finding.what
        );
        for line in &finding.evidence {
            let _ = write!(text, "\n    - {line}");
        }
        let _ = write!(text, "\n    → {}", finding.advice);
    }
    text
}

/// For tools.
pub fn json(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.name(),
        "rule": finding.rule,
        "culprit": finding.culprit,
        "what": finding.what,
        "evidence": finding.evidence,
        "advice": finding.advice,
    })
}

/// The files of the archive, with their names.
pub fn files(collected: &Collected, findings: &[Finding]) -> Vec<(String, Vec<u8>)> {
    let findings_json: Vec<Value> = findings.iter().map(json).collect();
    let own = [
        ("findings.txt".to_owned(), text(findings) + "\n"),
        (
            "findings.json".to_owned(),
            format!("{:#}\n", Value::Array(findings_json)),
        ),
    ];
    let files = own.into_iter().chain(collected.files());
    let file = |(name, text): (String, String)| (format!("{FOLDER}/{name}"), text.into_bytes());
    files.map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rules::Severity;
    use super::*;

    fn finding() -> Finding {
        Finding {
            severity: Severity::Critical,
            rule: "store-down",
            culprit: "store 2".to_owned(),
            what: "store 2 is down".to_owned(),
            evidence: vec!["it is silent".to_owned()],
            advice: "Start it.".to_owned(),
        }
    }

    #[test]
    fn a_finding_is_shown_with_its_evidence_and_what_to_do() {
        let shown = text(&[finding()]);
        assert_eq!(
            shown,
            "1 finding\n\nCRITICAL: store 2 is down\n    - it is silent\n    → Start it."
        );
        assert_eq!(text(&[]), "nothing was found to be wrong");
        assert_eq!(json(&finding())["culprit"], "store 2");
    }

    #[test]
    fn the_archive_has_the_findings_and_all_that_was_collected() {
        let collected = Collected {
            now_ms: 1,
            placement: [("stores", Ok(json!({})))].into(),
            nodes: Vec::new(),
        };
        let files = files(&collected, &[finding()]);
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let expected = ["findings.txt", "findings.json", "placement/stores.json"];
        assert_eq!(
            names,
            expected.map(|name| format!("kontiki-diagnosis/{name}"))
        );
    }
}
