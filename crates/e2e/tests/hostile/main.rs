//! Clients that mean harm: they cost the node no more memory than its limit says, and a good client beside
//! them goes on.
//!
//! **What is asserted** holds on a machine that is busy with other things: memory stays within the limit and a tenth
//! more, no operation of a good client fails or takes longer than [`LONGEST`], the node lives, and once an attack
//! is over a good client works as before. The figures themselves are printed; with `HOSTILE_FACTOR=2` a good
//! client's p99 beside an attack has to be within that factor of what it is without one, on a quiet machine where Linux
//! does not group tasks (`kernel.sched_autogroup_enabled=0`): all that is started from one terminal is one for it otherwise,
//! and the threads of the kernel that say what a disk has done wait for the next tick behind any of these, whatever way they give.
//!
//! **Attackers give way,** and good clients do not. They all share processors with the node here, which they would not
//! elsewhere: the attackers' thread is one that the scheduler prefers all others to, and a good client's does not wait
//! for others to use up their turn.

mod attacks;
mod frames;
mod give_way;
mod good;

use attacks::{EACH_ATTACK, Victim};
use bytes::Bytes;
use client::{Client, Config};
use e2e::{Cluster, Options, SERVES_WITHIN, leader_context, own_client};
use good::{Fared, GoodClient};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const LIMIT_MIB: u64 = 1_024;
const SETTINGS: &str = "memory-usage-limit = \"1GiB\"";
/// No operation of a good client takes longer, whatever others do.
const LONGEST: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_secs(5);
const VALUE_BYTES: usize = 16 << 10;
const VALUES: usize = 4_096;

/// Watches how much memory a process has.
struct Memory {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    pid: u32,
}

impl Memory {
    fn watch(pid: u32) -> Self {
        let (peak, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, until) = (peak.clone(), stop.clone());
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                seen.fetch_max(resident_bytes(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { peak, stop, pid }
    }

    fn peak_since_last(&self) -> u64 {
        self.peak.swap(resident_bytes(self.pid), Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn resident_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Where attackers run.
struct Attackers(Option<Runtime>);

impl Attackers {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(give_way::prefer_others)
            .enable_all()
            .build();
        Self(Some(runtime.expect("there is a thread for attackers")))
    }

    /// Runs so many at once.
    async fn all<F>(&self, count: usize, attack: impl Fn() -> F) -> Vec<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let runtime = self.0.as_ref().expect("it is there until it is dropped");
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            tasks.spawn_on(give_way::at_each_step(attack()), runtime.handle());
        }
        tasks.join_all().await
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where good clients run: with one task there is no use for a second thread, and what one hands to the other would
/// wait for a processor.
fn undisturbed() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1);
    runtime.on_thread_start(ask_for_short_turns).enable_all();
    runtime.build().expect("there are threads for good clients")
}

fn ask_for_short_turns() {
    let wanted = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 100_000,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the structure has the size that it says, and is only read; it changes nothing but when the thread runs.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &wanted, 0) };
}

async fn fill(client: &Client) {
    for first in (0..VALUES).step_by(64) {
        let pair = |number| {
            let value = Bytes::from(vec![number as u8; VALUE_BYTES]);
            (Bytes::from(attacks::bulk_key(number)), value)
        };
        let pairs: Vec<_> = (first..first + 64).map(pair).collect();
        client.batch_put(&pairs).await.unwrap();
    }
}

/// One good client after the other, and what is demanded of how they fare.
struct Judge {
    client: Client,
    memory: Memory,
    quiet: Fared,
    /// By how much p99 may grow, if that is to be looked at.
    factor: Option<u32>,
}

impl Judge {
    fn beside(&self) -> GoodClient {
        GoodClient::start(self.client.clone())
    }

    fn judge(&self, attack: &str, done: u64, fared: &Fared) {
        let bytes = self.memory.peak_since_last();
        println!(
            "{attack}: {done} of them; good client: {fared}; {} MiB",
            bytes >> 20
        );
        assert!(
            bytes >> 20 <= LIMIT_MIB * 11 / 10,
            "{attack}: {} MiB",
            bytes >> 20
        );
        assert_eq!(fared.failed, 0, "{attack}");
        assert!(fared.quantile(100) < LONGEST, "{attack}: {fared}");
        if let Some(factor) = self.factor {
            let bound = factor * self.quiet.quantile(99);
            assert!(fared.quantile(99) <= bound, "{attack}: {fared}");
        }
    }
}

#[test]
fn hostile_clients_cost_a_bounded_amount_of_memory_and_hold_no_good_one_up() {
    undisturbed().block_on(hostile_clients());
}

async fn hostile_clients() {
    let options = Options {
        extra: SETTINGS.to_owned(),
        ..Options::default()
    };
    let mut cluster = Cluster::start(1, options).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    fill(&client).await;
    let (_, context) = leader_context(&cluster, &client, b"bulk/").await.unwrap();
    let address = cluster.endpoints()[0].clone();
    let victim = Victim { address, context };
    let memory = Memory::watch(cluster.node(0).unwrap().pid());
    let quiet = GoodClient::start(client.clone());
    tokio::time::sleep(QUIET).await;
    let quiet = quiet.stop().await;
    println!("quiet: {quiet}; {} MiB", memory.peak_since_last() >> 20);
    let factor = std::env::var("HOSTILE_FACTOR").ok();
    let judge = Judge {
        factor: factor.map(|factor| factor.parse().expect("a whole number")),
        client: client.clone(),
        memory,
        quiet,
    };
    let attackers = Attackers::new();
    attack_for_a_while(&attackers, &victim, &judge).await;
    attack_by_holding_on(&attackers, &victim, &judge).await;

    // What was under way is given up first.
    let until = Instant::now() + SERVES_WITHIN;
    while client.put(b"good/after", Bytes::new()).await.is_err() {
        assert!(Instant::now() < until, "it does not recover");
    }
    let after = judge.beside();
    tokio::time::sleep(QUIET).await;
    judge.judge("afterwards", 0, &after.stop().await);
    let node = cluster.node(0).unwrap();
    assert!(node.ended().is_none());
    assert!(!node.output().contains("panicked"), "{}", node.output());
}

async fn attack_for_a_while(attackers: &Attackers, victim: &Victim, judge: &Judge) {
    let beside = judge.beside();
    let done = attackers
        .all(4, || attacks::oversized(victim.clone()))
        .await;
    judge.judge(
        "oversized requests",
        done.iter().sum(),
        &beside.stop().await,
    );

    let beside = judge.beside();
    let done = attackers
        .all(16, || attacks::scan_bomb(victim.clone()))
        .await;
    judge.judge("scan bombs", done.iter().sum(), &beside.stop().await);

    let beside = judge.beside();
    let done = attackers
        .all(4, || attacks::rapid_resets(victim.clone()))
        .await;
    judge.judge("rapid resets", done.iter().sum(), &beside.stop().await);

    let beside = judge.beside();
    let done = attackers
        .all(4, || attacks::late_resets(victim.clone()))
        .await;
    judge.judge("late resets", done.iter().sum(), &beside.stop().await);
}

async fn attack_by_holding_on(attackers: &Attackers, victim: &Victim, judge: &Judge) {
    let beside = judge.beside();
    let held = attacks::connections(&victim.address);
    tokio::time::sleep(EACH_ATTACK).await;
    judge.judge("idle connections", held.len() as u64, &beside.stop().await);
    drop(held);

    let beside = judge.beside();
    let store = victim.store();
    let held = attackers
        .all(500, || attacks::silent_stream(store.clone()))
        .await;
    let half = attackers
        .all(100, || attacks::half_said(victim.clone()))
        .await;
    tokio::time::sleep(EACH_ATTACK).await;
    let open = held.iter().flatten().count() + half.iter().flatten().count();
    judge.judge("half-open streams", open as u64, &beside.stop().await);
    drop((held, half));

    let beside = judge.beside();
    let scans = attackers
        .all(32, || attacks::unread_scan(victim.clone()))
        .await;
    tokio::time::sleep(EACH_ATTACK).await;
    let open = scans.iter().flatten().count();
    judge.judge("scans that nobody reads", open as u64, &beside.stop().await);

    // The scans are still held.
    let flood = attacks::flood(victim);
    let beside = judge.beside();
    let batches = attackers
        .all(32, || {
            attacks::unread_batches(victim.clone(), flood.clone())
        })
        .await;
    tokio::time::sleep(EACH_ATTACK).await;
    let open = batches.iter().flatten().count();
    judge.judge(
        "commands that nobody reads",
        open as u64,
        &beside.stop().await,
    );
    drop((scans, batches));
}
