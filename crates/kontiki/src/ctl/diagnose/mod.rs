//! `ctl diagnose`: what is wrong with a cluster, by looking at all of its nodes.
//!
//! **How.** Everything is collected first ([`collect`]), then read ([`facts`]), then judged by rules that are functions of
//! the facts alone ([`rules`]). What was collected goes into an archive with the findings, for a report of a bug.
//!
//! **Invariants.** Nothing is changed. A node that does not answer is a finding, and keeps nobody waiting for long. No key
//! and no value of a user gets into the archive, but what the nodes' logs show.
//!
//! **Not here.** Mending anything.

mod archive;
mod collect;
mod facts;
mod report;
mod rules;

use super::args::Output;
use super::output::Printer;
use crate::cluster::ClusterArgs;
use crate::config::units::ReadableDuration;
use crate::error::{Error, Result};
use clap::Args;
use facts::Facts;
use serde_json::Value;
use std::path::Path;

/// Arguments of `kontiki ctl diagnose`.
#[derive(Debug, Args)]
pub struct DiagnoseArgs {
    /// Where to write what was collected; a name with the time in it if not given, and no archive if it is "".
    #[arg(long, value_name = "FILE.tar.gz")]
    archive: Option<String>,
    /// Status servers to ask, too: where placement does not answer, nobody says where they are.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    status: Vec<String>,
    /// How far to look back in the logs.
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    since: ReadableDuration,
}

/// Does it. The cluster may be in any state, so that it is not connected to before.
///
/// # Errors
/// Nobody answers at all, or the archive or the standard output can't be written.
pub async fn run(
    cluster: &ClusterArgs,
    args: DiagnoseArgs,
    form: Output,
    printer: &mut Printer,
) -> Result<()> {
    let collected = collect::collect(cluster, &args.status, args.since.0).await?;
    let findings = rules::findings(&Facts::of(&collected));
    match form {
        Output::Text => printer.report(&report::text(&findings), &Value::Null)?,
        Output::Json => {
            for finding in &findings {
                printer.report("", &report::json(finding))?;
            }
        }
    }
    let path = match args.archive {
        Some(path) => path,
        None => format!("kontiki-diagnosis-{}.tar.gz", collected.now_ms),
    };
    if path.is_empty() {
        return Ok(());
    }
    let path = Path::new(&path);
    write_archive(path, &collected, &findings)?;
    eprintln!("what was collected is in {}", path.display());
    Ok(())
}

fn write_archive(
    path: &Path,
    collected: &collect::Collected,
    findings: &[rules::Finding],
) -> Result<()> {
    let failed = |error| Error::io(format!("writing {}", path.display()))(error);
    let file = std::fs::File::create(path).map_err(failed)?;
    let files = report::files(collected, findings);
    archive::write(file, collected.now_ms / 1_000, &files).map_err(failed)
}
