//! `kontiki config docs`, `metrics docs` and `failpoints docs`: references that are made from the code.
//!
//! **Not here.** Their text (`config::reference`, `server::metrics_reference`, `failpoint::reference`).

use crate::config;
use crate::error::{Error, Result};
use clap::Subcommand;
use std::io::Write;

/// The commands of `kontiki config`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigDocs {
    /// Print the reference of all configuration items.
    Docs,
}

/// The commands of `kontiki metrics`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum MetricsDocs {
    /// Print the reference of all metrics.
    Docs,
}

/// The commands of `kontiki failpoints`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum FailpointsDocs {
    /// Print the reference of all failpoints.
    Docs,
}

/// Prints the reference of the configuration.
///
/// # Errors
/// When the standard output is closed.
pub fn config(ConfigDocs::Docs: ConfigDocs) -> Result<()> {
    print(&config::reference())
}

/// Prints the reference of the metrics.
///
/// # Errors
/// When the standard output is closed.
pub fn metrics(MetricsDocs::Docs: MetricsDocs) -> Result<()> {
    print(&server::metrics_reference())
}

/// Prints the reference of the failpoints.
///
/// # Errors
/// When the standard output is closed.
pub fn failpoints(FailpointsDocs::Docs: FailpointsDocs) -> Result<()> {
    print(&failpoint::reference())
}

fn print(text: &str) -> Result<()> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(Error::Output)
}
