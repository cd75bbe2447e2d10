//! Building k6 from the Go module proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::pins::Pin;
use crate::process;

/// Builds the pinned module into `to`.
///
/// The build happens in a throw-away module that starts with the pinned sums as its `go.sum` and then takes over
/// k6's own: go itself refuses k6, or any dependency of it, whose content is another. `go install` could not do
/// that, and refuses 2.x where only a module proxy is reachable.
pub(super) fn install(pin: &Pin, staging: &Path, to: &Path) -> Result<()> {
    let Pin { version, module, module_sum, go_mod_sum, .. } = pin;
    let build = staging.join("build");
    fs::create_dir(&build)?;
    // Below go 1.17 a module loads every go.mod of every dependency of every dependency.
    fs::write(build.join("go.mod"), format!("module build\n\ngo 1.21\n\nrequire {module} v{version}\n"))?;
    let pinned = format!("{module} v{version} {module_sum}\n{module} v{version}/go.mod {go_mod_sum}\n");
    fs::write(build.join("go.sum"), &pinned)?;
    process::run(go(&build).args(["mod", "download", &format!("{module}@v{version}")]))?;

    eprintln!("  go: building it, which takes a few minutes the first time");
    let modules = PathBuf::from(process::first_line(go(&build).args(["env", "GOMODCACHE"]))?);
    let own_sums = modules.join(format!("{module}@v{version}")).join("go.sum");
    let own_sums = fs::read_to_string(&own_sums).with_context(|| format!("cannot read {}", own_sums.display()))?;
    fs::write(build.join("go.sum"), pinned + &own_sums)?;
    let mut compile = go(&build);
    compile.args(["build", "-mod=mod", "-trimpath", "-buildvcs=false", "-o"]).arg(to).arg(module);
    process::run(&mut compile)
}

/// Static, as the official releases are, and for this machine whatever the caller cross-compiles for.
fn go(build: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(build).env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOOS").env_remove("GOARCH");
    go.stdin(std::process::Stdio::null());
    go
}
