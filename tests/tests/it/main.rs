//! lambdaload from outside. Every test runs real programs; they run in parallel and in any order.

#![expect(clippy::expect_used, reason = "these are tests")]

mod aggregated;
mod commands;
mod differential;
mod endings;
mod every;
mod executors;
mod extensions;
mod failures;
mod handle_summary;
mod https;
mod imports;
mod input;
mod nine_jobs;
mod odd_data;
mod options;
mod same_as_k6;
mod scale;
mod secrets;
mod summary;
mod versions;
