//! What the network does with each link: a table that faults change and connections look at.
//!
//! **Invariants.** A link has a direction. Links of clients, and those of a node to itself, always pass.
//!
//! **Not here.** Connections (`network`).

use crate::layout::NODES;
use std::time::Duration;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A node.
    Node(usize),
    /// A client: whoever is no node.
    Client,
}

/// What becomes of bytes on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They pass.
    Pass,
    /// They pass so much later, in their order.
    Delay(Duration),
    /// They wait until this ends.
    Hold,
    /// Their connection breaks.
    Reset,
}

/// The verdict on each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules([[Verdict; NODES]; NODES]);

impl Default for Rules {
    /// Everything passes.
    fn default() -> Self {
        Self([[Verdict::Pass; NODES]; NODES])
    }
}

impl Rules {
    /// What becomes of bytes from one end to another.
    pub fn verdict(&self, from: End, to: End) -> Verdict {
        match (from, to) {
            (End::Node(from), End::Node(to)) if from != to => self.0[from][to],
            _ => Verdict::Pass,
        }
    }

    /// Whether a connection between two ends can't live.
    pub fn breaks(&self, one: End, other: End) -> bool {
        let verdicts = [self.verdict(one, other), self.verdict(other, one)];
        verdicts.contains(&Verdict::Reset)
    }

    /// Everything from this node to the others.
    pub fn leaving(mut self, node: usize, verdict: Verdict) -> Self {
        self.0[node] = [verdict; NODES];
        self
    }

    /// Everything from the others to this node.
    pub fn reaching(mut self, node: usize, verdict: Verdict) -> Self {
        self.0.iter_mut().for_each(|row| row[node] = verdict);
        self
    }

    /// Everything between two nodes.
    pub fn between(mut self, one: usize, other: usize, verdict: Verdict) -> Self {
        self.0[one][other] = verdict;
        self.0[other][one] = verdict;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use End::{Client, Node};
    use Verdict::{Hold, Pass, Reset};

    #[test]
    fn a_node_that_is_cut_off_is_so_in_both_directions_and_its_clients_are_not() {
        let rules = Rules::default().leaving(1, Hold).reaching(1, Hold);
        assert_eq!(rules.verdict(Node(1), Node(0)), Hold);
        assert_eq!(rules.verdict(Node(2), Node(1)), Hold);
        for (from, to) in [
            (Node(0), Node(2)),
            (Client, Node(1)),
            (Node(1), Client),
            (Node(1), Node(1)),
        ] {
            assert_eq!(rules.verdict(from, to), Pass, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_connection_breaks_if_either_direction_does() {
        let rules = Rules::default().leaving(0, Reset);
        assert!(rules.breaks(Node(0), Node(2)) && rules.breaks(Node(2), Node(0)));
        assert!(!rules.breaks(Node(1), Node(2)) && !rules.breaks(Client, Node(0)));
        let pair = Rules::default().between(0, 2, Reset);
        assert!(pair.breaks(Node(2), Node(0)) && !pair.breaks(Node(1), Node(0)));
    }
}
