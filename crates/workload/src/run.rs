//! The run itself: a task for each client, a closed loop in each.
//!
//! **Invariants.** The measured window begins at one instant for all clients. An operation belongs to
//! it if it begins in it; it is waited for, however long it takes. Clients record into a few shared
//! histograms rather than one each: 256 of them would push the program under test out of the cache.
//!
//! **Not here.** Arithmetic on the results (`report`).

use crate::keys::{KeySource, ValueSource};
use crate::report::{Recorder, Report};
use crate::rng::Rng;
use crate::spec::{Spec, SpecError, Stop};
use crate::target::{Operation, Target};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Where a run stands, for an observer that samples something outside, such as processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The measured window begins now.
    MeasureBegins,
    /// The last measured operation has been answered.
    MeasureEnds,
}

const RECORDERS_MAX: usize = 16;
/// A client waits this long after an error, so that a dead target does not make it spin.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);

/// Runs a workload; client `i` uses target `i % targets.len()`.
pub async fn run<T: Target>(spec: &Spec, targets: &[Arc<T>]) -> Result<Report, SpecError> {
    run_observed(spec, targets, |_| ()).await
}

/// As [`run`], and tells `observe` when the measured window begins and ends.
pub async fn run_observed<T: Target>(
    spec: &Spec,
    targets: &[Arc<T>],
    mut observe: impl FnMut(Phase),
) -> Result<Report, SpecError> {
    spec.check()?;
    if targets.is_empty() {
        return Err(SpecError::NoTarget);
    }
    let preload_errors = if spec.preload {
        preload(spec, targets).await
    } else {
        0
    };
    let shared = Arc::new(Shared::new(spec));
    let mut clients = JoinSet::new();
    for number in 0..spec.clients {
        let target = Arc::clone(&targets[number % targets.len()]);
        clients.spawn(Client::new(number, &shared).run(target));
    }
    tokio::time::sleep_until(shared.begin).await;
    observe(Phase::MeasureBegins);
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client ends by itself and is never aborted");
    }
    observe(Phase::MeasureEnds);
    let elapsed = shared.begin.elapsed();
    let mut total = Recorder::new();
    for recorder in &shared.recorders {
        total.merge(&recorder.lock());
    }
    Ok(Report::new(spec.clone(), elapsed, preload_errors, &total))
}

/// What all clients of a run share.
struct Shared {
    spec: Spec,
    keys: KeySource,
    values: ValueSource,
    begin: Instant,
    /// Measured operations that have begun; meaningful with [`Stop::Count`].
    begun: AtomicU64,
    recorders: Vec<Mutex<Recorder>>,
}

impl Shared {
    fn new(spec: &Spec) -> Self {
        let recorders = spec.clients.min(RECORDERS_MAX);
        Self {
            keys: KeySource::new(spec),
            values: ValueSource::new(spec.seed, spec.value_size_bytes),
            recorders: (0..recorders)
                .map(|_| Mutex::new(Recorder::new()))
                .collect(),
            begin: Instant::now() + spec.warm_up,
            begun: AtomicU64::new(0),
            spec: spec.clone(),
        }
    }

    /// Whether an operation may begin at `now`, which is inside the measured window.
    fn admit(&self, now: Instant) -> bool {
        match self.spec.stop {
            Stop::After(duration) => now < self.begin + duration,
            Stop::Count(count) => self.begun.fetch_add(1, Ordering::Relaxed) < count,
        }
    }
}

struct Client {
    number: usize,
    rng: Rng,
    shared: Arc<Shared>,
}

impl Client {
    fn new(number: usize, shared: &Arc<Shared>) -> Self {
        let rng = Rng::new(shared.spec.seed, number as u64);
        Self {
            number,
            rng,
            shared: Arc::clone(shared),
        }
    }

    async fn run<T: Target>(mut self, target: Arc<T>) {
        loop {
            let started = Instant::now();
            let measured = started >= self.shared.begin;
            if measured && !self.shared.admit(started) {
                return;
            }
            let operation = self.shared.spec.mix.draw(&mut self.rng);
            let outcome = self.perform(&*target, operation).await;
            let failed = outcome.is_err();
            if measured {
                let recorder = &self.shared.recorders[self.number % self.shared.recorders.len()];
                recorder
                    .lock()
                    .record(operation, started.elapsed(), outcome);
            }
            if failed {
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }

    /// The number of pairs that were found, or the error's text.
    async fn perform<T: Target>(&mut self, to: &T, operation: Operation) -> Result<usize, String> {
        let shared = Arc::clone(&self.shared);
        let key = shared.keys.next(&mut self.rng);
        match operation {
            Operation::Put => {
                let value = shared.values.next(&mut self.rng);
                to.put(key, value).await.map(|()| 1).map_err(describe)
            }
            Operation::Get => to.get(key).await.map(usize::from).map_err(describe),
            Operation::Scan => to.scan(key, shared.spec.scan_limit).await.map_err(describe),
        }
    }
}

/// Puts every key once, each client a stride of them; returns how many could not be put.
async fn preload<T: Target>(spec: &Spec, targets: &[Arc<T>]) -> u64 {
    let keys = KeySource::new(spec);
    let values = ValueSource::new(spec.seed, spec.value_size_bytes);
    let mut clients = JoinSet::new();
    for number in 0..spec.clients as u64 {
        let target = Arc::clone(&targets[number as usize % targets.len()]);
        let (keys, values) = (keys.clone(), values.clone());
        let (last, stride) = (spec.keys, spec.clients);
        let mut rng = Rng::new(spec.seed, !number);
        clients.spawn(async move {
            let mut failed = 0;
            for index in (number..last).step_by(stride) {
                let put = target.put(keys.key(index), values.next(&mut rng)).await;
                failed += u64::from(put.is_err());
            }
            failed
        });
    }
    let mut failed = 0;
    while let Some(ended) = clients.join_next().await {
        failed += ended.expect("a client ends by itself and is never aborted");
    }
    failed
}

/// An error with its causes: the outermost message alone seldom says what happened.
fn describe(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Mix;
    use bytes::Bytes;
    use std::collections::BTreeMap;

    #[derive(Debug, thiserror::Error)]
    #[error("refused")]
    struct Refused(#[source] std::fmt::Error);

    /// Answers each operation after a fixed time, and fails every `failing`-th put.
    struct Fake {
        latency: Duration,
        failing: u64,
        puts: AtomicU64,
        data: Mutex<BTreeMap<Bytes, Bytes>>,
    }

    impl Fake {
        fn new(latency_ms: u64, failing: u64) -> Arc<Self> {
            let latency = Duration::from_millis(latency_ms);
            Arc::new(Self {
                latency,
                failing,
                puts: AtomicU64::new(0),
                data: Mutex::default(),
            })
        }
    }

    impl Target for Fake {
        type Error = Refused;

        async fn put(&self, key: Bytes, value: Bytes) -> Result<(), Refused> {
            tokio::time::sleep(self.latency).await;
            let number = self.puts.fetch_add(1, Ordering::Relaxed) + 1;
            if self.failing > 0 && number.is_multiple_of(self.failing) {
                return Err(Refused(std::fmt::Error));
            }
            self.data.lock().insert(key, value);
            Ok(())
        }

        async fn get(&self, key: Bytes) -> Result<bool, Refused> {
            tokio::time::sleep(self.latency).await;
            Ok(self.data.lock().contains_key(&key))
        }

        async fn scan(&self, start: Bytes, limit: u32) -> Result<usize, Refused> {
            tokio::time::sleep(self.latency).await;
            Ok(self.data.lock().range(start..).take(limit as usize).count())
        }
    }

    fn spec() -> Spec {
        Spec {
            clients: 4,
            keys: 1_000,
            warm_up: Duration::ZERO,
            ..Spec::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn throughput_and_latency_are_those_of_the_target() {
        let target = Fake::new(10, 0);
        let spec = Spec {
            stop: Stop::After(Duration::from_secs(1)),
            ..spec()
        };
        let report = run(&spec, &[Arc::clone(&target)]).await.unwrap();
        let put = report.operation(Operation::Put).unwrap();
        assert_eq!((put.count, put.errors), (400, 0));
        assert!(
            (399.0..401.0).contains(&put.throughput_per_s),
            "{}",
            put.throughput_per_s
        );
        assert!(
            (10_000..10_020).contains(&put.latency.p50_us),
            "{}",
            put.latency.p50_us
        );
        assert!(put.latency.max_us < 11_500);
    }

    #[tokio::test(start_paused = true)]
    async fn the_warm_up_is_run_but_not_counted() {
        let target = Fake::new(10, 0);
        let spec = Spec {
            warm_up: Duration::from_secs(1),
            stop: Stop::After(Duration::from_secs(1)),
            ..spec()
        };
        let mut phases = Vec::new();
        let began = Instant::now();
        let targets = [Arc::clone(&target)];
        let report = run_observed(&spec, &targets, |phase| {
            phases.push((phase, began.elapsed().as_secs()));
        });
        let report = report.await.unwrap();
        assert_eq!(phases, [(Phase::MeasureBegins, 1), (Phase::MeasureEnds, 2)]);
        assert!((392..=400).contains(&report.operation(Operation::Put).unwrap().count));
        assert!(target.puts.load(Ordering::Relaxed) >= 796);
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_is_met_exactly_and_errors_are_part_of_it() {
        let target = Fake::new(1, 10);
        let spec = Spec {
            stop: Stop::Count(1_000),
            ..spec()
        };
        let report = run(&spec, &[target]).await.unwrap();
        let put = report.operation(Operation::Put).unwrap();
        assert_eq!((put.count, put.errors), (900, 100));
        assert_eq!(
            report.error_samples,
            ["refused: an error occurred when formatting an argument"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_preload_every_get_finds_its_key_and_without_it_none_does() {
        let spec = Spec {
            mix: Mix::GET,
            stop: Stop::Count(500),
            ..spec()
        };
        let missed = run(&spec, &[Fake::new(1, 0)]).await.unwrap();
        assert_eq!(missed.operation(Operation::Get).unwrap().found, 0);
        let preloaded = Spec {
            preload: true,
            ..spec
        };
        let found = run(&preloaded, &[Fake::new(1, 0)]).await.unwrap();
        assert_eq!(found.operation(Operation::Get).unwrap().found, 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_preload_is_reported() {
        let spec = Spec {
            mix: Mix::GET,
            preload: true,
            stop: Stop::Count(5),
            ..spec()
        };
        let report = run(&spec, &[Fake::new(1, 4)]).await.unwrap();
        assert_eq!(report.preload_errors, 250);
    }

    #[tokio::test(start_paused = true)]
    async fn scans_count_the_pairs_that_they_read() {
        let spec = Spec {
            mix: Mix::SCAN,
            preload: true,
            keys: 1,
            scan_limit: 7,
            stop: Stop::Count(10),
            ..spec()
        };
        let report = run(&spec, &[Fake::new(1, 0)]).await.unwrap();
        assert_eq!(report.operation(Operation::Scan).unwrap().found, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_asks_for_the_same_keys() {
        let spec = Spec {
            clients: 1,
            stop: Stop::Count(200),
            ..spec()
        };
        let mut runs = Vec::new();
        for seed in [5, 5, 6] {
            let target = Fake::new(1, 0);
            run(
                &Spec {
                    seed,
                    ..spec.clone()
                },
                &[Arc::clone(&target)],
            )
            .await
            .unwrap();
            runs.push(target.data.lock().clone());
        }
        assert_eq!(runs[0], runs[1]);
        assert_ne!(runs[0], runs[2]);
    }

    #[tokio::test]
    async fn a_run_without_a_target_is_refused() {
        let refused = run::<Fake>(&Spec::default(), &[]).await.unwrap_err();
        assert_eq!(refused, SpecError::NoTarget);
    }
}
