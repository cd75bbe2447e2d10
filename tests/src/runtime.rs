//! A Lambda runtime as a container image, for an emulated account that runs functions in containers.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    account::{built, tools},
    servers::{
        Podman,
        podman::{HOST, NETWORK},
    },
};

/// What AWS calls the image of the runtime of our functions; nobody asks AWS for it.
const IMAGE: &str = "public.ecr.aws/lambda/provided:al2023";

/// AWS's own emulator of the runtime API, which listens as in AWS's images. A function is no root, and writes to `/tmp` only.
const DOCKERFILE: &str = r#"FROM scratch
COPY root /
RUN ["/bin/busybox", "mkdir", "-p", "/opt", "/var/task", "/var/runtime"]
RUN ["/bin/busybox", "mkdir", "-m", "1777", "/tmp"]
USER 1051
WORKDIR /var/task
ENV PATH=/usr/local/bin:/usr/bin:/bin
ENTRYPOINT ["/usr/local/bin/aws-lambda-rie", "/var/runtime/bootstrap"]
"#;

/// Builds the image: AWS's emulator out of the package of `sam`, busybox, and the libraries of this machine that the
/// functions are linked with. They are not those of Amazon Linux, so nothing is proved about linking.
///
/// # Panics
/// If one of these is missing.
pub fn build(podman: &Podman) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    put(&emulator(), &root.join("usr/local/bin/aws-lambda-rie"));
    put(Path::new("/bin/busybox"), &root.join("bin/busybox"));
    // Where Amazon Linux has them.
    put(&certificates(), &root.join("etc/pki/tls/certs/ca-bundle.crt"));
    for library in libraries(&built().join("LauncherFunction-Shared/bootstrap")) {
        put(&library, &root.join(library.strip_prefix("/").expect("an absolute path")));
    }
    fs::write(folder.path().join("Dockerfile"), DOCKERFILE).expect("a Dockerfile");
    podman.build(IMAGE, folder.path());
}

/// Variables by which an emulated account runs its functions in containers of that image, with a root that is read-only but
/// for `/tmp`, and with no other way than that.
pub fn variables(host: &str) -> Vec<(String, String)> {
    let flags = format!("--network {NETWORK} --add-host host.docker.internal:{HOST} --read-only --tmpfs /tmp");
    [("LAMBDA_EXECUTOR", "docker"), ("LAMBDA_STRICT", "1"), ("DOCKER_HOST", host), ("LAMBDA_DOCKER_FLAGS", &flags)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The emulator's program.
///
/// # Panics
/// If the tools are not there.
pub fn emulator() -> PathBuf {
    let name = if ARCH == "aarch64" { "aws-lambda-rie-arm64" } else { "aws-lambda-rie-x86_64" };
    python("import os, samcli; print(os.path.dirname(samcli.__file__))").join("local/rapid").join(name)
}

/// Certificates of authorities. Programs that speak TLS want to see some, even if they don't use it.
fn certificates() -> PathBuf {
    python("import certifi; print(certifi.where())")
}

/// The path that a program prints, with the packages of the tools.
fn python(program: &str) -> PathBuf {
    let output = Command::new(tools().join("python")).args(["-c", program]).output().expect("Python runs");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().into()
}

/// What a program loads when it starts, its loader too: lines such as `libc.so.6 => /lib/libc.so.6 (0x7f)`.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let found: Vec<_> = said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    assert!(output.status.success() && !found.is_empty(), "ldd {}: {said}", program.display());
    found
}

fn put(file: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    fs::copy(file, to).unwrap_or_else(|error| panic!("cannot copy {}: {error}", file.display()));
}
