//! `template.yaml`: what it and the code have agreed on, who may do what, and what is built of it.
//!
//! Much of this an emulated account doesn't do: it drops what it doesn't know. So it is asserted on the template that
//! CloudFormation would get.

mod artefacts;
mod permissions;
mod shape;
