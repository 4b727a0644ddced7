//! How many keys one request is about, from request to request.
//!
//! **Why.** How large an answer is depends on values that nobody has seen yet. A store refuses to
//! read more than its budget, and an answer that is too large for the connection never arrives. Asked
//! for the same again, it would be the same again.
//!
//! **Invariants.** A page has at least one key. It halves when a request fails so, and grows slowly
//! with every answer: where half a page fits and a whole one does not, about one request in six is
//! in vain.
//!
//! **Not here.** A store that is busy with others: it is left alone for a while (`retry`).

use crate::retry::Failure;

/// The number of keys for the next request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    keys: usize,
    keys_min: usize,
    keys_max: usize,
}

impl Page {
    /// For requests that read.
    pub(crate) const READ: Page = Page {
        keys: 256,
        keys_min: 1,
        keys_max: 256,
    };
    /// For requests whose keys belong together.
    pub(crate) const WHOLE: Page = Page {
        keys: usize::MAX,
        keys_min: usize::MAX,
        keys_max: usize::MAX,
    };

    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    /// The same, for the rest of a list that ends there.
    pub(crate) fn at_most(self, keys: usize) -> Page {
        Page {
            keys: self.keys.min(keys),
            ..self
        }
    }

    /// A request about so many keys, a page or less, was answered.
    pub(crate) fn answered(&mut self) {
        let more = self.keys / 8 + 1;
        self.keys = self.keys.saturating_add(more).min(self.keys_max);
    }

    /// A request about `asked` keys failed. Returns whether the next one, which asks for less, can
    /// be made at once.
    pub(crate) fn failed(&mut self, asked: usize, failure: &Failure) -> bool {
        let less = (asked / 2).max(self.keys_min);
        match failure {
            Failure::OverBudget { .. } => {
                self.keys = less;
                less < asked
            }
            Failure::Transport { .. } => {
                self.keys = less;
                false
            }
            Failure::Redirect(_)
            | Failure::NoLeader
            | Failure::WrongRoute(_)
            | Failure::Busy { .. }
            | Failure::Fatal(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn over_budget() -> Failure {
        Failure::OverBudget {
            reason: String::new(),
        }
    }

    #[test]
    fn a_page_shrinks_to_one_key_and_grows_back_to_its_maximum() {
        let mut page = Page::READ;
        let mut sizes = Vec::new();
        while page.failed(page.keys(), &over_budget()) {
            sizes.push(page.keys());
        }
        assert_eq!(sizes, [128, 64, 32, 16, 8, 4, 2, 1]);
        assert_eq!(page.keys(), 1, "there is no less than one");
        for _ in 0..50 {
            page.answered();
        }
        assert_eq!(page.keys(), 256);
    }

    #[test]
    fn a_page_is_half_of_what_was_asked_for_in_vain() {
        let mut page = Page::READ;
        assert!(page.failed(10, &over_budget()));
        assert_eq!(page.keys(), 5);
    }

    #[test]
    fn less_is_asked_for_when_no_answer_arrives_but_not_at_once() {
        let mut page = Page::READ;
        let lost = Failure::Transport {
            ambiguous: true,
            reason: String::new(),
        };
        assert!(!page.failed(10, &lost));
        assert_eq!(page.keys(), 5);
    }

    #[test]
    fn who_is_busy_or_does_not_lead_says_nothing_about_the_page() {
        let mut page = Page::READ;
        let busy = Failure::Busy {
            pause: Duration::ZERO,
            reason: String::new(),
        };
        assert!(!page.failed(10, &busy) && !page.failed(10, &Failure::NoLeader));
        assert_eq!(page.keys(), 256);
    }

    #[test]
    fn what_belongs_together_is_never_taken_apart() {
        let mut page = Page::WHOLE;
        assert!(!page.failed(10, &over_budget()));
        page.answered();
        assert_eq!(page.keys(), usize::MAX);
    }
}
