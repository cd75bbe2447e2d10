//! Real containers, and what they see of this machine.

use std::{
    fmt, fs,
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{process::keeper, say};
use crate::cli::wait_for;

/// What containers reach the loopback of this machine by, through [`NETWORK`].
pub const HOST: &str = "10.0.2.2";
/// A network of each container's own, with a way to servers on this machine's loopback at [`HOST`]. No container shares
/// ports with another, and nothing has to listen beyond the loopback.
pub const NETWORK: &str = "slirp4netns:allow_host_loopback=true";

/// Processes that a container may have. podman gives no more here.
pub(super) const PROCESSES: u64 = 4096;

/// A program that is linked statically: all that an image needs to be tried.
const BUSYBOX: &str = "/bin/busybox";

/// Podman with a storage, a configuration and a socket of its own: real containers, and Docker's API to them.
///
/// Containers are gone, with all of that, when this is dropped or when this process ends.
#[derive(Debug)]
pub struct Podman {
    folder: PathBuf,
    service: Child,
    keeper: Child,
}

/// Why there are no containers on this machine.
#[derive(Debug)]
pub struct Skipped(String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKIPPED: podman runs no container here: {}", self.0.trim())
    }
}

impl Podman {
    /// Starts it, and tries it on a container.
    ///
    /// # Errors
    /// If this machine runs none: podman or what it needs is not installed, or the kernel does not let it.
    pub fn start() -> Result<Self, Skipped> {
        if !Path::new(BUSYBOX).exists() {
            return Err(Skipped(format!("{BUSYBOX} is missing (Debian: busybox-static)")));
        }
        let podman = Self::serve()?;
        let image = podman.folder.join("probe");
        fs::create_dir(&image).expect("a folder");
        fs::copy(BUSYBOX, image.join("busybox")).expect("a copy of busybox");
        fs::write(image.join("Dockerfile"), "FROM scratch\nCOPY busybox /busybox\n").expect("a file");
        podman.try_build("lambdaload-probe", &image).map_err(Skipped)?;
        let mut probe = podman.command(&["run", "--rm", "--network", NETWORK, "lambdaload-probe", "/busybox", "true"]);
        said(&mut probe).map_err(Skipped)?;
        Ok(podman)
    }

    /// Starts it. Without containers on this machine its tests are skipped aloud, in CI too.
    pub fn or_skip() -> Option<Self> {
        Self::start().inspect_err(|skipped| say(&skipped.to_string())).ok()
    }

    fn serve() -> Result<Self, Skipped> {
        let folder = tempfile::Builder::new().prefix("lambdaload-podman-").tempdir().expect("a folder").keep();
        fs::write(folder.join("containers.conf"), configuration(&folder)).expect("a configuration");
        let host = format!("unix://{}", socket(&folder).display());
        let mut service = command(&folder, &["system", "service", "--time", "0", &host]);
        let log = fs::File::create(folder.join("service.log")).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let service = service.process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let service = match service {
            Ok(service) => service,
            Err(error) => {
                _ = fs::remove_dir_all(&folder);
                return Err(Skipped(format!("{error} (Debian: podman)")));
            }
        };
        let keeper = keeper(KEEPER, &end(&folder, service.id()));
        let mut podman = Self { folder, service, keeper };
        wait_for("podman to serve", || match podman.service.try_wait() {
            Ok(Some(status)) => Some(Err(Skipped(format!("{status}: {}", podman.log())))),
            _ => UnixStream::connect(socket(&podman.folder)).is_ok().then_some(Ok(())),
        })?;
        Ok(podman)
    }

    /// Where Docker's clients find it: the value of `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", socket(&self.folder).display())
    }

    /// A command of podman, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        command(&self.folder, arguments)
    }

    /// Runs a command of podman and returns what it printed.
    ///
    /// # Panics
    /// With what it said, if it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        said(&mut self.command(arguments)).unwrap_or_else(|why| panic!("podman {arguments:?}: {why}"))
    }

    /// Builds the `Dockerfile` of a folder.
    ///
    /// # Panics
    /// With what podman said, if it fails.
    pub fn build(&self, tag: &str, folder: &Path) {
        self.try_build(tag, folder).unwrap_or_else(|why| panic!("podman can't build {tag}: {why}"));
    }

    fn try_build(&self, tag: &str, folder: &Path) -> Result<(), String> {
        said(self.command(&["build", "--quiet", "--network", "none", "--tag", tag]).arg(folder)).map(drop)
    }

    /// The first process of each container that runs, by the container's id.
    pub fn containers(&self) -> Vec<(String, u32)> {
        let ids = self.run(&["ps", "--quiet", "--no-trunc"]);
        let process = |id: &str| {
            // It may have ended since.
            let pid =
                said(&mut self.command(&["inspect", "--format", "{{.State.Pid}}", id])).ok()?.trim().parse().ok()?;
            (pid > 0).then(|| (id.to_owned(), pid))
        };
        ids.lines().filter_map(process).collect()
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("service.log")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        _ = self.keeper.wait();
        _ = self.service.kill();
        _ = self.service.wait();
    }
}

/// Containers are no children of the service. Storage of the kind «overlay» keeps its folder mounted.
const KEEPER: &str = r#"read -r _
folder=$1 service=$2; shift 2
kill -s KILL "$service"
"$@" rm --all --force --time 0
umount "$folder/storage/overlay"
rm -rf -- "$folder""#;

/// The arguments of [`KEEPER`].
fn end(folder: &Path, service: u32) -> Vec<String> {
    let mut arguments = vec![folder.display().to_string(), service.to_string(), "env".to_owned()];
    arguments.push(format!("CONTAINERS_CONF={}", folder.join("containers.conf").display()));
    arguments.push("podman".to_owned());
    arguments.extend(own(folder));
    arguments
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("podman.sock")
}

/// Whatever the machine is configured for. Limits are those that any process may have: raising them needs a capability
/// that containers in containers lack. crun does not know the mixed hierarchy of cgroups that some machines have.
fn configuration(folder: &Path) -> String {
    format!(
        "[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nlock_type = \"file\"\n\
         [network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"{}\"\n\
         [containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc={PROCESSES}:{PROCESSES}\"]\nlog_driver = \"k8s-file\"\n",
        folder.join("networks").display()
    )
}

/// Where everything of this podman is.
fn own(folder: &Path) -> impl Iterator<Item = String> {
    let places = [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp")];
    places.into_iter().flat_map(|(flag, name)| [flag.to_owned(), folder.join(name).display().to_string()])
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("podman");
    command
        .args(own(folder))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", folder)
        .env("CONTAINERS_CONF", folder.join("containers.conf"))
        .current_dir(folder);
    command
}

/// What a command printed; else what it said instead.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr)))
    }
}
