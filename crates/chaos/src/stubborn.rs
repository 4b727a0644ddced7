//! A client of one node: it asks there, whatever has become of that node.
//!
//! **Invariants.** A request is sent once. It waits for longer than nodes are stopped for, so that some requests
//! lie in the socket of a stopped leader when that goes on. One who only reads never asks for what a leader without
//! followers cannot answer: it goes on reading for as long as that leader trusts its lease.
//!
//! **Not here.** Looking for a leader. Which Region a key is in is asked again when the node says that it has
//! another shape.

use crate::layout::Key;
use crate::load::{number, text};
use crate::recorder::{Answer, Ask};
use client::{Client, RegionInfo};
use e2e::store_client;
use proto::errorpb;
use proto::kvrpcpb::{self, RawCasRequest, RawDeleteRequest, RawGetRequest, RawPutRequest};
use proto::tikvpb::tikv_client::TikvClient;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Status};
use types::StoreId;

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Pause after an answer that does not help.
const PAUSE: Duration = Duration::from_millis(30);

/// What it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Whatever is drawn. Half of its reads are such as any replica may answer.
    ReadsAndWrites,
    /// Reads that the leader answers.
    OnlyReads,
}

/// Who asks only one node.
pub struct Stubborn {
    habit: Habit,
    node: usize,
    store_id: StoreId,
    store: TikvClient<Channel>,
    /// For what placement knows.
    client: Client,
    regions: Vec<RegionInfo>,
    reads: u64,
}

impl Stubborn {
    /// One who asks this node and store, which listen at this address.
    pub fn new(
        habit: Habit,
        (node, store_id): (usize, StoreId),
        address: &str,
        client: Client,
    ) -> Self {
        Self {
            habit,
            node,
            store_id,
            store: store_client(address),
            client,
            regions: Vec::new(),
            reads: 0,
        }
    }

    /// Which node it asks.
    pub fn node(&self) -> usize {
        self.node
    }

    /// What it asks for.
    pub fn habit(&self) -> Habit {
        self.habit
    }

    /// Asks once.
    pub async fn ask(&mut self, key: Key, ask: Ask) -> Answer {
        let Some(context) = self.context(&key.bytes()).await else {
            tokio::time::sleep(PAUSE).await;
            return Answer::Refused;
        };
        let answered = tokio::time::timeout(PATIENCE, self.send(context, key, ask));
        let heard = match answered.await {
            Ok(Ok(heard)) => heard,
            Ok(Err(_)) | Err(_) => {
                tokio::time::sleep(PAUSE).await;
                return Answer::Unknown;
            }
        };
        let answer = heard.verdict();
        if let Some(error) = heard.region_error {
            if error.not_leader.is_none() {
                self.regions.clear();
            }
            tokio::time::sleep(PAUSE).await;
        }
        answer
    }

    async fn context(&mut self, key: &[u8]) -> Option<kvrpcpb::Context> {
        if self.regions.is_empty() {
            self.regions = self.client.regions().await.ok()?;
        }
        let mut regions = self.regions.iter().map(|info| &info.region);
        let region = regions.find(|region| region.range.contains(key))?;
        let peer = *region.peer_on(self.store_id)?;
        Some(kvrpcpb::Context {
            region_id: region.id.get(),
            region_epoch: Some(region.epoch.into()),
            peer: Some(peer.into()),
            cluster_id: self.client.cluster_id().get(),
            ..Default::default()
        })
    }

    async fn send(
        &mut self,
        mut context: kvrpcpb::Context,
        key: Key,
        ask: Ask,
    ) -> Result<Heard, Status> {
        let key = key.bytes().into();
        if ask == Ask::Get {
            self.reads += 1;
            let by_any = self.habit == Habit::ReadsAndWrites;
            context.replica_read = by_any && self.reads.is_multiple_of(2);
        }
        let context = Some(context);
        match ask {
            Ask::Get => {
                self.get(RawGetRequest {
                    context,
                    key,
                    ..Default::default()
                })
                .await
            }
            Ask::Put(value) => {
                let value = text(value);
                let put = RawPutRequest {
                    context,
                    key,
                    value,
                    ..Default::default()
                };
                let answer = self.store.raw_put(timed(put)).await?.into_inner();
                Ok(Heard::new(
                    answer.region_error,
                    answer.error,
                    Answer::Written,
                ))
            }
            Ask::Delete => {
                let delete = RawDeleteRequest {
                    context,
                    key,
                    ..Default::default()
                };
                let answer = self.store.raw_delete(timed(delete)).await?.into_inner();
                Ok(Heard::new(
                    answer.region_error,
                    answer.error,
                    Answer::Written,
                ))
            }
            Ask::Swap { expected, new } => {
                let swap = RawCasRequest {
                    context,
                    key,
                    value: text(new),
                    previous_not_exist: expected.is_none(),
                    previous_value: expected.map(text).unwrap_or_default(),
                    ..Default::default()
                };
                let answer = self
                    .store
                    .raw_compare_and_swap(timed(swap))
                    .await?
                    .into_inner();
                let previous = (!answer.previous_not_exist).then(|| number(&answer.previous_value));
                let swapped = Answer::Swapped(answer.succeed, previous);
                Ok(Heard::new(answer.region_error, answer.error, swapped))
            }
        }
    }

    async fn get(&mut self, get: RawGetRequest) -> Result<Heard, Status> {
        let answer = self.store.raw_get(timed(get)).await?.into_inner();
        let found = (!answer.not_found).then(|| number(&answer.value));
        Ok(Heard::new(
            answer.region_error,
            answer.error,
            Answer::Found(found),
        ))
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// An answer, with its two places for errors.
struct Heard {
    region_error: Option<errorpb::Error>,
    complaint: String,
    answer: Answer,
}

impl Heard {
    fn new(region_error: Option<errorpb::Error>, complaint: String, answer: Answer) -> Self {
        Self {
            region_error,
            complaint,
            answer,
        }
    }

    /// Errors about a Region and complaints say that nothing has happened, but for the one about a write
    /// of unknown fate, in whichever place it stands.
    fn verdict(&self) -> Answer {
        match &self.region_error {
            Some(error) if error.undetermined_result.is_some() => Answer::Unknown,
            Some(_) => Answer::Refused,
            None if self.complaint.contains("fate of the command") => Answer::Unknown,
            None if !self.complaint.is_empty() => Answer::Refused,
            None => self.answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_an_error_counts_and_an_open_fate_is_not_taken_for_a_refusal() {
        let heard = |region_error, complaint: &str| {
            Heard::new(region_error, complaint.to_owned(), Answer::Written).verdict()
        };
        let undetermined = errorpb::Error {
            undetermined_result: Some(errorpb::UndeterminedResult::default()),
            ..Default::default()
        };
        assert_eq!(heard(None, ""), Answer::Written);
        assert_eq!(heard(None, "the key is empty"), Answer::Refused);
        assert_eq!(heard(Some(errorpb::Error::default()), ""), Answer::Refused);
        assert_eq!(heard(Some(undetermined), ""), Answer::Unknown);
        let text = "the replica stopped before the fate of the command was known";
        assert_eq!(heard(None, text), Answer::Unknown);
    }
}
