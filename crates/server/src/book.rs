//! Where stores and the members of placement are, as far as this node knows.
//!
//! **Where it comes from.** The list of first members, or what the directory remembers; what the placement
//! leader says (`placement_link`, `address`); and what stores say of themselves when they open a stream of
//! Raft messages, which is how members that moved find each other before there is a placement leader to ask.
//!
//! **Invariants.** What was learned last comes first; what the node started with is kept beside it. This
//! node is where its own configuration says.
//!
//! **Not here.** Asking.

use node::{Identity, Member, Members};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::StoreId;

/// Addresses of stores, and who the members of placement are. Clones are the same book.
#[derive(Clone)]
pub struct AddressBook(Arc<Inner>);

struct Inner {
    here: StoreId,
    here_at: String,
    /// As this node started with them.
    given: Members,
    /// Where members may be whose names and ids are not known yet.
    seeds: Vec<String>,
    learned: Mutex<Learned>,
}

struct Learned {
    /// Their addresses may be older than those of the stores.
    members: Members,
    stores: BTreeMap<StoreId, String>,
}

impl AddressBook {
    /// What a node knows at its start: who it is, placement's members, and addresses at which some of them
    /// may be reached (`--join`).
    pub fn new(identity: &Identity, members: Members, seeds: Vec<String>) -> Self {
        let stores = members.iter().map(at).collect();
        Self(Arc::new(Inner {
            here: identity.store_id,
            here_at: identity.address.clone(),
            given: members.clone(),
            seeds,
            learned: Mutex::new(Learned { members, stores }),
        }))
    }

    /// Placement's members, where they are.
    pub fn members(&self) -> Members {
        let members = self.0.learned.lock().members.clone();
        let moved = members.iter().map(|member| Member {
            address: self
                .address(member.store_id)
                .unwrap_or(member.address.clone()),
            ..member.clone()
        });
        Members::told(moved.collect()).expect("only addresses have changed, to good ones")
    }

    /// These stores as placement's members. `None` if one's address is not known.
    pub(crate) fn members_on(&self, stores: &[StoreId]) -> Option<Members> {
        let before = self.0.learned.lock().members.clone();
        let member = |store: &StoreId| {
            let name = before.on(*store).map(|member| member.name.clone());
            Some(Member {
                name: name.unwrap_or_else(|| format!("store-{store}")),
                address: self.address(*store)?,
                store_id: *store,
            })
        };
        Members::told(stores.iter().map(member).collect::<Option<_>>()?)
    }

    /// Where a store was last.
    pub fn address(&self, store: StoreId) -> Option<String> {
        if store == self.0.here {
            return Some(self.0.here_at.clone());
        }
        self.0.learned.lock().stores.get(&store).cloned()
    }

    /// Where a store may be: first where it was last, then where it was when this node started.
    pub(crate) fn candidates(&self, store: StoreId) -> Vec<String> {
        let given = self.0.given.on(store).map(|member| member.address.clone());
        let mut found: Vec<String> = self.address(store).into_iter().chain(given).collect();
        found.dedup();
        found
    }

    /// Where members of placement may be reached from here, without this node itself.
    pub(crate) fn entrances(&self) -> Vec<String> {
        let inner = &self.0;
        let now = self.members();
        let others = |members: &Members| -> Vec<String> {
            let others = members
                .iter()
                .filter(|member| member.store_id != inner.here);
            others.map(|member| member.address.clone()).collect()
        };
        let mut found: Vec<String> = Vec::new();
        let all = [others(&now), inner.seeds.clone(), others(&inner.given)];
        for address in all.into_iter().flatten() {
            if address != inner.here_at && !found.contains(&address) {
                found.push(address);
            }
        }
        found
    }

    /// A store is there now. What can't be an address is ignored.
    pub(crate) fn learn(&self, store: StoreId, address: &str) {
        if node::is_address(address) {
            let mut learned = self.0.learned.lock();
            learned.stores.insert(store, address.to_owned());
        }
    }

    /// A store says of itself that it is there now. Who is not in the book stays out: anybody could say it.
    pub(crate) fn hear(&self, store: StoreId, address: &str) {
        if self.0.learned.lock().stores.contains_key(&store) {
            self.learn(store, address);
        }
    }

    /// These are the members of placement now.
    pub fn set_members(&self, members: Members) {
        let mut learned = self.0.learned.lock();
        learned.stores.extend(members.iter().map(at));
        learned.members = members;
    }
}

fn at(member: &Member) -> (StoreId, String) {
    (member.store_id, member.address.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::DEFAULT_TOKEN;
    use types::ApiVersion;

    fn members(list: &str) -> Members {
        Members::parse(list).unwrap()
    }

    /// The book of store 2.
    fn book(list: &str, seeds: &[&str]) -> AddressBook {
        let members = members(list);
        let identity = members.identify("b", ApiVersion::V1, DEFAULT_TOKEN);
        let seeds = seeds.iter().map(|seed| (*seed).to_owned()).collect();
        AddressBook::new(&identity.unwrap(), members, seeds)
    }

    #[test]
    fn what_was_learned_comes_before_what_was_given_and_what_is_no_address_does_not_count() {
        let book = book("a=h:1,b=h:2", &[]);
        assert_eq!(book.candidates(StoreId(1)), ["h:1"]);
        book.learn(StoreId(1), "g:1");
        book.learn(StoreId(1), "nowhere");
        book.learn(StoreId(9), "g:9");
        assert_eq!(book.candidates(StoreId(1)), ["g:1", "h:1"]);
        assert_eq!(book.members(), members("a=g:1,b=h:2"));
        assert_eq!(book.address(StoreId(9)).as_deref(), Some("g:9"));
        assert_eq!(book.address(StoreId(3)), None);
    }

    #[test]
    fn a_store_that_moved_is_believed_and_one_that_nobody_knows_is_not() {
        let book = book("a=h:1,b=h:2", &[]);
        book.hear(StoreId(1), "g:1");
        book.hear(StoreId(9), "g:9");
        assert_eq!(book.address(StoreId(1)).as_deref(), Some("g:1"));
        assert_eq!(book.address(StoreId(9)), None);
    }

    #[test]
    fn members_keep_their_names_and_those_that_are_new_get_one() {
        let book = book("a=h:1,b=h:2", &[]);
        book.learn(StoreId(9), "h:9");
        let now = book.members_on(&[StoreId(1), StoreId(9)]).unwrap();
        let names: Vec<&str> = now.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["a", "store-9"]);
        assert_eq!(book.members_on(&[StoreId(1), StoreId(7)]), None);
        assert_eq!(book.members_on(&[]), None);
    }

    #[test]
    fn this_node_is_where_it_says_itself() {
        let book = book("a=h:1,b=h:2", &[]);
        book.set_members(members("a=h:1,b=g:2"));
        assert_eq!(book.members(), members("a=h:1,b=h:2"));
    }

    #[test]
    fn members_are_sought_where_they_are_then_at_the_seeds_then_where_they_were_and_never_here() {
        let book = book("a=h:1,b=h:2,c=h:3", &["s:1", "h:2", "h:1"]);
        book.set_members(members("a=g:1,b=h:2"));
        assert_eq!(book.entrances(), ["g:1", "s:1", "h:1", "h:3"]);
    }
}
