//! What stock k6 says: its output lines, its options, its versions and its exit codes.

pub mod exit;
pub mod line;
pub mod options;
pub mod time;
pub mod version;
