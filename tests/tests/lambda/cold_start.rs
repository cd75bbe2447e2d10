//! How long a function takes that nobody has called for a while.

use std::{fs, time::Instant};

use lambdaload_core::deployment::{Function, variable};
use lambdaload_tests::{account::program, runtime, servers::RuntimeEmulator};

/// Each is called often enough for a median.
const STARTS: usize = 5;

/// Prints the table of BENCHMARKS.md. What it calls is no event of lambdaload's: the answer says so, and comes after
/// everything that a function does once.
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
        let mut took: Vec<[f64; 2]> = (0..STARTS)
            .map(|_| {
                let runtime = RuntimeEmulator::start(&emulator, &program, &variables);
                [(), ()].map(|()| {
                    let started = Instant::now();
                    let answer = runtime.invoke("{\"no\": \"event\"}");
                    // So the emulator says that the function has died.
                    assert!(!answer.is_empty() && !answer.contains("Runtime."), "{}: {answer}", function.word());
                    started.elapsed().as_secs_f64() * 1e3
                })
            })
            .collect();
        took.sort_by(|one, other| one[0].total_cmp(&other[0]));
        let [first, second] = took[STARTS / 2];
        println!("| {} | {first:.0} ms | {second:.1} ms |", function.word());
    }
}
