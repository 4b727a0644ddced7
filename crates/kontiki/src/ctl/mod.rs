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
mod consistency;
mod drain;
mod encoding;
mod load;
mod member;
mod node_settings;
mod operator;
mod output;
mod raw;
mod region;
mod scheduler;
mod session;
mod settings;
mod store;
mod table;

pub use args::{CtlArgs, Output};

use crate::error::Result;
use args::CtlCommand;
use encoding::Encoding;
use output::Printer;
use session::Session;

/// Does what the command line says.
pub async fn run(args: CtlArgs) -> Result<()> {
    let client = args.cluster.connect().await?;
    let encoding = args.encoding.unwrap_or(Encoding::Escaped);
    let mut printer = Printer::new(args.output, encoding);
    let mut session = Session {
        client: &client,
        printer: &mut printer,
        encoding,
    };
    let done = match args.command {
        CtlCommand::Raw(command) => {
            raw::run(&client, command, args.encoding, session.printer).await
        }
        CtlCommand::Store(args) => store::run(&mut session, args).await,
        CtlCommand::Region(args) => region::run(&mut session, args).await,
        CtlCommand::Operator(command) => operator::run(&mut session, command).await,
        CtlCommand::Scheduler(command) => scheduler::run(&mut session, command).await,
        CtlCommand::Config(command) => settings::run(&mut session, command).await,
        CtlCommand::Member => member::show(&mut session).await,
    };
    // What was found before a failure is still worth printing.
    printer.flush()?;
    done
}
