//! Connections to stores, one for each address, made when they are first needed.

use parking_lot::Mutex;
use proto::tikvpb::tikv_client::TikvClient;
use std::collections::HashMap;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// The largest answer that is taken: a page of a scan.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A URL for `host:port` or a URL: the same for all the ways to write it.
pub(crate) fn url(address: &str) -> String {
    let address = address.trim_end_matches('/');
    match address.contains("://") {
        true => address.to_owned(),
        false => format!("http://{address}"),
    }
}

/// A channel for `host:port` or a URL. It connects when it is used, and again when it has to.
pub(crate) fn channel(
    address: &str,
    timeout: Duration,
) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url(address))?
        .connect_timeout(timeout)
        .tcp_nodelay(true);
    Ok(endpoint.connect_lazy())
}

/// Clients of stores, by address.
#[derive(Default)]
pub(crate) struct Channels(Mutex<HashMap<String, TikvClient<Channel>>>);

impl Channels {
    pub(crate) fn get(
        &self,
        address: &str,
        timeout: Duration,
    ) -> Result<TikvClient<Channel>, tonic::transport::Error> {
        let mut channels = self.0.lock();
        if let Some(client) = channels.get(address) {
            return Ok(client.clone());
        }
        let client =
            TikvClient::new(channel(address, timeout)?).max_decoding_message_size(ANSWER_BYTES_MAX);
        channels.insert(address.to_owned(), client.clone());
        Ok(client)
    }

    /// Forgets a connection that failed.
    pub(crate) fn forget(&self, address: &str) {
        self.0.lock().remove(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        for address in ["h:1", "h:1/", "http://h:1", "http://h:1/"] {
            assert_eq!(url(address), "http://h:1");
        }
        assert_eq!(url("https://h:1"), "https://h:1");
    }
}
