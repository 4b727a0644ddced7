//! The list of all points.
//!
//! **Why a list.** `docs/failpoints.md` is made of it, tests go through it, and a name that is not in it does
//! not compile.
//!
//! **Invariants.** A name is `crate::where::moment`, after the crate in which the point stands.
//!
//! **Not here.** The places themselves: `failpoint::at!` with the name.

/// What a point stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something becomes durable.
    Persistence,
    /// A stage of an operation on a Region.
    Operation,
    /// Something is sent, received or answered.
    Message,
    /// A stage of a start or a stop.
    Life,
}

impl Kind {
    /// All of them, as the reference has them.
    pub const ALL: [Kind; 4] = [
        Kind::Persistence,
        Kind::Operation,
        Kind::Message,
        Kind::Life,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Persistence => "Where something becomes durable",
            Kind::Operation => "Stages of operations",
            Kind::Message => "Messages",
            Kind::Life => "Start and stop",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Kind::Persistence => {
                "`e2e/tests/failpoints` crashes a node at each of these under load; nothing that was acknowledged is lost."
            }
            Kind::Operation => "They stand where the effects of the pure crates are performed.",
            Kind::Message => "What `return` drops is lost as by a network.",
            Kind::Life => "In the order in which a node comes to them.",
        }
    }
}

/// A named place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// What it stands at.
    pub kind: Kind,
    /// Where it stands.
    pub place: &'static str,
    /// What is so after a crash there.
    pub crash: &'static str,
    /// What the action `return` does; without it there is none.
    pub returns: Option<&'static str>,
}

impl Point {
    const fn new(kind: Kind, name: &'static str, place: &'static str, crash: &'static str) -> Self {
        Self {
            name,
            kind,
            place,
            crash,
            returns: None,
        }
    }

    const fn returning(mut self, what: &'static str) -> Self {
        self.returns = Some(what);
        self
    }
}

/// The position of a point in the list.
///
/// # Panics
/// It is not there: in a constant, as it is used, that is an error of the compiler.
pub const fn index_of(name: &str) -> usize {
    let mut index = 0;
    while index < POINTS.len() {
        if is_same(POINTS[index].name.as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    panic!("this failpoint is not in the list: add it to failpoint/src/points.rs")
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn durable(name: &'static str, place: &'static str, crash: &'static str) -> Point {
    Point::new(Kind::Persistence, name, place, crash)
}

const fn operation(name: &'static str, place: &'static str, crash: &'static str) -> Point {
    Point::new(Kind::Operation, name, place, crash)
}

const fn message(name: &'static str, place: &'static str, crash: &'static str) -> Point {
    Point::new(Kind::Message, name, place, crash)
}

const fn life(name: &'static str, place: &'static str, crash: &'static str) -> Point {
    Point::new(Kind::Life, name, place, crash)
}

/// All points.
pub const POINTS: &[Point] = &[
    // Files that are replaced whole.
    durable(
        "engine::file::before_rename",
        "a file that replaces another one is written and synced beside it",
        "the old one counts",
    ),
    durable(
        "engine::file::renamed",
        "it has its name, but its directory is not synced",
        "the new one counts; after a power failure either may",
    ),
    // The key-value engine.
    durable(
        "engine_rocks::kv::before_write",
        "a batch of the key-value engine is about to be written",
        "nothing of it is there; the Raft log has the entries, and the start applies them again",
    ),
    durable(
        "engine_rocks::kv::written",
        "it is in RocksDB's write-ahead log",
        "all of it is there",
    ),
    durable(
        "engine_rocks::kv::before_sync",
        "RocksDB's write-ahead log is about to be synced",
        "the process leaves its writes to the kernel: they are there",
    ),
    durable(
        "engine_rocks::kv::synced",
        "it is synced, and nobody knows",
        "they are there, and logs are cut later",
    ),
    durable(
        "engine_rocks::change::begin",
        "RocksDB, for data or for Raft logs, is about to write or sync",
        "as before the write",
    )
    .returning("the write fails as a failed sync does, and the store stops"),
    // Raft logs in RocksDB.
    durable(
        "engine_rocks::log::before_write",
        "a batch of Raft logs is about to be written to RocksDB; what it drops is not shown any more",
        "nothing of it is there, and nothing of it was promised",
    ),
    durable(
        "engine_rocks::log::written",
        "it is written and, if asked for, synced; what it adds is not shown yet",
        "all of it is there, and nothing of it was promised",
    ),
    // Raft logs in raft-engine.
    durable(
        "engine_raftlog::log::before_write",
        "a batch of Raft logs is about to be written to raft-engine",
        "nothing of it is there, and nothing of it was promised",
    ),
    durable(
        "engine_raftlog::log::written",
        "it is written and, if asked for, synced",
        "all of it is there, and nothing of it was promised",
    ),
    durable(
        "engine_raftlog::sync::begin",
        "a log file is about to be synced",
        "what was written to it is there, but was not promised",
    )
    .returning("the sync fails, and the store stops"),
    durable(
        "engine_raftlog::sync::done",
        "it is synced",
        "what was written to it is there, but was not promised",
    ),
    durable(
        "engine_raftlog::files::created",
        "a new log file is there and not in the list of files",
        "the start takes it for what it is: one beyond the list, with nothing in it",
    ),
    durable(
        "engine_raftlog::files::listed",
        "it is in the list, and nothing is in the file",
        "the start goes on in it",
    ),
    durable(
        "engine_raftlog::files::forgotten",
        "files that a purge gives back are off the list, and still there",
        "the start removes them",
    ),
    durable(
        "engine_raftlog::files::deleted",
        "one of them is deleted",
        "the start removes the others",
    ),
    durable(
        "engine_raftlog::open::verified",
        "the files are checked, torn ends are cut; raft-engine has not opened them",
        "the next start checks them again",
    ),
    durable(
        "engine_raftlog::open::opened",
        "raft-engine has opened them, and the list of them is as the last process left it",
        "the next start finds files that agree with it",
    ),
    // Rounds of Peers and appliers.
    durable(
        "node::log::before_write",
        "a round's log is about to be written; the leaders' appends have left",
        "followers may have acknowledged entries that this store does not have",
    ),
    durable(
        "node::log::written",
        "it is synced; no vote, acknowledgement or commit that depends on it has left",
        "the store has more than anybody knows of",
    ),
    durable(
        "node::log::before_flush",
        "what depends on it is queued for the other stores",
        "as if the network had lost it",
    ),
    durable(
        "node::apply::before_write",
        "a round of appliers is about to be written",
        "the start applies the entries again",
    ),
    durable(
        "node::apply::written",
        "it is written; nobody has an answer",
        "clients find out by themselves that it happened",
    ),
    durable(
        "node::apply::answered",
        "clients have their answers; the Peers have not heard that it is applied",
        "the start finds the applied index in the batch",
    ),
    // Snapshots that come in.
    durable(
        "node::snap::verified",
        "all frames are in the temporary file, and are what they should be",
        "the start removes it, and the leader sends another",
    ),
    durable(
        "node::snap::before_rename",
        "the temporary file is synced",
        "the start removes it, and the leader sends another",
    ),
    durable(
        "node::snap::renamed",
        "it has its name, but its directory is not synced",
        "no mark names it: the start removes it",
    ),
    durable(
        "node::snap::kept",
        "it is kept, and the store has not heard of it",
        "no mark names it: the start removes it",
    ),
    durable(
        "node::install::before_mark",
        "the installation is about to write its mark",
        "no mark names the file: the start removes it",
    ),
    durable(
        "node::install::marked",
        "the mark is synced; the old data is whole",
        "the start installs from the file",
    ),
    durable(
        "node::install::cleared",
        "the old data is gone, nothing of the new is there",
        "the start installs from the file",
    ),
    durable(
        "node::install::chunk_written",
        "a frame of the new data is written",
        "the start installs from the file, from its beginning",
    ),
    durable(
        "node::install::before_finish",
        "all data is written; the Region's records are the old ones, the mark is there",
        "the start installs from the file, once more",
    ),
    durable(
        "node::install::finished",
        "the new records are synced, the mark is gone, the file is there",
        "the start removes the file, and a log that ends before the snapshot or contradicts it",
    ),
    durable(
        "node::install::file_removed",
        "the file is gone; neither applier nor Peer has heard",
        "the start finds the Region as the snapshot left it",
    ),
    // Log GC.
    durable(
        "node::log_gc::before_sync",
        "Regions wait for a sync of the key-value engine, to cut their logs",
        "logs are cut later",
    ),
    durable(
        "node::log_gc::synced",
        "it is synced, and the Regions have not heard",
        "logs are cut later",
    ),
    durable(
        "node::log_gc::before_purge",
        "the space of what was cut is about to be given back",
        "it is given back later",
    ),
    durable(
        "node::log_gc::purged",
        "it is given back",
        "nothing is left to do",
    ),
    // A directory that is new, and records of the store itself.
    durable(
        "node::bootstrap::before_log",
        "a new directory is about to get its first Raft states",
        "the directory is still new: the start does it all again",
    ),
    durable(
        "node::bootstrap::log_written",
        "they are synced; there is no ident",
        "the directory is still new: the start writes the same again",
    ),
    durable(
        "node::bootstrap::ident_written",
        "the ident and the first Regions are synced",
        "the directory says who the node is",
    ),
    durable(
        "node::owner::before_members",
        "where placement's members are is about to be remembered",
        "what was remembered before counts",
    ),
    durable("node::owner::members_written", "it is synced", "it counts"),
    durable(
        "node::recover::before_log_dropped",
        "the start is about to drop a log that does not go on from a snapshot",
        "the next start does it",
    ),
    durable(
        "node::recover::log_dropped",
        "it is gone, synced",
        "the next start finds no log",
    ),
    durable(
        "node::recover::before_logs_removed",
        "the start is about to remove logs of removed replicas",
        "the next start does it",
    ),
    durable(
        "node::recover::logs_removed",
        "they are gone, synced",
        "the next start finds none",
    ),
    // Configuration that is changed online.
    durable(
        "kontiki::online::before_remembered",
        "a change is checked, and nothing of it is done",
        "the old values count",
    ),
    durable(
        "kontiki::online::remembered",
        "it is in the file, synced, and not in force",
        "the start goes by it, though nobody was told that it was made",
    ),
    durable(
        "kontiki::online::applied",
        "it is in force, and nobody was told",
        "the start goes by it",
    ),
    // Raft logs that move to the other engine.
    durable(
        "kontiki::move::copy",
        "the log of a Region is about to be copied",
        "the next start copies from the beginning",
    ),
    durable(
        "kontiki::move::sync",
        "all are copied, not synced",
        "the next start copies from the beginning",
    ),
    durable(
        "kontiki::move::mark",
        "the copy is synced and compared; the marker names the old directory",
        "the next start copies from the beginning",
    ),
    durable(
        "kontiki::move::remove_stale",
        "what an earlier attempt left in the wanted engine's directory is about to be removed",
        "the next start removes it",
    ),
    durable(
        "kontiki::move::remove_source",
        "the marker names the new directory; the old one is there",
        "the next start removes it",
    ),
    durable(
        "kontiki::move::open",
        "the directory that counts is about to be opened",
        "the next start opens it",
    ),
    // What an applier's round holds beside data.
    operation(
        "node::apply::before_split",
        "a split is applied, not written",
        "the start applies it again",
    ),
    operation(
        "node::apply::split",
        "its batch is synced; no replica of the new Regions is there",
        "the start makes them from their records",
    ),
    operation(
        "node::apply::before_peers",
        "a change of membership is applied, not written",
        "the start applies it again",
    ),
    operation(
        "node::apply::peers",
        "its batch is synced; the Peer goes by the old members",
        "the start goes by the new ones",
    ),
    operation(
        "node::apply::before_merging",
        "the beginning, sealing or giving up of a merge is applied in the source, not written",
        "the start applies it again",
    ),
    operation(
        "node::apply::merging",
        "its batch is synced; the Peer has not heard",
        "the start finds the merge in the Region's record",
    ),
    operation(
        "node::apply::before_merged",
        "the target has taken its neighbour in, not written",
        "the start applies it again, and waits for the source again",
    ),
    operation(
        "node::apply::merged",
        "its batch is synced; the store has two owners of the range in memory",
        "the start finds one Region and a tombstone",
    ),
    operation(
        "node::apply::before_destroyed",
        "the data of a removed replica is about to go",
        "the start finds it whole, and is told again",
    ),
    operation(
        "node::apply::destroyed",
        "data and records are gone, synced; a tombstone and the log are there",
        "the start removes the log",
    ),
    operation(
        "node::apply::log_gc",
        "the new beginning of a log is written; the log is longer",
        "the log is cut later",
    ),
    operation(
        "node::peer::split",
        "the Peer has taken the split in; the store has not heard",
        "the start makes the new Regions' replicas",
    ),
    operation(
        "node::peer::merged",
        "the Peer has taken the merge in; neither store nor source have heard",
        "the start finds one Region",
    ),
    operation(
        "node::peer::await_source",
        "the target's applier is at the end of a merge, and waits for the source",
        "the start comes to the same place",
    ),
    operation(
        "node::peer::change_peers",
        "a leader is told to change its members",
        "placement tells it, or its successor, again",
    ),
    operation(
        "node::peer::transfer_leader",
        "a leader is told to hand over",
        "another one is elected",
    ),
    operation(
        "node::peer::leadership",
        "a Peer has become leader, or has one; nobody has heard",
        "another one is elected",
    ),
    operation(
        "node::peer::cut_log",
        "the log is about to be cut, in the next write",
        "the log is cut later",
    ),
    operation(
        "node::peer::destroy",
        "a replica was removed; its applier has not heard",
        "the start finds it whole, and is told again",
    ),
    operation(
        "node::peer::remove_log",
        "its data is gone; its log goes with the next write",
        "the start removes the log",
    ),
    operation(
        "node::store::create",
        "a replica is about to be made",
        "the start makes it from its records, or the next message does",
    ),
    operation(
        "node::store::created",
        "it is there, and has heard nothing",
        "the same",
    ),
    operation(
        "node::snap::pin",
        "a snapshot's view is about to be pinned",
        "another leader sends one",
    ),
    operation(
        "node::snap::send",
        "it is about to be sent",
        "another leader sends one",
    ),
    operation(
        "node::snap::frame",
        "a frame of it was read",
        "the receiver gives the stream up",
    ),
    operation(
        "node::snap::receive",
        "a snapshot begins to come in",
        "the start removes what is there of it",
    ),
    operation(
        "node::snap::received_frame",
        "a frame of it has come",
        "the start removes what is there of it",
    ),
    operation(
        "node::placement::persist",
        "the placement driver is about to replicate a change of its state",
        "the next leader has not heard of it, nor has anybody else",
    ),
    operation(
        "engine_raftlog::options::file_bytes",
        "raft-engine is about to be told how large its files get",
        "the next start opens them",
    )
    .returning("files get so many bytes, so that a test has many of them"),
    operation(
        "engine_raftlog::options::purge_threshold_bytes",
        "raft-engine is about to be told when to reclaim space",
        "the next start opens its files",
    )
    .returning("it does beyond so many bytes"),
    // Between threads, stores and clients.
    message(
        "node::peer::receive",
        "a Peer is about to hear of a message from another store",
        "as if the network had lost it",
    ),
    message(
        "node::peer::send",
        "a Peer's message is about to be queued for another store",
        "as if the network had lost it",
    )
    .returning("it is lost"),
    message(
        "node::peer::apply",
        "committed entries are about to go to the applier",
        "the start applies them",
    ),
    message(
        "node::peer::propose",
        "a Peer is about to hear of a client's command",
        "it never happened",
    ),
    message(
        "node::reply::complete",
        "whoever waits in this process is about to be answered",
        "clients find out by themselves what happened",
    ),
    message(
        "node::peer::heartbeat",
        "a Region's leader is about to report to placement",
        "it reports after the next election",
    )
    .returning("the report is lost"),
    message(
        "node::store::heartbeat",
        "the store is about to report to placement",
        "it reports after the start",
    )
    .returning("the report is lost"),
    message(
        "node::placement::answer",
        "the placement driver is about to answer",
        "whoever asked asks the next leader",
    ),
    message(
        "node::placement::instruct",
        "the placement driver is about to tell a Region's leader what to do",
        "the next leader of placement decides anew",
    )
    .returning("it is lost"),
    message(
        "server::transport::batch",
        "a batch of Raft messages is about to leave",
        "they are lost",
    ),
    message(
        "server::raft::receive",
        "a Raft message of another store has come",
        "it is lost",
    )
    .returning("it is lost"),
    message(
        "server::snapshot::chunk",
        "a chunk of a snapshot is about to leave",
        "the receiver gives the stream up",
    ),
    message(
        "server::link::store_heartbeat",
        "the store's report is about to leave for placement",
        "it reports after the start",
    ),
    message(
        "server::link::instruction",
        "an answer to a Region's report has come",
        "placement says it again",
    )
    .returning("it is lost"),
    message(
        "server::raw::write",
        "a client's write is checked, and about to be proposed",
        "it never happened",
    ),
    message(
        "server::raw::written",
        "it is applied, and the client is about to be answered",
        "the client finds out by itself that it happened",
    ),
    // A process.
    life(
        "kontiki::start::opening_data",
        "the data folder is about to be locked and the key-value engine opened",
        "the next start does it",
    ),
    life(
        "kontiki::start::asking_members",
        "the cluster is about to be asked",
        "the next start asks again; an id that placement gave is not used",
    ),
    life(
        "kontiki::start::opening_logs",
        "the Raft logs are about to be opened",
        "the next start does it",
    ),
    life(
        "kontiki::start::starting_node",
        "the replicas are about to be read",
        "the next start does it",
    ),
    life(
        "node::start::bootstrapped",
        "the directory is this store's",
        "the next start finds that",
    ),
    life(
        "node::start::snapshots_recovered",
        "what was being installed is installed, what was not is removed",
        "the next start has nothing to do there",
    ),
    life(
        "node::start::recovered",
        "all replicas are read, no actor runs",
        "the next start reads them again",
    ),
    life(
        "kontiki::start::serving",
        "the node is about to say that it serves",
        "the next start comes to the same place",
    ),
    life(
        "kontiki::stop::begin",
        "the node was asked to stop",
        "as by `kill -9`",
    ),
    life(
        "kontiki::stop::drained",
        "no request and no connection is left; the actors run",
        "as by `kill -9`",
    ),
    life(
        "kontiki::stop::stopped",
        "the actors have ended, the engines are synced",
        "the next start has nothing to apply",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }

    /// The points that stand in a crate's sources, as often as they do.
    fn standing_in(name: &str, points: &mut BTreeMap<String, usize>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let mut files = Vec::new();
        sources(&folder.join("src"), &mut files);
        for file in files {
            let text = std::fs::read_to_string(file).unwrap();
            for part in text.split("failpoint::at!(").skip(1) {
                let name = part.trim_start().strip_prefix('"').unwrap();
                let name = name.split('"').next().unwrap();
                *points.entry(name.to_owned()).or_default() += 1;
            }
        }
    }

    #[test]
    fn each_point_of_the_list_stands_at_one_place_in_the_crate_that_it_is_named_after() {
        let crates = [
            "engine",
            "engine-rocks",
            "engine-raftlog",
            "node",
            "server",
            "kontiki",
        ];
        let mut all = 0;
        for name in crates {
            let mut points = BTreeMap::new();
            standing_in(name, &mut points);
            let prefix = format!("{}::", name.replace('-', "_"));
            let listed = POINTS
                .iter()
                .filter(|point| point.name.starts_with(&prefix));
            let listed: BTreeMap<String, usize> =
                listed.map(|point| (point.name.to_owned(), 1)).collect();
            assert_eq!(points, listed, "{name}");
            all += listed.len();
        }
        assert_eq!(all, POINTS.len(), "points of other crates, or listed twice");
    }
}
