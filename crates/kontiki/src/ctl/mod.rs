//! `kontiki ctl`: reads, writes and changes a running cluster, and shows what it is made of; and looks at the folder
//! of a node that is stopped.
//!
//! **Why.** A store that one can only reach through a program of one's own can't be looked at.
//!
//! **Invariants.** To a cluster it is a client like any other: what it can do, the protocol can. Results go to the
//! standard output, everything else to the standard error stream; the exit code says whether all that
//! was asked for was done.
//!
//! **Not here.** The protocol (crate `client`).

mod args;
mod consistency;
mod diagnose;
mod drain;
mod encoding;
mod files;
mod load;
mod local;
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

use crate::cluster::ClusterArgs;
use crate::error::Result;
use args::{ClusterCommand, CtlCommand};
use encoding::Encoding;
use output::Printer;
use session::Session;

/// Does what the command line says.
pub async fn run(args: CtlArgs) -> Result<()> {
    let encoding = args.encoding.unwrap_or(Encoding::Escaped);
    let form = args.output;
    let mut printer = Printer::new(form, encoding);
    let done = match args.command {
        CtlCommand::Diagnose(command) => {
            diagnose::run(&args.cluster, command, form, &mut printer).await
        }
        CtlCommand::Local(args) => local::run(args, (form, encoding), &mut printer),
        CtlCommand::OfCluster(command) => {
            let cluster = (&args.cluster, args.encoding);
            on_cluster(cluster, command, &mut printer).await
        }
    };
    // What was found before a failure is still worth printing.
    printer.flush()?;
    done
}

/// Does what needs a cluster that answers.
async fn on_cluster(
    (cluster, wanted): (&ClusterArgs, Option<Encoding>),
    command: ClusterCommand,
    printer: &mut Printer,
) -> Result<()> {
    let client = cluster.connect().await?;
    let encoding = wanted.unwrap_or(Encoding::Escaped);
    let mut session = Session {
        client: &client,
        printer,
        encoding,
    };
    match command {
        ClusterCommand::Raw(command) => raw::run(&client, command, wanted, session.printer).await,
        ClusterCommand::Store(args) => store::run(&mut session, args).await,
        ClusterCommand::Region(args) => region::run(&mut session, args).await,
        ClusterCommand::Operator(command) => operator::run(&mut session, command).await,
        ClusterCommand::Scheduler(command) => scheduler::run(&mut session, command).await,
        ClusterCommand::Config(command) => settings::run(&mut session, command).await,
        ClusterCommand::Member => member::show(&mut session).await,
    }
}
