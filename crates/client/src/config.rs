//! How a client behaves.

use std::time::Duration;
use types::ApiVersion;

/// Settings of a client; the defaults suit a cluster nearby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster's API version; another than the cluster's own is refused by its stores.
    pub api_version: ApiVersion,
    /// The keyspace under API V2.
    pub keyspace: String,
    /// The longest that an operation takes, all its attempts together. Operations on many keys
    /// count it from each answer on.
    pub deadline: Duration,
    /// The longest that one attempt takes before another store is tried.
    pub attempt_timeout: Duration,
    /// Whether a write whose answer is lost is sent again. If so, what it writes may come twice, the second
    /// time over what somebody else wrote in between; if not, it ends undetermined.
    pub resend_writes: bool,
}

impl Default for Config {
    /// API V1, ten seconds an operation, two an attempt; writes are sent again.
    fn default() -> Self {
        Self {
            api_version: ApiVersion::V1,
            keyspace: "DEFAULT".to_owned(),
            deadline: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(2),
            resend_writes: true,
        }
    }
}
