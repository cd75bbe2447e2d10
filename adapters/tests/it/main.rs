//! The adapters with what they meet: a real k6, real processes.
//!
//! k6 is found as the product finds it; `cargo xtask k6` provides one.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod blocked;
mod commands;
mod common;
#[cfg(feature = "local")]
mod fleet;
#[cfg(all(target_os = "linux", feature = "local"))]
mod orphans;
mod running;
mod summarize;
