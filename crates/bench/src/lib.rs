//! The comparison of Kontiki with etcd and with a bare gRPC server: three real processes of each in
//! turn, on the same disk, under the same workload, through the client libraries that people use.
//!
//! `cargo run --release -p bench --features etcd --bin compare -- --help`
//!
//! **What is compared.** Puts that are synced on a majority, then linearizable gets, both by the
//! official `tikv-client` against Kontiki and by `etcd-client` against etcd with its defaults. The
//! [`echo`] server answers the official client's requests out of a hash map, without any log or
//! replication: what it costs is the price of gRPC alone.
//!
//! **Invariants.** The same number of client tasks, the same keys and values, and the same number of
//! connections for each store. Servers' processor time is the kernel's accounting of their processes.
//!
//! **Not here.** The load generator (`workload`) and the processes (`e2e`).

pub mod echo;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod measure;
pub mod table;
pub mod tikv;

pub use error::{Error, Result};
