//! Short tasks beside a loop of long ones: in this pool, and in a FIFO pool with as many threads.
//!
//! **What is measured.** Short tasks come one at a time, with pauses, and spin for 50 µs; how long is it from the
//! spawn to the end? Meanwhile there are always a few long tasks of 50 ms, or none. The FIFO pool comes in two
//! kinds: it runs each task to its end, or in slices of 1 ms with the unfinished at the tail of the one line.
//! Spinning needs processors: on a machine that does something else, the tail is the kernel's scheduler's.
//!
//! Criterion reports what it costs to run a task that does nothing. With `--table` only the table is made.

use criterion::Criterion;
use pool::{Abandoned, Config, Handle, Options, Progress, Slice, Task, TaskKey, ThreadPool};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const THREADS: usize = 4;
const SHORT: Duration = Duration::from_micros(50);
const LONG: Duration = Duration::from_millis(50);
const LONGS: usize = 8;
/// Between short tasks.
const PAUSE: Duration = Duration::from_millis(2);

/// Spins for so long, then says when it was done.
struct Spin {
    left: Duration,
    done: Sender<Instant>,
}

impl Spin {
    /// Spins for a few microseconds. True if nothing is left.
    fn unit(&mut self) -> bool {
        let begin = Instant::now();
        let unit = self.left.min(Duration::from_micros(5));
        while begin.elapsed() < unit {
            std::hint::spin_loop();
        }
        self.left -= unit;
        let is_done = self.left.is_zero();
        if is_done {
            // Nobody listens to the last long ones.
            let _ = self.done.send(Instant::now());
        }
        is_done
    }
}

impl Task for Spin {
    fn run(&mut self, slice: &Slice<'_>) -> Progress {
        loop {
            if self.unit() {
                return Progress::Done;
            }
            if slice.should_yield() {
                return Progress::Yielded;
            }
        }
    }

    fn abandon(&mut self, _: Abandoned) {}
}

/// Something that runs tasks on [`THREADS`] threads.
trait Rival {
    fn spawn(&self, key: u64, task: Spin);
}

struct Ours {
    handle: Handle<Spin>,
    _pool: ThreadPool<Spin>,
}

impl Ours {
    fn start() -> Self {
        let config = Config {
            threads: THREADS,
            ..Config::default()
        };
        let pool = ThreadPool::start("ours", Options::new(config)).expect("threads");
        Self {
            handle: pool.handle(),
            _pool: pool,
        }
    }
}

impl Rival for Ours {
    fn spawn(&self, key: u64, task: Spin) {
        let spawned = self.handle.spawn(TaskKey(key), 0, task);
        spawned.expect("it is not full");
    }
}

#[derive(Default)]
struct Line {
    tasks: Mutex<(VecDeque<Spin>, bool)>,
    wake: Condvar,
}

struct Fifo {
    line: Arc<Line>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Fifo {
    fn start(slice: Duration) -> Self {
        let line = Arc::new(Line::default());
        let worker = |line: Arc<Line>| move || work(&line, slice);
        let threads = (0..THREADS).map(|_| std::thread::spawn(worker(Arc::clone(&line))));
        Self {
            threads: threads.collect(),
            line: Arc::clone(&line),
        }
    }
}

fn work(line: &Line, slice: Duration) {
    let mut tasks = line.tasks.lock().unwrap();
    loop {
        if tasks.1 {
            return;
        }
        let Some(mut task) = tasks.0.pop_front() else {
            tasks = line.wake.wait(tasks).unwrap();
            continue;
        };
        drop(tasks);
        let begin = Instant::now();
        let mut is_done = task.unit();
        while !is_done && begin.elapsed() < slice {
            is_done = task.unit();
        }
        tasks = line.tasks.lock().unwrap();
        if !is_done {
            tasks.0.push_back(task);
        }
    }
}

impl Rival for Fifo {
    fn spawn(&self, _: u64, task: Spin) {
        self.line.tasks.lock().unwrap().0.push_back(task);
        self.line.wake.notify_one();
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        self.line.tasks.lock().unwrap().1 = true;
        self.line.wake.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Measured {
    p50_us: f64,
    p99_us: f64,
    longs_a_second: f64,
}

/// Latencies of short tasks, with or without long ones.
fn measure(rival: &dyn Rival, with_longs: bool) -> Measured {
    const TIME: Duration = Duration::from_secs(4);
    let keys = AtomicU64::new(0);
    let spawn = |left, done: &Sender<Instant>| {
        let key = keys.fetch_add(1, Ordering::Relaxed);
        let done = done.clone();
        rival.spawn(key, Spin { left, done });
    };
    let (long_done, long_dones) = channel();
    if with_longs {
        (0..LONGS).for_each(|_| spawn(LONG, &long_done));
    }
    let (short_done, short_dones) = channel();
    let (mut latencies, mut longs) = (Vec::new(), 0);
    let begin = Instant::now();
    while begin.elapsed() < TIME {
        std::thread::sleep(PAUSE);
        let spawned = Instant::now();
        spawn(SHORT, &short_done);
        let done = short_dones.recv().expect("it is done");
        latencies.push(done - spawned);
        for _ in long_dones.try_iter() {
            longs += 1;
            spawn(LONG, &long_done);
        }
    }
    latencies.sort_unstable();
    let at = |hundredth: usize| latencies[latencies.len() * hundredth / 100].as_secs_f64() * 1e6;
    Measured {
        p50_us: at(50),
        p99_us: at(99),
        longs_a_second: f64::from(longs) / begin.elapsed().as_secs_f64(),
    }
}

fn table() {
    println!("short tasks of 50 us with pauses of 2 ms; microseconds, median (99th percentile)");
    println!(
        "{:<14}{:>20}{:>24}{:>10}{:>14}",
        "pool", "alone", "beside 8 x 50 ms", "ratio", "long ones/s"
    );
    type Start = fn() -> Box<dyn Rival>;
    let rivals: [(&str, Start); 3] = [
        ("ours", || Box::new(Ours::start())),
        ("fifo, slices", || {
            Box::new(Fifo::start(Duration::from_millis(1)))
        }),
        ("fifo, whole", || Box::new(Fifo::start(Duration::MAX))),
    ];
    for (name, start) in rivals {
        let rival = start();
        let alone = measure(rival.as_ref(), false);
        let beside = measure(rival.as_ref(), true);
        println!(
            "{name:<14}{:>10.0} ({:>7.0}){:>14.0} ({:>7.0}){:>10.1}{:>14.1}",
            alone.p50_us,
            alone.p99_us,
            beside.p50_us,
            beside.p99_us,
            beside.p99_us / alone.p99_us,
            beside.longs_a_second,
        );
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--table") {
        return table();
    }
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let rivals: [(&str, Box<dyn Rival>); 2] = [
        ("ours", Box::new(Ours::start())),
        ("fifo", Box::new(Fifo::start(Duration::MAX))),
    ];
    for (name, rival) in &rivals {
        criterion.bench_function(&format!("thousand_empty_tasks/{name}"), |bencher| {
            bencher.iter(|| {
                let (done, dones) = channel();
                for key in 0..1_000 {
                    let done = done.clone();
                    let left = Duration::ZERO;
                    rival.spawn(key, Spin { left, done });
                }
                let done = (0..1_000).filter(|_| dones.recv().is_ok());
                assert_eq!(done.count(), 1_000);
            });
        });
    }
    criterion.final_summary();
    table();
}
