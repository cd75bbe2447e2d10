//! The template of a deployment: checked by tools of other makers, and built as `sam build` builds it for a user.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, servers};

/// Checks the template with sam, cfn-lint and checkov. What they are not asked, and why, is in `infra/`.
pub(crate) fn check() -> Result<()> {
    process::run(tool("sam")?.args(["validate", "--lint"]))?;
    process::run(tool("cfn-lint")?.args(["--config-file", "infra/cfn-lint.yaml"]))?;
    process::run(tool("checkov")?.args(["--config-file", "infra/checkov.yaml"]))
}

/// Builds what the template deploys, for the processors of this machine, and returns the folder with the template that
/// `sam deploy` takes.
pub(crate) fn build() -> Result<PathBuf> {
    let folder = process::root().join(".aws-sam/build");
    let architecture = architecture();
    let mut sam = tool("sam")?;
    sam.args(["build", "--parameter-overrides", &format!("Architecture={architecture}")]);
    // sam reports on stdout.
    process::run(sam.stdout(std::io::stderr()))?;
    Ok(folder)
}

/// This machine's processors, as AWS calls them.
pub(crate) fn architecture() -> &'static str {
    if env::consts::ARCH == "aarch64" { "arm64" } else { "x86_64" }
}

/// The folder with the programs of sam, cargo-lambda, cfn-lint and checkov.
pub(crate) fn tools() -> Result<PathBuf> {
    match env::var_os("LAMBDALOAD_TOOLS").filter(|folder| !folder.is_empty()) {
        Some(folder) => Ok(folder.into()),
        None => servers::tools(),
    }
}

/// One of those tools, in the root of the workspace, with the others on its PATH.
pub(crate) fn tool(name: &str) -> Result<Command> {
    let folder = tools()?;
    let mut tool = process::clean(folder.join(name));
    tool.env("PATH", path_with(&folder)?);
    tool.env("SAM_CLI_TELEMETRY", "0");
    if env::var_os("AWS_REGION").is_none() && env::var_os("AWS_DEFAULT_REGION").is_none() {
        // They ask for a Region, whatever it is, and call nobody there.
        tool.env("AWS_DEFAULT_REGION", "eu-central-1");
    }
    Ok(tool)
}

fn path_with(folder: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&path));
    env::join_paths(folders).context("the folder of the tools can't stand in PATH")
}
