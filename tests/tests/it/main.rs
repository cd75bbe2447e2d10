//! lambdaload from outside. Every test runs real programs; they run in parallel and in any order.

#![expect(clippy::expect_used, reason = "these are tests")]

mod commands;
mod differential;
mod endings;
mod failures;
mod input;
mod options;
mod same_as_k6;
mod secrets;
