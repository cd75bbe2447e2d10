//! Runs of a day in an account of functions, in virtual time: what grows with the length of a run would be seen here.

#![expect(clippy::expect_used, reason = "these are tests")]

mod allocated;
mod busy;
mod day;
mod sidecar;

/// Everything is counted in one process.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

// The account of the other tests, of which not everything is needed here.
#[expect(dead_code)]
#[path = "../account/account.rs"]
mod account;
#[expect(dead_code)]
#[path = "../account/ecs.rs"]
mod ecs;
#[path = "../account/lambda.rs"]
mod lambda;
#[expect(dead_code)]
#[path = "../account/test.rs"]
mod test;
