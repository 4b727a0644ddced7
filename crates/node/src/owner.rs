//! Whose a data directory is when the configuration does not simply list the first members: the node
//! joins a cluster, has joined one, or starts again with nothing but its directory.
//!
//! **Why addresses are kept.** A store that joined has no list of members, and the addresses that it was
//! told to join by may be stale at its next start. So it remembers where placement's members are whenever
//! it learns of a change, and so do first members, which then need no list either.
//!
//! **Invariants.** A directory remembers what it is, whatever the configuration says. Only a new one can
//! be told to join.
//!
//! **Not here.** Asking the cluster (`server`).

use crate::error::StartError;
use crate::ident::{Configured, Ident, Identified, Origin, identify};
use crate::identity::{Identity, Member, Members};
use bytes::Bytes;
use engine::{Cf, Durability, KvBatch, KvEngine};
use types::{ApiVersion, StoreId, keys};

const VERSION: u8 = 1;

/// What the operator says of a node that may join.
#[derive(Clone, Debug)]
pub struct Told {
    /// The node's name.
    pub name: String,
    /// `host:port`, as others dial it.
    pub address: String,
    /// The list of first members, if there is one.
    pub first_members: Option<Members>,
    /// Whether it was told of nodes whose cluster it shall join.
    pub joins: bool,
    /// How clients' keys shall be laid out.
    pub api_version: ApiVersion,
    /// As [`Configured::token`].
    pub token: String,
}

/// Whose a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This node's.
    Known(Identified),
    /// Nobody's yet: the cluster that the node joins will say.
    Joining,
}

/// Finds out whose a directory is.
///
/// # Errors
/// It belongs to somebody else than the configuration says, or the configuration says two things.
pub fn find_owner<K: KvEngine>(kv: &K, told: &Told) -> Result<Owner, StartError> {
    let ident = Ident::read(kv)?;
    let members = match (&ident, &told.first_members) {
        (None, Some(_)) if told.joins => return Err(StartError::FoundOrJoin),
        (None, None) if told.joins => return Ok(Owner::Joining),
        (Some(ident), list)
            if ident.origin() == Origin::Joined && (told.joins || list.is_none()) =>
        {
            return joined(kv, ident, told).map(Owner::Known);
        }
        (_, Some(list)) => list.clone(),
        (Some(ident), None) => remembered(kv, ident, told)?,
        (None, None) => Members::alone(&told.name, &told.address)?,
    };
    let configured = Configured {
        name: told.name.clone(),
        members,
        api_version: told.api_version,
        token: told.token.clone(),
    };
    identify(kv, &configured).map(Owner::Known)
}

/// A store that has joined.
fn joined<K: KvEngine>(kv: &K, ident: &Ident, told: &Told) -> Result<Identified, StartError> {
    ident.check_api_version(told.api_version)?;
    let members = known_members(kv)?.ok_or_else(|| StartError::Damaged {
        what: "nothing says where placement's members are".to_owned(),
    })?;
    let identity = Identity {
        cluster_id: ident.cluster_id,
        store_id: ident.store_id,
        api_version: told.api_version,
        name: told.name.clone(),
        address: told.address.clone(),
    };
    Ok(Identified {
        identity,
        origin: Origin::Joined,
        members,
        is_new: false,
    })
}

/// The first members, where they were; a single one is where this node is.
fn remembered<K: KvEngine>(kv: &K, ident: &Ident, told: &Told) -> Result<Members, StartError> {
    let alone = Members::alone(&told.name, &told.address)?;
    let Some(known) = known_members(kv)? else {
        return Ok(alone);
    };
    let at = |(id, name): &(StoreId, String)| {
        let own = (*id == ident.store_id).then_some(&told.address);
        let address = own.or_else(|| known.on(*id).map(|member| &member.address))?;
        Some(Member {
            name: name.clone(),
            address: address.clone(),
            store_id: *id,
        })
    };
    let members: Option<Vec<Member>> = ident.members.iter().map(at).collect();
    Ok(members.and_then(Members::told).unwrap_or(alone))
}

/// Where placement's members were when this directory's node last knew; nothing, if it never did.
///
/// # Errors
/// The record can't be read.
pub fn known_members<K: KvEngine>(kv: &K) -> Result<Option<Members>, StartError> {
    let found = kv
        .get(Cf::Raft, keys::KNOWN_MEMBERS_KEY)
        .map_err(StartError::engine("reading where placement's members are"))?;
    let unreadable = || StartError::Damaged {
        what: "the record of placement's members can't be read".to_owned(),
    };
    let decode = |record| decode_members(&record).ok_or_else(unreadable);
    found.map(decode).transpose()
}

/// Puts what a start without a list needs to know into a batch.
pub(crate) fn put_members(batch: &mut impl KvBatch, members: &Members) {
    batch.put(Cf::Raft, keys::KNOWN_MEMBERS_KEY, &encode_members(members));
}

/// Remembers where placement's members are, for the next start. Waits for the disk.
///
/// # Errors
/// The engine's; what was remembered before stays.
pub(crate) fn remember_members<K: KvEngine>(kv: &K, members: &Members) -> engine::Result<()> {
    let mut batch = kv.batch();
    put_members(&mut batch, members);
    failpoint::at!("node::owner::before_members");
    kv.write(&mut batch, Durability::Synced)?;
    failpoint::at!("node::owner::members_written");
    Ok(())
}

/// ```text
/// record := version:u8=1  member*
/// member := store_id:u64be  length:u8  name  length:u16be  address
/// ```
fn encode_members(members: &Members) -> Vec<u8> {
    let mut out = vec![VERSION];
    for member in members.iter() {
        out.extend(member.store_id.get().to_be_bytes());
        out.push(member.name.len() as u8);
        out.extend(member.name.as_bytes());
        out.extend((member.address.len() as u16).to_be_bytes());
        out.extend(member.address.as_bytes());
    }
    out
}

fn decode_members(record: &Bytes) -> Option<Members> {
    let (version, mut rest) = record.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut members = Vec::new();
    while !rest.is_empty() {
        let (id, after) = rest.split_first_chunk::<8>()?;
        let (length, after) = after.split_first()?;
        let (name, after) = after.split_at_checked(usize::from(*length))?;
        let (length, after) = after.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (address, after) = after.split_at_checked(length)?;
        members.push(Member {
            name: String::from_utf8(name.to_vec()).ok()?,
            address: String::from_utf8(address.to_vec()).ok()?,
            store_id: StoreId(u64::from_be_bytes(*id)),
        });
        rest = after;
    }
    Members::told(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recover::bootstrap;
    use engine::mem::{Disk, MemKv};
    use types::ClusterId;

    fn members(list: &str) -> Members {
        Members::parse(list).unwrap()
    }

    #[test]
    fn fuzz_known_members() {
        fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "known-members")
            .seed(encode_members(&members("a=h1:1,b=h2:2,longer=host:30000")))
            .run(|input| {
                let decode = |record: &[u8]| decode_members(&Bytes::copy_from_slice(record));
                let known = decode(input);
                if let Some(members) = &known {
                    assert_eq!(decode(&encode_members(members)).as_ref(), Some(members));
                }
                known.map(|members| members.len())
            });
    }

    /// A node at `g:1` that was told no more than its name.
    fn told(name: &str) -> Told {
        Told {
            name: name.to_owned(),
            address: "g:1".to_owned(),
            first_members: None,
            joins: false,
            api_version: ApiVersion::V1,
            token: "t".to_owned(),
        }
    }

    fn to_join(name: &str) -> Told {
        let joins = true;
        Told {
            joins,
            ..told(name)
        }
    }

    fn to_found(name: &str, list: &str) -> Told {
        let first_members = Some(members(list));
        Told {
            first_members,
            ..told(name)
        }
    }

    fn known(kv: &MemKv, told: &Told) -> Identified {
        match find_owner(kv, told).unwrap() {
            Owner::Known(identified) => identified,
            Owner::Joining => panic!("the directory should be known"),
        }
    }

    /// The directory of store 7, which joined.
    fn joined_directory() -> (MemKv, Identified) {
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        assert_eq!(find_owner(&kv, &to_join("x")).unwrap(), Owner::Joining);
        let identity = Identity {
            cluster_id: ClusterId(99),
            store_id: StoreId(7),
            api_version: ApiVersion::V1,
            name: "x".to_owned(),
            address: "g:1".to_owned(),
        };
        let identified = Identified {
            identity,
            origin: Origin::Joined,
            members: members("a=h:1,b=h:2"),
            is_new: true,
        };
        bootstrap(&kv, &log, &identified).unwrap();
        (kv, identified)
    }

    fn founded_directory(name: &str, list: &str) -> (MemKv, Identified) {
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        let identified = known(&kv, &to_found(name, list));
        bootstrap(&kv, &log, &identified).unwrap();
        (kv, identified)
    }

    #[test]
    fn a_store_that_joined_knows_itself_and_the_members_with_or_without_being_told_to_join() {
        let (kv, first) = joined_directory();
        for told in [to_join("x"), told("x")] {
            let again = known(&kv, &told);
            assert!(!again.is_new && again.origin == Origin::Joined);
            assert_eq!(again.identity, first.identity);
            assert_eq!(again.members, first.members);
        }
    }

    #[test]
    fn a_store_that_joined_starts_with_the_members_that_it_learned_of_last() {
        let (kv, _) = joined_directory();
        let learned = members("a=h:9,c=h:3");
        remember_members(&kv, &learned).unwrap();
        assert_eq!(known(&kv, &to_join("x")).members, learned);
    }

    #[test]
    fn a_joined_directory_is_refused_to_a_first_member_and_under_another_api_version() {
        let (kv, _) = joined_directory();
        let refused = find_owner(&kv, &to_found("a", "a=g:1,b=h:2"));
        assert!(
            matches!(refused, Err(StartError::JoinedDirectory { .. })),
            "{refused:?}"
        );
        let mut other = to_join("x");
        other.api_version = ApiVersion::V2;
        let refused = find_owner(&kv, &other);
        assert!(
            matches!(refused, Err(StartError::ForeignApiVersion { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_new_directory_can_not_found_and_join_and_an_old_one_does_not_mind_being_told_both() {
        let kv = Disk::new().open_kv("kv").unwrap();
        let mut both = to_found("a", "a=g:1,b=h:2");
        both.joins = true;
        let refused = find_owner(&kv, &both);
        assert!(
            matches!(refused, Err(StartError::FoundOrJoin)),
            "{refused:?}"
        );
        let (kv, founder) = founded_directory("a", "a=g:1,b=h:2");
        assert_eq!(known(&kv, &both).identity, founder.identity);
        let (kv, joined) = joined_directory();
        let both = Told {
            name: "x".to_owned(),
            ..both
        };
        assert_eq!(known(&kv, &both).identity, joined.identity);
    }

    #[test]
    fn a_first_member_without_a_list_finds_the_others_where_it_knew_them_last() {
        let (kv, first) = founded_directory("b", "a=h:1,b=g:1,c=h:3");
        let refused = find_owner(&kv, &told("b"));
        let nothing_known = matches!(refused, Err(StartError::UnlistedMembers { .. }));
        assert!(nothing_known, "{refused:?}");
        remember_members(&kv, &members("a=h:9,b=h:2,c=h:3")).unwrap();
        let again = known(&kv, &told("b"));
        assert_eq!(again.identity, first.identity);
        assert_eq!(again.members, members("a=h:9,b=g:1,c=h:3"));
    }

    #[test]
    fn a_new_directory_without_any_list_is_a_cluster_of_one() {
        let kv = Disk::new().open_kv("kv").unwrap();
        let alone = known(&kv, &told("a"));
        assert!(alone.is_new && alone.members == members("a=g:1"));
    }

    #[test]
    fn a_record_of_members_reads_back_and_a_cut_one_does_not() {
        let members = members("a=h:1,b=some.host:2");
        let record = Bytes::from(encode_members(&members));
        assert_eq!(decode_members(&record), Some(members));
        let ends = [1, 10, record.len() - 1];
        for len in ends {
            assert_eq!(decode_members(&record.slice(..len)), None, "{len}");
        }
    }
}
