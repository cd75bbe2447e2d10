//! `--secret`: scripts get the value, and nobody else does.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use lambdaload_tests::{
    cli::{Folder, Running, Said, seen_of_descendants, wait_for},
    fixture,
    target::Target,
};
use serde_json::Value;

/// With characters that JSON, URLs and k6's file each write in their own way.
const TOKEN: &str = r#"t0k=n "x"&/<é>\;#"#;
const PLAIN: &str = "hunter2-hunter3";
const KEY: &str = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----";

/// How the secrets, and lines of them, may be written anywhere.
fn forms() -> Vec<&'static str> {
    let of_token = [
        TOKEN,
        r#"t0k=n \"x\"&/<é>\\;#"#,
        r#"t0k=n \"x\"\u0026/\u003cé\u003e\\;#"#,
        "t0k%3Dn%20%22x%22%26%2F%3C%C3%A9%3E%5C%3B%23",
        "t0k%3Dn+%22x%22%26%2F%3C%C3%A9%3E%5C%3B%23",
    ];
    // What even half of a token would begin with.
    [&of_token[..], &["t0k=n", "t0k%3Dn", PLAIN, "hunter2", "hunter3", "MIIEvQIBADANBgkq"]].concat()
}

fn leak(bytes: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(bytes);
    forms().into_iter().find(|form| text.contains(form))
}

fn assert_silent(what: &str, bytes: &[u8]) {
    if let Some(form) = leak(bytes) {
        panic!("{what} has {form:?}: {}", String::from_utf8_lossy(bytes));
    }
}

fn command(folder: &Folder, target: &Target, more: &[&str]) -> Command {
    folder.write("key.pem", format!("{KEY}\n"));
    let script = fixture("secrets.js").display().to_string();
    let target = format!("TARGET={}", target.url());
    let fixed =
        ["run", &script, "--workers", "2", "--secret", "TOKEN", "--secret", "PLAIN", "--secret", "KEY=@key.pem"];
    let mut command = folder.command(&[&fixed[..], &["-e", &target, "--summary-export", "export.json"], more].concat());
    command.env("TOKEN", TOKEN).env("PLAIN", PLAIN);
    command
}

/// Runs it, looking at its processes all the time.
fn run_watched(mut command: Command, temporary: &Path) -> Said {
    std::fs::create_dir(temporary).expect("a folder");
    command.env("TMPDIR", temporary);
    let running = Running::start(command);
    let mut seen_k6 = false;
    let (running, ()) = running.wait_for("the end of the workers", |running| {
        let seen = seen_of_descendants(running.pid());
        seen.iter().for_each(|bytes| assert_silent("a process", bytes));
        let text = String::from_utf8_lossy(&seen.concat()).into_owned();
        seen_k6 |= text.contains("--execution-segment");
        (seen_k6 && seen.is_empty()).then_some(())
    });
    let said = running.wait();
    assert_eq!(files(temporary), [""; 0].map(PathBuf::from), "nothing is left behind");
    said
}

/// All regular files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.path())).filter(|path| path.is_file()).collect()
}

/// Nothing that the run left behind, or said, has a secret; but for what the script itself returned from `setup()`.
fn assert_nothing_leaked(folder: &Folder, said: &Said) {
    assert_silent("stdout", said.stdout.as_bytes());
    assert_silent("stderr", said.stderr.as_bytes());
    let mut seen = Vec::new();
    for file in files(folder.path()) {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let is_setup = file.parent().is_some_and(|folder| folder.ends_with("interim/setups"));
        if name != "key.pem" && !is_setup {
            assert_silent(&file.display().to_string(), &std::fs::read(&file).expect("reads"));
        }
        seen.push(name);
    }
    for name in ["ledger.db", "worker-1.log", "worker-2.log", "report.html", "verdict.json", "export.json", "live.json"]
    {
        assert!(seen.iter().any(|file| file == name), "{name} was not looked at: {seen:?}");
    }
    for ending in ["tar", "chunk"] {
        let ends = |file: &String| Path::new(file).extension().is_some_and(|extension| extension == ending);
        assert!(seen.iter().any(ends), "no *.{ending} was looked at: {seen:?}");
    }
}

fn metric<'v>(verdict: &'v Value, name: &str) -> &'v Value {
    let metrics = verdict["summary"]["metrics"].as_array().expect("metrics");
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("{name} in {verdict:#}"))
}

#[test]
fn a_script_has_its_secrets_and_nobody_else_does() {
    let (folder, target, temporary) = (Folder::new(), Target::start(), Folder::new());
    let said = run_watched(command(&folder, &target, &[]), &temporary.path().join("tmp"));
    assert_eq!(said.code, Some(0), "{said:#?}");
    let heard = target.headers();
    assert_eq!(heard.len(), 8);
    for headers in &heard {
        let of = |name: &str| headers[name].as_str();
        assert_eq!((of("x-env"), of("x-source"), of("x-setup")), (TOKEN, TOKEN, TOKEN));
        assert_eq!(of("x-key"), KEY.replace('\n', "|"));
    }
    assert_nothing_leaked(&folder, &said);
    assert!(said.stderr.contains("k6/secrets cannot hold the secret KEY"), "{}", said.stderr);
    let log = folder_log(&folder, 1);
    assert!(log.contains("*** ***") && log.contains("an error with ***"), "{log}");

    // What differs in secrets only is one, and nothing is lost.
    let verdict = folder.verdict();
    assert_eq!(verdict["samples"]["read"], verdict["samples"]["merged"]);
    assert_eq!(metric(&verdict, "leaks")["values"]["count"], 8.0);
    assert!(said.stdout.contains("✓ *** and *** are taken"), "{}", said.stdout);
}

#[test]
fn an_exception_with_a_secret_does_not_tell_it() {
    let (folder, target) = (Folder::new(), Target::start());
    let said = Running::start(command(&folder, &target, &["-e", "FAIL=1"])).wait();
    assert_eq!(said.code, Some(107), "{said:#?}");
    let verdict = folder.verdict();
    let reason = verdict["reasons"][0]["message"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("login with *** failed"), "{reason}");
    assert_silent("stdout", said.stdout.as_bytes());
    assert_silent("stderr", said.stderr.as_bytes());
    for file in files(folder.path()).iter().filter(|file| !file.ends_with("key.pem")) {
        assert_silent(&file.display().to_string(), &std::fs::read(file).expect("reads"));
    }
}

/// k6 reads its secrets before it makes VUs, and the file with them is gone when it has.
#[test]
fn no_file_has_the_secrets_while_the_test_runs() {
    let (folder, target, temporary) = (Folder::new(), Target::start(), Folder::new());
    let mut command = command(&folder, &target, &["--vus", "2", "--iterations", "200"]);
    command.env("TMPDIR", temporary.path());
    let running = Running::start(command);
    wait_for("requests", || (!target.headers().is_empty()).then_some(()));
    for file in files(temporary.path()) {
        assert_silent(&file.display().to_string(), &std::fs::read(&file).unwrap_or_default());
    }
    running.signal("INT");
    assert_eq!(running.wait().code, Some(105));
}

#[test]
fn an_archive_is_run_with_secrets_and_asks_for_those_it_had() {
    let (folder, target) = (Folder::new(), Target::start());
    let said = Running::start(command(&folder, &target, &[])).wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
    let archives = files(&folder.path().join(".lambdaload/store/archives"));
    std::fs::copy(&archives[0], folder.path().join("again.tar")).expect("copies");

    let said = folder.run(&["run", "again.tar"]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(said.stderr.contains("wants the secrets KEY, PLAIN, TOKEN"), "{}", said.stderr);

    let secrets = ["--secret", "TOKEN", "--secret", "PLAIN", "--secret", "KEY=@key.pem"];
    let mut again = folder.command(&[&["run", "again.tar", "--workers", "2"][..], &secrets].concat());
    again.env("TOKEN", "another one").env("PLAIN", PLAIN);
    let said = Running::start(again).wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(target.headers()[8]["x-env"], "another one");
}

#[test]
fn what_cannot_be_a_secret_is_refused_before_anything_starts() {
    let folder = Folder::new();
    folder.write("script.js", "export default () => {};");
    for (arguments, expected) in [
        (&["--secret", "TOKEN=hunter2-hunter3"][..], "the list of processes"),
        (&["--secret", "TOKEN"], "no such variable in the environment"),
        (&["--secret", "TOKEN=@nowhere"], "--secret TOKEN=@nowhere cannot be read"),
        (&["--secret", "K=@script.js", "-e", "K=1"], "expected one of them"),
        (&["--secret", "EMPTY=@/dev/null"], "it is empty"),
    ] {
        for subcommand in ["run", "plan"] {
            let said = folder.run(&[&[subcommand][..], arguments].concat());
            assert_eq!(said.code, Some(104), "{arguments:?} {said:#?}");
            assert!(said.stderr.contains(expected), "{arguments:?}: {}", said.stderr);
            assert_silent("stderr", said.stderr.as_bytes());
        }
    }
    assert!(!folder.path().join(".lambdaload").exists());
}

fn folder_log(folder: &Folder, worker: u32) -> String {
    let name = format!("worker-{worker}.log");
    let all = files(folder.path());
    let log = all.iter().find(|file| file.ends_with(&name)).unwrap_or_else(|| panic!("{name} in {all:?}"));
    std::fs::read_to_string(log).expect("reads")
}
