//! Who this node is: the list of the cluster's first members, and what follows from it.
//!
//! **Invariants.** The same list gives every node the same cluster id and the same store ids. A
//! cluster id is never zero, and positive for clients that read it as a signed number.
//!
//! **Not here.** Where the list comes from (the command line or a file).

use bytes::Bytes;
use thiserror::Error;
use types::{ApiVersion, ClusterId, StoreId};

/// A first member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name in the list.
    pub name: String,
    /// `host:port`, as other nodes and clients dial it.
    pub address: String,
    /// Its position in the list, from one.
    pub store_id: StoreId,
}

/// The first members of a cluster, in the order of their store ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members(Vec<Member>);

/// Why a list of first members is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MembersError {
    /// An item is not `name=host:port`.
    #[error("{0:?} is not of the form name=host:port")]
    Form(String),
    /// A name or an address stands twice.
    #[error("{0:?} stands twice in the list of first members")]
    Twice(String),
    /// This node is not in the list.
    #[error("this node's name, {0:?}, is not in the list of first members")]
    Absent(String),
}

impl Members {
    /// Reads `name=host:port,name=host:port,...` (etcd's convention for `--initial-cluster`).
    pub fn parse(list: &str) -> Result<Self, MembersError> {
        let mut members: Vec<Member> = Vec::new();
        for item in list.split(',').map(str::trim) {
            let form = || MembersError::Form(item.to_owned());
            let (name, address) = item.split_once('=').ok_or_else(form)?;
            let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
            let dialable = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
            if name.is_empty() || !dialable {
                return Err(form());
            }
            if members.iter().any(|member| member.name == name) {
                return Err(MembersError::Twice(name.to_owned()));
            }
            if members.iter().any(|member| member.address == address) {
                return Err(MembersError::Twice(address.to_owned()));
            }
            members.push(Member {
                name: name.to_owned(),
                address: address.to_owned(),
                store_id: StoreId(members.len() as u64 + 1),
            });
        }
        Ok(Self(members))
    }

    /// The members, by store id.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    /// How many there are; at least one.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The id that this list gives to its cluster.
    pub fn cluster_id(&self) -> ClusterId {
        // FNV-1a over names and addresses.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for member in &self.0 {
            for byte in format!("{}={},", member.name, member.address).bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        ClusterId((hash >> 1).max(1))
    }

    /// What the member with this name is.
    pub fn identify(&self, name: &str, api_version: ApiVersion) -> Result<Identity, MembersError> {
        let absent = || MembersError::Absent(name.to_owned());
        let member = self.0.iter().find(|member| member.name == name);
        let member = member.ok_or_else(absent)?;
        Ok(Identity {
            cluster_id: self.cluster_id(),
            store_id: member.store_id,
            api_version,
            name: member.name.clone(),
            address: member.address.clone(),
        })
    }
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its store.
    pub store_id: StoreId,
    /// How clients' keys are laid out, fixed at bootstrap.
    pub api_version: ApiVersion,
    /// Its name in the list of members.
    pub name: String,
    /// `host:port`, as other nodes and clients dial it.
    pub address: String,
}

/// The record in a data directory that says whose it is.
///
/// ```text
/// ident := version:u8=1  cluster_id:u64be  store_id:u64be  api_version:u8
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ident {
    pub(crate) cluster_id: ClusterId,
    pub(crate) store_id: StoreId,
    pub(crate) api_version: ApiVersion,
}

impl Ident {
    pub(crate) fn of(identity: &Identity) -> Self {
        Self {
            cluster_id: identity.cluster_id,
            store_id: identity.store_id,
            api_version: identity.api_version,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        out.extend(self.cluster_id.get().to_be_bytes());
        out.extend(self.store_id.get().to_be_bytes());
        out.push(self.api_version.number() as u8);
        out
    }

    pub(crate) fn decode(record: &Bytes) -> Option<Self> {
        let (version, rest) = record.split_first()?;
        let (cluster, rest) = rest.split_first_chunk::<8>()?;
        let (store, rest) = rest.split_first_chunk::<8>()?;
        match (version, rest) {
            (1, [api]) => Some(Self {
                cluster_id: ClusterId(u64::from_be_bytes(*cluster)),
                store_id: StoreId(u64::from_be_bytes(*store)),
                api_version: ApiVersion::from_number(u32::from(*api))?,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_gives_ids_in_its_order() {
        let members = Members::parse("a=h1:1, b=h2:2").unwrap();
        let b = members.identify("b", ApiVersion::V1).unwrap();
        assert_eq!((b.store_id, b.address.as_str()), (StoreId(2), "h2:2"));
        assert_ne!(b.cluster_id, ClusterId(0));
        let other = Members::parse("a=h1:1,b=h2:3").unwrap();
        assert_ne!(other.cluster_id(), members.cluster_id());
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused_with_the_item() {
        for (list, error) in [
            ("", MembersError::Form(String::new())),
            ("a", MembersError::Form("a".into())),
            ("a=h", MembersError::Form("a=h".into())),
            ("a=h:0", MembersError::Form("a=h:0".into())),
            ("a=:1", MembersError::Form("a=:1".into())),
            ("a=h:1,a=h:2", MembersError::Twice("a".into())),
            ("a=h:1,b=h:1", MembersError::Twice("h:1".into())),
        ] {
            assert_eq!(Members::parse(list), Err(error), "{list}");
        }
        let members = Members::parse("a=h:1").unwrap();
        let absent = members.identify("z", ApiVersion::V1);
        assert_eq!(absent, Err(MembersError::Absent("z".into())));
    }

    #[test]
    fn an_ident_reads_back_and_a_damaged_one_does_not() {
        let ident = Ident {
            cluster_id: ClusterId(7),
            store_id: StoreId(3),
            api_version: ApiVersion::V2,
        };
        let record = Bytes::from(ident.encode());
        assert_eq!(Ident::decode(&record), Some(ident));
        for len in 0..record.len() {
            assert_eq!(Ident::decode(&record.slice(..len)), None);
        }
    }
}
