//! How each port of `lambdaload-core` meets the world.
//!
//! [`k6`] drives the stock binary as a child process; [`local`] keeps runs on this machine and makes workers of processes;
//! [`aws`] does so in an AWS account.
//! Nothing here decides anything about a run: that is the core's part.

#[cfg(feature = "aws")]
pub mod aws;
pub mod clock;
mod environment;
mod http;
#[cfg(feature = "image")]
pub mod image;
pub mod k6;
#[cfg(feature = "local")]
pub mod local;
mod process;
