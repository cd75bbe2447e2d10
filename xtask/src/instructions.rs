//! What the paths that count cost, in instructions: unlike a time, that is the same on a busy machine.
//!
//! Each path of the bench `instructions` is run once and three times under valgrind's callgrind; the difference is what
//! one more time costs. It fails if that is over the bound that is kept beside the bench.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::process;

/// The paths, and what each time consists of: so many samples or windows.
const PATHS: [(&str, &str, u64); 8] = [
    ("record", "sample", 14_000),
    ("record-and-take", "sample", 14_000),
    ("take-aggregated", "sample", 140_000),
    ("encode-narrow", "window", 1_000),
    ("encode-wide", "window", 1_000),
    ("merge-narrow", "window", 1_000),
    ("merge-scattered", "window", 1_000),
    ("merge-wide", "window", 1_000),
];

/// Other processors have other instructions.
const ARCHITECTURE: &str = "x86_64";

/// Bounds are so far above what was measured, in percent: libraries choose by what the processor can do, and each version
/// of the compiler does a little better or worse.
const HEADROOM: u64 = 10;

const AGAIN: &str = "cargo xtask instructions";
const UPDATE: &str = "cargo xtask instructions --update";

const LOST: &str = "nobody counts the instructions of a sample and of a window";

/// Compares with the bounds. On another processor it says so and passes; so it does without valgrind, but not in CI.
pub(crate) fn check() -> Result<()> {
    if let Err(why) = of_this_processor() {
        eprintln!("SKIPPED: {LOST}: {why:#}");
        return Ok(());
    }
    if process::or_skip(LOST, valgrind())?.is_none() {
        return Ok(());
    }
    let bounds = bounds()?;
    let mut over = Vec::new();
    for (path, each, measured) in measure()? {
        let bound =
            bounds.get(path).with_context(|| format!("{} has no bound for {path}; {UPDATE}", file().display()))?;
        eprintln!("{path}: {measured} instructions for each {each}, at most {bound}");
        if measured > *bound {
            over.push(format!("{path} takes {measured} instructions for each {each}, and may take {bound}"));
        }
    }
    ensure!(
        over.is_empty(),
        "{}\nmake it faster, or if it is worth that, raise the bounds: {UPDATE} writes {}",
        over.join("\n"),
        file().display()
    );
    Ok(())
}

/// Writes the bounds anew.
pub(crate) fn update() -> Result<()> {
    of_this_processor().and_then(|()| valgrind()).context("the instructions cannot be counted")?;
    let mut text = format!(
        "# The most instructions that each path may take, of {ARCHITECTURE}: what was measured and {HEADROOM} %.\n\
         # Checked by `{AGAIN}`, written by `{UPDATE}`.\n"
    );
    for (path, each, measured) in measure()? {
        let bound = measured + measured * HEADROOM / 100;
        writeln!(text, "{path} {bound} # for each {each}; {measured} measured")?;
    }
    eprint!("{text}");
    fs::write(file(), text).with_context(|| format!("cannot write {}", file().display()))
}

fn of_this_processor() -> Result<()> {
    let this = std::env::consts::ARCH;
    ensure!(this == ARCHITECTURE, "the bounds are of {ARCHITECTURE}, and this is {this}");
    Ok(())
}

fn valgrind() -> Result<()> {
    let version = Command::new("valgrind").arg("--version").output();
    let is_there = version.is_ok_and(|version| version.status.success());
    ensure!(is_there, "there is no valgrind (in Debian: apt-get install valgrind)");
    Ok(())
}

fn file() -> PathBuf {
    process::root().join("core/benches/instructions.txt")
}

fn bounds() -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(file()).with_context(|| format!("cannot read {}", file().display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<BTreeMap<String, u64>> {
    let lines = text.lines().filter_map(|line| line.split('#').next()).map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (path, bound) =
                line.split_once(' ').with_context(|| format!("`{line}`: expected a path and a bound"))?;
            Ok((path.to_owned(), bound.trim().parse().with_context(|| format!("`{line}`: the bound is no number"))?))
        })
        .collect()
}

/// Each path, with its unit, and the instructions for each of them.
fn measure() -> Result<Vec<(&'static str, &'static str, u64)>> {
    let program = process::built_bench("lambdaload-core", "instructions")?;
    let counted = |path: &str, times: &str| {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(&program).args([path, times]);
        let output = valgrind.output().context("cannot start valgrind")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{path} under valgrind ended with {}:\n{said}", output.status);
        collected(&said).with_context(|| format!("valgrind did not say how many instructions there were:\n{said}"))
    };
    PATHS
        .into_iter()
        .map(|(path, each, units)| {
            let (once, thrice) = (counted(path, "1")?, counted(path, "3")?);
            Ok((path, each, thrice.saturating_sub(once) / 2 / units))
        })
        .collect()
}

/// The number in `==123== Collected : 456`.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n==7== I   refs:      1,234,567\n";
        assert_eq!(collected(said), Some(1_234_567));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn every_path_has_a_bound() {
        let bounds = bounds().unwrap();
        let paths: Vec<&str> = PATHS.iter().map(|(path, ..)| *path).collect();
        assert_eq!(bounds.len(), paths.len());
        assert!(paths.iter().all(|path| bounds[*path] > 0), "{bounds:?}");
    }

    #[test]
    fn a_line_that_is_no_bound_is_refused() {
        assert_eq!(parse("# all\nrecord 12 # for each\n\n").unwrap(), BTreeMap::from([("record".to_owned(), 12)]));
        assert!(parse("record\n").is_err() && parse("record many\n").is_err());
    }
}
