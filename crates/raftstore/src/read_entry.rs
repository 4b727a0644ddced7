//! What an entry of a log says, for people who look at one.
//!
//! **Why apart.** The applier reads an entry as it executes it and keeps nothing of it; whoever prints a log
//! wants all of it at once, and of any kind.
//!
//! **Invariants.** What the applier would take is read, and what it would refuse to decode is an error.
//!
//! **Not here.** Words for it (`kontiki ctl local`).

use crate::admin::{Admin, PeerChange, PeerChanges};
use crate::codec::DecodeError;
use crate::command::{BatchReader, Command};
use crate::peer::conf_change_context;
use types::{EntryKind, Epoch, LogEntry};

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryContent {
    /// Nothing: a leader's first entry.
    Empty,
    /// Commands, in an epoch that they were checked against.
    Commands {
        /// That epoch.
        epoch: Epoch,
        /// In their order.
        commands: Vec<Command>,
    },
    /// A change of membership, proposed in an epoch. Without any changes a joint configuration is left.
    Membership {
        /// That epoch.
        epoch: Epoch,
        /// What happens to each Peer.
        changes: Vec<PeerChange>,
    },
}

impl EntryContent {
    /// What `entry` says.
    ///
    /// # Errors
    /// Its data is none that this program writes.
    pub fn read(entry: &LogEntry) -> Result<Self, DecodeError> {
        match entry.kind {
            EntryKind::Normal if entry.data.is_empty() => Ok(Self::Empty),
            EntryKind::Normal => read_commands(entry),
            EntryKind::ConfChange | EntryKind::ConfChangeV2 => {
                let context = conf_change_context(&entry.data).ok_or(DecodeError::Truncated)?;
                let asked = PeerChanges::decode(context)?;
                Ok(Self::Membership {
                    epoch: asked.epoch,
                    changes: asked.changes,
                })
            }
        }
    }

    /// Whether what it does depends on who the Region's Peers are, or changes that.
    pub fn concerns_peers(&self) -> bool {
        let concerns = |command: &Command| match command {
            Command::Admin(admin) => match admin {
                Admin::Split(_)
                | Admin::PrepareMerge(_)
                | Admin::SealMerge { .. }
                | Admin::CommitMerge(_)
                | Admin::RefuseMerge { .. }
                | Admin::RollbackMerge { .. } => true,
                Admin::CompactLog { .. } | Admin::ComputeHash | Admin::VerifyHash(_) => false,
            },
            Command::Write(_) | Command::CompareAndSwap { .. } => false,
        };
        match self {
            Self::Empty => false,
            Self::Commands { commands, .. } => commands.iter().any(concerns),
            Self::Membership { .. } => true,
        }
    }
}

fn read_commands(entry: &LogEntry) -> Result<EntryContent, DecodeError> {
    let mut reader = BatchReader::open(entry.data.clone())?;
    let commands = reader.commands()?;
    Ok(EntryContent::Commands {
        epoch: reader.epoch(),
        commands,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::PeerChangeKind;
    use crate::command::{BatchEncoder, Mutation};
    use crate::peer::conf_change_data;
    use bytes::Bytes;
    use engine::Cf;
    use types::{PeerId, StoreId};

    const EPOCH: Epoch = Epoch {
        conf_ver: 3,
        version: 7,
    };

    fn entry(kind: EntryKind, data: Bytes) -> LogEntry {
        LogEntry {
            index: 9,
            term: 2,
            kind,
            data,
        }
    }

    fn of(commands: &[Command]) -> LogEntry {
        let mut encoder = BatchEncoder::default();
        encoder.begin(EPOCH);
        commands.iter().for_each(|command| encoder.push(command));
        entry(EntryKind::Normal, encoder.take().into())
    }

    #[test]
    fn commands_are_read_as_they_were_proposed() {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        let put = Mutation::Put {
            cf: Cf::Default,
            key: key.clone(),
            value: value.clone(),
        };
        let delete = Mutation::Delete {
            cf: Cf::Write,
            key: key.clone(),
        };
        let commands = vec![
            Command::Write(vec![put, delete]),
            Command::CompareAndSwap {
                key,
                expected: None,
                value,
                now_ms: 5,
            },
            Command::Admin(Admin::CompactLog { index: 4, term: 1 }),
        ];
        let content = EntryContent::read(&of(&commands)).unwrap();
        assert!(!content.concerns_peers());
        let epoch = EPOCH;
        assert_eq!(content, EntryContent::Commands { epoch, commands });
    }

    #[test]
    fn a_leaders_first_entry_is_empty_and_a_cut_one_is_an_error() {
        let empty = EntryContent::read(&entry(EntryKind::Normal, Bytes::new()));
        assert_eq!(empty, Ok(EntryContent::Empty));
        let whole = of(&[Command::Admin(Admin::SealMerge { index: 300 })]);
        assert!(EntryContent::read(&whole).unwrap().concerns_peers());
        for len in 1..whole.data.len() {
            // A batch of no commands is one, too.
            let cut = entry(EntryKind::Normal, whole.data.slice(..len));
            match EntryContent::read(&cut) {
                Ok(EntryContent::Commands { commands, .. }) => assert!(commands.is_empty()),
                Ok(other) => panic!("read as {other:?}"),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn a_change_of_membership_is_read_with_its_epoch_and_concerns_the_peers() {
        let changes = vec![PeerChange {
            kind: PeerChangeKind::Remove,
            peer_id: PeerId(21),
            store_id: StoreId(1),
        }];
        let asked = PeerChanges {
            epoch: EPOCH,
            changes: changes.clone(),
        };
        let data = conf_change_data(&asked);
        let content = EntryContent::read(&entry(EntryKind::ConfChangeV2, data)).unwrap();
        assert!(content.concerns_peers());
        let epoch = EPOCH;
        assert_eq!(content, EntryContent::Membership { epoch, changes });
        let broken = entry(EntryKind::ConfChangeV2, Bytes::from_static(b"\xff"));
        assert!(EntryContent::read(&broken).is_err());
    }
}
