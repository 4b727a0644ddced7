//! The comparison of Kontiki with etcd and with a bare gRPC server: three real processes of each in
//! turn, on the same disk, under the same workload, through the client libraries that people use.
//!
//! `make bench`, or `compare --help`.
//!
//! **What is compared.** Puts that are synced on a majority, then linearizable gets. Kontiki and etcd are
//! driven by their official Go clients ([`go`]). Kontiki and the [`echo`] server, which answers out of a hash
//! map without any log or replication, are driven by the official Rust client: what echo costs is the price of
//! gRPC alone.
//!
//! **Invariants.** The same number of client tasks, the same keys and values, and the same number of
//! connections for each store. Servers' processor time is the kernel's accounting of their processes.
//!
//! **Not here.** The load generator in Rust (`workload`) and the processes (`e2e`).

pub mod echo;
mod error;
pub mod etcd;
pub mod go;
pub mod measure;
pub mod table;
pub mod tikv;

pub use error::{Error, Result};
