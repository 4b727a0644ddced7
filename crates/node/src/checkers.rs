//! The threads that look at what a node's Regions and its engine have come to: sizes, load, and what is undone.
//!
//! **Invariants.** When [`Checkers::stop`] returns, none of them is left.
//!
//! **Not here.** What each looks at (`split_check`, `load_check`, `flow`).

use crate::flow::FlowWatch;
use crate::growth::Growth;
use crate::handle::NodeHandle;
use crate::load_check::{LoadChecker, LoadTuning};
use crate::split_check::SplitChecker;
use engine::KvEngine;
use tokio::runtime::Handle;

/// The threads of one node.
pub(crate) struct Checkers {
    split: SplitChecker,
    load: LoadChecker,
    flow: FlowWatch,
}

impl Checkers {
    pub(crate) fn start<K: KvEngine>(
        handle: &NodeHandle<K>,
        (growth, load): (&Growth, &LoadTuning),
        runtime: &Handle,
    ) -> std::io::Result<Self> {
        let (growth, inner) = (|| growth.clone(), &handle.inner);
        let split = SplitChecker::start(handle.clone(), growth(), runtime.clone())?;
        let load = LoadChecker::start(handle.clone(), growth(), load.clone(), runtime.clone())?;
        let flow = FlowWatch::start(inner.flow.clone(), inner.engine.clone())?;
        Ok(Self { split, load, flow })
    }

    pub(crate) fn stop(self) {
        self.split.stop();
        self.load.stop();
        self.flow.stop();
    }
}
