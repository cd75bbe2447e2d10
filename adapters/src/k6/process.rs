//! One k6 that runs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use lambdaload_core::{
    k6::exit::ProcessExit,
    ports::{GeneratorControl, GeneratorError, GeneratorPhase, HookError, Unwritten},
    secrets::Secrets,
};
use rustix::process::Signal;
use tempfile::{TempDir, TempPath};
use tokio::{process::ChildStderr, sync::watch, time::timeout};

use super::{
    log::{Level, Listener, Log},
    rest::{Port, Rest, RestError},
};
use crate::process::Process;

/// How long the end of the log is waited for after k6's own end: a process that k6 started may hold it open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The log of a process, read in the background.
#[derive(Debug)]
pub(super) struct FollowedLog {
    log: Arc<Log>,
    /// Closed when all is read.
    reading: watch::Receiver<()>,
}

impl FollowedLog {
    pub(super) fn new(stderr: Option<ChildStderr>, listener: Option<Listener>, secrets: Secrets) -> Self {
        let log = Arc::new(Log::default());
        let (sender, reading) = watch::channel(());
        if let Some(stderr) = stderr {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                // A log that cannot be read to its end has one just the same.
                let _ = log.follow(stderr, listener, &secrets).await;
                drop(sender);
            });
        }
        Self { log, reading }
    }

    /// Returns when all is read that the process wrote, or nothing more can be expected.
    pub(super) async fn read_to_end(&self) {
        let mut reading = self.reading.clone();
        let _ = timeout(LAST_WORDS, reading.changed()).await;
    }

    pub(super) fn unwritten(&self) -> Unwritten {
        self.log.unwritten()
    }

    pub(super) fn messages(&self, level: Level) -> Vec<String> {
        self.log.messages(level)
    }
}

/// The control of one `k6 run`.
#[derive(Debug)]
pub(super) struct Running {
    process: Arc<Process>,
    log: FollowedLog,
    rest: Rest,
    /// Whether k6 has ever answered; before, it starts.
    has_answered: AtomicBool,
    was_interrupted: AtomicBool,
    secrets: Secrets,
    /// Removed once k6 has read it.
    secret_file: Mutex<Option<TempPath>>,
    /// Held for its being ours.
    _port: Port,
    /// Held for its being there: k6 writes the pipe in it and has it as its home.
    _home: TempDir,
}

impl Running {
    pub(super) fn new(process: Arc<Process>, log: FollowedLog, rest: Rest, port: Port, home: TempDir) -> Self {
        Self {
            process,
            log,
            rest,
            has_answered: AtomicBool::new(false),
            was_interrupted: AtomicBool::new(false),
            secrets: Secrets::default(),
            secret_file: Mutex::default(),
            _port: port,
            _home: home,
        }
    }

    /// Keeps these secrets out of what is said of k6, and removes the file with them once k6 has read it.
    pub(super) fn with_secrets(mut self, secrets: Secrets, file: Option<TempPath>) -> Self {
        self.secrets = secrets;
        self.secret_file = Mutex::new(file);
        self
    }

    fn failed(&self, operation: &'static str, error: RestError) -> GeneratorError {
        let cause = if self.secrets.is_empty() {
            error.into()
        } else {
            self.secrets.redact(&error.to_string()).into_owned().into()
        };
        GeneratorError::Process { operation, cause }
    }

    /// k6 answers 500 when the script threw, took too long or returned what is no JSON.
    fn hook_failed(&self, operation: &'static str, error: RestError) -> HookError {
        match error {
            RestError::Refused { status, detail, .. } if status.is_server_error() => {
                HookError::Script(self.secrets.redact(&detail).into_owned())
            }
            error => HookError::Generator(self.failed(operation, error)),
        }
    }
}

#[async_trait]
impl GeneratorControl for Running {
    async fn phase(&self) -> Result<GeneratorPhase, GeneratorError> {
        if let Some(exit) = self.process.exit() {
            return Err(GeneratorError::Refused { exit, log: self.log() });
        }
        match self.rest.phase().await {
            Ok(phase) => {
                self.has_answered.store(true, Ordering::Relaxed);
                if phase != GeneratorPhase::Starting {
                    drop(self.secret_file.lock().unwrap_or_else(PoisonError::into_inner).take());
                }
                Ok(phase)
            }
            Err(RestError::Unreachable { .. }) if !self.has_answered.load(Ordering::Relaxed) => {
                Ok(GeneratorPhase::Starting)
            }
            // It is too busy, or closes its REST API because it is about to end.
            Err(error) => Err(self.failed("asking k6 where it is", error)),
        }
    }

    async fn setup(&self) -> Result<Option<Vec<u8>>, HookError> {
        self.rest.setup().await.map_err(|error| self.hook_failed("running setup()", error))
    }

    async fn set_setup_data(&self, json: Vec<u8>) -> Result<(), GeneratorError> {
        self.rest.set_setup_data(json).await.map_err(|error| self.failed("handing over the data of setup()", error))
    }

    async fn resume(&self) -> Result<(), GeneratorError> {
        self.rest.resume().await.map_err(|error| self.failed("letting k6 run", error))
    }

    async fn teardown(&self) -> Result<(), HookError> {
        self.rest.teardown().await.map_err(|error| self.hook_failed("running teardown()", error))
    }

    async fn scale(&self, vus: u64) -> Result<(), GeneratorError> {
        self.rest.scale(vus).await.map_err(|error| self.failed("scaling k6", error))
    }

    async fn stop_iterations(&self) -> Result<(), GeneratorError> {
        self.rest.stop().await.map_err(|error| self.failed("stopping k6's iterations", error))
    }

    fn interrupt(&self) {
        // After a second signal k6 ends at once, and what it had not written is lost.
        if !self.was_interrupted.swap(true, Ordering::Relaxed) {
            self.process.signal(Signal::INT);
        }
    }

    fn kill(&self) {
        self.process.kill();
    }

    async fn exited(&self) -> ProcessExit {
        let exit = self.process.exited().await;
        self.log.read_to_end().await;
        exit
    }

    fn log(&self) -> Vec<String> {
        self.log.messages(Level::Warning)
    }

    fn unwritten(&self) -> Unwritten {
        self.log.unwritten()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill();
    }
}
