//! What the tests of lambdaload share.

pub mod target;
