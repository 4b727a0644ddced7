//! A good client: what it sees of an attack on others.
//!
//! **Not here.** What is demanded of how it fares.

use bytes::Bytes;
use client::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// A good client: reads and writes until it is told to stop, and says how long each took.
pub struct GoodClient {
    stop: Arc<AtomicBool>,
    running: JoinHandle<Fared>,
}

/// How a good client fared.
#[derive(Default)]
pub struct Fared {
    took: Vec<Duration>,
    pub failed: usize,
}

impl Fared {
    fn put(&mut self, since: Instant, is_done: bool) {
        self.took.push(since.elapsed());
        self.failed += usize::from(!is_done);
    }
}

impl Fared {
    /// The time within which so many of a hundred operations were done.
    pub fn quantile(&self, percent: usize) -> Duration {
        let last = self.took.len().saturating_sub(1);
        let at = (self.took.len() * percent / 100).min(last);
        self.took.get(at).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Fared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.took.len();
        let (p50, p99) = (self.quantile(50), self.quantile(99));
        let last = self.quantile(100);
        write!(
            f,
            "{count} operations, {} failed, p50 {p50:.1?}, p99 {p99:.1?}, the longest {last:.1?}",
            self.failed
        )
    }
}

impl GoodClient {
    pub fn start(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let running = tokio::spawn(async move {
            let mut fared = Fared::default();
            for number in 0_u64.. {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("good/{:02}", number % 100);
                let value = Bytes::from(number.to_string());
                let since = Instant::now();
                let written = client.put(key.as_bytes(), value.clone()).await;
                fared.put(since, written.is_ok());
                let since = Instant::now();
                let found = client.get(key.as_bytes()).await;
                fared.put(since, found.is_ok());
                if let (Ok(()), Ok(found)) = (written, found) {
                    assert_eq!(found, Some(value));
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            fared
        });
        Self { stop, running }
    }

    pub async fn stop(self) -> Fared {
        self.stop.store(true, Ordering::Relaxed);
        let mut fared = self.running.await.expect("it reads what it has written");
        fared.took.sort_unstable();
        fared
    }
}
