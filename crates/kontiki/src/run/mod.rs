//! `kontiki server` and `kontiki playground`: nodes from their start to their end; and the folder of one that is
//! stopped.
//!
//! **Not here.** What a node does in between.

mod data_dir;
mod engines;
mod heap;
mod memory;
mod node;
mod online;
mod playground;
mod ports;
mod settings;
mod signal;
mod stages;
mod stopped;
mod usage;

pub use engines::Logs;
pub use playground::playground;
pub use stopped::Stopped;

use crate::cli::ServerArgs;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::logging;
use online::{Online, Reload};
use ports::{Flags, Ports};
use signal::StopRequest;
use tokio::signal::unix::SignalKind;

const FLAGS: Flags = ["--addr", "--status-addr"];

/// Runs one node until it is told to stop.
pub async fn server(args: ServerArgs) -> Result<()> {
    let config = config::load(args.config.as_deref(), std::env::vars_os(), args.leaves())?;
    let (file, flags) = (args.config.clone(), args.leaves());
    let reload: Reload =
        Box::new(move || config::load(file.as_deref(), std::env::vars_os(), flags.clone()));
    if args.check_config {
        eprintln!("the configuration is fine");
        return Ok(());
    }
    let _logging = logging::start(&config).map_err(Error::io("opening the log file"))?;
    set_failpoints()?;
    let signals = [
        ("SIGINT", SignalKind::interrupt()),
        ("SIGTERM", SignalKind::terminate()),
    ];
    let stop = StopRequest::on_signals(&signals, || ())?;
    let ended = serve(config, reload, stop).await;
    ended.inspect_err(|error| tracing::error!("{}", error.in_full()))
}

/// Sets what the environment asks for; without failpoints in the program that is a mistake.
fn set_failpoints() -> Result<()> {
    if failpoint::control().is_some() {
        tracing::warn!("failpoints are built in: this program is for tests");
    }
    let set = failpoint::set_from_environment();
    set.map_err(|refused| Error::Usage(refused.to_string()))
}

async fn serve(config: Config, reload: Reload, stop: StopRequest) -> Result<()> {
    let ports = Ports::bind(&config, FLAGS).await?;
    let online = Online::new(&config).reloading(reload);
    node::run(config, online, ports, stop).await
}
