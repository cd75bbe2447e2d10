//! Runs on Lambda: our own template deployed into an emulated account by `sam deploy`, with the function binaries that
//! `sam build` built, real k6 and a real HTTP target.

#![expect(clippy::expect_used, reason = "these are tests")]

mod cold_start;
mod containers;
mod fargate;
mod faults;
mod guarded;
mod image;
mod life;
mod limits;
mod played;
mod privilege;
mod privilege_fargate;
mod runs;
mod scene;
mod schedules;
mod tasks;
