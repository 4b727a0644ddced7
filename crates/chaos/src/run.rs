//! A run: the cluster is started, the load begins, one fault comes after the other, and everything is judged.
//!
//! **What must hold.** Every key is linearizable, from its first operation to a read at the end, after all nodes
//! were killed and started once more. A node ends only when it is killed. Every Region is served again within the
//! patience: while a fault lasts, if it leaves a majority, and after the heal. Replicas are equal in the end.
//!
//! **Invariants.** A fault begins when all Regions are served and all nodes answer. Where a run does not end
//! well, its folder stays, with what the nodes said and the histories of the keys that are wrong.
//!
//! **Not here.** How a fault is done (`world`) and what clients do (`load`).

use crate::layout::{Key, NODES, SLOTS, slot_range};
use crate::load::{Load, number};
use crate::options::Options;
use crate::probe::Probes;
use crate::recorder::{Answer, Ask, Recorder};
use crate::report::{Outage, Report};
use crate::schedule::{Fault, Kind};
use crate::stubborn::{Habit, Stubborn};
use crate::timestamps::Askers;
use crate::verdict::{judge, keep};
use crate::world::World;
use crate::{Error, Result};
use client::{Client, Config};
use e2e::{TICK, own_client};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one attempt of a client takes: less than nodes are stopped for.
const ATTEMPT: Duration = Duration::from_millis(700);
const DEADLINE: Duration = Duration::from_secs(5);

/// Plays a run. Says each fault, with the times in which all Regions were served.
///
/// # Errors
/// The cluster could not be driven, a node ended by itself, or it was not served in time.
pub async fn run(options: &Options) -> Result<Report> {
    let mut world = World::start(options).await?;
    let recorder = Arc::new(Recorder::new());
    let mut outages = BTreeMap::new();
    let askers = Askers::start(world.client.cluster_id(), &world.cluster.endpoints());
    let played = play(&mut world, &recorder, &mut outages, options).await;
    let took = recorder.elapsed();
    let histories = recorder.histories();
    let mut wrong = Vec::new();
    for one in judge(&histories) {
        let path = keep(world.cluster.folder(), &one, &histories[&one.key])?;
        println!("WRONG: {one:?}, see {}", path.display());
        wrong.push((one, path));
    }
    let (timestamps, wrong_timestamp) = askers.seen();
    if played.is_err() || !wrong.is_empty() || wrong_timestamp.is_some() {
        world.cluster.keep_folder();
        println!(
            "the nodes' folders and output: {}",
            world.cluster.folder().display()
        );
    }
    played?;
    Ok(Report {
        seed: options.seed,
        engine: options.engine(),
        took,
        tally: recorder.tally(),
        keys: histories.len(),
        operations: histories.values().map(Vec::len).sum(),
        outages,
        wrong,
        timestamps,
        wrong_timestamp,
    })
}

type Outages = BTreeMap<Kind, Vec<Outage>>;

async fn play(
    world: &mut World,
    recorder: &Arc<Recorder>,
    outages: &mut Outages,
    options: &Options,
) -> Result<()> {
    let endpoints = world.cluster.endpoints();
    let probes = Probes::connect(&endpoints).await?;
    probes
        .until_served(Instant::now(), options.patience)
        .await?;
    let load = start_load(world, recorder, options).await?;
    let faults = &options.faults;
    for (number, fault) in (1..).zip(faults) {
        let outage = round(world, &probes, fault, options.patience, |what| {
            let (at, of) = (recorder.elapsed().as_secs_f64(), faults.len());
            println!("{at:>8.1} s  {number}/{of}  {what}");
        });
        let outage = outage
            .await
            .inspect_err(|_| println!("in fault {number}: {fault:?}"));
        outages.entry(fault.kind).or_default().push(outage?);
    }
    tokio::time::sleep(DEADLINE / 5).await;
    load.stop().await;
    world.restart_all()?;
    probes
        .until_served(Instant::now(), options.patience)
        .await?;
    world.until_answering().await?;
    read_all(world, recorder).await?;
    compare_replicas(world, options.patience).await
}

async fn start_load(
    world: &mut World,
    recorder: &Arc<Recorder>,
    options: &Options,
) -> Result<Load> {
    let config = Config {
        attempt_timeout: ATTEMPT,
        deadline: DEADLINE,
        resend_writes: false,
        ..Config::default()
    };
    let endpoints = world.cluster.endpoints();
    let mut guided = Vec::with_capacity(options.guided);
    while guided.len() < options.guided {
        guided.push(Client::connect(&endpoints, config.clone()).await?);
    }
    let stores = world.client.stores().await?;
    let mut stubborn = Vec::with_capacity(NODES * options.stubborn);
    for store in &stores {
        let node = world.cluster.node_at(&store.address).unwrap_or_default();
        for number in 0..options.stubborn {
            let habit = match number % 2 {
                0 => Habit::ReadsAndWrites,
                _ => Habit::OnlyReads,
            };
            let client = world.client.clone();
            stubborn.push(Stubborn::new(
                habit,
                (node, store.id),
                &endpoints[node],
                client,
            ));
        }
    }
    Ok(Load::start(recorder, guided, stubborn, options.seed))
}

/// One fault, from a while before it until all are served after it.
async fn round(
    world: &mut World,
    probes: &Probes,
    fault: &Fault,
    patience: Duration,
    say: impl Fn(&str),
) -> Result<Outage> {
    tokio::time::sleep(fault.wait).await;
    world.all_run()?;
    let (victim, leads) = world.victim(fault).await?;
    let began = Instant::now();
    world.begin(fault, victim);
    let during = match fault.must_serve() {
        true => Some(probes.until_served(began, patience).await?),
        false => None,
    };
    if fault.kind != Kind::KillAll {
        tokio::time::sleep_until((began + fault.hold).into()).await;
    }
    world.all_run()?;
    let healed = Instant::now();
    world.heal(fault, victim)?;
    let since = if fault.kind.kills() { began } else { healed };
    let served = probes.until_served(since, patience).await?;
    // Of one that was killed the others have taken over.
    let after = during.filter(|_| fault.kind.kills()).unwrap_or(served);
    world.until_answering().await?;
    let kind = fault.kind;
    let who = match kind {
        Kind::KillAll => String::new(),
        _ => format!(": n{}{leads}", victim + 1),
    };
    let how = match kind {
        _ if kind.kills() || matches!(kind, Kind::PauseLeader | Kind::PauseAny) => String::new(),
        Kind::SlowLeader => format!(", by {:?}", fault.delay),
        _ => format!(", {:?}", fault.style),
    };
    let meanwhile = during.map_or(String::new(), |during| format!("{during:.2?} and "));
    say(&format!(
        "{kind}{who}{how}: served after {meanwhile}{after:.2?}"
    ));
    Ok(Outage { during, after })
}

/// Reads all keys that were ever worked on, with a client that knows nothing of what was before.
async fn read_all(world: &World, recorder: &Recorder) -> Result<()> {
    let client = own_client(&world.cluster, Config::default()).await?;
    let histories = recorder.histories();
    for slot in 0..SLOTS {
        let range = slot_range(slot);
        let invoked = recorder.stamp();
        let pairs = client.scan(&range.start, &range.end, usize::MAX).await?;
        let found: BTreeMap<Key, u64> = pairs
            .iter()
            .filter_map(|(key, value)| Some((Key::parse(key)?, number(value))))
            .collect();
        for key in histories.keys().filter(|key| key.slot == slot) {
            let answer = Answer::Found(found.get(key).copied());
            recorder.note("the last reader", *key, Ask::Get, (invoked, answer));
        }
    }
    Ok(())
}

/// Has the replicas of each Region compared.
async fn compare_replicas(world: &World, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    for info in world.client.regions().await? {
        let region = info.region.id.get();
        loop {
            let arguments = ["region", "check-consistency", &region.to_string()];
            let (said, differ) = match world.cluster.ctl(&arguments) {
                Ok(table) if table.matches("agrees").count() == NODES => break,
                // A replica that is behind has not answered yet.
                Ok(table) => (table, false),
                Err(error) => {
                    let said = error.to_string();
                    // One that has not answered may still decide who is right.
                    let all_answered = said.contains("undecided") && !said.contains("no answer");
                    let differ = said.contains("quarantined") || all_answered;
                    (said, differ)
                }
            };
            if differ || Instant::now() > deadline {
                return Err(Error::Replicas { region, said });
            }
            tokio::time::sleep(TICK).await;
        }
    }
    Ok(())
}
