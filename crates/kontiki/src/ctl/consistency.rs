//! `ctl region check-consistency`: the hashes of a Region's replicas, and what follows from them.
//!
//! **Not here.** Comparing them: the Region's leader does, and quarantines who differs from most.

use super::region::peer_of;
use super::session::Session;
use super::table::{Cell, Row, at, items};
use crate::config::units::ReadableDuration;
use crate::error::{Error, Result};
use serde_json::Value;

/// Has the replicas of a Region compared.
pub(super) async fn check(
    session: &mut Session<'_>,
    id: u64,
    within: ReadableDuration,
) -> Result<()> {
    let path = format!("/region/{id}/consistency-check");
    let report = session
        .client
        .admin()
        .post_patiently(&path, within.0)
        .await?;
    session.printer.table(&rows(&report))?;
    match report["differs"].as_bool() {
        Some(false) => Ok(()),
        _ => Err(Error::Incomplete(difference(id, &report))),
    }
}

fn is_quarantined(report: &Value, peer: &Value) -> bool {
    items(at(report, "/quarantined")).contains(&peer["id"])
}

fn rows(report: &Value) -> Vec<Row> {
    let verdict = |replica: &Value| match (&replica["hash"], &report["agreed_hash"]) {
        (Value::Null, _) => "no answer",
        _ if is_quarantined(report, replica) => "quarantined",
        (_, Value::Null) => "undecided",
        _ => "agrees",
    };
    let row = |replica: &Value| {
        vec![
            Cell::new("peer", peer_of(replica)),
            Cell::new("hash", replica["hash"].clone()),
            Cell::new("verdict", verdict(replica)),
        ]
    };
    items(at(report, "/replicas")).iter().map(row).collect()
}

fn difference(id: u64, report: &Value) -> String {
    let replicas = items(at(report, "/replicas")).iter();
    let quarantined: Vec<String> = replicas
        .filter(|replica| is_quarantined(report, replica))
        .map(peer_of)
        .collect();
    let follows = match quarantined.is_empty() {
        true => "nobody knows who is right, since no more than half of them agree".to_owned(),
        false => format!(
            "{} serves nobody any more and will be replaced",
            quarantined.join(", ")
        ),
    };
    format!("the replicas of Region {id} differ: {follows}")
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;
    use serde_json::json;

    fn report(hashes: [Option<&str>; 3], agreed: Option<&str>, quarantined: &[u64]) -> Value {
        let replica = |(id, hash): (u64, &Option<&str>)| json!({ "id": id, "store_id": id, "role_name": "Voter", "hash": hash });
        json!({
            "replicas": (1..).zip(&hashes).map(replica).collect::<Vec<_>>(),
            "agreed_hash": agreed,
            "quarantined": quarantined,
        })
    }

    #[test]
    fn every_replica_is_a_row_with_its_hash_and_what_it_means() {
        let report = report([Some("aa"), Some("bb"), None], Some("aa"), &[2]);
        let lines = table::lines(&rows(&report));
        let cells = |line: &String| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(cells(&lines[1]), ["1@1", "aa", "agrees"]);
        assert_eq!(cells(&lines[2]), ["2@2", "bb", "quarantined"]);
        assert_eq!(cells(&lines[3]), ["3@3", "-", "no", "answer"]);
        assert!(difference(7, &report).contains("2@2 serves nobody"));
    }

    #[test]
    fn without_a_majority_nobody_is_said_to_be_right() {
        let report = report([Some("aa"), Some("bb"), None], None, &[]);
        let lines = table::lines(&rows(&report));
        assert!(lines[1..3].iter().all(|line| line.ends_with("undecided")));
        assert!(difference(7, &report).contains("nobody knows who is right"));
    }
}
