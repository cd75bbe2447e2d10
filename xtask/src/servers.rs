//! Providing the servers that stand for an AWS account in tests, and the tools for its template.
//!
//! All are pinned with what they need, and what pins them is part of the folder's name. So another pin is another folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::k6::{Pin, golang, hex};
use crate::{cache, process};

/// A variable that names one of the servers to the tests, and the server's path.
pub(crate) type Variable = (&'static str, PathBuf);

/// The servers, each with the variable by which tests find it.
pub(crate) fn provide() -> Result<Vec<Variable>> {
    let cache = folder()?;
    Ok(vec![
        ("LAMBDALOAD_MINISTACK", venv(&cache, "ministack", MINISTACK)?.join("ministack")),
        ("LAMBDALOAD_MICROBURST", venv(&cache, "microburst", MICROBURST)?.join("microburst")),
        ("LAMBDALOAD_DYNAMODB_LOCAL", dynamodb_local(&cache)?),
        ("LAMBDALOAD_TOXIPROXY", go_program(&cache, "toxiproxy", &TOXIPROXY)?),
        ("LAMBDALOAD_VERSITYGW", go_program(&cache, "versitygw", &VERSITYGW)?),
    ])
}

/// The folder with the programs of sam, cargo-lambda, cfn-lint and checkov. `sam build` finds the others and zig only
/// if it is the first one on PATH.
pub(crate) fn tools() -> Result<PathBuf> {
    venv(&folder()?, "tools", TOOLS)
}

fn folder() -> Result<PathBuf> {
    cache::folder("LAMBDALOAD_SERVERS_CACHE", "servers")
}

// Made by the command in their first lines.
const MINISTACK: &str = include_str!("../servers/ministack.txt");
const MICROBURST: &str = include_str!("../servers/microburst.txt");
const TOOLS: &str = include_str!("../servers/tools.txt");

/// The folder with the programs of Python packages, in a virtual environment of their own.
fn venv(cache: &Path, name: &str, requirements: &str) -> Result<PathBuf> {
    let bin = |home: &Path| home.join("bin");
    // A Python that was replaced since takes its environments with it.
    let check = |home: &Path| process::first_line(Command::new(bin(home).join("python")).args(["-c", ""])).map(drop);
    let home = cache::once(cache, &format!("{name}-{}", digest(&[requirements])), check, |home| {
        let python = process::run(quiet(Command::new("python3").args(["-m", "venv"]).arg(home)));
        python.context("Python 3.10 or later with its module venv is needed (Debian has that in python3-venv)")?;
        let pins = home.join("requirements.txt");
        fs::write(&pins, requirements)?;
        let mut pip = Command::new(bin(home).join("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        // What is not pinned is neither looked for nor taken, and nothing is built.
        pip.args(["--no-deps", "--require-hashes", "--only-binary=:all:", "--requirement"]).arg(&pins);
        process::run(quiet(&mut pip))
    })?;
    Ok(bin(&home))
}

const POM: &str = include_str!("../servers/pom.xml");
/// In the words of sha256sum.
const JARS: &str = include_str!("../servers/dynamodb-local.sha256");
const MAVEN_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy-dependencies";

/// The folder with DynamoDB Local and all it needs in `lib/`.
fn dynamodb_local(cache: &Path) -> Result<PathBuf> {
    let check = |_: &Path| {
        let mut java = Command::new("java");
        process::run(quiet(java.arg("-version")).stderr(Stdio::null())).context("DynamoDB Local needs Java 17 or later")
    };
    cache::once(cache, &format!("dynamodb-local-{}", digest(&[POM, JARS])), check, |home| {
        fs::write(home.join("pom.xml"), POM)?;
        let mut maven = Command::new("mvn");
        maven.current_dir(home).args(["--quiet", "--batch-mode", MAVEN_GOAL]);
        maven.args(["-DincludeScope=runtime", "-DoutputDirectory=lib"]).stdin(Stdio::null());
        process::run(quiet(&mut maven)).context("DynamoDB Local comes from Maven Central")?;
        verify(&home.join("lib"), JARS)
    })
}

/// Whether the folder holds exactly the files of the list, with these contents.
fn verify(folder: &Path, sums: &str) -> Result<()> {
    let mut expected = 0;
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").with_context(|| format!("`{line}` is no line of sha256sum"))?;
        let path = folder.join(name);
        let contents = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let found = hex(&Sha256::digest(contents));
        ensure!(found == sum, "{name} has the SHA-256 {found}, but the pinned one is {sum}");
        expected += 1;
    }
    let found = fs::read_dir(folder)?.count();
    ensure!(found == expected, "{} holds {found} files, but pinned are {expected}", folder.display());
    Ok(())
}

/// A program of a Go module.
struct GoProgram {
    pin: Pin,
    /// The package below the module.
    package: &'static str,
    /// What makes it say its version and end.
    version_flag: &'static str,
}

const VERSITYGW: GoProgram = GoProgram {
    pin: Pin {
        version: "1.8.0",
        releases: &[],
        module: "github.com/versity/versitygw",
        module_sum: "h1:au+wI+aybno/STsQiSm35Uu6Q6iK5MWReQxgO6SEMFc=",
        go_mod_sum: "h1:OxcWzwHy0xd9yUjfBneYnqmOwOgyq4QpzpobLsXMQRU=",
        wheel: None,
    },
    package: "cmd/versitygw",
    version_flag: "--version",
};

const TOXIPROXY: GoProgram = GoProgram {
    pin: Pin {
        version: "2.5.0",
        releases: &[],
        module: "github.com/Shopify/toxiproxy/v2",
        module_sum: "h1:i4LPT+qrSlKNtQf5QliVjdP08GyAH8+BUIc9gT0eahc=",
        go_mod_sum: "h1:yhM2epWtAmel9CB8r2+L+PCmhH6yH2pITaPAo7jxJl0=",
        wheel: None,
    },
    package: "cmd/server",
    version_flag: "-version",
};

fn go_program(cache: &Path, name: &str, program: &GoProgram) -> Result<PathBuf> {
    let GoProgram { pin, package, version_flag } = program;
    let check = |home: &Path| process::first_line(Command::new(home.join(name)).arg(version_flag)).map(drop);
    let home = cache::once(cache, &format!("{name}-{}", pin.version), check, |home| {
        let staging = tempfile::tempdir_in(home)?;
        golang::install_package(pin, &format!("{}/{package}", pin.module), staging.path(), &home.join(name))
    })?;
    Ok(home.join(name))
}

/// Enough of a hash to tell pins apart.
fn digest(pins: &[&str]) -> String {
    let mut hash = Sha256::new();
    pins.iter().for_each(|pin| hash.update(pin));
    hex(&hash.finalize()[..6])
}

/// What tools report on stdout is not this errand's result.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(std::io::stderr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned_by_version_and_hash() {
        for requirements in [MINISTACK, MICROBURST, TOOLS] {
            let lines: Vec<&str> = requirements.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
            for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with(' ')) {
                assert!(line.contains("==") && lines[index + 1].contains("--hash=sha256:"), "{line}");
            }
        }
    }

    #[test]
    fn a_folder_is_compared_with_its_list() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jar"), "abc").unwrap();
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(folder.path(), &format!("{sum}  a.jar\n")).unwrap();
        let said = verify(folder.path(), &format!("{}  a.jar\n", sum.replace('b', "c"))).unwrap_err().to_string();
        assert!(said.starts_with("a.jar has the SHA-256 ba78"), "{said}");
        let said = verify(folder.path(), &format!("{sum}  b.jar\n")).unwrap_err().to_string();
        assert!(said.starts_with("cannot read"), "{said}");
        fs::write(folder.path().join("z.jar"), "").unwrap();
        let said = verify(folder.path(), &format!("{sum}  a.jar\n")).unwrap_err().to_string();
        assert!(said.ends_with("holds 2 files, but pinned are 1"), "{said}");
    }
}
