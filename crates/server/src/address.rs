//! Finding stores: from the book as long as that works, from placement when it does not.
//!
//! **Why placement.** A store can join at any time and come back at another address; it registers with
//! placement before it serves. To begin with there is no placement leader, so its members are found by
//! what the node started with.
//!
//! **Invariants.** Placement is asked about a store that is not known or could not be reached, and about
//! each at most once a second: a store that is down for days costs no more than that.
//!
//! **Not here.** How often a connection is tried (`transport`).

use crate::book::AddressBook;
use crate::placement_link::PdLink;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use types::StoreId;

/// Between two questions about one store.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Finds the address of a store.
pub trait Addresses: Send + Sync + 'static {
    /// `host:port` to try next. `failed` is where the last attempt failed, or where a connection broke. An
    /// error says why there is none.
    fn find(&self, store: StoreId, failed: Option<String>)
    -> BoxFuture<'_, Result<String, String>>;
}

/// Says where a store is, as placement knows it; an error says why there is no answer.
type AskFn = Box<dyn Fn(StoreId) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// The addresses of a node: its book, and behind it placement.
pub struct Resolver {
    book: AddressBook,
    ask: AskFn,
    ask_again: Duration,
    asked_at: Mutex<BTreeMap<StoreId, Instant>>,
}

impl Resolver {
    /// Asks placement through `link`, and keeps the answers in `book`.
    pub fn new(book: AddressBook, link: PdLink) -> Self {
        let ask = move |store| link.store_address(store);
        Self::asking(book, Box::new(ask), ASK_AGAIN)
    }

    fn asking(book: AddressBook, ask: AskFn, ask_again: Duration) -> Self {
        Self {
            book,
            ask,
            ask_again,
            asked_at: Mutex::default(),
        }
    }

    async fn ask(&self, store: StoreId) -> Result<String, String> {
        let now = Instant::now();
        let before = self.asked_at.lock().get(&store).copied();
        if before.is_some_and(|before| now < before + self.ask_again) {
            return Err("placement was asked just now".to_owned());
        }
        self.asked_at.lock().insert(store, now);
        (self.ask)(store).await
    }
}

impl Addresses for Resolver {
    fn find(
        &self,
        store: StoreId,
        failed: Option<String>,
    ) -> BoxFuture<'_, Result<String, String>> {
        async move {
            if failed.is_none()
                && let Some(known) = self.book.address(store)
            {
                return Ok(known);
            }
            let asked = self.ask(store).await;
            if let Ok(address) = &asked
                && failed.as_ref() != Some(address)
            {
                self.book.learn(store, address);
            }
            let candidates = self.book.candidates(store);
            match after(&candidates, failed.as_ref()) {
                Some(next) => Ok(next.clone()),
                None => asked.map_err(|reason| format!("its address is not known: {reason}")),
            }
        }
        .boxed()
    }
}

/// The candidate behind the one that failed, in a circle.
fn after<'a>(candidates: &'a [String], failed: Option<&String>) -> Option<&'a String> {
    let position = candidates.iter().position(|one| Some(one) == failed);
    let next = position.map_or(0, |position| position + 1);
    candidates.get(next).or_else(|| candidates.first())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::ready;
    use node::{DEFAULT_TOKEN, Members};
    use std::sync::Arc;
    use types::ApiVersion;

    /// What placement says of every store, and how often it was asked.
    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<(Option<String>, usize)>>);

    impl Said {
        fn says(&self, address: &str) {
            self.0.lock().0 = Some(address.to_owned());
        }

        fn asked(&self) -> usize {
            self.0.lock().1
        }

        /// The resolver of store 2, which started with store 1 at `h:1`.
        fn resolver(&self, ask_again: Duration) -> Resolver {
            let members = Members::parse("a=h:1,b=h:2").unwrap();
            let identity = members.identify("b", ApiVersion::V1, DEFAULT_TOKEN);
            let book = AddressBook::new(&identity.unwrap(), members, Vec::new());
            let said = self.clone();
            let ask = move |_| {
                let mut said = said.0.lock();
                said.1 += 1;
                let answer = said.0.clone().ok_or_else(|| "nobody leads".to_owned());
                ready(answer).boxed()
            };
            Resolver::asking(book, Box::new(ask), ask_again)
        }
    }

    async fn find(resolver: &Resolver, store: u64, failed: Option<&str>) -> Result<String, String> {
        resolver
            .find(StoreId(store), failed.map(str::to_owned))
            .await
    }

    fn at(address: &str) -> Result<String, String> {
        Ok(address.to_owned())
    }

    #[tokio::test]
    async fn a_known_store_is_not_asked_for_until_it_could_not_be_reached() {
        let said = Said::default();
        let resolver = said.resolver(Duration::ZERO);
        assert_eq!(find(&resolver, 1, None).await, at("h:1"));
        assert_eq!(said.asked(), 0);
        said.says("g:1");
        assert_eq!(find(&resolver, 1, Some("h:1")).await, at("g:1"));
        assert_eq!(
            find(&resolver, 1, None).await,
            at("g:1"),
            "it is remembered"
        );
        assert_eq!(said.asked(), 1);
    }

    #[tokio::test]
    async fn an_unknown_store_is_asked_for() {
        let said = Said::default();
        let resolver = said.resolver(Duration::ZERO);
        let unknown = find(&resolver, 9, None).await.unwrap_err();
        assert!(unknown.contains("nobody leads"), "{unknown}");
        said.says("g:9");
        assert_eq!(find(&resolver, 9, None).await, at("g:9"));
    }

    #[tokio::test]
    async fn a_store_that_stays_away_is_not_asked_for_all_the_time_and_does_not_hold_up_others() {
        let said = Said::default();
        let resolver = said.resolver(Duration::from_secs(3_600));
        for _ in 0..10 {
            assert_eq!(find(&resolver, 1, Some("h:1")).await, at("h:1"));
        }
        assert_eq!(said.asked(), 1);
        said.says("g:9");
        assert_eq!(find(&resolver, 9, None).await, at("g:9"));
    }

    #[tokio::test]
    async fn without_placement_all_places_where_a_store_may_be_are_tried_in_turn() {
        let said = Said::default();
        let resolver = said.resolver(Duration::ZERO);
        resolver.book.learn(StoreId(1), "g:1");
        assert_eq!(find(&resolver, 1, Some("g:1")).await, at("h:1"));
        assert_eq!(find(&resolver, 1, Some("h:1")).await, at("g:1"));
    }
}
