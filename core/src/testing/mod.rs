//! What tests of other packages need of this one.

pub mod clock;
pub mod contract;
pub mod faulty;
pub mod fleet;
pub mod generator;
pub mod ledger;
pub mod sample;
pub mod slots;
pub mod stack;
pub mod store;
pub mod tests;

pub use crate::k6::stream::encode::message as aggregated_message;
