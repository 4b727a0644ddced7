//! Those who ask placement for timestamps: one client of each node, whether that leads placement or not.
//!
//! **Invariants.** What was the highest timestamp when a question left is taken before it leaves. A question that is
//! refused, or has no answer, counts for nothing.
//!
//! **Not here.** What timestamps must be (`consistency::OracleChecker`).

use consistency::OracleChecker;
use parking_lot::Mutex;
use proto::pdpb::pd_client::PdClient;
use proto::pdpb::{RequestHeader, TsoRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use types::{ClusterId, Timestamp};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(10);
/// Timestamps of one question.
const COUNT: u32 = 16;

/// What the askers have seen together.
#[derive(Default)]
struct Seen {
    checker: OracleChecker,
    violation: Option<String>,
}

/// Askers at work. They end with this.
pub struct Askers {
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

impl Askers {
    /// Starts one for each address.
    pub fn start(cluster: ClusterId, endpoints: &[String]) -> Self {
        let (seen, mut tasks) = (Arc::default(), JoinSet::new());
        for address in endpoints {
            let endpoint = Endpoint::from_shared(format!("http://{address}"));
            let channel = endpoint.expect("host and port make a URL").connect_lazy();
            tasks.spawn(ask_on(PdClient::new(channel), cluster, Arc::clone(&seen)));
        }
        Self {
            seen,
            _tasks: tasks,
        }
    }

    /// How many timestamps were given out, and what was wrong with one first.
    pub fn seen(&self) -> (u64, Option<String>) {
        let seen = self.seen.lock();
        (seen.checker.counts().0, seen.violation.clone())
    }
}

async fn ask_on(mut placement: PdClient<Channel>, cluster: ClusterId, seen: Arc<Mutex<Seen>>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let floor = seen.lock().checker.floor();
        let answered = tokio::time::timeout(PATIENCE, ask(&mut placement, cluster)).await;
        let Ok(Some((last, count))) = answered else {
            continue;
        };
        let mut seen = seen.lock();
        if let Err(wrong) = seen.checker.timestamps(last, count, floor) {
            seen.violation.get_or_insert(wrong);
        }
    }
}

/// The last of some timestamps, and how many they are.
async fn ask(placement: &mut PdClient<Channel>, cluster: ClusterId) -> Option<(Timestamp, u32)> {
    let request = TsoRequest {
        header: Some(RequestHeader {
            cluster_id: cluster.get(),
            ..Default::default()
        }),
        count: COUNT,
        ..Default::default()
    };
    let answers = placement.tso(tokio_stream::once(request)).await.ok()?;
    let answer = answers.into_inner().message().await.ok()??;
    if answer.header.is_some_and(|header| header.error.is_some()) {
        return None;
    }
    let timestamp = answer.timestamp?;
    let last = Timestamp::new(timestamp.physical as u64, timestamp.logical as u64);
    Some((last, answer.count))
}
