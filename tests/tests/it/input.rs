//! Bad input: nothing starts, and the message says what was expected, what was found and what to do.

use lambdaload_tests::{
    cli::{Folder, Said},
    k6_can_be_controlled,
};

const GOOD: &str = "export const options = { vus: 2, iterations: 4 }; export default () => {};";

/// What a refused command said on stderr; stdout must be empty and no run recorded.
fn refused(folder: &Folder, said: &Said, code: i32) -> String {
    assert_eq!(said.code, Some(code), "{said:#?}");
    assert_eq!(said.stdout, "", "stdout carries results only");
    let list = folder.run(&["runs", "list", "--output", "json"]);
    assert_eq!(list.stdout.trim(), "[]", "nothing was started");
    assert!(said.stderr.starts_with("error: "), "{}", said.stderr);
    said.stderr.clone()
}

fn run(name: &str, contents: Option<&[u8]>, arguments: &[&str], code: i32) -> String {
    let folder = Folder::new();
    if let Some(contents) = contents {
        folder.write(name, contents);
    }
    let said = folder.run(&[&["run", name], arguments].concat());
    refused(&folder, &said, code)
}

#[test]
fn a_missing_script() {
    let text = run("nowhere.js", None, &[], 104);
    assert!(text.contains("nowhere.js"), "{text}");
}

#[test]
fn without_an_argument_it_is_script_js() {
    let folder = Folder::new();
    let said = folder.run(&["run"]);
    let text = refused(&folder, &said, 104);
    assert!(text.contains("script.js"), "{text}");
    folder.write("script.js", GOOD);
    assert_eq!(folder.run(&["run"]).code, Some(0));
}

#[test]
fn a_syntax_error_in_k6s_words() {
    let text = run("bad.js", Some(b"export default function () { this is not javascript }"), &[], 107);
    assert!(text.contains("Unexpected identifier") && text.contains("bad.js"), "{text}");
}

#[test]
fn a_threshold_on_an_unknown_metric_with_a_guess() {
    let script = b"import http from 'k6/http'; export const options = { thresholds: { 'http_req_durations{name:cart}': ['p(95)<5'] } }; export default () => {};";
    let text = run("t.js", Some(script), &[], 104);
    assert!(text.contains("http_req_durations"), "{text}");
    assert!(text.contains("did you mean http_req_duration?"), "{text}");
}

#[test]
fn a_threshold_that_cannot_be_read() {
    let script = b"export const options = { thresholds: { iterations: ['count>>5'] } }; export default () => {};";
    let text = run("t.js", Some(script), &[], 104);
    assert!(text.contains("count>>5"), "{text}");
}

#[test]
fn an_archive_that_is_none() {
    for contents in [&b"this is no tar"[..], &[7; 4000]] {
        let text = run("test.tar", Some(contents), &[], 104);
        assert!(text.contains("test.tar") && text.contains("tar"), "{text}");
    }
}

#[test]
fn a_foreign_tar() {
    let folder = Folder::new();
    folder.write("readme.txt", "hello");
    let tar =
        std::process::Command::new("tar").args(["cf", "test.tar", "readme.txt"]).current_dir(folder.path()).status();
    assert!(tar.expect("tar runs").success());
    let said = folder.run(&["run", "test.tar"]);
    let text = refused(&folder, &said, 104);
    assert!(text.contains("k6 archive"), "{text}");
}

#[test]
fn no_workers_too_many_and_nonsense() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    let text = refused(&folder, &folder.run(&["run", "--workers", "0"]), 104);
    assert!(text.contains("1 or more"), "{text}");
    let text = refused(&folder, &folder.run(&["run", "--workers", "1000000"]), 104);
    assert!(text.contains("10000"), "{text}");
    let said = folder.run(&["run", "--workers", "many"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.stderr.contains("many"), "{}", said.stderr);
}

#[test]
fn a_run_without_an_end() {
    let script = b"export const options = { scenarios: { e: { executor: 'externally-controlled', vus: 2, duration: '0' } } }; export default () => {};";
    let text = run("t.js", Some(script), &[], 104);
    let word = if k6_can_be_controlled() { "would never end" } else { "k6 2.0 has removed it" };
    assert!(text.contains(word), "{text}");
}

#[test]
fn a_folder_that_cannot_be_written() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    folder.write("file", "not a folder");
    let said = folder.run(&["run", "--dir", "file/inside"]);
    assert_eq!(said.code, Some(97), "{said:#?}");
    assert!(said.stderr.contains("file/inside"), "{}", said.stderr);
    assert_eq!(said.stdout, "");
}

#[test]
fn an_export_that_cannot_be_written_is_refused_before_anything_starts() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    let said = folder.run(&["run", "--summary-export", "no/such/folder/out.json"]);
    let text = refused(&folder, &said, 104);
    assert!(text.contains("no/such/folder"), "{text}");
}

#[test]
fn a_ledger_that_is_none() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    std::fs::create_dir(folder.path().join(".lambdaload")).expect("a folder");
    folder.write(".lambdaload/ledger.db", "this is no database, and long enough to look like one".repeat(50));
    let said = folder.run(&["run"]);
    assert_eq!(said.code, Some(97), "{said:#?}");
    assert!(said.stderr.contains("ledger.db"), "{}", said.stderr);
}

#[test]
fn no_k6() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    let said = folder.run(&["run", "--k6", "no-such-k6"]);
    assert_eq!(said.code, Some(97), "{said:#?}");
    assert!(said.stderr.contains("no-such-k6") && said.stderr.contains("cargo xtask k6"), "{}", said.stderr);
}

#[test]
fn a_config_file_with_an_unknown_key() {
    let folder = Folder::new();
    folder.write("script.js", GOOD);
    folder.write("lambdaload.toml", "wrokers = 3\n");
    let said = folder.run(&["run"]);
    let text = format!("{}{}", said.stdout, said.stderr);
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(text.contains("wrokers") && text.contains("workers"), "{text}");
}

#[test]
fn an_unknown_flag_is_wrong_usage() {
    let said = Folder::new().run(&["run", "--wrokers", "3"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    assert!(said.stderr.contains("--workers"), "{}", said.stderr);
}
