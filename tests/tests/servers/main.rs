//! The servers that stand for an AWS account: each starts, really answers, stands beside another, and is gone in the end.

#![expect(clippy::expect_used, reason = "these are tests")]

mod starters;
