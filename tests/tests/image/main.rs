//! The image of workers on Fargate, made and pushed by the command: the same wherever it is made, and no more in it than it
//! needs. What runs in it, functions/tests/image has.

#![expect(clippy::expect_used, reason = "these are tests")]

use std::{fs, path::Path, process::Command, sync::OnceLock};

use lambdaload_tests::{
    cli::{Folder, Said},
    servers::{Podman, Registry},
    template::worker_programs,
};
use serde_json::Value;

/// This machine's name for its processors, as AWS has it.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };

/// The only line of what a command printed.
fn line(said: &Said) -> &str {
    assert_eq!(said.code, Some(0), "{said:#?}");
    said.stdout.trim_end()
}

/// The image of those programs, which takes a while to make: its archive, and its digest.
fn shared(programs: &Path) -> &'static (Vec<u8>, String) {
    static SHARED: OnceLock<(Vec<u8>, String)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let folder = Folder::new();
        let digest = build(&folder, programs, "image.tar");
        (fs::read(folder.path().join("image.tar")).expect("an archive"), digest)
    })
}

fn build(folder: &Folder, programs: &Path, output: &str) -> String {
    let programs = programs.display().to_string();
    let arguments = ["image", "build", "--programs", &programs, "--architecture", ARCHITECTURE, "--output", output];
    line(&folder.run(&arguments)).to_owned()
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn the_same_programs_give_the_same_image_in_another_folder_and_time() {
    let Some(programs) = worker_programs() else { return };
    let (archive, digest) = shared(&programs);
    let other = Folder::new();
    // `cp` gives the copies this moment as their time.
    let status = Command::new("cp").arg("-r").arg(&programs).arg(other.path().join("copies")).status();
    assert!(status.expect("cp runs").success());
    assert_eq!(&build(&other, &other.path().join("copies"), "image.tar"), digest);
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
    let again = fs::read(other.path().join("image.tar")).expect("an archive");
    assert!(*archive == again, "one digest, but other bytes");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn an_image_is_pushed_without_docker_and_runs_by_its_digest() {
    let Some(programs) = worker_programs() else { return };
    let Some(registry) = Registry::or_skip() else { return };
    let folder = Folder::new();
    let (programs, to) = (programs.display().to_string(), format!("{}/lambdaload-worker:1.2.3", registry.host()));
    let push = ["image", "push", "--programs", &programs, "--architecture", ARCHITECTURE, "--to", &to];
    let place = line(&folder.run(&push)).to_owned();
    let (_, digest) = shared(Path::new(&programs));
    assert_eq!(place, format!("{}/lambdaload-worker@{digest}", registry.host()));
    // All of it is there already.
    assert_eq!(line(&folder.run(&push)), place);

    let Some(podman) = Podman::or_skip() else { return };
    podman.run(&["pull", "--quiet", "--tls-verify=false", &place]);
    let image: Value = serde_json::from_str(&podman.run(&["image", "inspect", &place])).expect("JSON");
    assert_eq!(image[0]["Config"]["User"], "10001:10001", "{image:#}");
    let said =
        podman.run(&["run", "--rm", "--read-only", "--network", "none", "--entrypoint", "/k6", &place, "version"]);
    assert!(said.starts_with("k6 v"), "{said}");

    let container = podman.run(&["create", "--network", "none", &place]);
    let archive = folder.path().join("root.tar");
    podman.run(&["export", "--output", archive.to_str().expect("UTF-8"), container.trim()]);
    let listed = Command::new("tar").arg("tf").arg(&archive).output().expect("tar runs");
    let mut files: Vec<String> = String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter(|path| !path.ends_with('/'))
        .map(str::to_owned)
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "etc/group",
            "etc/passwd",
            "etc/ssl/certs/ca-certificates.crt",
            "k6",
            "lambdaload-worker",
            "licences/LICENSE",
            "licences/k6/LICENSE.md",
            "licences/k6/NOTICE",
        ]
    );
}

/// What k6 may do in the image: read all, write below `/tmp`, and be nobody.
const WRITES: &str = "
export default function () {}
export function handleSummary() { return { '/tmp/allowed': 'yes', '/etc/refused': 'no', '/refused': 'no' } }
";

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn nothing_but_tmp_can_be_written_in_the_image() {
    let Some(programs) = worker_programs() else { return };
    let Some(podman) = Podman::or_skip() else { return };
    let folder = Folder::new();
    let script = folder.write("script.js", WRITES);
    let archive = folder.write("image.tar", &shared(&programs).0);
    let loaded = podman.run(&["load", "--quiet", "--input", archive.to_str().expect("UTF-8")]);
    let image = loaded.trim().trim_start_matches("Loaded image:").trim();
    let mount = format!("{}:/script.js:ro", script.display());
    let run = ["run", "--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "all", "--network", "none", "--volume"];
    let k6 = ["--entrypoint", "/k6", image, "run", "--quiet", "/script.js"];
    let output = podman.command(&[&run[..], &[&mount], &k6[..]].concat()).output().expect("podman runs");
    let said = String::from_utf8_lossy(&output.stderr);
    for refused in ["/etc/refused", "/refused"] {
        let named = said.lines().any(|line| line.contains(refused) && line.contains("read-only file system"));
        assert!(named, "{refused} was not refused: {said}");
    }
    assert!(!said.contains("/tmp/allowed"), "{said}");

    // The worker is what the image runs, and says what it lacks.
    let output = podman.command(&["run", "--rm", "--read-only", "--network", "none", image]).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("LAMBDALOAD_TASK"), "{said}");
}

#[test]
fn what_cannot_be_made_or_pushed_is_said_with_what_to_do() {
    let folder = Folder::new();
    let nothing = folder.run(&["image", "build"]);
    assert_eq!(nothing.code, Some(104), "{nothing:#?}");
    assert!(nothing.stderr.contains("target/worker-programs has no programs"), "{nothing:#?}");
    assert!(nothing.stderr.contains("cargo xtask worker-programs"), "{nothing:#?}");
    let nowhere = folder.run(&["image", "push"]);
    assert!(nowhere.code == Some(104) && nowhere.stderr.contains("--to HOST/NAME:TAG"), "{nowhere:#?}");
    fs::create_dir_all(folder.path().join("programs/arm64/bin")).expect("a folder");
    fs::create_dir_all(folder.path().join("programs/arm64/licences")).expect("a folder");
    folder.write("programs/arm64/bin/k6", "#!/bin/sh\n");
    folder.write("programs/arm64/bin/lambdaload-worker", "");
    let script = folder.run(&["image", "build", "--programs", "programs"]);
    assert!(
        script.code == Some(104) && script.stderr.contains("k6 for arm64: it is no 64-bit Linux program"),
        "{script:#?}"
    );
}
