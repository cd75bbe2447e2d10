//! How long a function takes that nobody has called for a while.

use std::{fs, time::Instant};

use lambdaload_core::deployment::{Function, variable};
use lambdaload_tests::{account::program, runtime, servers::RuntimeEmulator};

/// Each is called often enough for a median.
const STARTS: usize = 5;

/// An event that is none of this function's, and how it says so.
fn unknown(function: Function) -> (&'static str, &'static str) {
    match function {
        Function::Launcher => (r#"{"no": "event"}"#, "does not understand what it was sent: "),
        Function::Worker => (RUN, "the event cannot be read: missing field `index`"),
        Function::Aggregator => (RUN, "the event cannot be read: missing field `succession`"),
        Function::Reaper => {
            (r#"{"no": "event"}"#, "the reaper does not understand this event: it has neither `run` nor ")
        }
    }
}

const RUN: &str = r#"{"run": "01JD8QZV3M4T5W6X7Y8Z9A0B4K"}"#;

/// Prints the table of BENCHMARKS.md. The answer to what is no event of a function comes after everything that it does once.
#[test]
#[expect(clippy::print_stdout, reason = "figures for people")]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn every_function_starts_under_a_runtime() {
    let (emulator, program) = (runtime::emulator(), program());
    let size = fs::metadata(&program).expect("a program").len();
    println!("{:.1} MB\n\n| function | first call | second call |\n|---|--:|--:|", size as f64 / 1e6);
    for function in Function::ALL {
        let mut variables: Vec<(&str, &str)> = function.variables().iter().map(|name| (*name, "1")).collect();
        variables.extend([
            (variable::FUNCTION, function.word()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            // Nobody is there.
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ]);
        let (event, words) = unknown(function);
        let mut took: Vec<[f64; 2]> = (0..STARTS)
            .map(|_| {
                let runtime = RuntimeEmulator::start(&emulator, &program, &variables);
                [(), ()].map(|()| {
                    let started = Instant::now();
                    let answer = runtime.invoke(event);
                    assert!(answer.contains(words), "{}: no `{words}`: {answer}", function.word());
                    started.elapsed().as_secs_f64() * 1e3
                })
            })
            .collect();
        took.sort_by(|one, other| one[0].total_cmp(&other[0]));
        let [first, second] = took[STARTS / 2];
        println!("| {} | {first:.0} ms | {second:.1} ms |", function.word());
    }
}
