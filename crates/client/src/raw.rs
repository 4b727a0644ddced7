//! The client, and operations on single keys.

use crate::channels::Channels;
use crate::config::Config;
use crate::pd::Pd;
use crate::retry::{Budget, Failure, region_failure, status_failure};
use crate::routes::{Route, Routes};
use crate::rpc::{Effect, RawRequest};
use crate::{Error, Result};
use bytes::Bytes;
use proto::kvrpcpb::{self, RawCasRequest, RawGetKeyTtlRequest, RawGetRequest};
use proto::kvrpcpb::{RawDeleteRequest, RawPutRequest};
use std::sync::Arc;
use std::time::Duration;
use tonic::Request;
use types::{ApiVersion, ClusterId, KeyMode, KeyspaceId};

/// A client of one cluster. Clones share connections and what is known about Regions.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) pd: Pd,
    pub(crate) keyspace: KeyspaceId,
    pub(crate) routes: Routes,
    channels: Channels,
}

/// The result of a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Whether the value was written.
    pub swapped: bool,
    /// What was there before; `None` for nothing.
    pub previous: Option<Bytes>,
}

/// How long a key has to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// For ever.
    Unlimited,
    /// So many seconds more.
    Seconds(u64),
}

impl Client {
    /// Finds the cluster through any of these placement endpoints (`host:port`).
    pub async fn connect(endpoints: &[String], config: Config) -> Result<Client> {
        let mut budget = Budget::new(config.deadline);
        let pd = Pd::connect(endpoints, config.clone(), &mut budget).await?;
        let keyspace = match config.api_version {
            ApiVersion::V1 => KeyspaceId::DEFAULT,
            ApiVersion::V2 => pd.keyspace(&mut budget, &config.keyspace).await?,
        };
        let (routes, channels) = (Routes::default(), Channels::default());
        Ok(Client(Arc::new(Inner {
            config,
            pd,
            keyspace,
            routes,
            channels,
        })))
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> ClusterId {
        ClusterId(self.0.pd.cluster_id())
    }

    /// The value of a key.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let key = self.0.stored_key(key);
        let response = self.0.single(
            &key,
            RawGetRequest {
                key: key.clone(),
                ..Default::default()
            },
        );
        let response = response.await?;
        Ok((!response.not_found).then_some(response.value))
    }

    /// Writes a pair that lives for ever.
    pub async fn put(&self, key: &[u8], value: Bytes) -> Result<()> {
        self.put_with_ttl(key, value, Ttl::Unlimited).await
    }

    /// Writes a pair that lives for a while. Zero seconds mean for ever.
    pub async fn put_with_ttl(&self, key: &[u8], value: Bytes, ttl: Ttl) -> Result<()> {
        let key = self.0.stored_key(key);
        let ttl = match ttl {
            Ttl::Unlimited => 0,
            Ttl::Seconds(seconds) => seconds,
        };
        let request = RawPutRequest {
            key: key.clone(),
            value,
            ttl,
            ..Default::default()
        };
        self.0.single(&key, request).await.map(|_| ())
    }

    /// Deletes a key, whether it exists or not.
    pub async fn delete(&self, key: &[u8]) -> Result<()> {
        let key = self.0.stored_key(key);
        let request = RawDeleteRequest {
            key: key.clone(),
            ..Default::default()
        };
        self.0.single(&key, request).await.map(|_| ())
    }

    /// Writes `value` if the key's value is `expected` (`None`: if it does not exist), atomically.
    pub async fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<Bytes>,
        value: Bytes,
    ) -> Result<Swap> {
        let key = self.0.stored_key(key);
        let request = RawCasRequest {
            key: key.clone(),
            value,
            previous_not_exist: expected.is_none(),
            previous_value: expected.unwrap_or_default(),
            ..Default::default()
        };
        let response = self.0.single(&key, request).await?;
        let previous = (!response.previous_not_exist).then_some(response.previous_value);
        Ok(Swap {
            swapped: response.succeed,
            previous,
        })
    }

    /// How long a key has to live; `None` if it does not exist.
    pub async fn ttl(&self, key: &[u8]) -> Result<Option<Ttl>> {
        let key = self.0.stored_key(key);
        let request = RawGetKeyTtlRequest {
            key: key.clone(),
            ..Default::default()
        };
        let response = self.0.single(&key, request).await?;
        Ok(match (response.not_found, response.ttl) {
            (true, _) => None,
            (false, 0) => Some(Ttl::Unlimited),
            (false, seconds) => Some(Ttl::Seconds(seconds)),
        })
    }
}

impl Inner {
    /// The key as stores know it: under API V2 with the keyspace's prefix.
    pub(crate) fn stored_key(&self, key: &[u8]) -> Bytes {
        match self.config.api_version {
            ApiVersion::V1 => Bytes::copy_from_slice(key),
            ApiVersion::V2 => [&self.keyspace.prefix(KeyMode::Raw), key].concat().into(),
        }
    }

    /// The user's own part of a key that a store returned.
    pub(crate) fn user_key(&self, stored: Bytes) -> Bytes {
        match self.config.api_version {
            ApiVersion::V1 => stored,
            ApiVersion::V2 => {
                let prefix = self.keyspace.prefix(KeyMode::Raw).len();
                stored.slice(prefix.min(stored.len())..)
            }
        }
    }

    /// A request about one key.
    pub(crate) async fn single<R: RawRequest>(
        &self,
        key: &Bytes,
        request: R,
    ) -> Result<R::Response> {
        let region_key = self.config.api_version.region_key(KeyMode::Raw, key)?;
        let mut budget = Budget::new(self.config.deadline);
        let done = self.single_within(&mut budget, &region_key, request).await;
        done.map_err(|error| budget.verdict(error))
    }

    /// Goes from attempt to attempt.
    async fn single_within<R: RawRequest>(
        &self,
        budget: &mut Budget,
        region_key: &[u8],
        request: R,
    ) -> Result<R::Response> {
        loop {
            let route = self.route(budget, region_key).await?;
            match self.attempt(budget, &route, request.clone()).await? {
                Ok(response) => return Ok(response),
                Err(failure) => self.recover::<R>(budget, &route, failure).await?,
            }
        }
    }

    /// The route for a Region key, from the cache or from placement.
    pub(crate) async fn route(&self, budget: &mut Budget, region_key: &[u8]) -> Result<Route> {
        if let Some(route) = self.routes.find(region_key) {
            return Ok(route);
        }
        let route = self.pd.region(budget, region_key).await?;
        self.routes.insert(route.clone());
        Ok(route)
    }

    /// Sends a request once. The outer error is final, the inner one is to be recovered from.
    pub(crate) async fn attempt<R: RawRequest>(
        &self,
        budget: &mut Budget,
        route: &Route,
        mut message: R,
    ) -> Result<std::result::Result<R::Response, Failure>> {
        let address = self.pd.address(budget, route.peer.store_id).await?;
        let client = self
            .channels
            .get(&address, self.config.attempt_timeout)
            .map_err(|error| Error::Protocol(format!("{address:?} is no address: {error}")))?;
        let timeout = budget.attempt(self.config.attempt_timeout);
        message.set_context(self.context(route));
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        let answer = tokio::time::timeout(timeout, R::send(client, request)).await;
        let failure = match answer {
            Ok(Ok(response)) => {
                let mut response = response.into_inner();
                if let Some(error) = R::region_error(&mut response) {
                    region_failure(error)
                } else if R::complaint(&response).is_empty() {
                    return Ok(Ok(response));
                } else {
                    Failure::Fatal(complaint_error(R::complaint(&response)))
                }
            }
            Ok(Err(status)) => status_failure(&status),
            Err(_) => {
                let reason = format!("{address} does not answer within {timeout:?}");
                Failure::Transport {
                    ambiguous: true,
                    reason,
                }
            }
        };
        if matches!(failure, Failure::Transport { .. }) {
            self.channels.forget(&address);
            self.pd.forget_address(route.peer.store_id);
        }
        Ok(Err(failure))
    }

    /// Learns from a failure and pauses where it must; an error if there is no point in going on.
    pub(crate) async fn recover<R: RawRequest>(
        &self,
        budget: &mut Budget,
        route: &Route,
        failure: Failure,
    ) -> Result<()> {
        match failure {
            Failure::Fatal(error) => Err(error),
            Failure::Redirect(leader) => {
                if route.region.peer(leader.id).is_some() {
                    self.routes.redirect(route, leader);
                } else {
                    self.routes.forget(route);
                }
                budget.redirected().await
            }
            Failure::NoLeader => {
                self.routes.rotate(route);
                budget
                    .pause(Duration::ZERO, "the Region has no leader".to_owned())
                    .await
            }
            Failure::WrongRoute(regions) => {
                self.routes.forget(route);
                for region in regions {
                    let same_store = region.peer_on(route.peer.store_id).copied();
                    if let Some(route) = Route::new(region, same_store) {
                        self.routes.insert(route);
                    }
                }
                budget.redirected().await
            }
            Failure::Busy { pause, reason } => budget.pause(pause, reason).await,
            Failure::OverBudget { reason } => budget.pause(Duration::ZERO, reason).await,
            Failure::Transport { ambiguous, reason } => {
                self.routes.rotate(route);
                match R::EFFECT {
                    Effect::Absolute if ambiguous && self.config.resend_writes => {
                        budget.mark_ambiguous();
                    }
                    Effect::Absolute | Effect::Conditional if ambiguous => {
                        return Err(Error::Undetermined { last: reason });
                    }
                    Effect::None | Effect::Absolute | Effect::Conditional => {}
                }
                budget.pause(Duration::ZERO, reason).await
            }
        }
    }

    fn context(&self, route: &Route) -> kvrpcpb::Context {
        let api_version = match self.config.api_version {
            ApiVersion::V1 => kvrpcpb::ApiVersion::V1,
            ApiVersion::V2 => kvrpcpb::ApiVersion::V2,
        };
        kvrpcpb::Context {
            region_id: route.region.id.get(),
            region_epoch: Some(route.region.epoch.into()),
            cluster_id: self.pd.cluster_id(),
            peer: Some(route.peer.into()),
            api_version: api_version.into(),
            keyspace_id: self.keyspace.get(),
            ..Default::default()
        }
    }
}

/// Reads the text that takes the place of an answer. Clients repeat what they are told of as an error
/// about a Region, so our servers report a write of unknown fate as text, in these words.
fn complaint_error(text: &str) -> Error {
    match text.contains("fate of the command") {
        true => Error::Undetermined {
            last: text.to_owned(),
        },
        false => Error::Refused {
            reason: text.to_owned(),
        },
    }
}
