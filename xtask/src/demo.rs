//! lambdaload at work, in one command.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::{k6, process};

/// Builds what the demo needs, runs the example test on 4 local workers and ends as lambdaload ends.
pub(crate) fn run() -> Result<ExitCode> {
    eprintln!("building lambdaload and the example target…");
    let mut build = process::cargo();
    process::run(build.args(["build", "--package", "lambdaload", "--package", "lambdaload-tests", "--bins"]))?;

    let own_k6 = own_k6();
    let mut lambdaload = Command::new(process::built("lambdaload")?);
    match &own_k6 {
        Some(k6) => eprintln!("k6 is {}, as you have it", k6.display()),
        None => _ = lambdaload.env("LAMBDALOAD_K6", provide_some_k6()?),
    }

    let target = Target::start()?;
    let address = format!("TARGET={}", target.url);
    let arguments = ["run", "examples/checkout.js", "--workers", "4", "-e", &address];
    eprintln!("\n$ lambdaload {}", arguments.join(" "));
    // Ctrl-C reaches lambdaload too, which then winds the run down. This process waits for it.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default())?;
    let status = lambdaload.current_dir(process::root()).args(arguments).status();
    let status = status.context("cannot start lambdaload")?;
    drop(target);
    // A shell would report a death by signal in the same way.
    let code = status.code().or_else(|| Some(128 + status.signal()?)).and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The k6 that lambdaload finds by itself.
pub(crate) fn own_k6() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    if let Some(k6) = set("LAMBDALOAD_K6") {
        return Some(k6.into());
    }
    std::env::split_paths(&set("PATH")?).map(|folder| folder.join("k6")).find(|k6| k6.is_file())
}

/// The demo needs a k6, not a certain one: where the default can't be had, another pinned version will do.
pub(crate) fn provide_some_k6() -> Result<PathBuf> {
    let mut last = None;
    for pin in &k6::PINS {
        match k6::provide(pin.version) {
            Ok(k6) => return Ok(k6),
            Err(why) => {
                eprintln!("{why:#}");
                last = Some(why);
            }
        }
    }
    Err(last.context("no k6 is pinned")?)
}

/// The example target, which runs until this is dropped or this process is gone, however it goes.
pub(crate) struct Target {
    process: Child,
    pub(crate) url: String,
}

impl Target {
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new(process::built("example-target")?);
        // The end of its input is the end of this process. A process group of its own keeps Ctrl-C from it, so that
        // it answers until lambdaload has wound down.
        command.arg("--until-eof").stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut target =
            Self { process: command.spawn().context("cannot start the example target")?, url: String::new() };
        let stdout = target.process.stdout.take().context("the example target has no stdout")?;
        BufReader::new(stdout).read_line(&mut target.url)?;
        target.url.truncate(target.url.trim_end().len());
        ensure!(target.url.starts_with("http://"), "the example target ended before it said its address");
        Ok(target)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nobody left to tell.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
