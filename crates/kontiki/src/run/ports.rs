//! The ports that a node listens on.
//!
//! **Why bound early.** All are bound before any data is touched: a second process at the same
//! addresses changes nothing.
//!
//! **Not here.** Serving on them.

use crate::config::Config;
use crate::error::{Error, Result};
use tokio::net::TcpListener;

/// The flags by which other ports are chosen: of the node, and of its status server.
pub type Flags = [&'static str; 2];

/// The bound ports of one node.
pub struct Ports {
    /// For clients and other nodes.
    pub node: TcpListener,
    /// For operators, if it is wanted.
    pub status: Option<TcpListener>,
}

impl Ports {
    /// Binds what the configuration says.
    ///
    /// # Errors
    /// An address is taken, or is none of this machine's. The message names the flag.
    pub async fn bind(config: &Config, [node, status]: Flags) -> Result<Self> {
        let status = match config.server.status_addr.as_str() {
            "" => None,
            address => Some(bind(address, status).await?),
        };
        Ok(Self {
            node: bind(&config.server.addr, node).await?,
            status,
        })
    }
}

async fn bind(address: &str, flag: &str) -> Result<TcpListener> {
    let attempt = format!("can't listen on {address} (choose another one with {flag})");
    TcpListener::bind(address).await.map_err(Error::io(attempt))
}
