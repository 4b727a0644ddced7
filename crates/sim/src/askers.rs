//! Clients of the placement driver: they ask for timestamps and ids, whoever leads.
//!
//! **Invariants.** One question of each is under way. One without an answer is given up after a while.
//!
//! **Not here.** What is checked of the answers (`consistency`).

use crate::hosts::Asker;
use crate::world::{Closing, Event, World};
use node::placement_host::host_core::Input;
use placement::{Error, Request, Response};
use std::collections::BTreeMap;

/// How long an asker waits for an answer.
const PATIENCE_US: u64 = 200_000;
/// The longest pause between two questions.
const THINK_US_MAX: u64 = 15_000;
/// The most timestamps that are asked for at once.
const BATCH_MAX: u64 = 300;

/// Those who ask.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    /// Questions under way: who asks.
    calls: BTreeMap<u64, usize>,
    last_call: u64,
    /// The store that is believed to lead.
    leader: usize,
    /// Answers by kind.
    pub(crate) answered: BTreeMap<&'static str, u64>,
}

impl World {
    /// The group of keys that stands for the placement Region, for the operator and at the end.
    pub(crate) const PLACEMENT_GROUP: usize = 0;

    /// An asker asks. The one behind all others is there at the end, to see whether it is served.
    pub(crate) fn asker_turn(&mut self, asker: usize) {
        let closing = self.closing.get(Self::PLACEMENT_GROUP).copied();
        let is_last = asker == self.options.askers;
        let request = match (is_last, closing) {
            (false, None) => match self.rng.below(3) {
                0 => Request::AllocId,
                _ => Request::Tso {
                    count: self.rng.between(1, BATCH_MAX) as u32,
                },
            },
            (true, Some(Closing::Write)) => Request::Tso { count: 1 },
            (true, Some(Closing::Read)) => Request::AllocId,
            _ => return,
        };
        self.askers.last_call += 1;
        let call = self.askers.last_call;
        self.askers.calls.insert(call, asker);
        let store = match self.rng.below(10) {
            0 => self.rng.below(self.stores.len() as u64) as usize,
            _ => self.askers.leader,
        };
        self.note(format_args!(
            "asker {asker} asks s{}: {request:?}",
            store + 1
        ));
        let floor = self.oracle.floor();
        let asked = Event::HostAsked {
            store,
            asker: Asker::Client { call, floor },
            request: Box::new(request),
        };
        let delay_us = self.client_delay_us();
        self.after(delay_us, asked);
        self.after(PATIENCE_US, Event::AskerTimeout { call });
    }

    /// A question has come to a store's host.
    pub(crate) fn host_asked(&mut self, store: usize, asker: Asker, request: Box<Request>) {
        if let Some(until_us) = self.stands_still_until(store) {
            let asked = Event::HostAsked {
                store,
                asker,
                request,
            };
            return self.at(until_us, asked);
        }
        let id = self.clients.number_request();
        match &mut self.stores[store].life {
            Some(current) => _ = current.host.askers.insert(id, asker),
            None => return self.host_is_gone(asker),
        }
        self.note(format_args!("s{} placement hears {id}", store + 1));
        let request = *request;
        self.step_host(store, Input::Request { id, request });
    }

    fn host_is_gone(&mut self, asker: Asker) {
        if let Asker::Client { call, .. } = asker {
            self.answer_placement_call(call, Err(Error::NOT_LEADER));
        }
    }

    /// A host has answered an asker.
    pub(crate) fn answer_placement_call(&mut self, call: u64, result: Result<Response, Error>) {
        if self.loses_answer() {
            self.count("answer lost");
            return;
        }
        let delay_us = self.client_delay_us();
        let heard = Event::AskerHears {
            call,
            result: Box::new(result),
        };
        self.after(delay_us, heard);
    }

    pub(crate) fn asker_hears(&mut self, call: u64, result: Result<Response, Error>) {
        let Some(asker) = self.askers.calls.remove(&call) else {
            return;
        };
        let kind = match &result {
            Ok(Response::Timestamps { .. }) => "timestamps",
            Ok(_) => "id",
            Err(_) => "refused by placement",
        };
        if let Ok(Response::Id(id)) = &result {
            self.operator.given.push(*id);
        }
        *self.askers.answered.entry(kind).or_default() += 1;
        if result.is_err() {
            self.askers.leader = self.rng.below(self.stores.len() as u64) as usize;
        } else if asker == self.options.askers {
            self.go_on_closing(Self::PLACEMENT_GROUP);
        }
        let think_us = self.rng.below(THINK_US_MAX);
        self.after(think_us, Event::AskerTurn { asker });
    }

    pub(crate) fn asker_gives_up(&mut self, call: u64) {
        if let Some(asker) = self.askers.calls.remove(&call) {
            self.askers.leader = self.rng.below(self.stores.len() as u64) as usize;
            self.after(0, Event::AskerTurn { asker });
        }
    }
}
