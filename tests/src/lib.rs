//! What the tests of lambdaload share.

#![expect(clippy::expect_used, reason = "this is part of the tests")]

pub mod cli;
pub mod target;

use std::path::{Path, PathBuf};

/// A script or other file of these tests.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The k6 that the product itself would find.
///
/// # Panics
/// Without one: the tests need a real k6.
pub fn k6_binary() -> PathBuf {
    match std::env::var_os("LAMBDALOAD_K6") {
        Some(path) => path.into(),
        None => panic!("no k6: `cargo xtask test` provides one; or set LAMBDALOAD_K6"),
    }
}
