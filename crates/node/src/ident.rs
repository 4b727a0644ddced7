//! The record in a data directory that says whose it is, and what becomes of it at a start.
//!
//! **Why the directory decides.** A store's promises are in its directory; whoever opens it has to be
//! that store. So once it is bootstrapped, the cluster, the store and the first members come from here.
//! From the configuration come the addresses, by name: a member may move to another one. A store that
//! joined later knows no first members.
//!
//! **Invariants.** Reading changes nothing, so that a directory of somebody else stays as it was.
//!
//! **Not here.** Writing the record: it is the last act of bootstrap (`recover`). Directories of stores
//! that join or have joined, and starts without a list: `owner`.

use crate::error::StartError;
use crate::identity::{Identity, Member, Members};
use bytes::Bytes;
use engine::{Cf, KvEngine};
use types::{ApiVersion, ClusterId, StoreId, keys};

const VERSION: u8 = 2;

/// What the operator says of this node and its cluster.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The node's name among the members.
    pub name: String,
    /// The first members, where they are today.
    pub members: Members,
    /// How clients' keys shall be laid out.
    pub api_version: ApiVersion,
    /// Tells apart what clusters of the same members are founded. Nobody asks for it afterwards.
    pub token: String,
}

/// How a store came to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is one of the first members.
    Founded,
    /// It joined when the cluster was there.
    Joined,
}

/// Who a node is, found out from its directory and its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The node itself.
    pub identity: Identity,
    /// How it came to its cluster.
    pub origin: Origin,
    /// Of a first member: all first members, where they are today. Otherwise placement's members, where
    /// they were when this node last knew.
    pub members: Members,
    /// Whether the directory has never been bootstrapped.
    pub is_new: bool,
}

impl Identified {
    /// Whether it is for this node to lead first: of those that found a cluster one asks for votes at once, so
    /// that nobody waits an election timeout for the first leader, and no two ask at the same time.
    pub fn leads_first(&self) -> bool {
        let first = self.members.iter().next().map(|member| member.store_id);
        let founds = self.is_new && self.origin == Origin::Founded;
        founds && first == Some(self.identity.store_id)
    }
}

/// Finds out who the node is that this directory belongs to, or would belong to.
///
/// # Errors
/// The directory belongs to somebody else than the configuration says.
pub fn identify<K: KvEngine>(kv: &K, configured: &Configured) -> Result<Identified, StartError> {
    let Some(ident) = Ident::read(kv)? else {
        let members = configured.members.clone();
        let identity =
            members.identify(&configured.name, configured.api_version, &configured.token)?;
        return Ok(Identified {
            identity,
            origin: Origin::Founded,
            members,
            is_new: true,
        });
    };
    ident.identify(configured)
}

/// ```text
/// ident  := version:u8=2  cluster_id:u64be  store_id:u64be  api_version:u8  count:u32be  member{count}
/// member := store_id:u64be  length:u8  name
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ident {
    pub(crate) cluster_id: ClusterId,
    pub(crate) store_id: StoreId,
    api_version: ApiVersion,
    /// The names of the first members, by store id; none if the store joined later.
    pub(crate) members: Vec<(StoreId, String)>,
}

impl Ident {
    pub(crate) fn of(identified: &Identified) -> Self {
        let Identified {
            identity, members, ..
        } = identified;
        let name = |member: &Member| (member.store_id, member.name.clone());
        Self {
            cluster_id: identity.cluster_id,
            store_id: identity.store_id,
            api_version: identity.api_version,
            members: match identified.origin {
                Origin::Founded => members.iter().map(name).collect(),
                Origin::Joined => Vec::new(),
            },
        }
    }

    /// The record of a directory; there is none in a new one.
    pub(crate) fn read<K: KvEngine>(kv: &K) -> Result<Option<Self>, StartError> {
        let found = kv
            .get(Cf::Raft, keys::STORE_IDENT_KEY)
            .map_err(StartError::engine("reading the store's ident"))?;
        let unreadable = || StartError::Damaged {
            what: "the store's ident can't be read".to_owned(),
        };
        let decode = |record| Self::decode(&record).ok_or_else(unreadable);
        found.map(decode).transpose()
    }

    pub(crate) fn origin(&self) -> Origin {
        match self.members.is_empty() {
            true => Origin::Joined,
            false => Origin::Founded,
        }
    }

    pub(crate) fn check_api_version(&self, configured: ApiVersion) -> Result<(), StartError> {
        if self.api_version == configured {
            return Ok(());
        }
        Err(StartError::ForeignApiVersion {
            expected: configured.number(),
            found: self.api_version.number(),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.cluster_id.get().to_be_bytes());
        out.extend(self.store_id.get().to_be_bytes());
        out.push(self.api_version.number() as u8);
        out.extend((self.members.len() as u32).to_be_bytes());
        for (id, name) in &self.members {
            out.extend(id.get().to_be_bytes());
            out.push(name.len() as u8);
            out.extend(name.as_bytes());
        }
        out
    }

    fn decode(record: &Bytes) -> Option<Self> {
        let (version, rest) = record.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (cluster, rest) = rest.split_first_chunk::<8>()?;
        let (store, rest) = rest.split_first_chunk::<8>()?;
        let (api, rest) = rest.split_first()?;
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let mut members = Vec::new();
        for _ in 0..u32::from_be_bytes(*count) {
            let (id, after) = rest.split_first_chunk::<8>()?;
            let (length, after) = after.split_first()?;
            let (name, after) = after.split_at_checked(usize::from(*length))?;
            let name = String::from_utf8(name.to_vec()).ok()?;
            members.push((StoreId(u64::from_be_bytes(*id)), name));
            rest = after;
        }
        rest.is_empty().then_some(Self {
            cluster_id: ClusterId(u64::from_be_bytes(*cluster)),
            store_id: StoreId(u64::from_be_bytes(*store)),
            api_version: ApiVersion::from_number(u32::from(*api))?,
            members,
        })
    }

    fn identify(self, configured: &Configured) -> Result<Identified, StartError> {
        self.check_api_version(configured.api_version)?;
        if self.origin() == Origin::Joined {
            return Err(StartError::JoinedDirectory {
                store: self.store_id,
                cluster: self.cluster_id,
            });
        }
        let own = self.members.iter().find(|(id, _)| *id == self.store_id);
        let (_, name) = own.ok_or_else(|| StartError::Damaged {
            what: "the store's ident does not name the store".to_owned(),
        })?;
        if *name != configured.name {
            return Err(StartError::ForeignName {
                configured: configured.name.clone(),
                found: name.clone(),
                store: self.store_id,
                cluster: self.cluster_id,
            });
        }
        let members = self.members_at(&configured.members)?;
        let own = members.find(name).expect("just found among the members");
        let identity = Identity {
            cluster_id: self.cluster_id,
            store_id: self.store_id,
            api_version: self.api_version,
            name: own.name.clone(),
            address: own.address.clone(),
        };
        Ok(Identified {
            identity,
            origin: Origin::Founded,
            members,
            is_new: false,
        })
    }

    /// The members of the directory at the addresses of the list.
    fn members_at(&self, list: &Members) -> Result<Members, StartError> {
        let known = || self.members.iter().map(|(_, name)| name.as_str());
        let unknown = list.iter().map(|member| member.name.as_str());
        let unknown = unknown.filter(|name| known().all(|known| known != *name));
        let unknown: Vec<&str> = unknown.collect();
        if !unknown.is_empty() {
            return Err(StartError::UnknownMembers {
                names: unknown.join(", "),
                known: known().collect::<Vec<_>>().join(", "),
                cluster: self.cluster_id,
            });
        }
        let unlisted: Vec<&str> = known().filter(|name| list.find(name).is_none()).collect();
        if !unlisted.is_empty() {
            return Err(StartError::UnlistedMembers {
                names: unlisted.join(", "),
                cluster: self.cluster_id,
            });
        }
        let member = |(id, name): &(StoreId, String)| {
            let listed = list.find(name)?;
            Some(Member {
                store_id: *id,
                ..listed.clone()
            })
        };
        let members = self.members.iter().filter_map(member).collect();
        Ok(Members::told(members).expect("the list was checked, and ids are given once"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::mem::{Disk, MemKv};
    use engine::{Durability, KvBatch};

    fn configured(name: &str, list: &str) -> Configured {
        Configured {
            name: name.to_owned(),
            members: Members::parse(list).unwrap(),
            api_version: ApiVersion::V1,
            token: "t".to_owned(),
        }
    }

    /// A directory that was bootstrapped as this node's, and who that is.
    fn bootstrapped(configured: &Configured) -> (MemKv, Identified) {
        let kv = Disk::new().open_kv("kv").unwrap();
        let identified = identify(&kv, configured).unwrap();
        let mut batch = kv.batch();
        let record = Ident::of(&identified).encode();
        batch.put(Cf::Raft, keys::STORE_IDENT_KEY, &record);
        kv.write(&mut batch, Durability::Synced).unwrap();
        (kv, identified)
    }

    #[test]
    fn fuzz_idents() {
        let ident = |members: &[&str]| Ident {
            cluster_id: ClusterId(7),
            store_id: StoreId(2),
            api_version: ApiVersion::V2,
            members: (1..)
                .map(StoreId)
                .zip(members.iter().map(|name| (*name).to_owned()))
                .collect(),
        };
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "idents")
            .seed(ident(&["a", "b", "longer"]).encode())
            .seed(ident(&[]).encode())
            .run(|input| {
                let ident = Ident::decode(&Bytes::copy_from_slice(input));
                if let Some(ident) = &ident {
                    assert_eq!(ident.encode(), input);
                }
                ident.map(|ident| ident.members.len())
            });
    }

    #[test]
    fn a_record_reads_back_and_a_cut_or_longer_one_does_not() {
        let (_, identified) = bootstrapped(&configured("b", "a=h:1,b=h:2,c=h:3"));
        let ident = Ident::of(&identified);
        let record = Bytes::from(ident.encode());
        assert_eq!(Ident::decode(&record), Some(ident));
        for len in 0..record.len() {
            assert_eq!(Ident::decode(&record.slice(..len)), None);
        }
        let longer = Bytes::from([&record[..], &[0]].concat());
        assert_eq!(Ident::decode(&longer), None);
    }

    #[test]
    fn one_of_those_that_found_a_cluster_leads_first_and_no_later_start_does() {
        let list = "a=h:1,b=h:2,c=h:3";
        let firsts = ["a", "b", "c"].map(|name| bootstrapped(&configured(name, list)));
        assert_eq!(
            firsts.each_ref().map(|(_, first)| first.leads_first()),
            [true, false, false]
        );
        let again = identify(&firsts[0].0, &configured("a", list)).unwrap();
        assert!(!again.leads_first());
    }

    #[test]
    fn a_bootstrapped_directory_keeps_its_ids_when_every_address_and_the_token_change() {
        let (kv, first) = bootstrapped(&configured("b", "a=h:1,b=h:2,c=h:3"));
        assert!(first.is_new);
        let mut moved = configured("b", "c=g:3,b=g:2,a=g:1");
        moved.token = "u".to_owned();
        let found = identify(&kv, &moved).unwrap();
        assert!(!found.is_new);
        let expected = Identity {
            address: "g:2".to_owned(),
            ..first.identity
        };
        assert_eq!(found.identity, expected);
        let addresses: Vec<_> = found.members.iter().map(|m| m.address.as_str()).collect();
        assert_eq!(addresses, ["g:1", "g:2", "g:3"]);
    }

    #[test]
    fn a_directory_of_another_member_is_refused_with_both_names() {
        let (kv, _) = bootstrapped(&configured("b", "a=h:1,b=h:2"));
        let refused = identify(&kv, &configured("a", "a=h:1,b=h:2")).unwrap_err();
        assert!(matches!(refused, StartError::ForeignName { .. }));
        let text = refused.to_string();
        assert!(text.contains("\"a\"") && text.contains("\"b\""), "{text}");
    }

    #[test]
    fn another_api_version_is_refused() {
        let (kv, _) = bootstrapped(&configured("a", "a=h:1"));
        let mut other = configured("a", "a=h:1");
        other.api_version = ApiVersion::V2;
        let refused = identify(&kv, &other).unwrap_err();
        assert!(matches!(refused, StartError::ForeignApiVersion { .. }));
    }

    #[test]
    fn a_list_with_other_members_than_the_directory_is_refused_with_their_names() {
        let (kv, _) = bootstrapped(&configured("a", "a=h:1,b=h:2,c=h:3"));
        let refused = |list| identify(&kv, &configured("a", list)).unwrap_err();
        let less = refused("a=h:1");
        assert!(matches!(&less, StartError::UnlistedMembers { names, .. } if names == "b, c"));
        let more = refused("a=h:1,b=h:2,c=h:3,d=h:4");
        assert!(matches!(&more, StartError::UnknownMembers { names, .. } if names == "d"));
    }
}
