//! Runs on this machine: a directory as store, an embedded database as ledger, processes as workers.

mod database;
mod fleet;
mod ledger;
mod store;

pub use fleet::{ProcessFleet, TaskArguments, WorkerProgram};
pub use ledger::SqliteLedger;
pub use store::DirectoryStore;
