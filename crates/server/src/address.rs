//! Where stores are.
//!
//! **Not here.** Stores that join later: the list of first members is all there is.

use node::Members;
use types::StoreId;

/// Finds the address of a store.
pub trait Addresses: Send + Sync + 'static {
    /// `host:port` of a store, if it is known. Asked before each attempt to connect.
    fn address(&self, store: StoreId) -> Option<String>;
}

impl Addresses for Members {
    fn address(&self, store: StoreId) -> Option<String> {
        let member = self.iter().find(|member| member.store_id == store)?;
        Some(member.address.clone())
    }
}
