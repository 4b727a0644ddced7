//! What the placement driver does, one scenario a test.

#[path = "../common/mod.rs"]
mod common;

mod routing;
mod stores;
mod timestamps;
mod writes;
