//! Free ports on 127.0.0.1 for servers that are stopped and started again on the same one.
//!
//! **Why not port 0.** The kernel hands out port 0 from the range that it also uses for outgoing
//! connections: while a killed server is down, some client's connection may be given its port. Ports
//! here lie below that range, where nobody takes them by chance.
//!
//! **Not here.** No reservation against other programs: a port is free when it is handed out.

use crate::{Error, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

const PORTS: Range<u16> = 12_000..32_000;

/// `count` ports in a row (a playground takes neighbours), none handed out before by this process.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    // Taken as a whole: tests that ask at the same moment would cut each other's rows.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Test programs that run side by side begin at different places.
    let start = (std::process::id().wrapping_mul(0x9e37_79b9) >> 12) as usize;
    for _ in 0..PORTS.len() / count.max(1) {
        let step = start.wrapping_add(NEXT.fetch_add(count, Ordering::Relaxed)) % PORTS.len();
        let row: Vec<u16> = PORTS.skip(step).take(count).collect();
        let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        if row.len() == count && row.iter().all(is_free) {
            return Ok(row);
        }
    }
    Err(Error::NoPort)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_asked_for_at_the_same_moment_are_whole_and_apart() {
        let askers: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| free_ports(6)))
            .collect();
        let rows = askers
            .into_iter()
            .map(|asker| asker.join().unwrap().unwrap());
        let mut all = BTreeSet::new();
        for row in rows {
            assert!(row.windows(2).all(|two| two[1] == two[0] + 1), "{row:?}");
            all.extend(row);
        }
        assert_eq!(all.len(), 48);
    }

    #[test]
    fn no_port_is_handed_out_twice_and_each_can_be_listened_on() {
        let mut ports = free_ports(20).unwrap();
        ports.extend(free_ports(20).unwrap());
        let distinct: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), 40);
        let listeners: Vec<_> = ports
            .iter()
            .map(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
            .collect();
        assert!(listeners.iter().all(|listener| listener.is_ok()));
    }
}
