//! Three members of etcd as processes, with its defaults: a synced write-ahead log, linearizable gets.
//!
//! **Not here.** Its client (`go`).

use crate::{Error, Result};
use e2e::{Process, free_ports};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The processes; they end with this, and their folder with them.
pub struct EtcdCluster {
    processes: Vec<Process>,
    endpoints: Vec<String>,
    _dir: TempDir,
}

impl EtcdCluster {
    /// Starts `members` processes of `program` with data below `parent`.
    pub fn start(program: &Path, members: usize, parent: &Path) -> Result<EtcdCluster> {
        if !program.is_file() {
            return Err(Error::NoEtcd(program.to_owned()));
        }
        let dir = tempfile::Builder::new()
            .prefix("etcd-cluster-")
            .tempdir_in(parent)
            .map_err(|source| Error::Io {
                path: parent.to_owned(),
                source,
            })?;
        let ports = free_ports(2 * members)?;
        let (clients, peers) = ports.split_at(members);
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(at, port)| format!("e{at}={}", url(port)))
            .collect();
        let mut processes = Vec::with_capacity(members);
        for at in 0..members {
            let (client, peer) = (url(&clients[at]), url(&peers[at]));
            let name = format!("e{at}");
            let mut args: Vec<OsString> = vec!["--data-dir".into(), dir.path().join(&name).into()];
            let options = [
                ("--name", &name),
                ("--listen-client-urls", &client),
                ("--advertise-client-urls", &client),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &cluster.join(",")),
            ];
            for (option, value) in options {
                args.extend([option.into(), value.into()]);
            }
            let log = dir.path().join(format!("{name}.log"));
            processes.push(Process::spawn(&name, program, &args, &log)?);
        }
        let endpoints = clients.iter().map(url).collect();
        Ok(EtcdCluster {
            processes,
            endpoints,
            _dir: dir,
        })
    }

    /// Where clients connect.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Processor time of all members since they were started.
    pub fn cpu_time(&self) -> Result<Duration> {
        Ok(self
            .processes
            .iter()
            .map(Process::cpu_time)
            .sum::<e2e::Result<Duration>>()?)
    }
}
