//! What the benches feed. Each uses a part of it.

#![allow(dead_code, clippy::allow_attributes, reason = "each bench uses a part of it")]
#![expect(clippy::expect_used, reason = "a bench has nobody to report to")]

pub(crate) mod samples;
pub(crate) mod windows;
