//! Every check and every test, in one command.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{instructions, k6, licences, process, servers, simulator, template, worker};

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What a commit has to pass.
    Everything,
    /// What a person runs between edits.
    Quick,
}

/// Runs the steps in order, the cheapest first, and stops at the first that fails.
pub(crate) fn run(extent: Extent) -> Result<()> {
    let start = Instant::now();
    // Downloads and Go builds, while cargo compiles.
    let servers = (extent == Extent::Everything).then(|| thread::spawn(servers::provide));
    if extent == Extent::Everything {
        step("format", "cargo fmt --all --check (without --check it repairs)", || {
            process::run(process::cargo().args(["fmt", "--all", "--check"]))
        })?;
        step("licences", "cargo xtask licences", licences::check)?;
        step("lints", "cargo clippy --workspace --all-targets -- -D warnings", || {
            process::run(process::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        })?;
    }
    if extent == Extent::Everything {
        step("instructions", "cargo xtask instructions", instructions::check)?;
    }
    let k6 = step("k6", "cargo xtask k6", || k6::provide(k6::DEFAULT_VERSION))?;
    let extended = step("k6 with an extension", "cargo xtask k6 --extended", || {
        process::or_skip("no test runs a k6 that has an extension", k6::provide_extended())
    })?;
    let mut provided = Vec::from_iter(extended.map(|extended| ("LAMBDALOAD_K6_EXTENDED", extended)));
    let servers = match servers {
        Some(thread) => step("servers", "cargo xtask servers", || {
            let servers = thread.join().map_err(|_| anyhow!("it panicked, as said above"))?;
            process::or_skip("no test talks to a server that stands for AWS", servers)
        })?,
        None => None,
    };
    let with_servers = servers.is_some();
    provided.extend(servers.into_iter().flatten());
    if extent == Extent::Everything {
        provided.extend(deployment()?);
    }
    let mut totals = Vec::new();
    let again = format!("{} cargo test --workspace", assignments(&k6, &provided));
    let again = if with_servers { format!("{again} -- --include-ignored") } else { again };
    let total = step(&format!("tests with k6 {}", k6::DEFAULT_VERSION), &again, || {
        let mut tests = tests_with(&k6, &provided);
        if extent == Extent::Quick {
            // The errands change rarely and don't touch a run.
            tests.args(["--exclude", "xtask"]);
        }
        if with_servers {
            // Ignored are those that need a server.
            tests.args(["--", "--include-ignored"]);
        }
        run_tests(&mut tests)
    })?;
    totals.push((k6::DEFAULT_VERSION, total));
    if extent == Extent::Everything {
        for version in k6::PINS.iter().map(|pin| pin.version).filter(|version| *version != k6::DEFAULT_VERSION) {
            let k6 = step(&format!("k6 {version}"), &format!("cargo xtask k6 {version}"), || k6::provide(version))?;
            let again = format!("LAMBDALOAD_K6={} cargo test --workspace --test it", k6.display());
            // With the features of the whole workspace, so that nothing is built again. All tests of that name run k6.
            let total = step(&format!("tests with k6 {version}"), &again, || {
                run_tests(tests_with(&k6, &provided).args(["--test", "it"]))
            })?;
            totals.push((version, total));
        }
    }
    eprintln!();
    for (version, total) in totals {
        eprintln!("k6 {version}: {total}");
    }
    eprintln!("all steps passed in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// All tests on this k6, whatever else this machine has: the same commit must give the same result everywhere.
fn tests_with(k6: &Path, provided: &[(&str, PathBuf)]) -> Command {
    let mut tests = process::cargo();
    tests.env("LAMBDALOAD_K6", k6).args(["test", "--workspace"]);
    tests.envs(provided.iter().map(|(name, path)| (name, path)));
    tests
}

/// The variables of [`tests_with`] as a person types them.
fn assignments(k6: &Path, provided: &[(&str, PathBuf)]) -> String {
    let all = std::iter::once(("LAMBDALOAD_K6", k6)).chain(provided.iter().map(|(name, path)| (*name, path.as_path())));
    all.map(|(name, path)| format!("{name}={}", path.display())).collect::<Vec<_>>().join(" ")
}

/// Checks the template and builds what it deploys; what tests of it need.
fn deployment() -> Result<Vec<(&'static str, PathBuf)>> {
    let tools = || process::or_skip("nobody checks and deploys the template", template::tools());
    let Some(tools) = step("tools", "cargo xtask tools", tools)? else { return Ok(Vec::new()) };
    step("template", "cargo xtask template", template::check)?;
    let built = step("sam build", "cargo xtask sam-build", template::build)?;
    let simulator = || process::or_skip("nobody asks what roles may do", simulator::provide());
    let simulator = step("policy simulator", "cargo xtask simulator", simulator)?;
    let architecture = template::architecture();
    let again = format!("cargo xtask worker-programs {architecture}");
    let programs = step("worker programs", &again, || match worker::add_target(architecture) {
        Ok(()) => Ok(("LAMBDALOAD_WORKER_PROGRAMS", worker::lay_out(&[architecture])?)),
        // What rustup downloads from is no package registry, which some machines reach nothing but.
        Err(why) => {
            eprintln!("SKIPPED: nobody makes the image of workers: {why:#}");
            Ok(("LAMBDALOAD_NO_WORKER_PROGRAMS", PathBuf::from(format!("{why:#}"))))
        }
    })?;
    let mut provided = vec![("LAMBDALOAD_TOOLS", tools), ("LAMBDALOAD_SAM_BUILD", built), programs];
    provided.extend(simulator.map(|simulator| ("LAMBDALOAD_SIMULATOR", simulator)));
    Ok(provided)
}

/// `again` is the command that runs this step alone.
fn step<T>(name: &str, again: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("\n== {name}");
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let said = if result.is_ok() { "passed" } else { "FAILED" };
    eprintln!("== {name} {said} in {seconds:.1} s");
    result.with_context(|| format!("the step {name} failed; to run it alone: {again}"))
}

/// Shows the output of `cargo test` as it comes and closes it with the sum over all its test programs.
fn run_tests(tests: &mut Command) -> Result<Total> {
    let mut cargo = tests.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let mut output = BufReader::new(cargo.stdout.take().context("cargo test has no stdout")?);
    let mut stdout = io::stdout();
    let mut total = Total::default();
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        stdout.write_all(&line)?;
        total.add(&String::from_utf8_lossy(&line));
        line.clear();
    }
    let status = cargo.wait()?;
    writeln!(stdout, "\n{total}")?;
    ensure!(status.success(), "cargo test failed ({status})");
    ensure!(total.passed > 0, "cargo test ran no test at all");
    Ok(total)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Total {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.ignored)
    }
}

impl Total {
    /// Adds one `test result: ok. 8 passed; 0 failed; 1 ignored; …`; every other line counts nothing.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = counts.split([' ', ';']).collect();
        let count = |name| {
            let position = words.iter().position(|word| *word == name);
            position.and_then(|position| words.get(position.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.ignored += count("ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut total = Total::default();
        for line in [
            "running 9 tests\n",
            "test result: ok. 8 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.12s\n",
            "test result: FAILED. 17 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.09s\n",
            "test 3 passed; 4 failed ... ok\n",
        ] {
            total.add(line);
        }
        assert_eq!(total, Total { passed: 25, failed: 2, ignored: 1 });
    }
}
