//! Very many simulated workers and one aggregator: the real use-cases and encoder, the real adapters of S3 and DynamoDB,
//! strict servers on this machine; only k6 is played.
//!
//! All workers are one process and the aggregator is another one, so that what it costs is seen. `cargo test` plays some
//! workers for some seconds and asserts that nothing is lost on the way, or takes very long; `cargo xtask scale` plays as many as it is told,
//! and prints what it took.

#![expect(clippy::expect_used, clippy::print_stdout, clippy::print_stderr, reason = "it is a test, and a bench")]

mod counted;
mod load;
mod parts;
mod report;
#[path = "../servers/mod.rs"]
mod servers;
mod setting;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use lambdaload_core::testing::{ledger::MemoryLedger, store::MemoryStore};
use lambdaload_tests::{
    cli::wait_for,
    servers::{DynamoDbLocal, Versitygw},
};
use serde::de::DeserializeOwned;
use tokio::runtime::Builder;

use crate::{
    parts::{Places, begin, cpu, deploy, play_aggregator, play_workers, warm_up},
    report::Report,
    setting::Setting,
};

/// How it calls itself, for a part of a run.
const PART: &str = "--part";

/// Said by the aggregator once there is a run.
const BEGUN: &str = "begun";

/// What a part may take to notice that it is late.
const GRACE: Duration = Duration::from_secs(30);

const TEST: &str = "a_crowd_of_workers_loses_nothing";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some(PART) => {
            play_part(&words[1], &serde_json::from_str(&words[2]).expect("a setting"));
            ExitCode::SUCCESS
        }
        Some("measure") => match Setting::parse(&words[1..]).map(play) {
            Ok(report) => tell(&report, &report.problems()),
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
    let report = play(Setting { flush_ms: Some(1_000), ..Setting::default() });
    let outcome = tell(&report, &[report.problems(), report.delays()].concat());
    let is_ok = outcome == ExitCode::SUCCESS;
    println!("test {TEST} ... {}", if is_ok { "ok" } else { "FAILED" });
    let (said, passed) = if is_ok { ("ok", 1) } else { ("FAILED", 0) };
    println!("test result: {said}. {passed} passed; {} failed; 0 ignored; 0 measured; 0 filtered out", 1 - passed);
    outcome
}

/// Prints what was seen; it is a failure if there are problems.
fn tell(report: &Report, problems: &[String]) -> ExitCode {
    println!("{}", report.table());
    problems.iter().take(20).for_each(|problem| eprintln!("error: {problem}"));
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(setting: Setting) -> Report {
    if setting.in_memory { play_in_memory(setting) } else { play_with_servers(&setting) }
}

/// All in one process: what the aggregator itself does, on a thread of its own.
fn play_in_memory(setting: Setting) -> Report {
    let places = Places { store: Arc::new(MemoryStore::default()), ledger: Arc::new(MemoryLedger::default()) };
    within(&setting, begin(&setting, &places));
    let (workers, aggregator) = thread::scope(|scope| {
        let aggregator = scope.spawn(|| within(&setting, play_aggregator(&places, "/proc/thread-self/stat")));
        let workers = play_workers(&setting, || async { places.clone() });
        (workers, aggregator.join().expect("comes to a verdict"))
    });
    Report { setting, workers, aggregator, servers: Vec::new() }
}

/// What comes of this, on this thread, in the time that a run of this setting may take.
pub(crate) fn within<T>(setting: &Setting, future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let deadline = setting.deadline();
    // The timer of a timeout has to be made inside.
    let outcome = runtime.block_on(async { tokio::time::timeout(deadline, future).await });
    outcome.unwrap_or_else(|_| panic!("a part is not over after {deadline:?}"))
}

fn play_with_servers(setting: &Setting) -> Report {
    let (s3, dynamodb) = (Versitygw::start(), DynamoDbLocal::start());
    let setting = Setting { s3: s3.endpoint(), dynamodb: dynamodb.endpoint(), ..setting.clone() };
    let server_cpu = || {
        let of = |name, pid: u32| (name, cpu(&format!("/proc/{pid}/stat")));
        [of("S3", s3.pid()), of("DynamoDB", dynamodb.pid())]
    };
    let mut aggregator = Part::start("aggregator", &setting);
    assert_eq!(aggregator.next_line(), BEGUN, "the aggregator said something else");
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
    lines: mpsc::Receiver<String>,
    /// When it has to have said everything.
    ends_at: Instant,
}

impl Part {
    fn start(name: &'static str, setting: &Setting) -> Self {
        let program = std::env::current_exe().expect("this program");
        let json = serde_json::to_string(setting).expect("JSON");
        let mut child = Command::new(program)
            .args([PART, name, &json])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts itself");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        // Its end is that of its output, and so of this thread.
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { name, child, lines, ends_at: Instant::now() + setting.deadline() + GRACE }
    }

    fn next_line(&mut self) -> String {
        match self.lines.recv_timeout(self.ends_at.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("the {} says nothing, and does not end by itself", self.name)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the {} ended without a word", self.name),
        }
    }

    /// What it says last.
    fn report<T: DeserializeOwned>(mut self) -> T {
        let report = serde_json::from_str(&self.next_line()).expect("a report");
        let status = wait_for("a part to end", || self.child.try_wait().expect("can be asked"));
        assert!(status.success(), "the {} ended with {status}", self.name);
        report
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
            let report = within(setting, async {
                deploy(setting).await;
                let places = Places::of_servers(setting).await;
                warm_up(setting, &*places.ledger).await;
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
