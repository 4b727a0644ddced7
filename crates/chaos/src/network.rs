//! The network between the nodes: a proxy in front of each of them, which tells links apart by who dials.
//!
//! A node listens at one address and advertises another one, its proxy's. All that others send to it passes
//! there, and so does what it answers; what it sends by itself passes the others' proxies. So each link can be
//! cut in one direction, as a table of [`Rules`] says, while clients still reach both ends.
//!
//! **Invariants.** Bytes of a connection keep their order and none is left out: a link that is cut holds them
//! until the heal, or breaks the connection. Where no node listens nobody is accepted. Who is no node is a
//! client.
//!
//! **Not here.** Loss and reordering of single packets: TCP hides both.

use crate::layout::NODES;
use crate::owner::owner;
use crate::rules::{End, Rules, Verdict};
use parking_lot::Mutex;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Between two looks whether a node listens.
const LOOK: Duration = Duration::from_millis(5);
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks of a direction that are under way: what a window of TCP would hold.
const CHUNKS: usize = 64;

/// The proxies of all nodes.
pub struct Network {
    rules: watch::Sender<Rules>,
    ports: Vec<u16>,
    pids: Arc<Mutex<[Option<u32>; NODES]>>,
    proxies: [Option<JoinHandle<()>>; NODES],
}

impl Network {
    /// Proxies that will listen at these ports of 127.0.0.1, one for each node.
    pub fn new(ports: Vec<u16>) -> Self {
        Self {
            rules: watch::Sender::default(),
            ports,
            pids: Arc::default(),
            proxies: [const { None }; NODES],
        }
    }

    /// Where the proxies listen.
    pub fn addresses(&self) -> Vec<String> {
        let address = |port: &u16| format!("127.0.0.1:{port}");
        self.ports.iter().map(address).collect()
    }

    /// A node was started. Its proxy listens as soon as it does, and its connections count as its own.
    pub fn started(&mut self, node: usize, pid: u32, listens_at: String) {
        self.pids.lock()[node] = Some(pid);
        let proxy = Proxy {
            node,
            port: self.ports[node],
            target: listens_at,
            rules: self.rules.subscribe(),
            pids: Arc::clone(&self.pids),
        };
        let before = self.proxies[node].replace(tokio::spawn(proxy.run()));
        before.inspect(JoinHandle::abort);
    }

    /// A node has ended: nobody listens there any more.
    pub fn ended(&mut self, node: usize) {
        self.pids.lock()[node] = None;
        self.proxies[node].take().inspect(JoinHandle::abort);
    }

    /// From now on links are as these rules say.
    pub fn set(&self, rules: Rules) {
        self.rules.send_replace(rules);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.proxies.iter().flatten().for_each(JoinHandle::abort);
    }
}

/// What stands in front of one node.
#[derive(Clone)]
struct Proxy {
    node: usize,
    port: u16,
    target: String,
    rules: watch::Receiver<Rules>,
    pids: Arc<Mutex<[Option<u32>; NODES]>>,
}

impl Proxy {
    async fn run(self) {
        while TcpStream::connect(&self.target).await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
        let listener = loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        };
        // They end with this.
        let mut connections = JoinSet::new();
        loop {
            if let Ok((dialler, from)) = listener.accept().await {
                connections.spawn(self.clone().serve(dialler, from));
            }
            while connections.try_join_next().is_some() {}
        }
    }

    /// One connection, from its beginning to its end. Why it ends is its ends' business.
    async fn serve(self, dialler: TcpStream, from: SocketAddr) {
        let Some(source) = self.source(&dialler, from).await else {
            return;
        };
        let (here, mut rules) = (End::Node(self.node), self.rules);
        if rules.borrow().breaks(source, here) {
            return;
        }
        let Ok(node) = TcpStream::connect(&self.target).await else {
            return;
        };
        // Without it the only harm is a delay.
        let _ = (dialler.set_nodelay(true), node.set_nodelay(true));
        let (from_dialler, to_dialler) = dialler.into_split();
        let (from_node, to_node) = node.into_split();
        let there = pump(from_dialler, to_node, (source, here), rules.clone());
        let back = pump(from_node, to_dialler, (here, source), rules.clone());
        tokio::select! {
            _ = async { tokio::try_join!(there, back) } => {}
            _ = rules.wait_for(|rules| rules.breaks(source, here)) => {}
        }
    }

    /// Who dials; none if that can't be found out.
    async fn source(&self, dialler: &TcpStream, from: SocketAddr) -> Option<End> {
        let (SocketAddr::V4(from), Ok(SocketAddr::V4(here))) = (from, dialler.local_addr()) else {
            return None;
        };
        let nodes = *self.pids.lock();
        let found = tokio::task::spawn_blocking(move || {
            let pids: Vec<u32> = nodes.into_iter().flatten().collect();
            owner(from, here, &pids)
        });
        let pid = found.await.ok()?.ok()?;
        let node = nodes.iter().position(|one| pid.is_some() && *one == pid);
        Some(node.map_or(End::Client, End::Node))
    }
}

/// Passes on one direction of a connection until its end.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: (End, End),
    mut rules: watch::Receiver<Rules>,
) -> io::Result<()> {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let read = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let is_end = from.read_buf(&mut chunk).await? == 0;
            if is_end || sender.send((Instant::now(), chunk)).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((read_at, chunk)) = chunks.recv().await {
            until_passed(read_at, link, &mut rules).await?;
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

/// Waits for as long as the rules say, though they change meanwhile.
async fn until_passed(
    read_at: Instant,
    (from, to): (End, End),
    rules: &mut watch::Receiver<Rules>,
) -> io::Result<()> {
    loop {
        let verdict = rules.borrow_and_update().verdict(from, to);
        match verdict {
            Verdict::Pass => return Ok(()),
            Verdict::Delay(delay) if read_at.elapsed() >= delay => return Ok(()),
            Verdict::Delay(delay) => tokio::time::sleep_until(read_at + delay).await,
            Verdict::Hold => {
                let gone = |_| io::Error::from(io::ErrorKind::NotConnected);
                rules.changed().await.map_err(gone)?;
            }
            Verdict::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Node 1 is a server that sends back what it gets; who dials it is this process, as node 0.
    async fn echo() -> (Network, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let listens_at = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        let mut network = Network::new(e2e::free_ports(NODES).unwrap());
        network.pids.lock()[0] = Some(std::process::id());
        network.started(1, u32::MAX, listens_at);
        let address = network.addresses()[1].clone();
        (network, address)
    }

    async fn dial(address: &str) -> TcpStream {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Whether a byte goes there and back; an error if the connection is broken.
    async fn answers(stream: &mut TcpStream, within: Duration) -> io::Result<bool> {
        stream.write_all(b"x").await?;
        let mut byte = [0];
        match tokio::time::timeout(within, stream.read_exact(&mut byte)).await {
            Ok(read) => read.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    const SOON: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_is_held_in_either_direction_arrives_after_the_heal() {
        let (network, address) = echo().await;
        let mut stream = dial(&address).await;
        assert!(answers(&mut stream, PATIENCE).await.unwrap());
        let directions = [
            Rules::default().leaving(0, Verdict::Hold),
            Rules::default().leaving(1, Verdict::Hold),
        ];
        for rules in directions {
            network.set(rules);
            assert!(!answers(&mut stream, SOON).await.unwrap());
            network.set(Rules::default());
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            assert!(answers(&mut stream, PATIENCE).await.unwrap());
        }
        network.set(Rules::default().between(0, 2, Verdict::Hold));
        assert!(
            answers(&mut stream, PATIENCE).await.unwrap(),
            "another link"
        );
    }

    #[tokio::test]
    async fn a_slow_link_is_late_and_keeps_the_order() {
        let (network, address) = echo().await;
        let mut stream = dial(&address).await;
        let delay = Duration::from_millis(60);
        network.set(Rules::default().leaving(0, Verdict::Delay(delay)));
        let began = Instant::now();
        stream.write_all(b"first ").await.unwrap();
        stream.write_all(b"second").await.unwrap();
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"first second");
        assert!(began.elapsed() >= delay);
    }

    #[tokio::test]
    async fn a_link_that_resets_breaks_the_connection_and_takes_no_new_one() {
        let (network, address) = echo().await;
        let mut stream = dial(&address).await;
        assert!(answers(&mut stream, PATIENCE).await.unwrap());
        network.set(Rules::default().reaching(1, Verdict::Reset));
        let mut byte = [0];
        assert!(!matches!(stream.read(&mut byte).await, Ok(1..)));
        let mut stream = dial(&address).await;
        assert!(answers(&mut stream, PATIENCE).await.is_err());
        network.set(Rules::default());
        let mut stream = dial(&address).await;
        assert!(answers(&mut stream, PATIENCE).await.unwrap());
    }

    #[tokio::test]
    async fn where_a_node_has_ended_nobody_is_accepted() {
        let (mut network, address) = echo().await;
        dial(&address).await;
        network.ended(1);
        // The task ends a moment after it was told to.
        while TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
