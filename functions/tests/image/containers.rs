//! A fleet of containers.

use std::{
    fs,
    path::Path,
    sync::{Mutex, OnceLock},
    time::Duration,
};

use lambdaload_adapters::image::{Architecture, Image, programs_in};
use lambdaload_core::{
    ports::{Fleet, FleetLoss, WorkerTask},
    run::batch::Order,
};
use lambdaload_tests::{
    confined::Process,
    servers::{Podman, podman},
    template::worker_programs,
};
use tokio::task::block_in_place;

/// What a task has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) cpus: &'static str,
    pub(crate) memory_mb: u64,
}

/// Containers of the image, each with one worker, started as Fargate starts tasks: nothing may be written but `/tmp`, and
/// the limits are the kernel's.
pub(crate) struct Containers {
    podman: Podman,
    limits: Limits,
    image: String,
    environment: Mutex<Vec<(String, String)>>,
    started: Mutex<Vec<String>>,
}

/// The image of these programs, which takes a while to make.
fn image_of(programs: &Path) -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let architecture = if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::X86_64 };
        let programs = programs_in(&programs.join(architecture.name()), architecture).expect("the programs");
        let image = Image::new(env!("CARGO_PKG_VERSION"), vec![programs]).expect("an image");
        image.archive("lambdaload-worker:test")
    })
}

/// A server of this machine as containers reach it.
pub(crate) fn reachable(url: &str) -> String {
    url.replace("127.0.0.1", podman::HOST)
}

impl Containers {
    /// Makes the image of the real programs and loads it. `None`, said aloud, where that cannot be.
    pub(crate) fn start(limits: Limits) -> Option<Self> {
        let programs = worker_programs()?;
        let podman = Podman::or_skip()?;
        let folder = tempfile::tempdir().expect("a folder");
        let archive = folder.path().join("image.tar");
        fs::write(&archive, image_of(&programs)).expect("an archive");
        let loaded = podman.run(&["load", "--quiet", "--input", archive.to_str().expect("UTF-8")]);
        let image = loaded.trim().trim_start_matches("Loaded image:").trim().to_owned();
        Some(Self { podman, limits, image, environment: Mutex::default(), started: Mutex::default() })
    }

    /// What each has, in MB.
    pub(crate) fn memory(&self) -> String {
        self.limits.memory_mb.to_string()
    }

    /// Tells every container from now on these variables.
    pub(crate) fn tell(&self, environment: Vec<(String, String)>) {
        *self.environment.lock().expect("whole") = environment;
    }

    fn start_one(&self, order: &Order) {
        let (memory, order) = (format!("{}m", self.limits.memory_mb), serde_json::to_string(order).expect("JSON"));
        let mut arguments: Vec<String> = ["run", "--detach", "--read-only", "--tmpfs", "/tmp:mode=1777"]
            .into_iter()
            .chain(["--cap-drop", "all", "--security-opt", "no-new-privileges", "--network", podman::NETWORK])
            .chain(["--memory", &memory, "--memory-swap", &memory, "--cpus", self.limits.cpus])
            .map(str::to_owned)
            .collect();
        for (name, value) in self.environment.lock().expect("whole").iter() {
            arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        arguments.extend(["--env".to_owned(), format!("LAMBDALOAD_TASK={order}"), self.image.clone()]);
        let id = self.podman.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        self.started.lock().expect("whole").push(id.trim().to_owned());
    }

    fn id(&self, number: usize) -> Option<String> {
        self.started.lock().expect("whole").get(number - 1).cloned()
    }

    async fn started(&self, number: usize) -> String {
        loop {
            if let Some(id) = self.id(number) {
                return id;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The first process of a container, which is waited for.
    pub(crate) async fn process(&self, number: usize) -> Process {
        let id = self.started(number).await;
        let pid = block_in_place(|| self.podman.run(&["inspect", "--format", "{{.State.Pid}}", &id]));
        Process::of(pid.trim().parse().expect("a process"))
    }

    /// Stops a container as ECS does: SIGTERM, two minutes, SIGKILL.
    pub(crate) async fn stop(&self, number: usize) {
        let id = self.started(number).await;
        block_in_place(|| self.podman.run(&["stop", "--time", "120", &id]));
    }

    /// Kills all in a container at once.
    pub(crate) async fn kill(&self, number: usize) {
        let id = self.started(number).await;
        block_in_place(|| self.podman.run(&["kill", &id]));
    }

    /// Waits until all have ended.
    pub(crate) fn exit_codes(&self) -> Vec<i32> {
        let ids = self.started.lock().expect("whole").clone();
        let wait = |id: &String| self.podman.run(&["wait", id]).trim().parse().expect("an exit code");
        block_in_place(|| ids.iter().map(wait).collect())
    }

    /// What all have said.
    pub(crate) fn said(&self) -> String {
        let ids = self.started.lock().expect("whole").clone();
        let mut said = String::new();
        for id in ids {
            let output = self.podman.command(&["logs", &id]).output().expect("podman");
            said += &String::from_utf8_lossy(&output.stdout);
            said += &String::from_utf8_lossy(&output.stderr);
        }
        said
    }
}

#[async_trait::async_trait]
impl Fleet for Containers {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        block_in_place(|| tasks.iter().for_each(|task| self.start_one(&Order::Worker(task.clone()))));
        Vec::new()
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        Vec::new()
    }

    async fn kill_all(&self) {}
}
