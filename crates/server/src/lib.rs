//! A node's face to the network: gRPC services, HTTP routes, the transport between stores, and the
//! link to the placement driver.
//!
//! **How the parts meet.** The binary shows the start on a status port ([`StatusServer`]), asks whether
//! a new store may begin ([`check_newcomer`]) or joins a cluster ([`join`]), makes an [`AddressBook`], a
//! [`PdLink`] and a [`GrpcTransport`], starts the node with them, tells both about the node ([`GrpcTransport::on_unreachable`], [`PdLink::run`]), and runs
//! [`serve`] on the node's port until it shall stop.
//!
//! **Invariants.** Whatever comes over the wire ends as a typed error at worst; nothing here panics on
//! it, and nothing is kept without a bound. Requests are checked before any work (see [`limits`]).
//!
//! **Not here.** Decisions about data (`raftstore`, `placement`), and performing them (`node`). No TLS
//! yet.

mod address;
mod backend;
mod backoff;
mod book;
mod checksum;
mod connection;
mod context;
mod diagnosis;
mod error;
#[cfg(test)]
mod fake;
mod gate;
mod http;
mod inquiry;
mod join;
pub mod limits;
mod listener;
mod meters;
mod newcomer;
mod placement_link;
mod service;
mod status;
mod stop;
#[cfg(test)]
mod tests;
mod traces;
mod transport;
mod turn;
mod wire;

pub use address::{Addresses, Resolver};
pub use book::AddressBook;
pub use gate::Gate;
pub use join::{JoinError, Joining, check_rejoin, join};
pub use limits::Limits;
pub use meters::{CATALOGUE, ServiceMeters, reference as metrics_reference};
pub use newcomer::{NewcomerError, check_newcomer};
pub use placement_link::{LinkNode, PdLink};
pub use status::{
    Attached, Configuration, Fault, HeapProfiler, Inspect, NodeStatus, Refused, Stage, StatusServer,
};
pub use traces::{Exporter, Tracer, TracerOptions};
pub use transport::{GrpcTransport, OnUnreachable, TransportOptions};

use engine::KvEngine;
use node::NodeHandle;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;

/// The version that the server says it has.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How to serve.
pub struct ServeOptions {
    /// The port, already bound.
    pub listener: TcpListener,
    /// Placement's members, for clients that look for its leader, and where they are.
    pub book: AddressBook,
    /// Bounds on requests and connections.
    pub limits: Limits,
    /// How long requests under way may go on after `shutdown`.
    pub drain: Duration,
    /// Where requests are counted.
    pub meters: ServiceMeters,
    /// Whether clients are served.
    pub gate: Gate,
    /// Which requests are traced.
    pub tracer: Tracer,
}

impl ServeOptions {
    /// With default limits and two seconds to drain.
    pub fn new(listener: TcpListener, book: AddressBook) -> Self {
        Self {
            listener,
            book,
            limits: Limits::default(),
            drain: Duration::from_secs(2),
            meters: ServiceMeters::default(),
            gate: Gate::default(),
            tracer: Tracer::default(),
        }
    }
}

/// Serves a node on its port until `shutdown` is ready and requests under way have ended.
///
/// # Panics
/// The operating system refuses the threads for reads.
pub async fn serve<K: KvEngine>(
    options: ServeOptions,
    node: NodeHandle<K>,
    shutdown: impl Future<Output = ()>,
) {
    serve_backend(options, node, shutdown).await;
}

async fn serve_backend<B: backend::Backend>(
    options: ServeOptions,
    backend: B,
    shutdown: impl Future<Output = ()>,
) {
    let (stopper, stop) = stop::channel();
    let bounds = (options.limits.clone(), options.gate);
    let watched = (options.meters, options.tracer);
    let services = listener::Services::new(backend, options.book, bounds, watched, &stop);
    let end = (stopper, options.drain);
    listener::run(options.listener, services, &options.limits, shutdown, end).await;
}

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;
