//! Whole runs in an account of functions, with fakes of everything outside, in virtual time: one behaviour a test.

#![expect(clippy::expect_used, reason = "these are tests")]

mod account;
mod calls;
mod chaos;
mod ecs;
mod fargate;
mod lambda;
mod queue;
mod schedules;
mod successions;
mod test;
mod usual;
mod workers;
