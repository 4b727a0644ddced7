//! What is measured, seen from the workload: three operations on keys and values.

use bytes::Bytes;
use serde::Serialize;
use std::future::Future;

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Write one pair.
    Put,
    /// Read one key.
    Get,
    /// Read pairs in order, from a key on.
    Scan,
}

impl Operation {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Operation; 3] = [Operation::Put, Operation::Get, Operation::Scan];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Scan => "scan",
        }
    }
}

/// A store under load, usually one connection or a pool of them. Several clients use one target at
/// the same time. Retries are the target's own: an error that it returns is counted as one.
pub trait Target: Send + Sync + 'static {
    /// What a failed operation says.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Writes one pair; durable when it returns, if the store promises that at all.
    fn put(&self, key: Bytes, value: Bytes)
    -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Reads one key and returns whether it was there.
    fn get(&self, key: Bytes) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Reads up to `limit` pairs from `start` on and returns how many there were.
    fn scan(
        &self,
        start: Bytes,
        limit: u32,
    ) -> impl Future<Output = Result<usize, Self::Error>> + Send;
}
