//! The directory: address → mailbox.
//!
//! **Why sharded.** Every send looks an address up, and registrations are rare: a few dozen maps, each
//! behind a read-write lock on its own cache line, keep senders out of each other's way.
//!
//! **Invariant.** An address stays taken until its FSM has been removed, so two FSMs of one address
//! never live at the same time.

use crate::fsm::{Address, Fsm};
use crate::mailbox::Mailbox;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

const SHARDS: usize = 64;

/// Spreads addresses, which are mostly small and consecutive. They are chosen by us, so nobody can
/// aim at one bucket.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

type Shard<N> = HashMap<Address, Arc<Mailbox<N>>, BuildHasherDefault<AddressHasher>>;

/// One shard on cache lines of its own.
#[repr(align(128))]
struct Padded<T>(T);

pub(crate) struct Directory<N: Fsm> {
    shards: Box<[Padded<RwLock<Shard<N>>>]>,
}

impl<N: Fsm> Directory<N> {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS)
            .map(|_| Padded(RwLock::new(Shard::default())))
            .collect();
        Self { shards }
    }

    fn shard(&self, address: Address) -> &RwLock<Shard<N>> {
        let mut hasher = AddressHasher::default();
        hasher.write_u64(address);
        // The map uses the low and the highest bits of the hash, the shard those between.
        let index = (hasher.finish() >> 40) as usize % SHARDS;
        &self.shards[index].0
    }

    /// Calls `f` with the mailbox, under the shard's read lock: `f` must be short and must not come
    /// back to the directory.
    pub(crate) fn with<R>(
        &self,
        address: Address,
        f: impl FnOnce(&Arc<Mailbox<N>>) -> R,
    ) -> Option<R> {
        self.shard(address).read().get(&address).map(f)
    }

    /// Adds a mailbox if the address is free and `open` says so under the lock.
    pub(crate) fn insert(
        &self,
        mailbox: Arc<Mailbox<N>>,
        open: impl FnOnce() -> bool,
    ) -> Result<(), Taken> {
        let mut shard = self.shard(mailbox.address).write();
        if !open() {
            return Err(Taken::Stopped);
        }
        if shard.contains_key(&mailbox.address) {
            return Err(Taken::Duplicate);
        }
        shard.insert(mailbox.address, mailbox);
        Ok(())
    }

    pub(crate) fn remove(&self, address: Address) {
        self.shard(address).write().remove(&address);
    }

    /// All mailboxes, by address, so that whoever walks over them does so in a fixed order.
    pub(crate) fn all(&self) -> Vec<Arc<Mailbox<N>>> {
        let mut all: Vec<_> = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(shard.0.read().values().cloned());
        }
        all.sort_unstable_by_key(|mailbox| mailbox.address);
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len()).sum()
    }
}

/// Why an address could not be registered.
pub(crate) enum Taken {
    Duplicate,
    Stopped,
}
