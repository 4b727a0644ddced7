//! The time between an election and the moment at which the state is there: whoever asks waits.
//!
//! **Why.** Clients that look for the leader are sent to this node already. Answered "not leader", they
//! would come back at once, ten times, and give up within milliseconds.
//!
//! **Invariants.** Nobody waits longer than [`Config::load_wait_ms`](crate::Config::load_wait_ms), give
//! or take a tick. What waits is bounded in bytes.
//!
//! **Not here.** Requests that wait for the cluster's first state: `leader`.

use crate::Error;
use crate::leader::Step;
use crate::message::Request;
use std::collections::VecDeque;
use types::RequestId;

/// Requests that came before the state, in their order.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    held: VecDeque<Held>,
    /// Sum of the sizes of all that is held.
    held_bytes: usize,
}

#[derive(Debug)]
struct Held {
    id: RequestId,
    request: Request,
    since_monotonic_ms: u64,
}

impl Loading {
    /// A request arrives.
    pub(crate) fn hold(&mut self, id: RequestId, request: Request, step: &mut Step<'_>) {
        let size_bytes = request.size_bytes();
        let pending_bytes = self.held_bytes;
        if pending_bytes + size_bytes > step.config.pending_bytes_max {
            return step.reply(id, Err(Error::Busy { pending_bytes }));
        }
        self.held_bytes += size_bytes;
        self.held.push_back(Held {
            id,
            request,
            since_monotonic_ms: step.now.monotonic_ms,
        });
    }

    /// Time has passed: refuses those that have waited long enough.
    pub(crate) fn tick(&mut self, step: &mut Step<'_>) {
        let now_ms = step.now.monotonic_ms;
        let wait_ms = step.config.load_wait_ms;
        let is_over = |held: &Held| now_ms.saturating_sub(held.since_monotonic_ms) >= wait_ms;
        while self.held.front().is_some_and(is_over)
            && let Some(held) = self.held.pop_front()
        {
            self.held_bytes -= held.request.size_bytes();
            step.reply(held.id, Err(Error::Loading));
        }
    }

    /// Everything that is held, in its order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (RequestId, Request)> + use<> {
        self.held_bytes = 0;
        let held = std::mem::take(&mut self.held);
        held.into_iter().map(|held| (held.id, held.request))
    }

    /// Checks the count of bytes.
    pub(crate) fn check_invariants(&self) {
        let held_bytes: usize = self.held.iter().map(|held| held.request.size_bytes()).sum();
        assert_eq!(held_bytes, self.held_bytes, "held bytes are not those held");
    }
}
