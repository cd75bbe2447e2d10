//! Runs on Lambda: our own template deployed into an emulated account by `sam deploy`, with the function binaries that
//! `sam build` built, real k6 and a real HTTP target.

#![expect(clippy::expect_used, reason = "these are tests")]

mod faults;
mod life;
mod privilege;
mod runs;
mod tasks;
