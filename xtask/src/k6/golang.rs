//! Building k6, and what else is written in Go, from the Go module proxy.

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
    install_package(pin, pin.module, staging, to)
}

/// Builds the program `package` of the pinned module into `to`.
pub(crate) fn install_package(pin: &Pin, package: &str, staging: &Path, to: &Path) -> Result<()> {
    let build = prepare(pin, staging, "")?;
    compile(go(&build), package, to)
}

/// Builds the pinned module with the extension `k6/x/answer` into `to`, as `xk6 build` would.
pub(super) fn install_extended(pin: &Pin, staging: &Path, to: &Path) -> Result<()> {
    let required = format!("\nrequire {EXTENSION} v0.0.0\n\nreplace {EXTENSION} => ./answer\n");
    let build = prepare(pin, staging, &required)?;
    let Pin { module, version, .. } = pin;
    let extension = build.join("answer");
    fs::create_dir(&extension)?;
    fs::write(extension.join("go.mod"), format!("module {EXTENSION}\n\ngo 1.21\n\nrequire {module} v{version}\n"))?;
    fs::write(
        extension.join("answer.go"),
        format!(
            "package answer\n\nimport \"{module}/js/modules\"\n\ntype answer struct{{}}\n\n\
             func (answer) Get() int {{ return 42 }}\n\n\
             func init() {{ modules.Register(\"k6/x/answer\", answer{{}}) }}\n"
        ),
    )?;
    fs::write(
        build.join("main.go"),
        format!(
            "package main\n\nimport (\n\tk6 \"{module}/cmd\"\n\t_ \"{EXTENSION}\"\n)\n\nfunc main() {{ k6.Execute() }}\n"
        ),
    )?;
    compile(go(&build), ".", to)
}

/// An extension that is nowhere but in these builds: `import answer from 'k6/x/answer'`, and `answer.get()` is 42.
const EXTENSION: &str = "lambdaload.test/answer";

/// Makes the throw-away module, with everything that the pinned one needs; `more` is added to its `go.mod`.
fn prepare(pin: &Pin, staging: &Path, more: &str) -> Result<PathBuf> {
    let Pin { version, module, module_sum, go_mod_sum, .. } = pin;
    let build = staging.join("build");
    fs::create_dir(&build)?;
    // Below go 1.17 a module loads every go.mod of every dependency of every dependency.
    fs::write(build.join("go.mod"), format!("module build\n\ngo 1.21\n\nrequire {module} v{version}\n{more}"))?;
    let pinned = format!("{module} v{version} {module_sum}\n{module} v{version}/go.mod {go_mod_sum}\n");
    fs::write(build.join("go.sum"), &pinned)?;
    process::run(go(&build).args(["mod", "download", &format!("{module}@v{version}")]))?;

    eprintln!("  go: building it, which takes a few minutes the first time");
    let modules = PathBuf::from(process::first_line(go(&build).args(["env", "GOMODCACHE"]))?);
    let own_sums = modules.join(format!("{module}@v{version}")).join("go.sum");
    let own_sums = fs::read_to_string(&own_sums).with_context(|| format!("cannot read {}", own_sums.display()))?;
    fs::write(build.join("go.sum"), pinned + &own_sums)?;
    Ok(build)
}

fn compile(mut go: Command, package: &str, to: &Path) -> Result<()> {
    go.args(["build", "-mod=mod", "-trimpath", "-buildvcs=false", "-o"]).arg(to).arg(package);
    process::run(&mut go)
}

/// Static, as the official releases are, and for this machine whatever the caller cross-compiles for.
fn go(build: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(build).env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOOS").env_remove("GOARCH");
    go.stdin(std::process::Stdio::null());
    go
}
