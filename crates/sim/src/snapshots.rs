//! Snapshots on their way between stores: a message with frames, cut or damaged now and then.
//!
//! **Invariants.** Its sender hears once how it went, at the earliest when it has arrived. Of one that
//! comes twice the first counts.
//!
//! **Not here.** How long it takes: as long as any message. What the stores do with it (`node::snap`).

use crate::planted::PlantedBug;
use crate::store::Life;
use crate::world::{Event, World};
use bytes::Bytes;
use node::snap::{OutgoingSnapshot, SendTicket, SnapshotRefused};
use raft::eraftpb::Message;
use raftstore::RaftMessage;
use std::fmt;

/// How often one of them is cut off or damaged, where messages are lost.
const SPOILT_PPM: u64 = 200_000;

/// A snapshot under way.
pub(crate) struct Shipment {
    envelope: RaftMessage,
    body: Bytes,
    frames: Vec<Bytes>,
    from: usize,
    ticket: Option<SendTicket>,
}

impl fmt::Debug for Shipment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames for {:?}", self.frames.len(), self.envelope.to)
    }
}

impl World {
    pub(crate) fn send_snapshot(&mut self, store: usize, snapshot: OutgoingSnapshot) {
        let checked = self.raft.sent(&snapshot.message);
        self.check(checked);
        let target = snapshot.message.to.store_id.get() as usize - 1;
        let frames: Result<Vec<Bytes>, _> = snapshot.frames.collect();
        let Ok(frames) = frames else {
            self.violate(format_args!("store {} can't read a snapshot", store + 1));
            return;
        };
        let index = snapshot.message.message.get_snapshot().get_metadata().index;
        let region = snapshot.message.region_id;
        let arrivals = match self.is_swallowed(region, (store, target)) {
            true => Vec::new(),
            false => self.network.arrivals(self.now_us, (store, target)),
        };
        self.note(format_args!(
            "s{}>s{} r{region} snapshot {index} frames {} x{}",
            store + 1,
            target + 1,
            frames.len(),
            arrivals.len(),
        ));
        let body = Bytes::from(snapshot.message.encode_body());
        let mut ticket = Some(snapshot.ticket);
        for at_us in arrivals {
            let shipment = Shipment {
                envelope: RaftMessage {
                    message: Message::default(),
                    ..snapshot.message.clone()
                },
                body: body.clone(),
                frames: self.spoil(frames.clone()),
                from: store,
                ticket: ticket.take(),
            };
            self.at(at_us, Event::DeliverSnapshot(Box::new(shipment)));
        }
        // If none arrives, the ticket goes here, and says so.
        drop(ticket);
        self.wake(store);
    }

    fn spoil(&mut self, mut frames: Vec<Bytes>) -> Vec<Bytes> {
        if self.is_healed || self.plan.loss_ppm == 0 || !self.fault_rng.chance(SPOILT_PPM) {
            return frames;
        }
        let at = self.fault_rng.below(frames.len() as u64) as usize;
        match self.fault_rng.chance(500_000) {
            true => {
                self.count("snapshot cut off");
                frames.truncate(at);
            }
            false => {
                self.count("snapshot damaged");
                let mut frame = frames[at].to_vec();
                let byte = self.fault_rng.below(frame.len() as u64) as usize;
                frame[byte] ^= 1;
                if self.options.planted_bug == Some(PlantedBug::UncheckedSnapshot) {
                    vouch_for(&mut frame);
                }
                frames[at] = frame.into();
            }
        }
        frames
    }

    pub(crate) fn deliver_snapshot(&mut self, shipment: Shipment) {
        let store = shipment.envelope.to.store_id.get() as usize - 1;
        let (from, ticket) = (shipment.from, shipment.ticket);
        let received = match &self.stores[store].life {
            Some(life) => {
                let message = shipment.envelope.decode_body(&shipment.body);
                message
                    .map_err(|error| format!("its message is refused: {error}"))
                    .map(|message| receive(life, message, &shipment.frames))
            }
            None => Ok(Err(SnapshotRefused::Busy("it is not there"))),
        };
        let number = store + 1;
        match received {
            Err(what) => self.violate(format_args!("a snapshot for store {number}: {what}")),
            Ok(Ok(())) => {
                self.note(format_args!("s{number} received a snapshot"));
                if let Some(ticket) = ticket {
                    ticket.succeed();
                }
            }
            Ok(Err(refused)) => self.note(format_args!("s{number}: {refused}")),
        }
        self.wake(store);
        self.wake(from);
    }
}

/// Gives a frame the checksum that it would have, had it always been so: over its kind, its length and
/// its body, and in between.
fn vouch_for(frame: &mut [u8]) {
    if let Some((head, body)) = frame.split_first_chunk_mut::<9>() {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head[..5]);
        hasher.update(body);
        head[5..].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}

fn receive(life: &Life, message: RaftMessage, frames: &[Bytes]) -> Result<(), SnapshotRefused> {
    let mut incoming = life.snapshots.receive(message, life.router.clone())?;
    for frame in frames {
        incoming.write(frame)?;
    }
    incoming.finish()
}
