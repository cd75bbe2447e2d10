//! Very many simulated workers of one run; no part of every run of the tests, which play a few.

use anyhow::Result;

use crate::{process, servers};

/// What is simulated if nothing else is asked for, for a minute each.
const WORKERS: [&str; 4] = ["200", "500", "1000", "2000"];

/// With these options of the simulator, or all that the figures in BENCHMARKS.md are of.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let servers = servers::provide()?;
    let simulate = |options: &[&str]| {
        let mut simulator = process::cargo();
        simulator.envs(servers.iter().map(|(name, path)| (name, path)));
        simulator.args(["test", "--quiet", "--release", "--package", "lambdaload-functions", "--test", "scale"]);
        process::run(simulator.args(["--", "measure"]).args(options))
    };
    if !options.is_empty() {
        return simulate(options);
    }
    for workers in WORKERS {
        for also in [&[][..], &["--in-memory"]] {
            simulate(&[&["--workers", workers, "--seconds", "60"], also].concat())?;
        }
    }
    Ok(())
}
