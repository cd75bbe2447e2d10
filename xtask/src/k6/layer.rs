//! The Lambda layer with k6: `bin/k6`, which a function sees as `/opt/bin/k6`, and k6's licence.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::pins::{self, DEFAULT_VERSION};
use super::{Way, cache, golang, provide, provide_checked, release};
use crate::process;

/// An architecture of Lambda.
struct Architecture {
    /// Its name there.
    name: &'static str,
    /// As k6's releases call it.
    platform: &'static str,
    /// As Go calls it.
    goarch: &'static str,
    /// The machine in the header of its programs.
    machine: u16,
}

const ARCHITECTURES: [Architecture; 2] = [
    Architecture { name: "arm64", platform: "linux-arm64", goarch: "arm64", machine: 183 },
    Architecture { name: "x86_64", platform: "linux-amd64", goarch: "amd64", machine: 62 },
];

/// Lays the layer out in the folder `out`.
pub(crate) fn lay_out(architecture: &str, out: &Path) -> Result<()> {
    let known = ARCHITECTURES.iter().find(|known| known.name == architecture);
    let Some(architecture) = known else { bail!("Lambda has arm64 and x86_64, not `{architecture}`") };
    let k6 = provide_for(architecture)?;
    let bin = out.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    // Copies the mode too: executable.
    fs::copy(&k6, bin.join("k6")).with_context(|| format!("cannot copy {} to {}", k6.display(), bin.display()))?;
    let licences = out.join("licences/k6");
    fs::create_dir_all(&licences)?;
    fs::copy(process::root().join("infra/k6-layer/LICENSE.md"), licences.join("LICENSE.md"))?;
    fs::write(licences.join("NOTICE"), notice())?;
    Ok(())
}

/// What whoever passes the layer on has to pass on with it.
fn notice() -> String {
    format!(
        "bin/k6 is Grafana k6 {DEFAULT_VERSION}, unmodified, under the GNU Affero General Public License 3.0 (LICENSE.md).\n\
         Its source: https://github.com/grafana/k6/tree/v{DEFAULT_VERSION}\n"
    )
}

/// A k6 that runs in Lambda, where no library of this machine is.
fn provide_for(architecture: &Architecture) -> Result<PathBuf> {
    let Architecture { platform, goarch, .. } = architecture;
    let runs_in_lambda = |k6: &Path| {
        let header = fs::read(k6).with_context(|| format!("cannot read {}", k6.display()))?;
        check(&header, architecture)?;
        Ok(format!("k6 v{DEFAULT_VERSION} for {platform}"))
    };
    if release::platform() == Some(platform) {
        let k6 = provide(DEFAULT_VERSION)?;
        runs_in_lambda(&k6)?;
        return Ok(k6);
    }
    let pin = pins::find(DEFAULT_VERSION)?;
    let ways: [Way<'_>; 2] = [
        ("release", &|staging, to| release::install(pin, &release::base(), Some(platform), staging, to)),
        ("go", &|staging, to| golang::install_for_linux(pin, goarch, staging, to)),
    ];
    provide_checked(&cache()?.join(format!("{DEFAULT_VERSION}-{platform}")), pin, &ways, &runs_in_lambda)
}

/// Whether this is a program of the architecture that needs nothing but a Linux kernel.
fn check(program: &[u8], architecture: &Architecture) -> Result<()> {
    const INTERPRETER: u32 = 3;
    let name = architecture.name;
    ensure!(program.starts_with(b"\x7fELF\x02\x01"), "it is no 64-bit Linux program");
    ensure!(u16_at(program, 18)? == architecture.machine, "it is a program of another architecture than {name}");
    let (headers, size, count) = (u64_at(program, 32)?, u16_at(program, 54)?, u16_at(program, 56)?);
    for index in 0..count {
        let header = usize::try_from(headers)?.saturating_add(usize::from(index) * usize::from(size));
        ensure!(u32_at(program, header)? != INTERPRETER, "it is not static, so it would not run in Lambda");
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(array_at(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(array_at(bytes, at)?))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_le_bytes(array_at(bytes, at)?))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().context("it ends within its header")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a 64-bit program with one program header of this type.
    fn program(machine: u16, kind: u32) -> Vec<u8> {
        let mut header = vec![0; 64 + 56];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18..20].copy_from_slice(&machine.to_le_bytes());
        header[32..40].copy_from_slice(&64_u64.to_le_bytes());
        header[54..56].copy_from_slice(&56_u16.to_le_bytes());
        header[56..58].copy_from_slice(&1_u16.to_le_bytes());
        header[64..68].copy_from_slice(&kind.to_le_bytes());
        header
    }

    #[test]
    fn only_static_programs_of_the_architecture_are_taken() {
        let [arm64, x86_64] = &ARCHITECTURES;
        check(&program(183, 1), arm64).unwrap();
        check(&program(62, 1), x86_64).unwrap();
        let refusal = |bytes: &[u8]| check(bytes, arm64).unwrap_err().to_string();
        assert_eq!(refusal(&program(62, 1)), "it is a program of another architecture than arm64");
        assert_eq!(refusal(&program(183, 3)), "it is not static, so it would not run in Lambda");
        assert_eq!(refusal(&program(183, 1)[..60]), "it ends within its header");
        assert_eq!(refusal(b"#!/bin/sh\n"), "it is no 64-bit Linux program");
    }

    #[test]
    fn lambda_has_two_architectures() {
        let out = tempfile::tempdir().unwrap();
        let error = lay_out("amd64", out.path()).unwrap_err();
        assert_eq!(error.to_string(), "Lambda has arm64 and x86_64, not `amd64`");
    }

    #[test]
    fn the_template_names_the_version_in_the_layer() {
        let template = fs::read_to_string(process::root().join("template.yaml")).unwrap();
        let (_, output) = template.split_once("\n  K6Version:\n").unwrap();
        let value = output.lines().find_map(|line| line.trim().strip_prefix("Value: ")).unwrap();
        assert_eq!(value, DEFAULT_VERSION);
        assert!(template.contains(&format!("Description: k6 {DEFAULT_VERSION} at /opt/bin/k6\n")));
    }
}
