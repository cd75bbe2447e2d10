//! Tests that need more than stock k6 has: refused before anything starts, with what is missing, unless `--k6` has it.

use std::io::Write as _;

use lambdaload_tests::{
    cli::{Folder, Said},
    extended_k6, k6_binary, k6_version,
};

/// k6 itself says what is missing, and all of it, from 1.6 on.
fn k6_lists() -> bool {
    k6_version() >= (1, 6, 0)
}

/// Runs nothing but says why.
fn refused(folder: &Folder, test: &str) -> String {
    let mut texts = Vec::new();
    for command in ["plan", "run"] {
        let said = folder.run(&[command, test, "--workers", "2"]);
        assert_eq!(said.code, Some(107), "{said:#?}");
        assert_eq!(said.stdout, "");
        texts.push(said.stderr);
    }
    assert_eq!(texts[0], texts[1]);
    let list = folder.run(&["runs", "list", "--output", "json"]);
    assert_eq!(list.stdout.trim(), "[]", "nothing was started");
    texts.remove(0)
}

#[test]
fn imports_of_extensions_are_listed() {
    let folder = Folder::new();
    folder.write("lib.js", "import redis from 'k6/x/redis'; export const r = redis;");
    folder.write(
        "test.js",
        "import './lib.js'; import sql from 'k6/x/sql'; import { b } from \"k6/x/another\"; export default () => {};",
    );
    let text = refused(&folder, "test.js");
    assert!(text.starts_with("error: test.js needs what this k6 does not have\n"), "{text}");
    let listed: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_suffix(": not in this k6")).collect();
    if k6_lists() {
        assert_eq!(listed, ["k6/x/another", "k6/x/redis", "k6/x/sql"], "{text}");
    } else {
        assert!(listed.len() == 1 && listed[0].starts_with("k6/x/"), "{text}");
        assert!(text.contains("there may be more: k6 before 1.6 names only the first"), "{text}");
    }
    assert!(text.contains("--k6") && text.contains("xk6 build"), "{text}");
}

#[test]
fn directives_that_k6_does_not_satisfy_are_listed() {
    let folder = Folder::new();
    folder.write("test.js", "\"use k6 with k6/x/faker > 0.4.0\";\n'use k6 >= 99.0.0';\nexport default () => {};");
    if k6_lists() {
        let text = refused(&folder, "test.js");
        let (major, minor, patch) = k6_version();
        let own = format!("k6 >=99.0.0: this k6 is v{major}.{minor}.{patch}");
        assert!(text.contains(&own) && text.contains("k6/x/faker >0.4.0: not in this k6"), "{text}");
    } else {
        // Such a k6 does not know directives: a run of it passes over them, and so do we.
        assert_eq!(folder.run(&["plan", "test.js"]).code, Some(0));
    }
}

#[test]
fn directives_that_k6_satisfies_are_no_matter() {
    let folder = Folder::new();
    folder.write(
        "test.js",
        "'use k6 >= 1.0.0';\nexport const options = { vus: 2, iterations: 2 }; export default () => {};",
    );
    let said = folder.run(&["run", "test.js", "--workers", "2"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
}

/// Where it was made, nobody had to look for the extension: the directive alone names it, without an import.
#[test]
fn what_an_archive_depends_on_is_looked_at_too() {
    let folder = Folder::new();
    folder.write("test.js", "'use k6 with k6/x/faker';\nexport default () => {};");
    let archived = std::process::Command::new(k6_binary())
        .args(["archive", "--quiet", "-O", "test.tar", "test.js"])
        .env("K6_AUTO_EXTENSION_RESOLUTION", "false")
        .current_dir(folder.path())
        .output()
        .expect("k6 runs");
    assert!(archived.status.success(), "{archived:?}");
    if k6_version() >= (1, 8, 0) {
        assert!(refused(&folder, "test.tar").contains("test.tar needs what"));
    } else {
        assert_eq!(folder.run(&["plan", "test.tar"]).code, Some(0), "it says nothing of what it depends on");
    }
}

const ANSWER: &str = "import answer from 'k6/x/answer'; import { check } from 'k6';
    export const options = { vus: 4, iterations: 8, thresholds: { checks: ['rate==1'], iterations: ['count==8'] } };
    export default () => check(answer.get(), { 'is 42': (n) => n === 42 });";

#[test]
fn a_k6_that_has_the_extension_runs_it_on_every_worker() {
    let Some(extended) = extended_k6() else {
        // Past the capturing of output: nobody is to think that this has been tested.
        let note = "SKIPPED: LAMBDALOAD_K6_EXTENDED names no k6 with an extension (`cargo xtask k6 --extended`)\n";
        std::io::stderr().write_all(note.as_bytes()).expect("stderr");
        return;
    };
    let folder = Folder::new();
    folder.write("test.js", ANSWER);
    assert!(refused(&folder, "test.js").contains("k6/x/answer: not in this k6"));

    let k6 = extended.display().to_string();
    let passes = |test: &str| {
        let said: Said = folder.run(&["run", test, "--workers", "3", "--k6", &k6]);
        assert_eq!(said.code, Some(0), "{said:#?}");
        assert!(said.stdout.contains("3 of 3 finished"), "{}", said.stdout);
    };
    passes("test.js");
    let archived = std::process::Command::new(&extended)
        .args(["archive", "--quiet", "-O", "test.tar", "test.js"])
        .current_dir(folder.path())
        .status();
    assert!(archived.expect("k6 runs").success());
    passes("test.tar");
    let refused = folder.run(&["plan", "test.tar"]);
    assert_eq!(refused.code, Some(107), "{refused:#?}");
    assert!(refused.stderr.contains("k6/x/answer: not in this k6"), "{}", refused.stderr);
}
