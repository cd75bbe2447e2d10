//! `cargo xtask servers` and `cargo xtask tools` on a machine that has none of the tools they need.

use std::process::Command;

#[test]
fn a_missing_tool_is_named_and_what_was_begun_is_not_taken_for_whole() {
    for errand in ["servers", "tools"] {
        let cache = tempfile::tempdir().unwrap();
        // The second time finds what the first left.
        for _ in 0..2 {
            let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
            let output =
                xtask.arg(errand).env("LAMBDALOAD_SERVERS_CACHE", cache.path()).env("PATH", "").output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(output.stdout.is_empty(), "no path may be printed");
            assert!(said.lines().next().unwrap().ends_with("is not in the cache yet"), "{said}");
            assert!(said.contains("can't be provided here") && said.ends_with("python3 is not on PATH\n"), "{said}");
        }
    }
}
