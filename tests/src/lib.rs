//! What the tests of lambdaload share.

#![expect(clippy::expect_used, reason = "this is part of the tests")]

pub mod cli;
pub mod target;

use std::path::{Path, PathBuf};

/// A script or other file of these tests.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Whether the k6 of these tests has the executor `externally-controlled`, which k6 2.0 has removed. Says so if it has not.
///
/// # Panics
/// If k6 does not tell its version.
#[expect(clippy::print_stderr, reason = "what a test leaves out is said aloud")]
pub fn k6_can_be_controlled() -> bool {
    let output = std::process::Command::new(k6_binary()).args(["version", "--json"]).output().expect("k6 runs");
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).expect("k6's version as JSON");
    let version = version["version"].as_str().expect("a version");
    let can = version.starts_with("v1.");
    if !can {
        eprintln!("k6 {version} has no externally-controlled: what is tested is that it is refused");
    }
    can
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
