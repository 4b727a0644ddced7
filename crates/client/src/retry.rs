//! What an attempt's failure means, and how long to go on.
//!
//! **Invariants.** A failure is ambiguous only if the write may have taken effect. Errors about a
//! Region are answers: the store says that it did nothing, except `UndeterminedResult`. It says so
//! about the attempt that it answers: an earlier one may have had an effect ([`Budget::verdict`]).

use crate::{Error, Result};
use proto::{READ_OVER_BUDGET, errorpb};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Status};
use types::{Peer, Region};

/// Why an attempt did not succeed, and what to do about it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store names the leader.
    Redirect(Peer),
    /// The store does not lead and does not know who does.
    NoLeader,
    /// The route is wrong; these Regions are right, if there are any.
    WrongRoute(Vec<Region>),
    /// The store wants to be left alone for a while.
    Busy { pause: Duration, reason: String },
    /// The answer would be larger, or take longer, than the store allows: it is to be asked for less.
    OverBudget { reason: String },
    /// No answer: the store or the way to it is gone.
    Transport { ambiguous: bool, reason: String },
    /// Another attempt is of no use.
    Fatal(Error),
}

/// Reads an error about a Region.
pub(crate) fn region_failure(error: errorpb::Error) -> Failure {
    let busy = |reason: &str| Failure::Busy {
        pause: Duration::ZERO,
        reason: reason.to_owned(),
    };
    if let Some(not_leader) = error.not_leader {
        return not_leader
            .leader
            .filter(|leader| leader.id != 0)
            .map_or(Failure::NoLeader, |leader| Failure::Redirect(leader.into()));
    }
    if let Some(mismatch) = error.epoch_not_match {
        let regions = mismatch.current_regions.into_iter();
        return Failure::WrongRoute(
            regions
                .filter_map(|region| region.try_into().ok())
                .collect(),
        );
    }
    if error.region_not_found.is_some()
        || error.key_not_in_region.is_some()
        || error.store_not_match.is_some()
        || error.mismatch_peer_id.is_some()
        || error.region_not_initialized.is_some()
    {
        return Failure::WrongRoute(Vec::new());
    }
    if let Some(server) = error.server_is_busy {
        let reason = format!("server is busy: {}", server.reason);
        if server.reason.starts_with(READ_OVER_BUDGET) {
            return Failure::OverBudget { reason };
        }
        let pause = Duration::from_millis(server.backoff_ms);
        return Failure::Busy { pause, reason };
    }
    if error.stale_command.is_some() {
        return busy("stale command");
    }
    if error.read_index_not_ready.is_some()
        || error.data_is_not_ready.is_some()
        || error.max_timestamp_not_synced.is_some()
    {
        return busy(&error.message);
    }
    if let Some(undetermined) = error.undetermined_result {
        return Failure::Transport {
            ambiguous: true,
            reason: undetermined.message,
        };
    }
    Failure::Fatal(fatal(error))
}

fn fatal(error: errorpb::Error) -> Error {
    if let Some(large) = error.raft_entry_too_large {
        return Error::TooLarge {
            region_id: large.region_id,
            bytes: large.entry_size,
        };
    }
    if let Some(full) = error.disk_full {
        return Error::DiskFull {
            stores: full.store_id,
            reason: full.reason,
        };
    }
    Error::Refused {
        reason: error.message,
    }
}

/// Reads a status: either the server's own word about the request, or a failure on the way.
pub(crate) fn status_failure(status: &Status) -> Failure {
    let reason = format!("{}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument
        | Code::Unimplemented
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated => Failure::Fatal(Error::Refused { reason }),
        _ => Failure::Transport {
            ambiguous: !was_never_sent(status),
            reason,
        },
    }
}

/// Whether the connection was refused: then the request did not leave.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

const PAUSE_FIRST: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// After so many redirections in a row stores contradict each other: then pause as well.
const REDIRECTS_AT_ONCE: u32 = 3;

/// The time that an operation has left, and what it went through.
pub(crate) struct Budget {
    deadline: Duration,
    ends: Instant,
    pause: Duration,
    redirects: u32,
    /// Whether an attempt may have taken effect.
    ambiguous: bool,
}

impl Budget {
    pub(crate) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            ends: Instant::now() + deadline,
            pause: PAUSE_FIRST,
            redirects: 0,
            ambiguous: false,
        }
    }

    /// The time for one attempt that may take up to `timeout`.
    pub(crate) fn attempt(&self, timeout: Duration) -> Duration {
        timeout.min(self.ends.saturating_duration_since(Instant::now()))
    }

    /// An attempt may have taken effect.
    pub(crate) fn mark_ambiguous(&mut self) {
        self.ambiguous = true;
    }

    /// Whether an attempt may have taken effect.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// All that an attempt may have done is confirmed by now.
    pub(crate) fn settle(&mut self) {
        self.ambiguous = false;
    }

    /// An answer has come: what follows has the whole time again.
    pub(crate) fn renew(&mut self) {
        *self = Self {
            ambiguous: self.ambiguous,
            ..Self::new(self.deadline)
        };
    }

    /// What an operation ends with because of `error`. Whoever refused the last attempt knows nothing
    /// about one before it that got no answer.
    pub(crate) fn verdict(&self, error: Error) -> Error {
        if !self.ambiguous {
            return error;
        }
        let last = match error {
            Error::Deadline { last, .. } | Error::Undetermined { last } => last,
            other => other.to_string(),
        };
        Error::Undetermined { last }
    }

    /// Returns at once for the first redirections in a row, then pauses.
    pub(crate) async fn redirected(&mut self) -> Result<()> {
        self.redirects += 1;
        if self.redirects <= REDIRECTS_AT_ONCE && Instant::now() < self.ends {
            return Ok(());
        }
        self.pause(
            Duration::ZERO,
            "stores name each other as the leader".to_owned(),
        )
        .await
    }

    /// Pauses before the next attempt, at least for `at_least`; an error if no time is left.
    pub(crate) async fn pause(&mut self, at_least: Duration, reason: String) -> Result<()> {
        self.redirects = 0;
        let pause = self.pause.max(at_least);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if Instant::now() + pause >= self.ends {
            return Err(Error::Deadline {
                deadline: self.deadline,
                last: reason,
            });
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::metapb;

    #[test]
    fn a_hint_without_an_id_is_no_hint() {
        let error = |leader| errorpb::Error {
            not_leader: Some(errorpb::NotLeader {
                region_id: 2,
                leader,
            }),
            ..Default::default()
        };
        let peer = metapb::Peer {
            id: 4,
            store_id: 2,
            ..Default::default()
        };
        assert!(
            matches!(region_failure(error(Some(peer))), Failure::Redirect(p) if p.id.get() == 4)
        );
        let absent = metapb::Peer::default();
        assert!(matches!(
            region_failure(error(Some(absent))),
            Failure::NoLeader
        ));
        assert!(matches!(region_failure(error(None)), Failure::NoLeader));
    }

    #[test]
    fn errors_that_another_attempt_cannot_mend_are_final() {
        let large = errorpb::RaftEntryTooLarge {
            region_id: 2,
            entry_size: 9,
        };
        let error = errorpb::Error {
            raft_entry_too_large: Some(large),
            ..Default::default()
        };
        let Failure::Fatal(Error::TooLarge {
            region_id: 2,
            bytes: 9,
        }) = region_failure(error)
        else {
            panic!("a large entry stays large");
        };
        let error = errorpb::Error {
            message: "no".to_owned(),
            ..Default::default()
        };
        assert!(matches!(
            region_failure(error),
            Failure::Fatal(Error::Refused { .. })
        ));
        let invalid = Status::invalid_argument("the key is empty");
        assert!(matches!(
            status_failure(&invalid),
            Failure::Fatal(Error::Refused { .. })
        ));
    }

    #[test]
    fn a_read_over_its_budget_is_told_from_a_busy_store() {
        let busy = |reason: &str| {
            let server_is_busy = Some(errorpb::ServerIsBusy {
                reason: reason.to_owned(),
                ..Default::default()
            });
            region_failure(errorpb::Error {
                server_is_busy,
                ..Default::default()
            })
        };
        assert!(matches!(
            busy("too many writes are pending"),
            Failure::Busy { .. }
        ));
        let over = busy(&format!("{READ_OVER_BUDGET}: too many bytes"));
        assert!(matches!(over, Failure::OverBudget { .. }));
    }

    #[test]
    fn only_a_lost_answer_is_ambiguous() {
        let lost = status_failure(&Status::unavailable("connection reset"));
        assert!(matches!(
            lost,
            Failure::Transport {
                ambiguous: true,
                ..
            }
        ));
        let undetermined = errorpb::UndeterminedResult::default();
        let error = errorpb::Error {
            undetermined_result: Some(undetermined),
            ..Default::default()
        };
        assert!(matches!(
            region_failure(error),
            Failure::Transport {
                ambiguous: true,
                ..
            }
        ));
        let stale = errorpb::StaleCommand {};
        let error = errorpb::Error {
            stale_command: Some(stale),
            ..Default::default()
        };
        assert!(matches!(region_failure(error), Failure::Busy { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_with_the_deadline() {
        let mut budget = Budget::new(Duration::from_secs(3));
        let (began, mut pauses) = (Instant::now(), 0);
        let error = loop {
            match budget.pause(Duration::ZERO, "busy".to_owned()).await {
                Ok(()) => pauses += 1,
                Err(error) => break error,
            }
        };
        assert!((10..15).contains(&pauses), "{pauses}");
        assert!(began.elapsed() <= Duration::from_secs(3));
        assert!(matches!(error, Error::Deadline { last, .. } if last == "busy"));
    }

    #[test]
    fn after_a_lost_answer_every_end_is_undetermined_until_it_is_settled() {
        let mut budget = Budget::new(Duration::from_millis(1));
        let refused = || Error::Refused {
            reason: "no".to_owned(),
        };
        assert!(matches!(budget.verdict(refused()), Error::Refused { .. }));
        budget.mark_ambiguous();
        budget.renew();
        let Error::Undetermined { last } = budget.verdict(refused()) else {
            panic!("the lost answer is forgotten");
        };
        assert!(last.contains("no"), "{last}");
        budget.settle();
        assert!(matches!(budget.verdict(refused()), Error::Refused { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn redirections_are_followed_at_once_but_not_for_ever() {
        let mut budget = Budget::new(Duration::from_secs(1));
        let began = Instant::now();
        for _ in 0..REDIRECTS_AT_ONCE {
            budget.redirected().await.unwrap();
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        budget.redirected().await.unwrap();
        assert!(began.elapsed() >= PAUSE_FIRST);
    }
}
