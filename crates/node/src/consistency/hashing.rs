//! Hashing pinned views: step by step, so that a bound on bytes a second and the store's stop are heeded
//! in between.
//!
//! **Not here.** Pinning: the applier's round does it.

use crate::fsm::{PeerMessage, PeerRouter};
use crate::snap::Limiter;
use crate::threads::EndsWithProcess;
use engine::{Cf, KvIterator, KvSnapshot};
use parking_lot::{Condvar, Mutex};
use raftstore::op::consistency::{FAMILIES, Hash, HashWish, RegionHasher};
use raftstore::peer::Input;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use types::{RegionId, Space};

/// Views that may wait to be hashed; each keeps files alive.
const WAITING_MAX: usize = 8;
/// What is read at once.
const STEP_BYTES: u64 = 256 << 10;

/// A replica that is to be hashed.
pub struct HashTask {
    region_id: RegionId,
    index: u64,
    view: Box<dyn View>,
}

/// What a step of hashing comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashed {
    /// So many bytes were read, and there are more.
    Part(u64),
    /// That was all.
    All(Hash),
}

/// Takes views that are to be hashed. It never blocks: pollers call it.
pub trait HashWork: Send + Sync + 'static {
    /// Has a replica hashed soon.
    ///
    /// # Errors
    /// Too many wait; the task comes back.
    fn submit(&self, task: HashTask) -> Result<(), HashTask>;
}

impl HashTask {
    pub(crate) fn new<S: KvSnapshot>(view: Pinned<S>) -> Self {
        Self {
            region_id: view.wish.region.id,
            index: view.wish.index,
            view: Box::new(view),
        }
    }

    /// Reads about so many bytes more; one pair at least.
    ///
    /// # Errors
    /// The engine can't be read.
    pub fn step(&mut self, bytes: u64) -> engine::Result<Hashed> {
        self.view.step(bytes)
    }

    /// Tells the Peer how it ended.
    pub fn answer(&self, hash: Option<Hash>, peers: &PeerRouter) {
        let index = self.index;
        let input = PeerMessage(Input::Hashed { index, hash });
        let _ = peers.force_send(self.region_id.get(), input);
    }
}

/// A task can't be done now.
pub(crate) fn hash_is_missing(task: &HashTask, peers: &PeerRouter) {
    tracing::info!(region = %task.region_id, index = task.index, "too many replicas wait to be hashed");
    task.answer(None, peers);
}

/// A view of any engine.
trait View: Send {
    fn step(&mut self, bytes: u64) -> engine::Result<Hashed>;
}

/// A replica as it is behind an entry.
pub(crate) struct Pinned<S> {
    snapshot: S,
    wish: HashWish,
    hasher: RegionHasher,
    /// The position of the family in [`FAMILIES`].
    family: usize,
    /// Where to go on in it: an engine key.
    from: Vec<u8>,
}

impl<S: KvSnapshot> Pinned<S> {
    pub(crate) fn new(snapshot: S, wish: HashWish) -> Self {
        Self {
            snapshot,
            hasher: RegionHasher::new(&wish.region),
            family: 0,
            from: Space::of(wish.region.id).key(&wish.region.range.start),
            wish,
        }
    }

    /// Hashes pairs of the open family. Returns how many bytes it read, and whether there are more.
    fn hash_family(&mut self, cf: Cf, bytes: u64) -> engine::Result<(u64, bool)> {
        let space = Space::of(self.wish.region.id);
        let upper = space.end_key(&self.wish.region.range.end);
        let mut iter = self.snapshot.iter(cf, &self.from, &upper)?;
        let mut is_pair = iter.seek_to_first()?;
        let mut read = 0;
        while is_pair {
            if read >= bytes {
                self.from = iter.key().to_vec();
                return Ok((read, true));
            }
            let key = space.strip(iter.key()).expect("the bounds lie within it");
            self.hasher.see(cf, key, iter.value());
            read += (key.len() + iter.value().len()) as u64;
            is_pair = iter.next()?;
        }
        Ok((read, false))
    }
}

impl<S: KvSnapshot> View for Pinned<S> {
    fn step(&mut self, bytes: u64) -> engine::Result<Hashed> {
        let mut read = 0;
        while let Some(cf) = FAMILIES.get(self.family) {
            let (more, is_open) = self.hash_family(*cf, bytes - read)?;
            read += more;
            if is_open || read >= bytes {
                if !is_open {
                    self.next_family();
                }
                return Ok(Hashed::Part(read));
            }
            self.next_family();
        }
        Ok(Hashed::All(self.hasher.finish()))
    }
}

impl<S> Pinned<S> {
    fn next_family(&mut self) {
        self.family += 1;
        let region = &self.wish.region;
        self.from = Space::of(region.id).key(&region.range.start);
    }
}

/// Tasks that wait for the thread. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct HashQueue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<HashTask>,
    stops: bool,
}

impl HashWork for HashQueue {
    fn submit(&self, task: HashTask) -> Result<(), HashTask> {
        let mut state = self.0.state.lock();
        if state.waiting.len() >= WAITING_MAX {
            return Err(task);
        }
        if !state.stops {
            state.waiting.push_back(task);
            self.0.changed.notify_all();
        }
        Ok(())
    }
}

impl HashQueue {
    /// The next task; none when it is time to stop.
    fn next(&self) -> Option<HashTask> {
        let mut state = self.0.state.lock();
        while !state.stops {
            match state.waiting.pop_front() {
                Some(task) => return Some(task),
                None => self.0.changed.wait(&mut state),
            }
        }
        None
    }

    /// Waits, or until it is time to stop. Whether it is.
    fn pause(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.0.state.lock();
        while !state.stops {
            let waited = self.0.changed.wait_until(&mut state, deadline);
            if waited.timed_out() {
                return false;
            }
        }
        true
    }

    fn stop(&self) {
        let mut state = self.0.state.lock();
        state.stops = true;
        state.waiting.clear();
        self.0.changed.notify_all();
    }
}

/// The thread that hashes.
pub(crate) struct HashThread {
    queue: HashQueue,
    thread: JoinHandle<()>,
}

impl HashThread {
    pub(crate) fn start(
        queue: HashQueue,
        peers: PeerRouter,
        bytes_per_s_max: u64,
    ) -> std::io::Result<Self> {
        let tasks = queue.clone();
        let limiter = Limiter::new(bytes_per_s_max);
        let work = move || {
            let _guard = EndsWithProcess;
            while let Some(mut task) = tasks.next() {
                if let Some(hash) = hash(&mut task, &tasks, &limiter) {
                    task.answer(hash, &peers);
                }
            }
        };
        let thread = std::thread::Builder::new().name("consistency".to_owned());
        let thread = thread.spawn(work)?;
        Ok(Self { queue, thread })
    }

    pub(crate) fn stop(self) {
        self.queue.stop();
        let ended = self.thread.join();
        ended.expect("a panic would have ended the process");
    }
}

/// None: the store stops.
fn hash(task: &mut HashTask, queue: &HashQueue, limiter: &Limiter) -> Option<Option<Hash>> {
    loop {
        match task.step(STEP_BYTES) {
            Ok(Hashed::All(hash)) => return Some(Some(hash)),
            Ok(Hashed::Part(bytes)) => {
                let wait = limiter.reserve(Instant::now(), bytes);
                if queue.pause(wait) {
                    return None;
                }
            }
            Err(error) => {
                let (region, index) = (task.region_id, task.index);
                tracing::error!(%region, index, %error, "a replica can't be read, and so not hashed");
                return Some(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::mem::{Disk, MemKv, MemSnapshot};
    use engine::{Durability, KvBatch, KvEngine};
    use types::{KeyRange, Region};

    fn stored(pairs: &[(Cf, &[u8])]) -> MemKv {
        let kv = Disk::new().open_kv("kv").unwrap();
        let mut batch = kv.batch();
        for (cf, key) in pairs {
            batch.put(*cf, key, b"value");
        }
        kv.write(&mut batch, Durability::Buffered).unwrap();
        kv
    }

    fn task(kv: &MemKv) -> HashTask {
        let region = Region {
            id: RegionId::FIRST_DATA,
            range: KeyRange {
                start: b"b".to_vec(),
                end: b"d".to_vec(),
            },
            ..Region::default()
        };
        let wish = HashWish { region, index: 9 };
        HashTask::new(Pinned::<MemSnapshot>::new(kv.snapshot(), wish))
    }

    fn hash_in_steps(kv: &MemKv, bytes: u64) -> (Hash, u64) {
        let (mut task, mut steps) = (task(kv), 1);
        loop {
            match task.step(bytes).unwrap() {
                Hashed::Part(read) => assert!(read >= bytes),
                Hashed::All(hash) => return (hash, steps),
            }
            steps += 1;
        }
    }

    #[test]
    fn the_hash_is_that_of_the_range_in_all_families_however_it_is_cut_into_steps() {
        use Cf::{Default, Lock, Write};
        let inside = [(Default, &b"zb1"[..]), (Default, b"zc"), (Write, b"zc")];
        let (whole, steps) = hash_in_steps(&stored(&inside), u64::MAX);
        assert_eq!(steps, 1);
        let (in_steps, steps) = hash_in_steps(&stored(&inside), 1);
        assert_eq!((in_steps, steps), (whole, 4), "a pair a step");
        let outside = [(Default, &b"za"[..]), (Lock, b"zd"), (Write, b"pc")];
        let more = [&inside[..], &outside].concat();
        assert_eq!(hash_in_steps(&stored(&more), 1).0, whole);
        let other = [(Lock, &b"zb1"[..]), (Default, b"zc"), (Write, b"zc")];
        assert_ne!(hash_in_steps(&stored(&other), 1).0, whole);
    }

    #[test]
    fn a_view_shows_nothing_that_is_written_later() {
        let kv = stored(&[(Cf::Default, b"zb")]);
        let mut pinned = task(&kv);
        let (before, _) = hash_in_steps(&kv, 1);
        let mut batch = kv.batch();
        batch.put(Cf::Default, b"zc", b"later");
        kv.write(&mut batch, Durability::Buffered).unwrap();
        assert_eq!(pinned.step(u64::MAX).unwrap(), Hashed::All(before));
        assert_ne!(hash_in_steps(&kv, 1).0, before);
    }

    #[test]
    fn so_many_views_wait_and_one_more_comes_back() {
        let (queue, kv) = (HashQueue::default(), stored(&[]));
        for _ in 0..WAITING_MAX {
            assert!(queue.submit(task(&kv)).is_ok());
        }
        assert!(queue.submit(task(&kv)).is_err());
        assert!(queue.next().is_some());
        assert!(queue.submit(task(&kv)).is_ok());
    }

    #[test]
    fn a_stop_ends_a_pause_and_lets_go_of_what_waits() {
        let (queue, kv) = (HashQueue::default(), stored(&[]));
        assert!(!queue.pause(Duration::ZERO));
        assert!(queue.submit(task(&kv)).is_ok());
        let waiting = queue.clone();
        let waiter = std::thread::spawn(move || waiting.pause(Duration::from_secs(3_600)));
        queue.stop();
        assert!(waiter.join().unwrap());
        assert!(queue.next().is_none());
    }
}
