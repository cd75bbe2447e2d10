//! The programs of the image of workers on Fargate: k6 and the worker, both static, so that they need no system around them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::{k6, process, template};

/// Those that Fargate has.
pub(crate) const ARCHITECTURES: [&str; 2] = ["arm64", "x86_64"];

/// What Rust calls an architecture without a system's libraries.
fn target(architecture: &str) -> Result<&'static str> {
    match architecture {
        "arm64" => Ok("aarch64-unknown-linux-musl"),
        "x86_64" => Ok("x86_64-unknown-linux-musl"),
        other => bail!("Fargate has arm64 and x86_64, not `{other}`"),
    }
}

/// Has rustup provide Rust for an architecture, unless it is there.
pub(crate) fn add_target(architecture: &str) -> Result<()> {
    let target = target(architecture)?;
    process::run(process::clean("rustup").args(["target", "add", target]))
        .with_context(|| format!("Rust for {target} is needed: rustup gives it"))
}

/// Builds the worker for these architectures, puts k6 and the licences beside it, and returns the folder, which has one
/// folder for each.
pub(crate) fn lay_out(architectures: &[&str]) -> Result<PathBuf> {
    let folder = process::root().join("target/worker-programs");
    for architecture in architectures {
        let target = target(architecture)?;
        let out = folder.join(architecture);
        // What an earlier version has put there goes.
        if out.exists() {
            fs::remove_dir_all(&out).with_context(|| format!("cannot remove {}", out.display()))?;
        }
        k6::lay_out_layer(architecture, &out)?;
        add_target(architecture)?;
        let mut build = template::tool("cargo-lambda")?;
        build.args(["lambda", "build", "--release", "--target", target]);
        build.args(["--package", "lambdaload-functions", "--bin", "lambdaload-functions"]);
        let staging = tempfile::tempdir()?;
        build.arg("--lambda-dir").arg(staging.path());
        process::run(build.stdout(std::io::stderr()))?;
        let program = staging.path().join("lambdaload-functions/bootstrap");
        let worker = out.join("bin/lambdaload-worker");
        fs::copy(&program, &worker).with_context(|| format!("cannot copy {}", program.display()))?;
        fs::copy(process::root().join("LICENSE"), out.join("licences/LICENSE"))?;
    }
    Ok(folder)
}
