//! Processes of this machine as workers.

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use lambdaload_core::{
    ids::WorkerIndex,
    k6::exit::ProcessExit,
    ports::{Fleet, FleetLoss, WorkerTask},
    records::FailureKind,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::{environment, process::Process};

/// How long killed processes are waited for. The system takes milliseconds, unless one hangs in a broken disk.
const DYING: Duration = Duration::from_secs(5);

/// Which program is run as a worker, and how it is told its task.
pub struct WorkerProgram {
    /// The program; lambdaload itself.
    pub program: PathBuf,
    /// Its arguments for one task.
    pub arguments: TaskArguments,
}

/// Tells one task in a program's arguments.
pub type TaskArguments = Box<dyn Fn(&WorkerTask) -> Vec<OsString> + Send + Sync>;

/// Workers as processes, each with a log for what it prints: `runs/<run>/worker-<number>.log`.
///
/// They get an environment of their own: of this program's variables only proxies and certificates. When this program dies
/// they are told to end (on Linux), and dropping the fleet kills those that are left.
pub struct ProcessFleet {
    worker: WorkerProgram,
    folder: PathBuf,
    /// What each worker reads from its standard input.
    input: Vec<u8>,
    members: Mutex<Vec<Member>>,
    /// The workers' `TMPDIR`, so that nothing stays behind of those that were killed.
    temporary: TempDir,
}

struct Member {
    index: WorkerIndex,
    process: Process,
    log: PathBuf,
    /// How it went, once it has.
    end: OnceLock<String>,
}

impl Member {
    fn loss(&self) -> Option<FleetLoss> {
        let exit = self.process.exit()?;
        let message = self.end.get_or_init(|| message(exit, &self.log)).clone();
        Some(FleetLoss { index: self.index, kind: FailureKind::Lost, message })
    }
}

impl fmt::Debug for ProcessFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessFleet")
            .field("program", &self.worker.program)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl ProcessFleet {
    /// A fleet without workers yet, whose logs go below `folder`.
    pub fn new(worker: WorkerProgram, folder: impl Into<PathBuf>) -> io::Result<Self> {
        let temporary = tempfile::Builder::new().prefix("lambdaload-").tempdir()?;
        Ok(Self { worker, folder: folder.into(), input: Vec::new(), members: Mutex::default(), temporary })
    }

    /// Lets each worker read this from its standard input: for what must be in no argument, variable or file.
    #[must_use]
    pub fn with_input(self, input: Vec<u8>) -> Self {
        Self { input, ..self }
    }

    async fn start(&self, task: &WorkerTask) -> Result<Member, String> {
        let folder = self.folder.join("runs").join(task.run.as_str());
        let log = folder.join(format!("worker-{}.log", task.index.number()));
        let (output, errors) = open(&folder, &log).map_err(|error| format!("its log {}: {error}", log.display()))?;
        let mut command = Command::new(&self.worker.program);
        command
            .args((self.worker.arguments)(task))
            .env_clear()
            .envs(environment::network())
            .env("TMPDIR", self.temporary.path())
            .stdout(output)
            .stderr(errors);
        let started = Process::start(command, Signal::TERM, self.input.clone()).await;
        let (process, _) = started.map_err(|error| {
            format!("its process could not be started ({}): {error}", self.worker.program.display())
        })?;
        Ok(Member { index: task.index, process, log, end: OnceLock::new() })
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Fleet for ProcessFleet {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        let mut losses = Vec::new();
        for task in tasks {
            match self.start(task).await {
                Ok(member) => self.members().push(member),
                Err(message) => {
                    losses.push(FleetLoss { index: task.index, kind: FailureKind::NotLaunched, message });
                }
            }
        }
        losses
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        self.members().iter().filter_map(Member::loss).collect()
    }

    async fn kill_all(&self) {
        let ends: Vec<_> = self
            .members()
            .iter()
            .map(|member| {
                member.process.kill();
                member.process.exited()
            })
            .collect();
        for end in ends {
            let _ = timeout(DYING, end).await;
        }
    }
}

/// The log as standard output and as standard error. A later attempt of a worker goes on in it.
fn open(folder: &Path, log: &Path) -> io::Result<(Stdio, Stdio)> {
    fs::create_dir_all(folder)?;
    let file = fs::OpenOptions::new().create(true).append(true).open(log)?;
    Ok((file.try_clone()?.into(), file.into()))
}

fn message(exit: ProcessExit, log: &Path) -> String {
    let how = match exit {
        ProcessExit::Signal(signal) => format!("its process was killed by signal {signal}"),
        ProcessExit::Code(code) => format!("its process ended with exit code {code}"),
    };
    match last_line(log) {
        Some(line) => format!("{how}; the last words in {}: {line}", log.display()),
        None => how,
    }
}

/// The last line of a file that is not empty, if it is text.
fn last_line(path: &Path) -> Option<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = fs::File::open(path).ok()?;
    let tail = 4096.min(file.metadata().ok()?.len());
    file.seek(SeekFrom::End(-i64::try_from(tail).ok()?)).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.lines().rev().map(str::trim).find(|line| !line.is_empty())?.to_owned())
}
