//! Tests of the services together: over a node in memory, called directly or through a real port.

mod batch_commands;
mod forward;
mod fuzz_targets;
mod join;
mod link;
mod newcomer;
mod operators;
mod pd;
mod port;
mod raw;
mod routes;
mod snapshot;
mod transport;

use crate::fake::FakeNode;
use crate::limits::Limits;
use crate::service::raw::Raw;
use crate::{AddressBook, ServeOptions, serve_backend};
use bytes::Bytes;
use proto::kvrpcpb::{ApiVersion, Context};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A context as a client would send it to the fake's Region.
fn context(api_version: ApiVersion) -> Option<Context> {
    Some(Context {
        region_id: 2,
        region_epoch: Some(proto::metapb::RegionEpoch {
            conf_ver: 1,
            version: 1,
        }),
        peer: Some(proto::metapb::Peer {
            id: 11,
            store_id: 1,
            ..Default::default()
        }),
        api_version: api_version as i32,
        ..Default::default()
    })
}

pub(crate) fn v1() -> Option<Context> {
    context(ApiVersion::V1)
}

fn v2() -> Option<Context> {
    context(ApiVersion::V2)
}

fn raw(node: &FakeNode) -> Arc<Raw<FakeNode>> {
    raw_within(node, Limits::default())
}

fn raw_within(node: &FakeNode, limits: Limits) -> Arc<Raw<FakeNode>> {
    Arc::new(Raw::new(node.clone(), limits, Default::default()))
}

fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A server on a free port.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(node: FakeNode, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::start_on(listener, node, limits)
    }

    fn start_on(listener: TcpListener, node: FakeNode, limits: Limits) -> Self {
        let book = node.book();
        Self::start_with(listener, node, limits, book)
    }

    fn start_with(
        listener: TcpListener,
        node: FakeNode,
        limits: Limits,
        book: AddressBook,
    ) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let mut options = ServeOptions::new(listener, book);
        options.limits = limits;
        options.drain = Duration::from_secs(20);
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve_backend(options, node, shutdown));
        Self {
            address,
            stop: Some(stop),
            task,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.task)
            .await
            .expect("the server ends without a panic");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
