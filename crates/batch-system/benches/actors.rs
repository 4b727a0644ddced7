//! Workloads on our batch system beside a tokio task for each actor and a thread for each actor.
//!
//! `spawn_many`, `imbalance` and `fairness` are the shapes that TiKV measures its batch system with.
//! Criterion reports each; then a table compares them in turns within this run, which is what the ratios
//! in the documentation are taken from. With `--table` in the arguments, only the table is made.

mod rivals;

use criterion::Criterion;
use rivals::{Actors, Latch, Msg, Ours, Threads, ThreadsBounded, Tokio, TokioBounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A runtime that is up, ready for one iteration after another.
type Iteration = Box<dyn FnMut()>;

/// Many FSMs with much to do; message i costs i steps unless `idle`.
fn spawn_many<A: Actors + 'static>(steps: bool) -> Iteration {
    let actors = A::start(32);
    Box::new(move || {
        let latch = Latch::new(32);
        for address in 0..32 {
            for i in 0..256 {
                actors.send(address, Msg::Loop(if steps { i } else { 0 }));
            }
            actors.send(address, Msg::Done(Arc::clone(&latch)));
        }
        latch.wait();
    })
}

/// Ten FSMs of which two are hot.
fn imbalance<A: Actors + 'static>() -> Iteration {
    let actors = A::start(10);
    Box::new(move || {
        let latch = Latch::new(2);
        for address in 0..2 {
            for i in 0..512 {
                actors.send(address, Msg::Loop(i));
            }
            actors.send(address, Msg::Done(Arc::clone(&latch)));
        }
        latch.wait();
    })
}

/// Four FSMs are kept saturated; how long do two quick ones wait?
struct Saturated<A> {
    actors: Arc<A>,
    running: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl<A: Actors + Send + 'static> Saturated<A> {
    fn start() -> Self {
        let actors = Arc::new(A::start(6));
        let running = Arc::new(AtomicBool::new(true));
        let (to, go_on) = (Arc::clone(&actors), Arc::clone(&running));
        let thread = std::thread::spawn(move || {
            while go_on.load(Ordering::Relaxed) {
                for address in 0..4 {
                    to.send(address, Msg::Loop(16));
                }
            }
        });
        Self {
            actors,
            running,
            thread: Some(thread),
        }
    }

    fn iterate(&self) {
        let latch = Latch::new(2);
        for address in 4..6 {
            for _ in 0..10 {
                self.actors.send(address, Msg::Loop(10));
            }
            self.actors.send(address, Msg::Done(Arc::clone(&latch)));
        }
        latch.wait();
    }
}

impl<A> Drop for Saturated<A> {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn fairness<A: Actors + Send + 'static>() -> Iteration {
    let saturated = Saturated::<A>::start();
    Box::new(move || saturated.iterate())
}

/// Two FSMs send one message to and fro, 500 times.
fn ping_pong<A: Actors + 'static>() -> Iteration {
    let actors = A::start(2);
    Box::new(move || {
        let done = Latch::new(1);
        actors.send(
            0,
            Msg::Ping {
                other: 1,
                own: 0,
                left: 1_000,
                done: Arc::clone(&done),
            },
        );
        done.wait();
    })
}

/// A thread outside asks an FSM of a system at rest, and waits for the answer.
fn ask<A: Actors + 'static>() -> Iteration {
    let actors = A::start(2);
    Box::new(move || {
        let done = Latch::new(1);
        actors.send(0, Msg::Done(Arc::clone(&done)));
        done.wait();
    })
}

/// Starts a runtime under a workload.
type Start = fn() -> Iteration;

struct Workload {
    name: &'static str,
    /// Ours, tokio, threads.
    rivals: [(&'static str, Start); 3],
    /// Measure one rival at a time: a saturated one would disturb the others.
    alone: bool,
}

fn workloads() -> Vec<Workload> {
    let all = |ours: Start, tokio: Start, threads: Start| {
        [
            (Ours::NAME, ours),
            (Tokio::NAME, tokio),
            (Threads::NAME, threads),
        ]
    };
    let calm = |name, rivals| Workload {
        name,
        rivals,
        alone: false,
    };
    vec![
        calm(
            "spawn_many",
            all(
                || spawn_many::<Ours>(true),
                || spawn_many::<Tokio>(true),
                || spawn_many::<Threads>(true),
            ),
        ),
        calm(
            "spawn_many_no_work",
            all(
                || spawn_many::<Ours>(false),
                || spawn_many::<Tokio>(false),
                || spawn_many::<Threads>(false),
            ),
        ),
        calm(
            "imbalance",
            all(imbalance::<Ours>, imbalance::<Tokio>, imbalance::<Threads>),
        ),
        calm(
            "ping_pong",
            all(ping_pong::<Ours>, ping_pong::<Tokio>, ping_pong::<Threads>),
        ),
        calm("ask", all(ask::<Ours>, ask::<Tokio>, ask::<Threads>)),
        Workload {
            name: "fairness",
            rivals: all(
                fairness::<Ours>,
                fairness::<TokioBounded>,
                fairness::<ThreadsBounded>,
            ),
            alone: true,
        },
    ]
}

fn report(criterion: &mut Criterion, workload: &Workload) {
    let mut group = criterion.benchmark_group(workload.name);
    for (name, start) in workload.rivals {
        let mut iterate = start();
        group.bench_function(name, |bencher| bencher.iter(&mut iterate));
    }
    group.finish();
}

/// Iterations of each rival, measured in turns so that a disturbance of the machine hits all alike.
fn compare(workload: &Workload) -> [Compared; 3] {
    const TURNS: usize = 41;
    const TURN: Duration = Duration::from_millis(40);
    /// In which queues that are to be saturated fill up.
    const FILLS: Duration = Duration::from_millis(250);
    let mut times = [const { Vec::new() }; 3];
    let (mut wall, mut busy) = ([Duration::ZERO; 3], [Duration::ZERO; 3]);
    let mut up: Vec<Option<Iteration>> = workload.rivals.iter().map(|_| None).collect();
    for _ in 0..TURNS {
        for (rival, (_, start)) in workload.rivals.iter().enumerate() {
            let iterate = up[rival].get_or_insert_with(start);
            let warm_up = Instant::now();
            iterate();
            while workload.alone && warm_up.elapsed() < FILLS {
                iterate();
            }
            let (turn, cpu) = (Instant::now(), cpu_time());
            while turn.elapsed() < TURN {
                let began = Instant::now();
                iterate();
                times[rival].push(began.elapsed());
            }
            wall[rival] += turn.elapsed();
            busy[rival] += cpu_time() - cpu;
            if workload.alone {
                up[rival] = None;
            }
        }
    }
    std::array::from_fn(|rival| {
        let times = &mut times[rival];
        times.sort_unstable();
        let at = |hundredth: usize| times[times.len() * hundredth / 100].as_secs_f64() * 1e6;
        Compared {
            median_us: at(50),
            p99_us: at(99),
            cores: busy[rival].as_secs_f64() / wall[rival].as_secs_f64(),
        }
    })
}

/// One rival under one workload: times of one iteration.
struct Compared {
    median_us: f64,
    p99_us: f64,
    /// Processor time of the whole process for each second that passed.
    cores: f64,
}

/// Processor time that this process has used, in the kernel's ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |field: usize| {
        fields
            .get(field)
            .and_then(|ticks| ticks.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// Prints median and 99th percentile of each rival, ours divided by the others', and the cores in use.
fn table(filter: Option<&str>) {
    println!(
        "\nmicroseconds an iteration, median (99th percentile); ours / other of both; cores in use"
    );
    println!(
        "{:<20}{:>20}{:>20}{:>20}{:>14}{:>14}  cores",
        "workload", "batch-system", "tokio", "threads", "/tokio", "/threads"
    );
    for workload in workloads() {
        if filter.is_some_and(|filter| !workload.name.contains(filter)) {
            continue;
        }
        let all = compare(&workload);
        let [ours, tokio, threads] = &all;
        print!("{:<20}", workload.name);
        for one in &all {
            print!("{:>10.1} ({:>7.0})", one.median_us, one.p99_us);
        }
        for other in [tokio, threads] {
            let (median, p99) = (ours.median_us / other.median_us, ours.p99_us / other.p99_us);
            print!("{median:>7.2} ({p99:.2})");
        }
        println!(
            "  {:.2} {:.2} {:.2}",
            ours.cores, tokio.cores, threads.cores
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(position) = arguments.iter().position(|argument| argument == "--table") {
        table(
            arguments
                .get(position + 1)
                .map(String::as_str)
                .filter(|filter| !filter.starts_with('-')),
        );
        return;
    }
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for workload in workloads() {
        report(&mut criterion, &workload);
    }
    criterion.final_summary();
    table(None);
}
