//! Keyspaces of API V2: names for the three-byte ids in clients' keys.
//!
//! **Invariant.** There is exactly one, `DEFAULT`, with id zero; it exists in every cluster and is
//! not persisted.
//!
//! **Not here.** Making keyspaces.

use crate::Error;
use crate::error::Result;
use types::KeyspaceId;

/// A keyspace. All are enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    /// What is in clients' keys.
    pub id: KeyspaceId,
    /// What clients are configured with.
    pub name: String,
}

const DEFAULT_NAME: &str = "DEFAULT";

/// All keyspaces, by id.
pub(crate) fn all() -> Vec<Keyspace> {
    vec![Keyspace {
        id: KeyspaceId::DEFAULT,
        name: DEFAULT_NAME.to_string(),
    }]
}

/// The keyspace of this name.
pub(crate) fn load(name: &str) -> Result<Keyspace> {
    all()
        .into_iter()
        .find(|keyspace| keyspace.name == name)
        .ok_or_else(|| Error::KeyspaceNotFound {
            name: name.to_string(),
        })
}
