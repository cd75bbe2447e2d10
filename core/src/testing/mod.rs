//! What tests of other packages need of this one.

pub mod contract;
pub mod sample;
