//! How a running cluster is reached: the same flags for `ctl` and `bench`.
//!
//! **Not here.** The protocol (crate `client`).

use crate::config::is_address;
use crate::config::units::ReadableDuration;
use crate::error::{Error, Result};
use client::{ApiVersion, Client};
use std::time::Duration;

/// One attempt takes this share of an operation's time at the most, so that another store is tried.
const ATTEMPTS: u32 = 4;

/// Flags that say how a cluster is reached.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// Any node, or several with commas between them.
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:2379",
        value_delimiter = ',',
        global = true
    )]
    pub pd: Vec<String>,
    /// The API that the cluster speaks.
    #[arg(long, default_value = "1", value_parser = parse_api_version, global = true)]
    pub api_version: ApiVersion,
    /// The keyspace, under API version 2.
    #[arg(long, default_value = "DEFAULT", global = true)]
    pub keyspace: String,
    /// How long an operation may take, with all its retries.
    #[arg(long, default_value = "10s", value_name = "DURATION", global = true)]
    pub timeout: ReadableDuration,
}

/// Reads the number of an API version.
///
/// # Errors
/// There is none of this number.
pub fn parse_api_version(text: &str) -> std::result::Result<ApiVersion, &'static str> {
    let number = text.parse().ok();
    number.and_then(ApiVersion::from_number).ok_or("1 or 2")
}

impl ClusterArgs {
    /// Finds the cluster.
    ///
    /// # Errors
    /// When an address is none, or nobody answers at any of them.
    pub async fn connect(&self) -> Result<Client> {
        let endpoints: Vec<String> = self
            .pd
            .iter()
            .map(|endpoint| endpoint.trim_start_matches("http://").to_owned())
            .collect();
        if let Some(odd) = endpoints.iter().find(|endpoint| !is_address(endpoint)) {
            return Err(Error::Usage(format!(
                "--pd: `{odd}` is not of the form host:port"
            )));
        }
        Ok(Client::connect(&endpoints, self.client_config()).await?)
    }

    fn client_config(&self) -> client::Config {
        let deadline = self.timeout.0.max(Duration::from_millis(1));
        client::Config {
            api_version: self.api_version,
            keyspace: self.keyspace.clone(),
            deadline,
            attempt_timeout: (deadline / ATTEMPTS).max(Duration::from_millis(1)),
            ..client::Config::default()
        }
    }
}
