//! [`KvEngine`] in memory, on persistent maps.
//!
//! **Why persistent maps.** A snapshot is taken for every batch of reads; sharing structure makes
//! it a reference count.
//!
//! **Not here.** Durability: see `journal`.

use super::journal::{Journal, State};
use crate::meter::Meter;
use crate::{Backlog, Cf, Durability, Error, KvBatch, KvEngine, KvIterator, KvSnapshot, Result};
use bytes::Bytes;
use metrics::{Page, Stopwatch};
use rpds::RedBlackTreeMapSync;
use std::ops::Bound;
use std::sync::Arc;

type Map = RedBlackTreeMapSync<Bytes, Bytes>;
type Range<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// What an operation counts beyond its keys and values.
const OPERATION_OVERHEAD_BYTES: usize = 8;

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Put(Cf, Bytes, Bytes),
    Delete(Cf, Bytes),
    DeleteRange(Cf, Bytes, Bytes),
}

/// The four families.
#[derive(Clone, Default)]
pub(super) struct KvState {
    families: [Map; Cf::ALL.len()],
}

impl KvState {
    fn family(&self, cf: Cf) -> &Map {
        &self.families[cf.position()]
    }

    fn family_mut(&mut self, cf: Cf) -> &mut Map {
        &mut self.families[cf.position()]
    }
}

impl State for KvState {
    type Write = Arc<[Operation]>;

    fn check(&self, write: &Self::Write) -> Result<()> {
        for operation in write.iter() {
            match operation {
                Operation::DeleteRange(_, start, end) if end.is_empty() || start > end => {
                    return Err(Error::InvalidRange {
                        start: start.to_vec(),
                        end: end.to_vec(),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, write: &Self::Write) {
        for operation in write.iter() {
            match operation {
                Operation::Put(cf, key, value) => {
                    self.family_mut(*cf).insert_mut(key.clone(), value.clone());
                }
                Operation::Delete(cf, key) => {
                    self.family_mut(*cf).remove_mut(key);
                }
                Operation::DeleteRange(cf, start, end) => {
                    let map = self.family_mut(*cf);
                    let keys: Vec<Bytes> = map
                        .range::<Bytes, _>(start..end)
                        .map(|(k, _)| k.clone())
                        .collect();
                    for key in keys {
                        map.remove_mut(&key);
                    }
                }
            }
        }
    }
}

/// A key-value engine in memory; see [`super::Disk::open_kv`].
#[derive(Clone)]
pub struct MemKv {
    journal: Arc<Journal<KvState>>,
    meter: Arc<Meter>,
    lock: Arc<()>,
}

impl MemKv {
    pub(super) fn new(journal: Arc<Journal<KvState>>, lock: Arc<()>) -> Self {
        let meter = Arc::default();
        Self {
            journal,
            meter,
            lock,
        }
    }
}

impl KvEngine for MemKv {
    type Snapshot = MemSnapshot;
    type Batch = MemBatch;

    fn batch(&self) -> MemBatch {
        MemBatch::default()
    }

    fn write(&self, batch: &mut MemBatch, durability: Durability) -> Result<()> {
        let write = (!batch.is_empty()).then(|| batch.operations.clone().into());
        let since = Stopwatch::start();
        self.journal.write(write, durability)?;
        self.meter.wrote(&since, batch.size_bytes());
        if durability == Durability::Synced {
            self.meter.synced(&since);
        }
        batch.clear();
        Ok(())
    }

    fn snapshot(&self) -> MemSnapshot {
        MemSnapshot {
            state: self.journal.current_always(),
            _lock: self.lock.clone(),
        }
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.journal.current()?.family(cf).get(key).cloned())
    }

    fn sync(&self) -> Result<()> {
        let since = Stopwatch::start();
        self.journal.sync()?;
        self.meter.synced(&since);
        Ok(())
    }

    fn approximate_size(&self, cf: Cf, start: &[u8], end: &[u8]) -> Result<u64> {
        let state = self.journal.current()?;
        let Some(range) = range(start, end) else {
            return Ok(0);
        };
        let pairs = state.family(cf).range::<[u8], _>(range);
        Ok(pairs.map(|(k, v)| (k.len() + v.len()) as u64).sum())
    }

    fn backlog(&self) -> Backlog {
        Backlog::default()
    }

    fn collect(&self, page: &mut Page) {
        self.meter.collect_kv(page);
    }
}

/// A view of a [`MemKv`].
#[derive(Clone)]
pub struct MemSnapshot {
    state: KvState,
    _lock: Arc<()>,
}

impl KvSnapshot for MemSnapshot {
    type Iter<'a> = MemIter<'a>;

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.state.family(cf).get(key).cloned())
    }

    fn iter(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<MemIter<'_>> {
        Ok(MemIter {
            map: self.state.family(cf),
            lower: lower.to_vec(),
            upper: upper.to_vec(),
            current: None,
        })
    }
}

/// A cursor over a [`MemSnapshot`].
pub struct MemIter<'a> {
    map: &'a Map,
    lower: Vec<u8>,
    upper: Vec<u8>,
    current: Option<(&'a Bytes, &'a Bytes)>,
}

impl<'a> MemIter<'a> {
    /// To the first key between `from` and the upper bound.
    fn first_from(&mut self, from: Bound<&[u8]>) -> bool {
        let from = tighter(from, Bound::Included(&self.lower), |a, b| a > b);
        let range = ordered(from, upper_bound(&self.upper));
        self.current = range.and_then(|range| self.map.range::<[u8], _>(range).next());
        self.current.is_some()
    }

    /// To the last key between the lower bound and `to`.
    fn last_to(&mut self, to: Bound<&[u8]>) -> bool {
        let to = tighter(to, upper_bound(&self.upper), |a, b| a < b);
        let range = ordered(Bound::Included(self.lower.as_slice()), to);
        self.current = range.and_then(|range| self.map.range::<[u8], _>(range).next_back());
        self.current.is_some()
    }
}

impl KvIterator for MemIter<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.first_from(Bound::Included(key)))
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.last_to(Bound::Included(key)))
    }

    fn seek_to_first(&mut self) -> Result<bool> {
        Ok(self.first_from(Bound::Unbounded))
    }

    fn seek_to_last(&mut self) -> Result<bool> {
        Ok(self.last_to(Bound::Unbounded))
    }

    fn next(&mut self) -> Result<bool> {
        Ok(match self.current {
            Some((key, _)) => self.first_from(Bound::Excluded(key)),
            None => false,
        })
    }

    fn prev(&mut self) -> Result<bool> {
        Ok(match self.current {
            Some((key, _)) => self.last_to(Bound::Excluded(key)),
            None => false,
        })
    }

    fn valid(&self) -> bool {
        self.current.is_some()
    }

    fn key(&self) -> &[u8] {
        self.current.expect("the iterator stands on no key").0
    }

    fn value(&self) -> &[u8] {
        self.current.expect("the iterator stands on no key").1
    }
}

fn upper_bound(upper: &[u8]) -> Bound<&[u8]> {
    if upper.is_empty() {
        Bound::Unbounded
    } else {
        Bound::Excluded(upper)
    }
}

/// The bounds as a range, or none if it would be inverted, which the map refuses with a panic.
fn ordered<'k>(from: Bound<&'k [u8]>, to: Bound<&'k [u8]>) -> Option<Range<'k>> {
    match (from, to) {
        (Bound::Included(a), Bound::Included(b)) if a > b => None,
        (Bound::Included(a), Bound::Excluded(b)) if a >= b => None,
        (Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) if a >= b => None,
        _ => Some((from, to)),
    }
}

fn range<'k>(start: &'k [u8], end: &'k [u8]) -> Option<Range<'k>> {
    ordered(Bound::Included(start), upper_bound(end))
}

/// The stricter of two bounds of the same side; `inside(a, b)` says whether `a` is strictly
/// stricter than `b`. At equal keys the excluding one is.
fn tighter<'k>(
    a: Bound<&'k [u8]>,
    b: Bound<&'k [u8]>,
    inside: fn(&[u8], &[u8]) -> bool,
) -> Bound<&'k [u8]> {
    match (a, b) {
        (Bound::Unbounded, other) | (other, Bound::Unbounded) => other,
        (Bound::Included(x) | Bound::Excluded(x), Bound::Included(y) | Bound::Excluded(y)) => {
            if inside(x, y) {
                a
            } else if inside(y, x) || matches!(b, Bound::Excluded(_)) {
                b
            } else {
                a
            }
        }
    }
}

/// A batch for a [`MemKv`].
#[derive(Clone, Debug, Default)]
pub struct MemBatch {
    operations: Vec<Operation>,
    size_bytes: usize,
}

impl MemBatch {
    fn push(&mut self, operation: Operation, bytes: usize) {
        self.operations.push(operation);
        self.size_bytes += bytes + OPERATION_OVERHEAD_BYTES;
    }
}

impl KvBatch for MemBatch {
    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        let put = Operation::Put(
            cf,
            Bytes::copy_from_slice(key),
            Bytes::copy_from_slice(value),
        );
        self.push(put, key.len() + value.len());
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        let delete = Operation::Delete(cf, Bytes::copy_from_slice(key));
        self.push(delete, key.len());
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        let (from, to) = (Bytes::copy_from_slice(start), Bytes::copy_from_slice(end));
        self.push(
            Operation::DeleteRange(cf, from, to),
            start.len() + end.len(),
        );
    }

    fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    fn clear(&mut self) {
        self.operations.clear();
        self.size_bytes = 0;
    }
}
