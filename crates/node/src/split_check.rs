//! The thread that looks after Regions which have grown: it measures them, and has them cut.
//!
//! **Cost.** A Region is passed over key by key only when the engine's estimate, or what was counted,
//! says that it may be too large, or when much was deleted from it; otherwise it costs one look at a list
//! of files.
//!
//! **Invariants.** Only what is led here is cut. A split that comes to nothing is tried again when the
//! Region has grown once more.
//!
//! **Not here.** Where the cuts lie (`raftstore::op::measure`), and doing it ([`NodeHandle::split`]).

use crate::growth::Growth;
use crate::handle::NodeHandle;
use crate::threads::{begin_work, give_way, rest_if_due};
use engine::{Cf, KvEngine, KvIterator, KvSnapshot};
use raftstore::RequestContext;
use raftstore::op::measure::{Measure, Measured, Size, SplitLimits};
use std::thread::JoinHandle;
use std::time::Duration;
use types::{Region, RegionId, Space};

/// When Regions are looked at, and how large they may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitOptions {
    /// How large.
    pub limits: SplitLimits,
    /// How much a Region grows before it is looked at.
    pub step: Size,
    /// How often.
    pub interval: Duration,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self::new(SplitLimits::default(), Duration::from_secs(10))
    }
}

impl SplitOptions {
    /// The step is a sixteenth of the size of a part, as in TiKV.
    pub fn new(limits: SplitLimits, interval: Duration) -> Self {
        let step = Size {
            bytes: (limits.split_bytes / 16).max(1),
            keys: (limits.split_keys / 16).max(1),
        };
        Self {
            limits,
            step,
            interval,
        }
    }
}

/// The running thread.
pub(crate) struct SplitChecker {
    thread: JoinHandle<()>,
    growth: Growth,
}

impl SplitChecker {
    pub(crate) fn start<K: KvEngine>(
        handle: NodeHandle<K>,
        growth: Growth,
        runtime: tokio::runtime::Handle,
    ) -> std::io::Result<Self> {
        let checked = growth.clone();
        let thread = std::thread::Builder::new()
            .name("split-check".to_owned())
            .spawn(move || {
                give_way();
                while let Some(grown) = checked.wait() {
                    begin_work();
                    for region in grown.into_keys() {
                        look_after(&handle, &checked, &checked.limits(), region, &runtime);
                    }
                }
            })?;
        Ok(Self { thread, growth })
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        self.growth.stop();
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn look_after<K: KvEngine>(
    handle: &NodeHandle<K>,
    growth: &Growth,
    limits: &SplitLimits,
    region_id: RegionId,
    runtime: &tokio::runtime::Handle,
) {
    if region_id == RegionId::PLACEMENT || handle.check_leads(region_id).is_err() {
        return;
    }
    let region = match handle.shape(region_id) {
        Ok(region) => region,
        Err(_) => return growth.forget(region_id),
    };
    match measure(handle.engine(), growth, limits, &region) {
        Ok(Some(cuts)) => {
            let (handle, growth) = (handle.clone(), growth.clone());
            runtime.spawn(async move { cut(&handle, &growth, &region, cuts, "size").await });
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(region = %region_id, %error, "can't measure a Region"),
    }
}

/// Finds out how large the Region is, and where to cut it, if it is to be.
fn measure<K: KvEngine>(
    engine: &K,
    growth: &Growth,
    limits: &SplitLimits,
    region: &Region,
) -> engine::Result<Option<Vec<Vec<u8>>>> {
    let space = Space::of(region.id);
    let (start, end) = (
        space.key(&region.range.start),
        space.end_key(&region.range.end),
    );
    let known = growth.size_of(region.id);
    let mut estimate = known.unwrap_or_default();
    let mut bytes = 0;
    for cf in [Cf::Default, Cf::Lock, Cf::Write] {
        bytes += engine.approximate_size(cf, &start, &end)?;
    }
    estimate.bytes = estimate.bytes.max(bytes);
    // What was cut off lately may be in no table yet, and who seems small is merged.
    let seems_small = known.is_none() && estimate.bytes < limits.split_bytes / 2;
    let is_counted = growth.take_doubt(region.id) || seems_small;
    if !is_counted && !limits.are_exceeded_by(estimate) {
        growth.set_size(region.id, estimate);
        return Ok(None);
    }
    let Measured { size, cuts } = pass_over(engine, limits, space, (&start, &end))?;
    growth.set_size(region.id, size);
    Ok((!cuts.is_empty()).then_some(cuts))
}

fn pass_over<K: KvEngine>(
    engine: &K,
    limits: &SplitLimits,
    space: Space,
    (start, end): (&[u8], &[u8]),
) -> engine::Result<Measured> {
    let mut measure = Measure::new(*limits);
    let snapshot = engine.snapshot();
    let mut iter = snapshot.iter(Cf::Default, start, end)?;
    let mut valid = iter.seek_to_first()?;
    while valid {
        let key = space.strip(iter.key()).expect("it lies in the space");
        measure.see(key, (key.len() + iter.value().len()) as u64);
        rest_if_due();
        valid = iter.next()?;
    }
    Ok(measure.finish())
}

/// A key that halves the Region by bytes; none if it has only one.
pub(crate) fn middle<K: KvEngine>(engine: &K, region: &Region) -> engine::Result<Option<Vec<u8>>> {
    let space = Space::of(region.id);
    let (start, end) = (
        space.key(&region.range.start),
        space.end_key(&region.range.end),
    );
    let all = SplitLimits {
        split_bytes: u64::MAX,
        split_keys: u64::MAX,
        ..SplitLimits::default()
    };
    let whole = pass_over(engine, &all, space, (&start, &end))?.size;
    let half = SplitLimits {
        split_bytes: whole.bytes.div_ceil(2),
        max_bytes: 0,
        split_keys: u64::MAX,
        max_keys: u64::MAX,
        cuts_max: 1,
    };
    Ok(pass_over(engine, &half, space, (&start, &end))?.cuts.pop())
}

/// Has a Region cut, because of its `reason`.
pub(crate) async fn cut<K: KvEngine>(
    handle: &NodeHandle<K>,
    growth: &Growth,
    region: &Region,
    cuts: Vec<Vec<u8>>,
    reason: &'static str,
) {
    let context = RequestContext {
        region_id: region.id,
        epoch: region.epoch,
        ..RequestContext::default()
    };
    let count = cuts.len();
    match handle.split(context, cuts).await {
        Ok(parts) => {
            growth.forget(region.id);
            // What is left may still be too large, if there were many cuts.
            growth.size_of(region.id);
            tracing::info!(region = %region.id, parts = parts.len(), reason, "split a Region");
        }
        Err(error) => {
            tracing::info!(
                region = %region.id, cuts = count, reason, %error, "a split came to nothing"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::mem::Disk;
    use engine::{Durability, KvBatch};

    #[test]
    fn a_region_is_measured_within_its_bounds_and_cut_by_client_keys() {
        let engine = Disk::new().open_kv("kv").unwrap();
        let mut batch = engine.batch();
        for key in 0..100u8 {
            batch.put(Cf::Default, &[b'z', key], &[0; 98]);
        }
        engine.write(&mut batch, Durability::Buffered).unwrap();
        let region = Region {
            id: RegionId::FIRST_DATA,
            range: types::KeyRange {
                start: vec![10],
                end: vec![60],
            },
            ..Region::default()
        };
        let growth = Growth::default();
        let limits = SplitLimits {
            split_bytes: 2_000,
            max_bytes: 3_000,
            ..SplitLimits::default()
        };
        // Nothing is known, and memory has no files to estimate by.
        let cuts = measure(&engine, &growth, &limits, &region).unwrap();
        let size = growth.size_of(region.id).unwrap();
        assert_eq!((size.keys, size.bytes), (50, 50 * 99));
        let step = 2_000u64.div_ceil(99) as u8;
        assert_eq!(cuts, Some(vec![vec![10 + step]]));
        assert_eq!(middle(&engine, &region).unwrap(), Some(vec![35]));
    }

    #[test]
    fn a_region_that_has_shrunk_is_counted_anew() {
        let engine = Disk::new().open_kv("kv").unwrap();
        let mut batch = engine.batch();
        batch.put(Cf::Default, b"zk", &[0; 98]);
        engine.write(&mut batch, Durability::Buffered).unwrap();
        let region = Region {
            id: RegionId::FIRST_DATA,
            ..Region::default()
        };
        let growth = Growth::default();
        let before = Size {
            bytes: 10_000,
            keys: 100,
        };
        growth.set_size(region.id, before);
        let limits = SplitLimits::default();
        measure(&engine, &growth, &limits, &region).unwrap();
        assert_eq!(growth.size_of(region.id), Some(before));
        growth.doubt(region.id);
        measure(&engine, &growth, &limits, &region).unwrap();
        assert_eq!(growth.size_of(region.id), Some(Size { bytes: 99, keys: 1 }));
    }
}
