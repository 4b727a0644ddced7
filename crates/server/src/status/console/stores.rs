//! Where the status servers of the stores are, as placement says.
//!
//! **Why remembered.** The console is looked at when something is wrong; without a placement leader it still reaches the
//! stores that it knew before.
//!
//! **Invariants.** Only what placement has told as a store's status address is ever asked.
//!
//! **Not here.** Asking them.

use super::client::{Ask, ask};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;

/// What was heard last.
#[derive(Default)]
pub(in crate::status) struct Stores(Mutex<BTreeMap<u64, String>>);

impl Stores {
    /// Status addresses by store, asked of placement through the node at this address.
    ///
    /// # Errors
    /// It can't be asked, and never could.
    pub(super) async fn list(&self, node: &str) -> Result<BTreeMap<u64, String>, String> {
        match ask(node, &Ask::get("/pd/api/v1/stores")).await {
            Ok(answer) if answer.code.is_success() => {
                let heard = read(&answer.body);
                *self.0.lock() = heard.clone();
                Ok(heard)
            }
            failed => {
                let known = self.0.lock().clone();
                let reason = match failed {
                    Ok(answer) => format!("placement answers {}", answer.code),
                    Err(reason) => reason,
                };
                if known.is_empty() {
                    Err(reason)
                } else {
                    Ok(known)
                }
            }
        }
    }
}

fn read(body: &[u8]) -> BTreeMap<u64, String> {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let stores = told["stores"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let known = stores.iter().filter_map(|one| {
        let id = one["store"]["id"].as_u64()?;
        let address = one["store"]["status_address"].as_str()?;
        let has_left = one["store"]["state_name"] == "Tombstone";
        (!has_left && node::is_address(address)).then(|| (id, address.to_owned()))
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stores_without_a_status_server_and_those_that_left_are_not_asked() {
        let store = |id: u64, address: &str, state: &str| json!({ "store": { "id": id, "status_address": address, "state_name": state } });
        let told = json!({ "stores": [store(1, "h:1", "Up"), store(2, "", "Up"), store(3, "h:3", "Tombstone")] });
        let known = read(told.to_string().as_bytes());
        assert_eq!(known, BTreeMap::from([(1, "h:1".to_owned())]));
        assert!(read(b"<html>").is_empty());
    }
}
