//! Stock k6 as a child process.
//!
//! [`find`] says which k6 is run, [`K6`] runs it. k6 is spoken to only by what it documents: its command line, its REST API
//! on loopback, its JSON output through a named pipe or its `cloud` output to a server of ours, its JSON log on standard error.

mod command;
pub mod find;
mod generator;
mod log;
mod pipe;
mod process;
mod receiver;
mod rest;
mod summarize;

pub use generator::K6;
pub use log::{Level, Listener, Message};
