//! What changes a Region, one operation a file: its rules, what its leader proposes, and what its
//! applier does. And what its leader may do alone.

pub mod conf_change;
pub mod consistency;
pub mod hibernate;
pub mod last_merge;
pub mod lease;
pub mod load_split;
pub mod log_gc;
pub mod measure;
pub mod merge;
pub mod snapshot;
pub mod split;
