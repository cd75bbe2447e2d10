//! `cargo xtask demo` around stand-ins for what it builds and starts.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

fn write_script(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_demo_ends_as_lambdaload_ends_and_leaves_no_target_behind() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The demo looks for what cargo has built beside itself.
    fs::copy(env!("CARGO_BIN_EXE_xtask"), at("xtask")).unwrap();
    write_script(&at("cargo"), "exit 0");
    let pid = at("pid").display().to_string();
    write_script(&at("example-target"), &format!("echo $$ > '{pid}'\necho http://127.0.0.1:4711\ncat"));
    write_script(
        &at("lambdaload"),
        &format!("echo \"$@ with $LAMBDALOAD_K6\"\nkill -0 $(cat '{pid}') || exit 1\nexit 99"),
    );

    let mut demo = Command::new(at("xtask"));
    let output = demo.arg("demo").env("CARGO", at("cargo")).env("LAMBDALOAD_K6", "/my/k6").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(99), "{said}");
    let ran = "run examples/checkout.js --workers 4 -e TARGET=http://127.0.0.1:4711 with /my/k6\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), ran);
    let alive = format!("kill -0 {}", fs::read_to_string(&pid).unwrap().trim());
    assert!(!Command::new("sh").args(["-c", &alive]).status().unwrap().success(), "the target outlived the demo");
}
