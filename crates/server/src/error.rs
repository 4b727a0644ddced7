//! What a client is told when a request failed.
//!
//! **Two kinds.** What concerns routes and load becomes an `errorpb::Error`, on which clients act by
//! themselves. What concerns the request itself becomes the `error` text of the response, which every
//! client hands to its caller. Responses without that field (scans, batch reads) carry the text in an
//! `errorpb::Error` without a class: clients ignore errors inside the pairs of those responses, and an
//! answer that is silently short would be worse than any error.
//!
//! **Invariants.** A leader that is known is always in the hint. `EpochNotMatch` carries whole
//! Regions, with their peers and with keys as the placement driver has them: clients install them.
//! An undetermined write is never reported as one that clients retry by themselves.
//!
//! **Not here.** gRPC statuses: those are for calls that are malformed as a whole.

use crate::limits::Refusal;
use crate::meters::{ErrorKind, kind_of_region_error};
use crate::service::raw::ROW_OVERHEAD_BYTES;
use bytes::Bytes;
use prost::Message;
use proto::{READ_OVER_BUDGET, errorpb, kvrpcpb, metapb};
use raftstore::RequestError;

/// Why a request on keys was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The Region or the node says no.
    Request(RequestError),
    /// The request itself is at fault.
    Refused(Refusal),
    /// A read went past its budget (which one); a part of its answer must not be taken for the whole.
    OverBudget(&'static str),
    /// The engine or a stored value is at fault. The text is for the operator.
    Internal(String),
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Failure::Request(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

impl From<types::CodecError> for Failure {
    fn from(error: types::CodecError) -> Self {
        Failure::Refused(Refusal::Key(error))
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        Failure::Internal(error.to_string())
    }
}

/// A response that can say that the request failed.
pub(crate) trait FailableResponse: Default {
    /// Sets the error about the Region.
    fn set_region_error(&mut self, error: errorpb::Error);
    /// Sets the error about the request.
    fn set_error(&mut self, text: String);
    /// What it holds in memory, in bytes.
    fn held_bytes(&self) -> usize;
    /// What kind of error it says, if it says one.
    fn error_kind(&self) -> Option<ErrorKind>;

    /// The response that says so.
    fn failed(failure: Failure) -> Self {
        let mut response = Self::default();
        match failure {
            Failure::Request(RequestError::Undetermined) => {
                response.set_error(RequestError::Undetermined.to_string());
            }
            Failure::Request(error) => response.set_region_error(region_error(error)),
            Failure::Refused(refusal) => response.set_error(refusal.to_string()),
            Failure::OverBudget(limit) => {
                response.set_region_error(busy(&format!("{READ_OVER_BUDGET}: {limit}")));
            }
            Failure::Internal(text) => response.set_error(text),
        }
        response
    }

    /// The response of a result: filled by `fill`, or failed.
    fn from_result<T>(result: Result<T, Failure>, fill: impl FnOnce(&mut Self, T)) -> Self {
        match result {
            Ok(value) => {
                let mut response = Self::default();
                fill(&mut response, value);
                response
            }
            Err(failure) => Self::failed(failure),
        }
    }
}

macro_rules! failable {
    (text: $($with_text:ident),*; pairs: $($list:ident.$pairs:ident),*; no_text: $($without:ident.$kvs:ident),*) => {
        $(impl FailableResponse for kvrpcpb::$with_text {
            fn set_region_error(&mut self, error: errorpb::Error) {
                self.region_error = Some(error);
            }
            fn set_error(&mut self, text: String) {
                self.error = text;
            }
            fn held_bytes(&self) -> usize {
                self.encoded_len()
            }
            fn error_kind(&self) -> Option<ErrorKind> {
                let other = (!self.error.is_empty()).then_some(ErrorKind::Other);
                self.region_error.as_ref().map(kind_of_region_error).or(other)
            }
        })*
        $(impl FailableResponse for kvrpcpb::$list {
            fn set_region_error(&mut self, error: errorpb::Error) {
                self.region_error = Some(error);
            }
            fn set_error(&mut self, text: String) {
                self.$pairs = vec![refused_pair(text.clone())];
                self.region_error = Some(unclassified(text));
            }
            fn held_bytes(&self) -> usize {
                self.encoded_len() + self.$pairs.len() * ROW_OVERHEAD_BYTES
            }
            fn error_kind(&self) -> Option<ErrorKind> {
                self.region_error.as_ref().map(kind_of_region_error)
            }
        })*
        $(impl FailableResponse for kvrpcpb::$without {
            fn set_region_error(&mut self, error: errorpb::Error) {
                self.region_error = Some(error);
            }
            fn set_error(&mut self, text: String) {
                self.region_error = Some(unclassified(text));
            }
            fn held_bytes(&self) -> usize {
                self.encoded_len() + self.$kvs.len() * ROW_OVERHEAD_BYTES
            }
            fn error_kind(&self) -> Option<ErrorKind> {
                self.region_error.as_ref().map(kind_of_region_error)
            }
        })*
    };
}

failable! {
    text: RawGetResponse, RawPutResponse, RawBatchPutResponse, RawDeleteResponse,
        RawBatchDeleteResponse, RawDeleteRangeResponse, RawGetKeyTtlResponse, RawCasResponse,
        RawChecksumResponse;
    pairs: RawBatchGetResponse.pairs, RawBatchScanResponse.kvs;
    no_text: RawScanResponse.kvs, SplitRegionResponse.regions
}

fn unclassified(text: String) -> errorpb::Error {
    errorpb::Error {
        message: text,
        ..Default::default()
    }
}

fn refused_pair(text: String) -> kvrpcpb::KvPair {
    let error = kvrpcpb::KeyError {
        abort: text,
        ..Default::default()
    };
    kvrpcpb::KvPair {
        error: Some(error),
        ..Default::default()
    }
}

/// A client that is told that the server is busy should come back after so long.
const BACKOFF_MS: u64 = 100;

fn busy(reason: &str) -> errorpb::Error {
    errorpb::Error {
        message: format!("the server is busy: {reason}"),
        server_is_busy: Some(errorpb::ServerIsBusy {
            reason: reason.to_owned(),
            backoff_ms: BACKOFF_MS,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The wire's form of an error that a Region or the node answered.
pub(crate) fn region_error(error: RequestError) -> errorpb::Error {
    let mut wire = errorpb::Error {
        message: error.to_string(),
        ..Default::default()
    };
    match error {
        // Where the replica is quarantined another one serves: clients go to the leader.
        RequestError::NotLeader { region_id, leader }
        | RequestError::Quarantined { region_id, leader } => {
            wire.not_leader = Some(errorpb::NotLeader {
                region_id: region_id.get(),
                leader: leader.map(Into::into),
            });
        }
        RequestError::RegionNotFound { region_id } => {
            wire.region_not_found = Some(errorpb::RegionNotFound {
                region_id: region_id.get(),
            });
        }
        RequestError::EpochNotMatch { current } => {
            wire.epoch_not_match = Some(errorpb::EpochNotMatch {
                current_regions: current.iter().map(metapb::Region::from).collect(),
            });
        }
        RequestError::KeyNotInRegion { key, region } => {
            wire.key_not_in_region = Some(errorpb::KeyNotInRegion {
                key: Bytes::from(key),
                region_id: region.id.get(),
                start_key: Bytes::from(region.range.start),
                end_key: Bytes::from(region.range.end),
            });
        }
        // A node that stops has executed nothing: to clients it is the same as being overtaken.
        RequestError::StaleCommand | RequestError::Stopping => {
            wire.stale_command = Some(errorpb::StaleCommand {});
        }
        RequestError::ServerIsBusy { reason } => return busy(reason),
        RequestError::StoreNotMatch { asked, actual } => {
            wire.store_not_match = Some(errorpb::StoreNotMatch {
                request_store_id: asked.get(),
                actual_store_id: actual.get(),
            });
        }
        RequestError::PeerMismatch { asked, actual } => {
            wire.mismatch_peer_id = Some(errorpb::MismatchPeerId {
                request_peer_id: asked.get(),
                store_peer_id: actual.get(),
            });
        }
        RequestError::EntryTooLarge {
            region_id, bytes, ..
        } => {
            wire.raft_entry_too_large = Some(errorpb::RaftEntryTooLarge {
                region_id: region_id.get(),
                entry_size: bytes,
            });
        }
        RequestError::DiskFull => {
            wire.disk_full = Some(errorpb::DiskFull {
                store_id: Vec::new(),
                reason: wire.message.clone(),
            });
        }
        RequestError::Undetermined => wire.undetermined_result = Some(undetermined(&wire.message)),
        // There is no field for it: the message says what is wrong.
        RequestError::InvalidChange { .. } => {}
    }
    wire
}

fn undetermined(message: &str) -> errorpb::UndeterminedResult {
    errorpb::UndeterminedResult {
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Epoch, KeyRange, Peer, PeerId, PeerRole, Region, RegionId, StoreId};

    fn region() -> Region {
        Region {
            id: RegionId(2),
            range: KeyRange {
                start: b"a".to_vec(),
                end: b"m".to_vec(),
            },
            epoch: Epoch {
                conf_ver: 1,
                version: 5,
            },
            peers: vec![Peer {
                id: PeerId(7),
                store_id: StoreId(3),
                role: PeerRole::Voter,
            }],
        }
    }

    #[test]
    fn not_leader_carries_the_hint() {
        let leader = region().peers[0];
        let wire = region_error(RequestError::NotLeader {
            region_id: RegionId(2),
            leader: Some(leader),
        });
        let not_leader = wire.not_leader.unwrap();
        assert_eq!(not_leader.region_id, 2);
        assert_eq!(not_leader.leader, Some(leader.into()));
    }

    #[test]
    fn epoch_not_match_carries_whole_regions() {
        let wire = region_error(RequestError::EpochNotMatch {
            current: vec![region()],
        });
        let current = wire.epoch_not_match.unwrap().current_regions;
        assert_eq!(Region::try_from(current[0].clone()), Ok(region()));
    }

    #[test]
    fn a_quarantined_replica_sends_clients_to_the_leader() {
        let error = RequestError::Quarantined {
            region_id: RegionId(2),
            leader: Some(region().peers[0]),
        };
        let wire = region_error(error);
        assert!(wire.message.contains("quarantined"));
        assert!(wire.not_leader.is_some_and(|hint| hint.leader.is_some()));
    }

    #[test]
    fn every_error_sets_its_own_field_and_a_message() {
        let region_id = RegionId(2);
        type Is = fn(&errorpb::Error) -> bool;
        let cases: Vec<(RequestError, Is)> = vec![
            (RequestError::RegionNotFound { region_id }, |e| {
                e.region_not_found.is_some()
            }),
            (
                RequestError::KeyNotInRegion {
                    key: b"z".to_vec(),
                    region: Box::new(region()),
                },
                |e| {
                    e.key_not_in_region
                        .as_ref()
                        .is_some_and(|k| k.end_key == "m")
                },
            ),
            (RequestError::StaleCommand, |e| e.stale_command.is_some()),
            (RequestError::Stopping, |e| e.stale_command.is_some()),
            (RequestError::ServerIsBusy { reason: "full" }, |e| {
                e.server_is_busy
                    .as_ref()
                    .is_some_and(|b| b.reason == "full")
            }),
            (
                RequestError::StoreNotMatch {
                    asked: StoreId(1),
                    actual: StoreId(2),
                },
                |e| {
                    e.store_not_match
                        .as_ref()
                        .is_some_and(|s| s.actual_store_id == 2)
                },
            ),
            (
                RequestError::PeerMismatch {
                    asked: PeerId(1),
                    actual: PeerId(2),
                },
                |e| {
                    e.mismatch_peer_id
                        .as_ref()
                        .is_some_and(|s| s.store_peer_id == 2)
                },
            ),
            (
                RequestError::EntryTooLarge {
                    region_id,
                    bytes: 9,
                    limit_bytes: 8,
                },
                |e| {
                    e.raft_entry_too_large
                        .as_ref()
                        .is_some_and(|r| r.entry_size == 9)
                },
            ),
            (RequestError::DiskFull, |e| e.disk_full.is_some()),
        ];
        for (error, is) in cases {
            let wire = region_error(error.clone());
            assert!(is(&wire) && !wire.message.is_empty(), "{error:?}: {wire:?}");
        }
    }

    #[test]
    fn an_undetermined_write_is_not_a_region_error() {
        let failure = || Failure::Request(RequestError::Undetermined);
        let response = kvrpcpb::RawPutResponse::failed(failure());
        assert!(response.region_error.is_none() && !response.error.is_empty());
    }

    #[test]
    fn a_refused_scan_is_an_error_and_not_an_empty_answer() {
        let refusal = Failure::Refused(Refusal::Key(types::CodecError::InvertedRange));
        let response = kvrpcpb::RawScanResponse::failed(refusal);
        assert!(response.region_error.unwrap().message.contains("range"));
    }

    #[test]
    fn a_client_can_tell_a_read_over_its_budget_from_a_busy_server() {
        let over = kvrpcpb::RawScanResponse::failed(Failure::OverBudget("the limit in bytes"));
        let busy = over.region_error.unwrap().server_is_busy.unwrap();
        assert!(busy.reason.starts_with(READ_OVER_BUDGET), "{busy:?}");
    }

    #[test]
    fn a_refused_batch_read_says_so_in_a_pair_too() {
        let refusal = || Failure::Refused(Refusal::Key(types::CodecError::InvertedRange));
        let get = kvrpcpb::RawBatchGetResponse::failed(refusal());
        let scan = kvrpcpb::RawBatchScanResponse::failed(refusal());
        for (error, pairs) in [(get.region_error, get.pairs), (scan.region_error, scan.kvs)] {
            let text = &pairs[0].error.as_ref().unwrap().abort;
            assert!(text.contains("range") && error.unwrap().message == *text);
        }
    }
}
