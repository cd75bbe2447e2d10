//! What the tests of lambdaload share.

#![expect(clippy::expect_used, reason = "this is part of the tests")]

pub mod account;
pub mod cli;
pub mod confined;
pub mod runtime;
pub mod servers;
pub mod target;
pub mod template;
pub mod tls;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

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

/// The version of [`k6_binary`]: the number before the first point, between the points, and behind them. The tests run on
/// several; where k6 itself differs, they ask this.
///
/// # Panics
/// If it does not say.
pub fn k6_version() -> (u32, u32, u32) {
    static VERSION: OnceLock<(u32, u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new(k6_binary()).args(["version", "--json"]).output().expect("k6 runs");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("k6 says its version as JSON");
        let text = said["version"].as_str().unwrap_or_default().trim_start_matches('v');
        let parts: Vec<u32> = text.split('.').filter_map(|part| part.parse().ok()).collect();
        match parts[..] {
            [major, minor, patch] => (major, minor, patch),
            _ => panic!("k6 says it is `{text}`"),
        }
    })
}

/// How far from T0 each worker started, in milliseconds, as a verdict of at most a hundred workers says.
///
/// # Panics
/// If one of them is no measurement that can be, or the 99th percentile is not the greatest.
pub fn start_skews(verdict: &serde_json::Value) -> Vec<f64> {
    let workers = verdict["workers"].as_array().unwrap_or_else(|| panic!("no workers: {verdict:#}"));
    let skews: Vec<f64> = workers.iter().filter_map(|worker| worker["skew_ms"].as_f64()).collect();
    assert!(skews.iter().all(|skew| skew.abs() < 1_000.0), "a second from T0: {skews:?}");
    let greatest = skews.iter().map(|skew| skew.abs()).reduce(f64::max);
    assert_eq!(verdict["start_skew_p99_ms"].as_f64(), greatest, "{skews:?}");
    skews
}

/// A k6 that has the extension `k6/x/answer`, if one was provided: only `cargo xtask k6 --extended` makes it, with Go.
pub fn extended_k6() -> Option<PathBuf> {
    std::env::var_os("LAMBDALOAD_K6_EXTENDED").map(PathBuf::from)
}
