//! Real processes for tests and benchmarks: start them, kill them, find them dead afterwards.
//!
//! The tests of this crate drive a cluster of `kontiki server` processes with the official
//! `tikv-client` and with hand-made requests. The program must be built before:
//! `cargo build -p kontiki`, with the same profile as the tests; `KONTIKI_BIN` names another.
//!
//! **Invariants.** Servers listen on 127.0.0.1 only, write below temporary folders only, and end
//! with the test, even if it panics or is killed.
//!
//! **Not here.** Nothing that the program itself uses.

mod browser;
mod cluster;
mod connect;
mod error;
mod lone_node;
mod pd_http;
mod ports;
mod process;
mod refused;

pub use browser::{Browser, chromium};
pub use cluster::{
    Cluster, ELECTION_TICKS, ELECTION_TIMEOUT_MAX, NO_STATUS, Options, TICK, kontiki_binary,
};
pub use connect::{
    SERVES_WITHIN, leader_context, leader_of, official_client, own_client, store_client,
};
pub use error::{Error, Result};
pub use lone_node::{Answer, LoneNode, until};
pub use pd_http::{http_get, pd_get, pd_post};
pub use ports::free_ports;
pub use process::{Process, own_cpu_time};
pub use refused::refused;
