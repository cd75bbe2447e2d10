//! The command on an emulated AWS account, whose deployment is made by hand: it has no functions but stand-ins.

#![expect(clippy::expect_used, reason = "these are tests")]

mod account;
mod destroy;
mod doctor;
mod launches;
mod quota;
mod refusals;
mod runs;
mod signing_in;
mod stand_in;
