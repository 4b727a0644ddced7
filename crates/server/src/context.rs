//! To whom a request is addressed: the check of a client's `Context`, and what is left of it for the
//! node.
//!
//! **Why before anything else.** A request for another cluster, store, key mode or keyspace must not
//! be able to read or change a single key here.
//!
//! **Not here.** Whether the Region lives here, leads here and has that epoch: the node checks that
//! at the moment when it counts.

use crate::error::Failure;
use crate::limits::{Refusal, api_version_name};
use node::Identity;
use proto::kvrpcpb;
use raftstore::{RequestContext, RequestError};
use types::{ApiVersion, ClusterId, KeyspaceId, Peer, PeerId, PeerRole, RegionId, StoreId};

/// A context that has passed the check.
#[derive(Debug)]
pub(crate) struct Checked {
    /// For the node.
    pub request: RequestContext,
    /// The keyspace that the request says it is about; `None` when it does not say.
    pub keyspace: Option<KeyspaceId>,
    /// How long the request may run, in milliseconds; `None` for no wish.
    pub max_ms: Option<u64>,
}

/// Checks a request's context against who this node is.
pub(crate) fn check(
    identity: &Identity,
    context: Option<kvrpcpb::Context>,
) -> Result<Checked, Failure> {
    let context = context.unwrap_or_default();
    check_cluster(identity, &context)?;
    check_api_version(identity.api_version, context.api_version)?;
    let region_id = RegionId(context.region_id);
    if context.region_id == 0 || region_id == RegionId::PLACEMENT {
        return Err(RequestError::RegionNotFound { region_id }.into());
    }
    let peer = context.peer.unwrap_or_default();
    if peer.store_id != 0 && peer.store_id != identity.store_id.get() {
        return Err(RequestError::StoreNotMatch {
            asked: StoreId(peer.store_id),
            actual: identity.store_id,
        }
        .into());
    }
    let keyspace = match (identity.api_version, context.keyspace_id) {
        (ApiVersion::V1, _) | (ApiVersion::V2, 0) => None,
        (ApiVersion::V2, id) => Some(KeyspaceId::new(id)?),
    };
    Ok(Checked {
        request: RequestContext {
            region_id,
            epoch: context.region_epoch.map(Into::into).unwrap_or_default(),
            peer: Peer {
                id: PeerId(peer.id),
                store_id: identity.store_id,
                role: PeerRole::Voter,
            },
            term: context.term,
            replica_read: context.replica_read,
        },
        keyspace,
        max_ms: Some(context.max_execution_duration_ms).filter(|ms| *ms != 0),
    })
}

fn check_cluster(identity: &Identity, context: &kvrpcpb::Context) -> Result<(), Refusal> {
    if context.cluster_id != 0 && context.cluster_id != identity.cluster_id.get() {
        return Err(Refusal::ForeignCluster {
            asked: ClusterId(context.cluster_id),
            actual: identity.cluster_id,
        });
    }
    Ok(())
}

/// V1 takes the requests of clients with and without times to live: ours always has room for one.
fn check_api_version(cluster: ApiVersion, asked: i32) -> Result<(), Refusal> {
    use kvrpcpb::ApiVersion as Wire;
    match (cluster, Wire::try_from(asked)) {
        (ApiVersion::V1, Ok(Wire::V1 | Wire::V1ttl)) | (ApiVersion::V2, Ok(Wire::V2)) => Ok(()),
        _ => Err(Refusal::ApiVersion {
            asked: api_version_name(asked),
            cluster,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::metapb;

    fn identity(api_version: ApiVersion) -> Identity {
        Identity {
            cluster_id: ClusterId(77),
            store_id: StoreId(3),
            api_version,
            name: "n3".to_owned(),
            address: "127.0.0.1:1".to_owned(),
        }
    }

    fn context(api_version: kvrpcpb::ApiVersion) -> kvrpcpb::Context {
        kvrpcpb::Context {
            region_id: 2,
            region_epoch: Some(metapb::RegionEpoch {
                conf_ver: 1,
                version: 4,
            }),
            peer: Some(metapb::Peer {
                id: 9,
                store_id: 3,
                ..Default::default()
            }),
            term: 6,
            api_version: api_version as i32,
            ..Default::default()
        }
    }

    fn v1() -> kvrpcpb::Context {
        context(kvrpcpb::ApiVersion::V1)
    }

    #[test]
    fn a_correct_context_reaches_the_node_whole() {
        let checked = check(&identity(ApiVersion::V1), Some(v1())).unwrap();
        assert_eq!(checked.request.region_id, RegionId(2));
        assert_eq!(checked.request.epoch.version, 4);
        assert_eq!(checked.request.peer.id, PeerId(9));
        assert_eq!(checked.request.term, 6);
        assert_eq!((checked.keyspace, checked.max_ms), (None, None));
    }

    #[test]
    fn another_store_is_named_in_the_answer() {
        let mut wrong = v1();
        wrong.peer.as_mut().unwrap().store_id = 8;
        let result = check(&identity(ApiVersion::V1), Some(wrong));
        let expected = RequestError::StoreNotMatch {
            asked: StoreId(8),
            actual: StoreId(3),
        };
        assert!(matches!(result, Err(Failure::Request(error)) if error == expected));
    }

    #[test]
    fn another_cluster_is_refused() {
        let wrong = kvrpcpb::Context {
            cluster_id: 78,
            ..v1()
        };
        let result = check(&identity(ApiVersion::V1), Some(wrong));
        assert!(matches!(
            result,
            Err(Failure::Refused(Refusal::ForeignCluster { .. }))
        ));
        let right = kvrpcpb::Context {
            cluster_id: 77,
            ..v1()
        };
        assert!(check(&identity(ApiVersion::V1), Some(right)).is_ok());
    }

    #[test]
    fn the_api_version_must_be_the_clusters() {
        use kvrpcpb::ApiVersion as Wire;
        let accepted = |cluster, asked| check(&identity(cluster), Some(context(asked))).is_ok();
        assert!(accepted(ApiVersion::V1, Wire::V1));
        assert!(accepted(ApiVersion::V1, Wire::V1ttl));
        assert!(!accepted(ApiVersion::V1, Wire::V2));
        assert!(accepted(ApiVersion::V2, Wire::V2));
        assert!(!accepted(ApiVersion::V2, Wire::V1));
        assert!(!accepted(ApiVersion::V2, Wire::V1ttl));
    }

    #[test]
    fn the_placement_region_is_out_of_reach_for_clients() {
        for region_id in [0, RegionId::PLACEMENT.get()] {
            let result = check(
                &identity(ApiVersion::V1),
                Some(kvrpcpb::Context { region_id, ..v1() }),
            );
            let expected = RequestError::RegionNotFound {
                region_id: RegionId(region_id),
            };
            assert!(matches!(result, Err(Failure::Request(error)) if error == expected));
        }
        assert!(check(&identity(ApiVersion::V1), None).is_err());
    }
}
