//! The simulator of AWS's policies that tests ask: a package of npm, with all it needs pinned in a lock file.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// The program that answers questions, with its packages beside it.
pub(crate) fn provide() -> Result<PathBuf> {
    let source = process::root().join("tests/simulator");
    let folder = process::tools()?.join("simulator");
    let lock = "package-lock.json";
    // npm removes `node_modules` first and writes this when all is there.
    let complete = folder.join("node_modules/.package-lock.json").exists();
    let installed = complete && fs::read(source.join(lock))? == fs::read(folder.join(lock)).unwrap_or_default();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in ["package.json", "simulate.mjs", lock] {
        fs::copy(source.join(name), folder.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    if !installed {
        let mut npm = Command::new("npm");
        npm.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
        process::run(npm.stdout(std::io::stderr()))?;
    }
    Ok(folder.join("simulate.mjs"))
}
