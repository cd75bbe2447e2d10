//! Running other programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// A program that cargo has built beside this one.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot tell where cargo built this errand")?;
    Ok(this.with_file_name(name))
}

/// The folder for tools of other makers, beside what cargo builds.
pub(crate) fn tools() -> Result<PathBuf> {
    built("../tools")
}

/// The cargo that runs this errand, in the root of the workspace.
pub(crate) fn cargo() -> Command {
    clean(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program that is or starts a cargo, in the root of the workspace.
///
/// `cargo run` tells its child which package it runs. Build scripts watch those variables (ring's does),
/// so an inner cargo that inherited them would rebuild what a cargo started by hand has built, and back.
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// What a check needs; where it can't be had, the check is skipped aloud. In CI that is a failure.
pub(crate) fn or_skip<T>(lost: &str, needed: Result<T>) -> Result<Option<T>> {
    needed_or_skipped(std::env::var_os("CI").is_some_and(|value| value == "true"), lost, needed)
}

fn needed_or_skipped<T>(in_ci: bool, lost: &str, needed: Result<T>) -> Result<Option<T>> {
    match needed {
        Ok(needed) => Ok(Some(needed)),
        Err(why) if in_ci => Err(why.context(format!("{lost}, and CI must not pass so"))),
        Err(why) => {
            eprintln!("SKIPPED: {lost}: {why:#}");
            Ok(None)
        }
    }
}

/// Runs a command to its end. Anything but success is an error that names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = match command.status() {
        Ok(status) => status,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("{} is not on PATH", command.get_program().display())
        }
        Err(error) => return Err(error).with_context(|| format!("cannot start `{}`", line(command))),
    };
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Builds a bench of a package, optimised, and returns its program.
pub(crate) fn built_bench(package: &str, bench: &str) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args([
        "bench",
        "--package",
        package,
        "--bench",
        bench,
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    let output = cargo.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{}`", line(&cargo)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", line(&cargo), output.status);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    // One line for each artefact; of these only the bench is a program.
    let mut programs = said.lines().filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next());
    let program = programs.next_back().with_context(|| format!("cargo did not say where the bench {bench} is"))?;
    Ok(PathBuf::from(program))
}

/// Runs a command to its end and returns the first line of its output.
pub(crate) fn first_line(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", line(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// The command as a person would type it: the program's name without its folder, then its arguments.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A program that was just written can't be started while a fork of another thread still holds it open for writing,
/// so tests that write programs or start them take turns.
#[cfg(test)]
pub(crate) fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_left_out_but_not_in_ci() {
        let missing = || Err::<(), _>(anyhow::anyhow!("there is no valgrind"));
        assert_eq!(needed_or_skipped(false, "nobody counts", missing()).expect("a skip"), None);
        let error = needed_or_skipped(true, "nobody counts", missing()).expect_err("a failure");
        assert_eq!(format!("{error:#}"), "nobody counts, and CI must not pass so: there is no valgrind");
        assert_eq!(needed_or_skipped(true, "nobody counts", Ok(7)).expect("is there"), Some(7));
    }

    #[test]
    fn a_failure_names_the_command_as_typed() {
        let _turn = turn();
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` failed (exit status: 3)");
    }

    #[test]
    fn a_missing_program_is_named() {
        let _turn = turn();
        let error = run(&mut Command::new("no-such-program-anywhere")).unwrap_err();
        assert_eq!(error.to_string(), "no-such-program-anywhere is not on PATH");
    }
}
