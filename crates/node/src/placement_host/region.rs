//! The placement Region as the host uses it.
//!
//! **Why a trait.** The host is tested over a Region whose answers the test decides.
//!
//! **Invariants.** What the driver does for clients does not queue behind their own requests: it is
//! one write, one confirmation and one read of the state at a time, and they all wait for it.
//!
//! **Not here.** What to do about an error (`placement_host`).

use crate::handle::NodeHandle;
use crate::snapshot::RegionSnapshot;
use engine::{Cf, KvEngine, KvIterator};
use futures::future::BoxFuture;
use raftstore::{Command, RequestContext, RequestError};

/// Keys and values of the placement Region, without the engine's prefix.
pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The placement Region. Clones are the same.
pub(crate) trait PlacementRegion: Clone + Send + 'static {
    /// All of it. The leader has committed in its own term then, and sees every earlier write.
    fn read_all(&self, context: RequestContext) -> BoxFuture<'static, Result<Pairs, String>>;

    /// Ready when it is sure that at some moment after the call this node led in the context's term and
    /// nobody led in a later one: a quorum said so, or the lease does.
    fn confirm(&self, context: RequestContext) -> BoxFuture<'static, Result<(), RequestError>>;

    /// Replicates and applies a command, in the context's term only.
    fn write(
        &self,
        context: RequestContext,
        command: Command,
    ) -> BoxFuture<'static, Result<(), RequestError>>;
}

impl<K: KvEngine> PlacementRegion for NodeHandle<K> {
    fn read_all(&self, context: RequestContext) -> BoxFuture<'static, Result<Pairs, String>> {
        let node = self.clone();
        Box::pin(async move {
            let snapshot = node.read_past_bounds(context).await;
            let snapshot = snapshot.map_err(|error| error.to_string())?;
            // A scan blocks, and the runtime has other things to do.
            let scan = tokio::task::spawn_blocking(move || scan(&snapshot));
            let scanned = scan.await.map_err(|error| error.to_string())?;
            scanned.map_err(|error| error.to_string())
        })
    }

    fn confirm(&self, context: RequestContext) -> BoxFuture<'static, Result<(), RequestError>> {
        let node = self.clone();
        Box::pin(async move { node.read_past_bounds(context).await.map(drop) })
    }

    fn write(
        &self,
        context: RequestContext,
        command: Command,
    ) -> BoxFuture<'static, Result<(), RequestError>> {
        let node = self.clone();
        Box::pin(async move { node.write_past_bounds(context, command).await.map(drop) })
    }
}

fn scan<K: KvEngine>(snapshot: &RegionSnapshot<K>) -> engine::Result<Pairs> {
    let mut iter = snapshot.iter(Cf::Default, &[], &[])?;
    let mut pairs = Pairs::new();
    let mut valid = iter.seek_to_first()?;
    while valid {
        pairs.push((iter.key().to_vec(), iter.value().to_vec()));
        valid = iter.next()?;
    }
    Ok(pairs)
}
