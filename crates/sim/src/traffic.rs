//! What travels: Raft messages between stores, requests and answers between clients and stores.
//!
//! **Invariants.** A Raft message passes through its encoded form. A request is answered by the store
//! at most once; where nothing comes back, the client gives up after a while.

use crate::client::{Ask, Heard};
use crate::describe::Spoken;
use crate::hosts::is_job;
use crate::network::Link;
use crate::planted::PlantedBug;
use crate::ports::Answer;
use crate::store::Life;
use crate::trace::digest;
use crate::world::{Closing, Envelope, Event, World};
use batch_system::SendError;
use bytes::Bytes;
use node::{Delivery, PeerMessage, PeerRouter};
use raft::eraftpb::Message;
use raftstore::peer::Input;
use raftstore::{Command, Extra, Outcome, RaftMessage, Reply, RequestContext, RequestError};
use types::{PeerId, Region, RegionId, RequestId, StoreId};

type SendFn = fn(&PeerRouter, u64, PeerMessage) -> Result<(), SendError<PeerMessage>>;

/// How long a client waits for an answer.
const PATIENCE_US: u64 = 400_000;
/// How long one that only reads waits.
const READER_PATIENCE_US: u64 = 20_000;
/// The longest pause of a client between two requests.
const THINK_US_MAX: u64 = 12_000;
/// After so many requests, in parts per million, all clients pause, so that Regions fall asleep.
const LULL_PPM: u64 = 1_500;
/// How long they do.
const LULL_US: (u64, u64) = (100_000, 900_000);
/// Of those who only read, so many ask for an answer of any replica, in parts per million.
const OF_ANY_PPM: u64 = 300_000;
/// The longest way between a client and a store.
const CLIENT_DELAY_US_MAX: u64 = 2_000;
/// With [`PlantedBug::RetriedWrite`]: one in so many is tried again, so long later at most.
const RETRY_ONE_IN: u64 = 10;
const RETRY_US_MAX: u64 = 60_000;
/// The wall clock at the beginning, milliseconds since the Unix epoch.
const BEGINNING_MS: u64 = 1_700_000_000_000;

impl World {
    pub(crate) fn send(&mut self, store: usize, message: RaftMessage) {
        let checked = self.raft.sent(&message);
        self.check(checked);
        match message.extra {
            Some(Extra::HibernateResponse { .. }) => self.hibernations += 1,
            None if message.region_id != RegionId::PLACEMENT => self.last_raft_us = self.now_us,
            _ => {}
        }
        let target = message.to.store_id.get() as usize - 1;
        let body = Bytes::from(message.encode_body());
        if message.merged_into.is_some() {
            self.operator.count("told of a merge");
        }
        let is_untold =
            message.is_tombstone && self.options.planted_bug == Some(PlantedBug::NoFarewell);
        let arrivals = match is_untold || self.is_swallowed(message.region_id, (store, target)) {
            true => Vec::new(),
            false => self.network.arrivals(self.now_us, (store, target)),
        };
        self.note(format_args!(
            "s{}>s{} {} {:016x} x{}",
            store + 1,
            target + 1,
            Spoken(&message),
            digest(0, &body),
            arrivals.len(),
        ));
        if self.stores[target].life.is_none() && self.rng.chance(500_000) {
            let life = self.stores[store].life_number;
            let (region, peer) = (message.region_id, message.to.id);
            let lost = Event::Unreachable {
                store,
                life,
                region,
                peer,
            };
            self.after(200, lost);
        }
        for at_us in arrivals {
            let envelope = Envelope {
                outside: RaftMessage {
                    message: Message::default(),
                    ..message.clone()
                },
                body: body.clone(),
            };
            self.at(at_us, Event::Deliver(Box::new(envelope)));
        }
    }

    pub(crate) fn is_swallowed(&self, region: RegionId, link: Link) -> bool {
        let is_deaf = self.options.planted_bug == Some(PlantedBug::DeafRegion);
        let is_deaf = is_deaf && self.is_healed && region == RegionId::FIRST_DATA;
        is_deaf || self.is_left_out(region, link)
    }

    pub(crate) fn deliver(&mut self, envelope: Envelope) {
        let Envelope { outside, body } = envelope;
        let (region, from) = (outside.region_id, outside.from);
        let store = outside.to.store_id.get() as usize - 1;
        let number = store + 1;
        let Some(life) = &self.stores[store].life else {
            self.note(format_args!("s{number} is not there for r{region}"));
            return;
        };
        let message = match outside.decode_body(&body) {
            Ok(message) => message,
            Err(error) => {
                let from = from.store_id;
                self.violate(format_args!(
                    "store {from} sent what store {number} must refuse: {error}: {}",
                    describe(&body)
                ));
                return;
            }
        };
        let outcome = match node::deliver(&life.router, message) {
            Delivery::Taken => "taken",
            Delivery::Stray => "stray",
            Delivery::Dropped => "dropped",
        };
        let hash = digest(0, &body);
        self.note(format_args!(
            "s{number} r{region} got {hash:016x}: {outcome}"
        ));
        self.wake(store);
    }

    pub(crate) fn unreachable(&mut self, store: usize, life: u64, region: RegionId, peer: PeerId) {
        if self.stores[store].life_number != life {
            return;
        }
        if let Some(current) = &self.stores[store].life {
            let input = PeerMessage(Input::Unreachable { peer });
            let _ = current.router.send(region.get(), input);
            self.wake(store);
        }
    }

    /// A client begins its next request.
    pub(crate) fn turn(&mut self, client: usize) {
        let clients = self.options.clients;
        let closing = client.checked_sub(clients + self.options.readers);
        let only_reads = (clients..clients + self.options.readers).contains(&client);
        if closing.is_none() && self.pauses() {
            let at_us = self.lull_until_us + self.rng.below(THINK_US_MAX);
            return self.at(at_us, Event::Turn { client });
        }
        let (group, ask) = match closing {
            None if self.is_healed => return,
            None => {
                let group = self.draw_group();
                match only_reads {
                    true => (group, self.rng.pick(&[Ask::GetAll, Ask::Scan])),
                    false => (group, self.clients.draw(group, &mut self.rng)),
                }
            }
            Some(group) => match self.closing[group] {
                Closing::Write => (group, self.clients.last_put(group)),
                Closing::Read => (group, Ask::GetAll),
                Closing::Done => return,
            },
        };
        let of_any = only_reads && self.rng.chance(OF_ANY_PPM);
        let lucky = !only_reads && self.rng.chance(950_000);
        let store = match lucky {
            true => self.clients.leader(group),
            false => self.rng.below(self.stores.len() as u64) as usize,
        };
        let request = self.clients.call(client, group, ask);
        self.note(format_args!(
            "c{client} asks s{} for g{group}: {request} {ask:?}",
            store + 1
        ));
        let delay_us = self.client_delay_us();
        if !self.loses_answer() {
            let event = Event::Request {
                store,
                request,
                group,
                ask,
                of_any,
            };
            self.after(delay_us, event);
        }
        let patience_us = match only_reads {
            true => READER_PATIENCE_US,
            false => PATIENCE_US,
        };
        self.after(patience_us, Event::Timeout { request });
    }

    /// What a store's wall clock shows, in milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(&self, store: usize) -> u64 {
        let right_ms = BEGINNING_MS + self.now_us / 1000;
        right_ms.saturating_add_signed(self.stores[store].wall_offset_ms)
    }

    fn draw_group(&mut self) -> usize {
        let last = self.clients.keys().groups() - 1;
        match &self.options.only_groups {
            Some(only) if !only.is_empty() => {
                let only: Vec<usize> = only.iter().copied().collect();
                // Clusters of API V1 have fewer.
                self.rng.pick(&only).clamp(1, last)
            }
            _ => self.rng.between(1, last as u64) as usize,
        }
    }

    /// Whether clients rest now.
    fn pauses(&mut self) -> bool {
        if self.now_us >= self.lull_until_us && self.rng.chance(LULL_PPM) {
            self.lull_until_us = self.now_us + self.rng.between(LULL_US.0, LULL_US.1);
        }
        self.now_us < self.lull_until_us
    }

    /// A request has come to a store: for which group of keys, for what, and whether any replica may
    /// answer.
    pub(crate) fn request(
        &mut self,
        store: usize,
        request: RequestId,
        (group, ask, of_any): (usize, Ask, bool),
    ) {
        let now_ms = self.wall_ms(store);
        self.clients.came_at(request, now_ms / 1000);
        let target = self.clients.route(group).clone();
        let command = ask.command(group, self.clients.keys(), now_ms);
        if command.is_none()
            && let Some(until_us) = self.stands_still_until(store)
        {
            let event = Event::Request {
                store,
                request,
                group,
                ask,
                of_any,
            };
            self.at(until_us, event);
            return;
        }
        let names_peer = self.rng.chance(500_000);
        let Some(life) = &mut self.stores[store].life else {
            self.answer(request, Heard::Refused(RequestError::Stopping));
            return;
        };
        if command.is_none() && reads_at_once(self.options.planted_bug, life, (&target, of_any)) {
            life.outstanding.insert(request);
            self.answered(store, (request, Ok(Reply::ReadReady(target.into()))));
            return;
        }
        let context = RequestContext {
            region_id: target.id,
            epoch: target.epoch,
            peer: target
                .peer_on(StoreId(store as u64 + 1))
                .copied()
                .filter(|_| names_peer)
                .unwrap_or_default(),
            term: 0,
            replica_read: of_any,
        };
        if let Some(Command::Write(_)) = &command
            && self.options.planted_bug == Some(PlantedBug::RetriedWrite)
            && self.rng.below(RETRY_ONE_IN) == 0
        {
            let request = self.clients.number_request();
            let delay_us = self.rng.below(RETRY_US_MAX);
            let retry = Event::Request {
                store,
                request,
                group,
                ask,
                of_any,
            };
            self.after(delay_us, retry);
        }
        let input = match command {
            Some(command) => Input::Propose {
                request,
                context,
                command,
            },
            None if self.begin_lease_read(store, request, group, &context) => return,
            None => Input::Read { request, context },
        };
        self.hand_in(store, target.id, request, input);
    }

    /// A store takes a request in, or refuses it at the door.
    pub(crate) fn hand_in(
        &mut self,
        store: usize,
        region_id: RegionId,
        request: RequestId,
        input: Input,
    ) {
        let Some(life) = &mut self.stores[store].life else {
            return;
        };
        if let Input::Read { context, .. } = &input {
            let departures = life.delegates.departures();
            life.asked.insert(request, (context.clone(), departures));
        }
        self.hand_in_by(PeerRouter::send, store, (region_id, request), input);
    }

    /// As [`Self::hand_in`], past the bounds for clients.
    pub(crate) fn hand_in_unbounded(
        &mut self,
        store: usize,
        region_id: RegionId,
        request: RequestId,
        input: Input,
    ) {
        self.hand_in_by(PeerRouter::force_send, store, (region_id, request), input);
    }

    fn hand_in_by(
        &mut self,
        send: SendFn,
        store: usize,
        (region_id, request): (RegionId, RequestId),
        input: Input,
    ) {
        let Some(life) = &mut self.stores[store].life else {
            return;
        };
        life.outstanding.insert(request);
        let refused = match send(&life.router, region_id.get(), PeerMessage(input)) {
            Ok(()) => None,
            Err(SendError::NotFound(_)) => Some(RequestError::RegionNotFound { region_id }),
            Err(SendError::Full(_)) => Some(RequestError::ServerIsBusy {
                reason: "the Region's mailbox is full",
            }),
            Err(SendError::Stopped(_)) => Some(RequestError::Stopping),
        };
        let number = store + 1;
        self.note(format_args!("s{number} takes {request}: {refused:?}"));
        if let Some(error) = refused {
            self.answered(store, (request, Err(error)));
        }
        self.wake(store);
    }

    /// A store has answered.
    pub(crate) fn answered(&mut self, store: usize, (request, result): Answer) {
        let number = store + 1;
        self.note(format_args!("s{number} answers {request}: {result:?}"));
        let was_waiting = match &mut self.stores[store].life {
            Some(current) => current.outstanding.remove(&request),
            None => true,
        };
        if !was_waiting {
            self.violate(format_args!(
                "store {number} answered {request}, which is answered or was never asked"
            ));
            return;
        }
        if is_job(request) {
            return self.job_answered(store, request, result);
        }
        if self.operator.hears(request) {
            self.operator_hears(request, &result);
            return;
        }
        if let Some(seen) = self.take_seen(store, request)
            && result.is_ok()
        {
            return self.has_seen(store, request, seen);
        }
        match result {
            Err(error) => self.answer(request, Heard::Refused(error)),
            Ok(Reply::Command(Outcome::Written)) => self.answer(request, Heard::Written),
            Ok(Reply::Command(Outcome::Swapped {
                succeeded,
                previous,
            })) => match previous.as_deref().map(<[u8; 8]>::try_from).transpose() {
                Ok(previous) => {
                    let previous = previous.map(u64::from_be_bytes);
                    self.answer(request, Heard::Swapped(succeeded, previous));
                }
                Err(_) => self.violate(format_args!("{request} saw a value that is not ours")),
            },
            Ok(Reply::Command(Outcome::Split(_) | Outcome::Changed(_))) => {
                self.violate(format_args!("{request} asked for no change of its Region"));
            }
            Ok(Reply::Checked(_)) => {
                self.violate(format_args!(
                    "{request} asked for no comparison of replicas"
                ));
            }
            Ok(Reply::ReadReady(region)) => {
                self.look_later(store, request, region);
            }
        }
    }

    /// An answer goes to its client.
    pub(crate) fn answer(&mut self, request: RequestId, heard: Heard) {
        if self.loses_answer() {
            self.count("answer lost");
            return;
        }
        let delay_us = self.client_delay_us();
        self.after(delay_us, Event::Answer { request, heard });
    }

    pub(crate) fn hear(&mut self, request: RequestId, heard: &Heard) {
        self.note(format_args!("{request} hears {heard:?}"));
        if let Heard::Refused(
            RequestError::EpochNotMatch { .. } | RequestError::RegionNotFound { .. },
        ) = heard
        {
            self.ask_the_way();
        }
        match self.clients.hear(request, heard, &mut self.rng) {
            Ok(None) => {}
            Ok(Some((client, done))) => {
                if let Some(group) = client.checked_sub(self.options.clients + self.options.readers)
                    && done
                {
                    self.go_on_closing(group);
                }
                let think_us = self.rng.below(THINK_US_MAX);
                self.after(think_us, Event::Turn { client });
            }
            Err(what) => self.violate(format_args!("{what}")),
        }
    }

    /// The last client of a group was served.
    pub(crate) fn go_on_closing(&mut self, group: usize) {
        self.closing[group] = match self.closing[group] {
            Closing::Write => Closing::Read,
            Closing::Read | Closing::Done => Closing::Done,
        };
    }

    pub(crate) fn time_out(&mut self, request: RequestId) {
        let Some(client) = self.clients.get(request).map(|call| call.client) else {
            return;
        };
        self.note(format_args!("c{client} gives up {request}"));
        self.clients.give_up(request, &mut self.rng);
        self.after(0, Event::Turn { client });
    }

    pub(crate) fn loses_answer(&mut self) -> bool {
        !self.is_healed && self.rng.chance(self.plan.answer_loss_ppm)
    }

    pub(crate) fn client_delay_us(&mut self) -> u64 {
        self.rng.between(20, CLIENT_DELAY_US_MAX)
    }
}

/// Whether a read is answered without asking anybody, as a planted bug has it.
fn reads_at_once(bug: Option<PlantedBug>, life: &Life, (target, of_any): (&Region, bool)) -> bool {
    match bug {
        Some(PlantedBug::StaleRead) => life.leads.contains(&target.id),
        Some(PlantedBug::UnaskedFollower) => {
            of_any && life.regions().is_ok_and(|regions| regions.contains(target))
        }
        _ => false,
    }
}

/// A Raft message that can't be let in, as text.
fn describe(body: &[u8]) -> String {
    let mut message = raft::eraftpb::Message::default();
    match protobuf::Message::merge_from_bytes(&mut message, body) {
        Ok(()) => format!("{message:?}"),
        Err(error) => error.to_string(),
    }
}
