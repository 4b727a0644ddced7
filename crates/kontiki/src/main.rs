//! Kontiki's only program: a node, a playground, a control tool, a load generator and the simulation.
//!
//! **Why one binary.** There is nothing to match versions of: the tool that loads the data is the one
//! that serves it.
//!
//! **Invariants.** A command returns a typed error; only here it becomes a message and an exit code: 0
//! when all was done, 1 when not, 2 when the command line or the configuration has to be changed.
//!
//! **Not here.** Anything that a library crate below could decide.

mod bench;
mod cli;
mod cluster;
mod config;
mod ctl;
mod docs;
mod error;
mod logging;
mod panic_mark;
mod run;
mod simulation;

use clap::Parser;
use cli::{Cli, Command};
use error::{Error, Result};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is freed goes back to the system after a second, and not after ten: large answers come and go, and
/// memory that is kept for the next one counts as used. A thread of the allocator's sees to that also where nobody asks for memory
/// any more. And it is able to tell where memory went, and does not look before it is told to (`run::heap`).
// SAFETY: the name is the allocator's own for this, and it reads a text that ends with a zero.
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8; 89] =
    b"dirty_decay_ms:1000,background_thread:true,prof:true,prof_active:false,lg_prof_sample:19\0";

/// After so many turns of tasks a thread looks whether sockets have something to say. By default it is 61: where each
/// task uses its turn up, a request would lie in its socket for as long as all of these take.
const TURNS_BETWEEN_LOOKS: u32 = 8;

fn main() -> ExitCode {
    match perform(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kontiki: {}", error.in_full());
            error.exit_code()
        }
    }
}

/// One less than there are processors, so that what has come from clients does not occupy all of them: what Raft does
/// for a write takes microseconds, and would wait for the kernel's next tick.
fn threads_for_connections() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.saturating_sub(1).max(1)
}

fn perform(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads_for_connections())
        .event_interval(TURNS_BETWEEN_LOOKS)
        .on_thread_start(node::ask_for_short_turns)
        .on_thread_unpark(node::begin_work)
        .enable_all()
        .build()
        .map_err(Error::io("starting threads"))?;
    let result = match command {
        Command::Ctl(args) => runtime.block_on(ctl::run(args)),
        Command::Bench(args) => runtime.block_on(bench::run(args)),
        Command::Sim(args) => simulation::run(&args),
        Command::Server(args) => runtime.block_on(run::server(args)),
        Command::Playground(args) => runtime.block_on(run::playground(args)),
        Command::Config(command) => docs::config(command),
        Command::Metrics(command) => docs::metrics(command),
        Command::Failpoints(command) => docs::failpoints(command),
    };
    // What still blocks a thread was given up, such as a start that took too long to be stopped.
    runtime.shutdown_background();
    result
}
