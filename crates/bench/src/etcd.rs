//! Three members of etcd as processes, and as a target of the workload through `etcd-client`.
//!
//! etcd runs with its defaults: a synced write-ahead log, linearizable gets. Its client balances over
//! the members that it is given; [`Members`] says which these are.

use crate::{Error, Result};
use bytes::Bytes;
use e2e::{Process, free_ports};
use etcd_client::{Client, GetOptions};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use workload::Target;

/// To which members clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Members {
    /// To the leader only: no member forwards to another. One connection a client.
    Leader,
    /// To all; gets are spread over them. One connection to each member a client.
    All,
}

/// The processes; they end with this, and their folder with them.
pub struct EtcdCluster {
    processes: Vec<Process>,
    endpoints: Vec<String>,
    _dir: TempDir,
}

const RETRY: Duration = Duration::from_millis(50);

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

    /// Connects `connections` clients as soon as the cluster serves a write.
    pub async fn connect(
        &self,
        connections: usize,
        members: Members,
        within: Duration,
    ) -> Result<Vec<Arc<EtcdTarget>>> {
        let deadline = Instant::now() + within;
        while let Err(error) = self.probe().await {
            if Instant::now() > deadline {
                let last = error.to_string();
                return Err(Error::NotServing {
                    store: "etcd",
                    after: within,
                    last,
                });
            }
            tokio::time::sleep(RETRY).await;
        }
        let endpoints = match members {
            Members::All => self.endpoints.clone(),
            Members::Leader => vec![self.leader().await?],
        };
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            clients.push(Arc::new(EtcdTarget(
                Client::connect(&endpoints, None).await?,
            )));
        }
        Ok(clients)
    }

    /// Processor time of all members since they were started.
    pub fn cpu_time(&self) -> Result<Duration> {
        Ok(self
            .processes
            .iter()
            .map(Process::cpu_time)
            .sum::<e2e::Result<Duration>>()?)
    }

    async fn probe(&self) -> Result<()> {
        let mut client = Client::connect(&self.endpoints, None).await?;
        client.put("probe", "written", None).await?;
        Ok(())
    }

    async fn leader(&self) -> Result<String> {
        for endpoint in &self.endpoints {
            let mut client = Client::connect([endpoint], None).await?;
            let status = client.status().await?;
            if status
                .header()
                .is_some_and(|header| header.member_id() == status.leader())
            {
                return Ok(endpoint.clone());
            }
        }
        let last = "no member says that it leads".to_owned();
        Err(Error::NotServing {
            store: "etcd",
            after: Duration::ZERO,
            last,
        })
    }
}

/// A client of its own, used by many tasks.
pub struct EtcdTarget(Client);

impl Target for EtcdTarget {
    type Error = etcd_client::Error;

    async fn put(&self, key: Bytes, value: Bytes) -> std::result::Result<(), etcd_client::Error> {
        self.0.kv_client().put(key, value, None).await.map(|_| ())
    }

    async fn get(&self, key: Bytes) -> std::result::Result<bool, etcd_client::Error> {
        Ok(!self.0.kv_client().get(key, None).await?.kvs().is_empty())
    }

    async fn scan(
        &self,
        start: Bytes,
        limit: u32,
    ) -> std::result::Result<usize, etcd_client::Error> {
        let options = GetOptions::new()
            .with_from_key()
            .with_limit(i64::from(limit));
        Ok(self
            .0
            .kv_client()
            .get(start, Some(options))
            .await?
            .kvs()
            .len())
    }
}
