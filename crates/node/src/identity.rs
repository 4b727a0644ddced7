//! Who this node is, and who placement's members are: at first those of a list, and what follows from it.
//!
//! **Founding.** The list, the API version and a token give every first member the same cluster id and
//! the same store ids, in whatever order the list is written. Nodes that were told different things get
//! different cluster ids, and refuse each other's messages.
//!
//! **Afterwards** the data directory says who the node is (`ident`); the list only says where the
//! members are today.
//!
//! **Invariants.** Members stand in the order of their store ids. A cluster id is never zero, and
//! positive for clients that read it as a signed number.
//!
//! **Not here.** Where the list comes from (the command line or a file).

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use thiserror::Error;
use types::{ApiVersion, ClusterId, StoreId};

/// The longest name of a member, in bytes: its length is one byte in a directory's ident.
const NAME_BYTES_MAX: usize = 255;

/// A member of placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, as in the list of first members.
    pub name: String,
    /// `host:port`, as other nodes and clients dial it.
    pub address: String,
    /// Of a first member: its position among the names in their order, from one.
    pub store_id: StoreId,
}

/// The members of placement, in the order of their store ids; never none. At first they are the first
/// members of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members(Vec<Member>);

/// Why a list of first members is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MembersError {
    /// An item has no name or no address.
    #[error("{0:?} is not of the form name=host:port")]
    Form(String),
    /// A name can't be one.
    #[error("{0:?} is no name: 1 to 255 bytes without spaces, commas and equals signs")]
    Name(String),
    /// An address can't be dialled.
    #[error("member {name:?}: {address:?} is not of the form host:port")]
    Address {
        /// Whose.
        name: String,
        /// As written.
        address: String,
    },
    /// A name or an address stands twice.
    #[error("{0:?} stands twice in the list of first members")]
    Twice(String),
    /// This node is not in the list.
    #[error("this node's name, {0:?}, is not in the list of first members")]
    Absent(String),
}

/// The token of clusters that need not be told apart.
pub const DEFAULT_TOKEN: &str = "kontiki-cluster";

/// Whether `text` is `host:port`, with a host and a port that can be dialled.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_host = match bracketed {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !host.is_empty() && host.chars().all(allowed)
        }
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Whether a member can have this name.
pub fn is_member_name(text: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != ',' && c != '=';
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed)
}

impl Members {
    /// Reads `name=host:port,name=host:port,...` (etcd's convention for `--initial-cluster`). Spaces
    /// around names and addresses and one comma at the end are tolerated.
    ///
    /// # Errors
    /// About the first item that is malformed or stands twice.
    pub fn parse(list: &str) -> Result<Self, MembersError> {
        let list = list.trim();
        let items = list.strip_suffix(',').unwrap_or(list).split(',');
        let pairs = items.map(|item| match item.split_once('=') {
            Some((name, address)) => Ok((name.trim(), address.trim())),
            None => Err(MembersError::Form(item.trim().to_owned())),
        });
        Self::new(pairs.collect::<Result<_, _>>()?)
    }

    /// A cluster of one.
    ///
    /// # Errors
    /// The name or the address can't be one.
    pub fn alone(name: &str, address: &str) -> Result<Self, MembersError> {
        Self::new(vec![(name, address)])
    }

    /// Of names and addresses. Store ids are given in the order of the names.
    fn new(mut pairs: Vec<(&str, &str)>) -> Result<Self, MembersError> {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for &(name, address) in &pairs {
            if !is_member_name(name) {
                return Err(MembersError::Name(name.to_owned()));
            }
            if !is_address(address) {
                let (name, address) = (name.to_owned(), address.to_owned());
                return Err(MembersError::Address { name, address });
            }
            for (text, seen) in [(name, &mut names), (address, &mut addresses)] {
                if !seen.insert(text) {
                    return Err(MembersError::Twice(text.to_owned()));
                }
            }
        }
        pairs.sort_unstable();
        let members = (1..).zip(pairs).map(|(id, (name, address))| Member {
            name: name.to_owned(),
            address: address.to_owned(),
            store_id: StoreId(id),
        });
        Ok(Self(members.collect()))
    }

    /// The members that somebody tells of, or a directory remembers. `None` if those can't be members:
    /// there is none of them, a store is twice there, or a name or an address can't be one.
    pub fn told(mut members: Vec<Member>) -> Option<Self> {
        members.sort_unstable_by_key(|member| member.store_id);
        let differ = |pair: &[Member]| pair[0].store_id != pair[1].store_id;
        let is_fine = |member: &Member| is_member_name(&member.name) && is_address(&member.address);
        let are_members = members.windows(2).all(differ) && members.iter().all(is_fine);
        (!members.is_empty() && are_members).then_some(Self(members))
    }

    /// The members, by store id.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    /// The member that is this store.
    pub fn on(&self, store: StoreId) -> Option<&Member> {
        self.iter().find(|member| member.store_id == store)
    }

    /// The member with this name.
    pub fn find(&self, name: &str) -> Option<&Member> {
        self.iter().find(|member| member.name == name)
    }

    /// How many there are; at least one.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The id of the cluster that these members found. `token` tells clusters apart whose members have
    /// the same names and addresses; so does the API version, since nodes of two versions must never
    /// form one cluster.
    fn cluster_id(&self, api_version: ApiVersion, token: &str) -> ClusterId {
        // FNV-1a. Zero bytes end each text, and no name or address has one.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |text: &str| {
            for byte in text.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        add(&api_version.number().to_string());
        for member in &self.0 {
            add(&member.name);
            add(&member.address);
        }
        add(token);
        ClusterId((hash >> 1).max(1))
    }

    /// Who the member with this name is in the cluster that these members found.
    ///
    /// # Errors
    /// [`MembersError::Absent`].
    pub fn identify(
        &self,
        name: &str,
        api_version: ApiVersion,
        token: &str,
    ) -> Result<Identity, MembersError> {
        let absent = || MembersError::Absent(name.to_owned());
        let member = self.find(name).ok_or_else(absent)?;
        Ok(Identity {
            cluster_id: self.cluster_id(api_version, token),
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
    /// Its name; a first member's is that in the list.
    pub name: String,
    /// `host:port`, as other nodes and clients dial it.
    pub address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "t";

    fn parse(list: &str) -> Members {
        Members::parse(list).unwrap()
    }

    #[test]
    fn ids_depend_on_the_names_and_not_on_the_lists_order_or_spaces() {
        let members = parse("b=h2:2,a=h1:1");
        assert_eq!(members, parse(" a = h1:1 , b=h2:2, "));
        let b = members.identify("b", ApiVersion::V1, TOKEN).unwrap();
        assert_eq!((b.store_id, b.address.as_str()), (StoreId(2), "h2:2"));
        assert_eq!(members.iter().next().unwrap().name, "a");
    }

    #[test]
    fn whoever_was_told_something_else_gets_another_cluster_id() {
        let members = parse("a=h1:1,b=h2:2");
        let id = members.cluster_id(ApiVersion::V1, TOKEN);
        assert_ne!(id, ClusterId(0));
        for other in [
            parse("a=h1:1,b=h2:3").cluster_id(ApiVersion::V1, TOKEN),
            parse("a=h1:1,c=h2:2").cluster_id(ApiVersion::V1, TOKEN),
            members.cluster_id(ApiVersion::V2, TOKEN),
            members.cluster_id(ApiVersion::V1, "u"),
        ] {
            assert_ne!(other, id);
        }
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused_with_the_item() {
        let form = |text: &str| MembersError::Form(text.into());
        let name = |text: &str| MembersError::Name(text.into());
        let twice = |text: &str| MembersError::Twice(text.into());
        let address = |address: &str| MembersError::Address {
            name: "a".into(),
            address: address.into(),
        };
        for (list, error) in [
            ("", form("")),
            (",", form("")),
            ("a=h:1,,", form("")),
            (",a=h:1", form("")),
            ("a", form("a")),
            ("=h:1", name("")),
            ("a b=h:1", name("a b")),
            ("a=h", address("h")),
            ("a=h:0", address("h:0")),
            ("a=:1", address(":1")),
            ("a=b=h:1", address("b=h:1")),
            ("a=h:1,a=h:2", twice("a")),
            ("a=h:1,b=h:1", twice("h:1")),
        ] {
            assert_eq!(Members::parse(list), Err(error), "{list}");
        }
        let absent = parse("a=h:1").identify("z", ApiVersion::V1, TOKEN);
        assert_eq!(absent, Err(MembersError::Absent("z".into())));
    }

    #[test]
    fn a_node_alone_obeys_the_same_rules() {
        assert_eq!(Members::alone("a", "h:1"), Ok(parse("a=h:1")));
        for name in ["", "a,b", "a=b", " a", &"x".repeat(256)] {
            let refused = Members::alone(name, "h:1");
            assert_eq!(refused, Err(MembersError::Name(name.to_owned())));
        }
    }

    #[test]
    fn members_that_somebody_tells_of_are_ordered_and_those_that_make_no_sense_are_none() {
        let member = |id, address: &str| Member {
            name: format!("n{id}"),
            address: address.to_owned(),
            store_id: StoreId(id),
        };
        let told = Members::told(vec![member(7, "h:7"), member(2, "h:2")]).unwrap();
        assert_eq!(told.iter().next(), Some(&member(2, "h:2")));
        assert_eq!(told.on(StoreId(7)), Some(&member(7, "h:7")));
        assert_eq!(told.on(StoreId(1)), None);
        assert_eq!(Members::told(vec![]), None);
        assert_eq!(
            Members::told(vec![member(7, "h:7"), member(7, "h:8")]),
            None
        );
        assert_eq!(Members::told(vec![member(7, "h")]), None);
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["127.0.0.1:1", "host-1.example:65535", "[::1]:2379"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            ":1",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "::1:5",
            "[x]:1",
            "http://h:1",
            "a b:1",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
