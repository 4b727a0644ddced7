//! `kontiki server` and `kontiki playground`: nodes from their start to their end.
//!
//! **Not here.** What a node does in between.

mod data_dir;
mod engines;
mod node;
mod playground;
mod settings;
mod signal;
mod usage;

pub use playground::playground;

use crate::cli::ServerArgs;
use crate::config;
use crate::error::{Error, Result};
use crate::logging;
use signal::StopSignal;

/// Runs one node until it is told to stop.
pub async fn server(args: ServerArgs) -> Result<()> {
    let config = config::load(args.config.as_deref(), args.leaves())?;
    logging::start(&config).map_err(Error::io("opening the log file"))?;
    let stop = StopSignal::listen()?;
    let address = config.server.addr.as_str();
    let dialled = config.dialled_address();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address,
        dialled,
        "starting"
    );
    let running = start(&config).await;
    let running = running.inspect_err(|error| tracing::error!("{}", error.in_full()))?;
    tracing::info!(address, "serving");
    let signal = stop.wait().await;
    tracing::info!(signal, "stopping");
    let stopped = running.stop().await;
    stopped.inspect_err(|error| tracing::error!("{}", error.in_full()))?;
    tracing::info!("stopped");
    Ok(())
}

async fn start(config: &config::Config) -> Result<node::RunningNode> {
    let listener = node::bind(&config.server.addr).await?;
    node::start(config, listener).await
}
