//! What stock k6 says: its output lines, its options, what a test depends on, its versions and its exit codes.

pub mod dependencies;
pub mod exit;
pub mod frame;
pub mod line;
pub mod options;
pub mod stream;
pub mod time;
pub mod version;
