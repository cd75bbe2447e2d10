//! The adapters for AWS with what they meet: an emulated account, servers that are stricter than it is, faults in AWS's own
//! words, and servers that hang.
//!
//! `cargo xtask servers` provides the programs, and `cargo xtask test` names them in variables.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;
mod denials;
#[cfg(feature = "image")]
mod ecr;
mod ecs;
mod faults;
mod fleet;
mod functions;
mod ledger;
#[cfg(feature = "image")]
mod leftovers;
#[cfg(feature = "aws-operator")]
mod quota;
mod renewal;
mod schedules;
mod secrets;
mod settings;
mod store;
