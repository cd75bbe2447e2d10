//! `template.yaml`: what it and the code have agreed on, who may do what, and what is built of it.
//!
//! Much of this an emulated account doesn't do: it drops what it doesn't know. So it is asserted on the transformed template.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod artefacts;
mod fargate;
mod people;
mod permissions;
mod shape;
