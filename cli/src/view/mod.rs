//! What people read, apart from the summary: pure functions from data to text.

pub(crate) mod cost;
pub(crate) mod numbers;
pub(crate) mod plan;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod table;
pub(crate) mod when;
