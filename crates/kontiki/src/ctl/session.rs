//! What every command about placement works with: the cluster, the printer, and how keys are written.
//!
//! **Not here.** Finding the placement leader (crate `client`).

use super::encoding::Encoding;
use super::output::Printer;
use super::table;
use crate::error::{Error, Result};
use bytes::Bytes;
use client::Client;
use serde_json::Value;

/// The cluster, and how results are printed.
pub struct Session<'a> {
    /// The cluster.
    pub client: &'a Client,
    /// Where results go.
    pub printer: &'a mut Printer,
    /// How keys are written in arguments.
    pub encoding: Encoding,
}

impl Session<'_> {
    /// Asks placement for what is at this path.
    ///
    /// # Errors
    /// Placement refuses, or can't be reached.
    pub async fn get(&self, path: &str) -> Result<Value> {
        Ok(self.client.admin().get(&full(path)).await?)
    }

    /// Sends a body there.
    ///
    /// # Errors
    /// Placement refuses, or can't be reached.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        Ok(self.client.admin().post(&full(path), body).await?)
    }

    /// Removes what is there.
    ///
    /// # Errors
    /// Placement refuses, or can't be reached.
    pub async fn delete(&self, path: &str) -> Result<Value> {
        Ok(self.client.admin().delete(&full(path)).await?)
    }

    /// Says that something is done.
    ///
    /// # Errors
    /// The standard output is closed.
    pub fn done(&mut self, text: &str) -> Result<()> {
        self.printer.report(text, &table::done(text))
    }

    /// A key as it was written in an argument.
    ///
    /// # Errors
    /// It is malformed.
    pub fn key(&self, text: &str) -> Result<Bytes> {
        let decoded = self.encoding.decode(text.as_bytes());
        decoded.map_err(|error| Error::Usage(format!("`{text}`: {error}")))
    }

    /// A key as it was written in an argument, as a Region's bound in hexadecimal.
    ///
    /// # Errors
    /// It is malformed, or no key of the cluster's API.
    pub fn bound(&self, text: &str) -> Result<String> {
        let key = self.client.region_key(&self.key(text)?)?;
        Ok(Encoding::Hex.encode(&key))
    }
}

fn full(path: &str) -> String {
    format!("/pd/api/v1{path}")
}
