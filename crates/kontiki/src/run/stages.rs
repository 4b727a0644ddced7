//! A start in stages, which a request to stop ends between two of them.
//!
//! **Why.** A start can take minutes (logs are verified, moved, read), and whoever stops the process
//! meanwhile should not have to wait for its end. It is safe to end the process at any point.
//!
//! **Invariants.** No stage begins after the request. One that is under way is waited for a little, so
//! that its engine is closed in order; then it is left behind, and the end of the process ends it.
//!
//! **Not here.** What the stages do.

use super::online::Online;
use super::signal::StopRequest;
use crate::error::{Error, Result};
use server::{NodeStatus, Stage};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// For the stage that is under way when the request is made.
const GRACE: Duration = Duration::from_secs(3);

/// Runs the stages of one start and shows where it is.
pub struct Stages {
    /// Whom it is shown to.
    pub status: NodeStatus,
    /// What ends it.
    pub stop: StopRequest,
    /// What is changed while the node runs.
    pub online: Arc<Online>,
}

impl Stages {
    /// Runs a stage that blocks its thread.
    ///
    /// # Errors
    /// Its own, or [`Error::Interrupted`].
    pub async fn run<T: Send + 'static>(
        &self,
        stage: Stage,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.enter(stage)?;
        let mut work = spawn_blocking(work);
        let done = tokio::select! {
            done = &mut work => done,
            _ = self.stop.made() => match timeout(GRACE, work).await {
                Ok(done) => done,
                Err(_) => return Err(Error::Interrupted),
            }
        };
        done.map_err(Error::Failed)?
    }

    /// Runs a stage that only waits, and can be given up at any point.
    ///
    /// # Errors
    /// Its own, or [`Error::Interrupted`].
    pub async fn wait<T>(&self, stage: Stage, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.enter(stage)?;
        tokio::select! {
            done = work => done,
            _ = self.stop.made() => Err(Error::Interrupted),
        }
    }

    fn enter(&self, stage: Stage) -> Result<()> {
        if self.stop.is_made() {
            return Err(Error::Interrupted);
        }
        self.passed(stage);
        Ok(())
    }

    /// The start is over.
    pub fn serving(&self) {
        self.passed(Stage::Serving);
    }

    fn passed(&self, next: Stage) {
        reach(next);
        let (stage, took) = self.status.enter(next);
        if stage != next {
            tracing::info!(stage = stage.name(), ?took, "passed a stage of the start");
        }
    }

    /// Shows how far the stage under way has come.
    pub fn progress(&self) -> impl Fn(usize, usize) + Send + 'static {
        let status = self.status.clone();
        move |done, total| status.progress(done, total)
    }
}

/// The points at the beginnings of stages.
fn reach(stage: Stage) {
    match stage {
        Stage::OpeningData => failpoint::at!("kontiki::start::opening_data"),
        Stage::AskingMembers => failpoint::at!("kontiki::start::asking_members"),
        Stage::OpeningLogs => failpoint::at!("kontiki::start::opening_logs"),
        Stage::StartingNode => failpoint::at!("kontiki::start::starting_node"),
        Stage::Serving => failpoint::at!("kontiki::start::serving"),
        // Nothing begins any more: `RunningNode::stop` has its own.
        Stage::Stopping => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::sync::mpsc;

    fn stages() -> Stages {
        let online = Arc::new(Online::new(&Config::default()));
        let status = NodeStatus::new("n1".into(), "h:1".into(), Arc::clone(&online) as _);
        let stop = StopRequest::new();
        Stages {
            status,
            stop,
            online,
        }
    }

    #[tokio::test]
    async fn a_stage_under_way_ends_in_order_and_no_other_begins() {
        let stages = stages();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = mpsc::channel::<()>();
        let stop = stages.stop.clone();
        let under_way = stages.run(Stage::OpeningData, move || {
            begun.send(()).unwrap();
            ends.recv().unwrap();
            Ok(7)
        });
        let interrupt = async {
            begins.await.unwrap();
            stop.make("test");
            tokio::task::yield_now().await;
            end.send(()).unwrap();
        };
        let (done, ()) = tokio::join!(under_way, interrupt);
        assert_eq!(done.unwrap(), 7);
        let next = stages.run(Stage::OpeningLogs, || Ok(())).await;
        assert!(matches!(next, Err(Error::Interrupted)));
    }

    #[tokio::test]
    async fn a_stage_that_only_waits_is_given_up_at_once() {
        let stages = stages();
        let stop = stages.stop.clone();
        let forever = stages.wait(Stage::AskingMembers, std::future::pending::<Result<()>>());
        let (given_up, ()) = tokio::join!(forever, async { stop.make("test") });
        assert!(matches!(given_up, Err(Error::Interrupted)));
    }

    #[tokio::test]
    async fn a_panic_in_a_stage_is_an_error() {
        let failed = stages()
            .run::<()>(Stage::OpeningData, || panic!("as planned"))
            .await;
        assert!(matches!(failed, Err(Error::Failed(_))));
    }
}
