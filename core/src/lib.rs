//! What a run is and what it concludes.
//!
//! No I/O, no clock and no runtime: whatever touches the world stands behind a port in [`ports`], and the use-cases in
//! [`run`] are the only place where ports meet. Everything else is plain data and total functions on it.

pub mod aggregate;
pub mod archive;
pub mod chunk;
pub mod closing;
pub mod cost;
pub mod deployment;
mod drift;
pub mod histogram;
pub mod ids;
pub mod judge;
pub mod k6;
pub mod lifecycle;
pub mod live;
mod losses;
mod millis;
pub mod number;
pub mod plan;
pub mod ports;
pub mod recorder;
pub mod records;
pub mod run;
pub mod schedule;
mod seal;
pub mod secrets;
pub mod segment;
pub mod selector;
pub mod series;
pub mod slots;
pub mod stats;
pub mod sum;
pub mod summary;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod threshold;
pub mod timeline;
pub mod timestamp;
pub mod variables;
pub mod verdict;
