//! Whose connection it is: the process behind the other end of a socket, from proc(5).
//!
//! **Why.** All nodes dial a node at the one address that it advertises, so the proxy behind that address has to
//! find out by itself which link a connection belongs to.
//!
//! **Invariants.** A process has its socket before the other side can accept the connection, so whoever is
//! there is found. Who has ended meanwhile is not.
//!
//! **Not here.** Sockets that a process hands to another one.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;

/// The inode of the socket that is bound to `local` and connected to `remote`.
fn inode(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u64> {
    let (local, remote) = (hex(local), hex(remote));
    // The first line has the titles of the columns.
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let is_it = columns.next()? == local && columns.next()? == remote;
        // Behind state, queues, timer, retransmits, user and timeout.
        is_it.then(|| columns.nth(6)?.parse().ok()).flatten()
    })
}

/// An address as the kernel writes it: the four bytes of the address as a number of this machine, the port as
/// one that people read.
fn hex(address: SocketAddrV4) -> String {
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}

/// Which of these processes has the socket that is bound to `local` and connected to `remote`; none, if none does.
///
/// # Errors
/// The kernel's table of sockets can't be read.
pub fn owner(local: SocketAddrV4, remote: SocketAddrV4, pids: &[u32]) -> io::Result<Option<u32>> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    let Some(inode) = inode(&table, local, remote) else {
        return Ok(None);
    };
    let link = format!("socket:[{inode}]");
    let has_it = |pid: &&u32| has_open(&Path::new("/proc").join(pid.to_string()), &link);
    Ok(pids.iter().find(has_it).copied())
}

/// Whether a process has this open. One that has ended has nothing.
fn has_open(process: &Path, link: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    let mut links = descriptors.flatten().map(|one| fs::read_link(one.path()));
    links.any(|found| found.is_ok_and(|found| found == Path::new(link)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    fn v4(address: io::Result<SocketAddr>) -> SocketAddrV4 {
        match address.unwrap() {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => unreachable!("only v4 is bound here"),
        }
    }

    #[test]
    fn a_line_of_the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n\
             1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 02:000000A7 00000000     0        0 4711 2 0 20 4 30 10 -1\n";
        let here = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        assert_eq!(inode(table, here(50_000), here(8_080)), Some(4_711));
        assert_eq!(inode(table, here(50_001), here(8_080)), None);
    }

    #[test]
    fn the_process_behind_a_connection_is_found_among_others() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let dialler = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        let (peer, here) = (v4(Ok(peer)), v4(accepted.local_addr()));
        let own = std::process::id();
        assert_eq!(owner(peer, here, &[1, own]).unwrap(), Some(own));
        assert_eq!(
            owner(peer, here, &[1]).unwrap(),
            None,
            "init has no such socket"
        );
        drop(dialler);
    }
}
