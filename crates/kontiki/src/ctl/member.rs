//! `ctl member`: the members of placement, and which of them leads.

use super::session::Session;
use super::table::{Cell, Row};
use crate::error::Result;
use serde_json::json;

/// Prints placement's members.
pub async fn show(session: &mut Session<'_>) -> Result<()> {
    let members = session.client.members().await?;
    let leader = members.leader.as_ref().map(|leader| leader.id);
    let row = |member: &client::Member| -> Row {
        let role = if leader == Some(member.id) {
            "leader"
        } else {
            "follower"
        };
        vec![
            Cell::new("id", member.id),
            Cell::new("name", member.name.clone()),
            Cell::new("urls", json!(member.client_urls)),
            Cell::new("role", role),
        ]
    };
    let rows: Vec<Row> = members.members.iter().map(row).collect();
    session.printer.table(&rows)
}
