//! Very many simulated workers and one aggregator: the real use-cases and encoder, the real adapters of S3 and DynamoDB,
//! strict servers on this machine; only k6 is played.
//!
//! All workers are one process and the aggregator is another one, so that what it costs is seen. `cargo test` plays some
//! workers for some seconds and asserts that nothing is lost on the way; `cargo xtask scale` plays as many as it is told,
//! and prints what it took.

#![expect(clippy::expect_used, clippy::print_stdout, clippy::print_stderr, reason = "it is a test, and a bench")]

mod counted;
mod load;
mod parts;
mod report;
#[path = "../../../functions/tests/servers/mod.rs"]
mod servers;
mod setting;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    thread,
};

use lambdaload_core::testing::{ledger::MemoryLedger, store::MemoryStore};
use lambdaload_tests::servers::{DynamoDbLocal, Versitygw};
use serde::de::DeserializeOwned;
use tokio::runtime::Builder;

use crate::{
    parts::{Places, begin, cpu, deploy, play_aggregator, play_workers},
    report::Report,
    setting::Setting,
};

/// How it calls itself, for a part of a run.
const PART: &str = "--part";

/// Said by the aggregator once there is a run.
const BEGUN: &str = "begun";

const TEST: &str = "a_crowd_of_workers_loses_nothing";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some(PART) => {
            play_part(&words[1], &serde_json::from_str(&words[2]).expect("a setting"));
            ExitCode::SUCCESS
        }
        Some("measure") => match Setting::parse(&words[1..]) {
            Ok(setting) => tell(&play(setting)),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
        _ => test(&words),
    }
}

/// As other tests, which have a harness for that: it needs servers, and may be filtered.
fn test(words: &[String]) -> ExitCode {
    let has = |flag: &str| words.iter().any(|word| word == flag);
    if has("--list") {
        println!("{TEST}: test");
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let is_wanted = filters.is_empty() || filters.iter().any(|filter| TEST.contains(filter.as_str()));
    if !is_wanted || !(has("--include-ignored") || has("--ignored")) {
        let (ignored, filtered) = (u8::from(is_wanted), u8::from(!is_wanted));
        if is_wanted {
            println!("test {TEST} ... ignored, needs the servers of `cargo xtask servers`");
        }
        println!("test result: ok. 0 passed; 0 failed; {ignored} ignored; 0 measured; {filtered} filtered out");
        return ExitCode::SUCCESS;
    }
    let outcome = tell(&play(Setting { flush_ms: Some(1_000), ..Setting::default() }));
    let is_ok = outcome == ExitCode::SUCCESS;
    println!("test {TEST} ... {}", if is_ok { "ok" } else { "FAILED" });
    let (said, passed) = if is_ok { ("ok", 1) } else { ("FAILED", 0) };
    println!("test result: {said}. {passed} passed; {} failed; 0 ignored; 0 measured; 0 filtered out", 1 - passed);
    outcome
}

/// Prints what was seen; it is a failure if anything was lost.
fn tell(report: &Report) -> ExitCode {
    println!("{}", report.line(true));
    let problems = report.problems();
    problems.iter().take(20).for_each(|problem| eprintln!("error: {problem}"));
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(setting: Setting) -> Report {
    if setting.in_memory { play_in_memory(setting) } else { play_with_servers(&setting) }
}

/// All in one process: what the aggregator itself does, on a thread of its own.
fn play_in_memory(setting: Setting) -> Report {
    let places = Places { store: Arc::new(MemoryStore::default()), ledger: Arc::new(MemoryLedger::default()) };
    block_on(begin(&setting, &places));
    let (workers, aggregator) = thread::scope(|scope| {
        let aggregator = scope.spawn(|| block_on(play_aggregator(&places, "/proc/thread-self/stat")));
        let workers = play_workers(&setting, || async { places.clone() });
        (workers, aggregator.join().expect("comes to a verdict"))
    });
    Report { setting, workers, aggregator, servers: Vec::new() }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn play_with_servers(setting: &Setting) -> Report {
    let (s3, dynamodb) = (Versitygw::start(), DynamoDbLocal::start());
    let setting = Setting { s3: s3.endpoint(), dynamodb: dynamodb.endpoint(), ..setting.clone() };
    let server_cpu = || {
        let of = |name, pid: u32| (name, cpu(&format!("/proc/{pid}/stat")));
        [of("S3", s3.pid()), of("DynamoDB", dynamodb.pid())]
    };
    let mut aggregator = Part::start("aggregator", &setting);
    aggregator.says(BEGUN);
    let before = server_cpu();
    let workers = Part::start("workers", &setting);
    let (workers, aggregator) = (workers.report(), aggregator.report());
    let servers = server_cpu().iter().zip(before).map(|((name, after), (_, before))| (*name, after - before)).collect();
    Report { setting, workers, aggregator, servers }
}

/// This program as a part of a run. Dropping it ends it.
struct Part {
    name: &'static str,
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Part {
    fn start(name: &'static str, setting: &Setting) -> Self {
        let program = std::env::current_exe().expect("this program");
        let setting = serde_json::to_string(setting).expect("JSON");
        let mut child = Command::new(program)
            .args([PART, name, &setting])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts itself");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        Self { name, child, output }
    }

    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("UTF-8");
        assert_eq!(line.trim_end(), expected, "the {} said something else", self.name);
    }

    /// What it says last.
    fn report<T: DeserializeOwned>(mut self) -> T {
        let mut json = String::new();
        self.output.read_to_string(&mut json).expect("UTF-8");
        let status = self.child.wait().expect("has ended");
        assert!(status.success(), "the {} ended with {status}", self.name);
        serde_json::from_str(&json).expect("a report")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn play_part(name: &str, setting: &Setting) {
    let json = match name {
        "workers" => serde_json::to_string(&play_workers(setting, || Places::of_servers(setting))),
        "aggregator" => {
            let report = block_on(async {
                deploy(setting).await;
                let places = Places::of_servers(setting).await;
                begin(setting, &places).await;
                println!("{BEGUN}");
                play_aggregator(&places, "/proc/self/stat").await
            });
            serde_json::to_string(&report)
        }
        other => panic!("there is no part {other}"),
    };
    println!("{}", json.expect("JSON"));
}
