//! Scheduling, with stores and Regions that do what they are told: one scenario a test.

#[path = "../common/fleet.rs"]
mod fleet;

mod absurd;
mod balance;
mod chaos;
mod members;
mod merge_split;
mod operators;
mod repair;
mod scale;
mod service;
mod settings;
