//! `kontiki ctl`: reads, writes and changes a running cluster, and shows what it is made of.
//!
//! **Why.** A store that one can only reach through a program of one's own can't be looked at.
//!
//! **Invariants.** It is a client like any other: what it can do, the protocol can. Results go to the
//! standard output, everything else to the standard error stream; the exit code says whether all that
//! was asked for was done.
//!
//! **Not here.** The protocol (crate `client`).

mod args;
mod encoding;
mod inspect;
mod load;
mod output;
mod raw;

pub use args::{CtlArgs, Output};

use crate::error::Result;
use args::{CtlCommand, RegionCommand};
use encoding::Encoding;
use output::Printer;

/// Does what the command line says.
pub async fn run(args: CtlArgs) -> Result<()> {
    let client = args.cluster.connect().await?;
    let mut printer = Printer::new(args.output, args.encoding.unwrap_or(Encoding::Escaped));
    let done = match args.command {
        CtlCommand::Raw(command) => raw::run(&client, command, args.encoding, &mut printer).await,
        CtlCommand::Store { id } => inspect::stores(&client, id, &mut printer).await,
        CtlCommand::Region { id, command: None } => {
            inspect::regions(&client, id, &mut printer).await
        }
        CtlCommand::Region {
            command: Some(RegionCommand::Split { key }),
            ..
        } => {
            let encoding = args.encoding.unwrap_or(Encoding::Escaped);
            inspect::split(&client, &key, encoding, &mut printer).await
        }
        CtlCommand::Member => inspect::members(&client, &mut printer).await,
    };
    // What was found before a failure is still worth printing.
    printer.flush()?;
    done
}
