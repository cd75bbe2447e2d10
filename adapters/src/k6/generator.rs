//! The stock k6 binary as the port's [`LoadGenerator`].

use std::{
    collections::BTreeMap,
    fmt,
    fs::Permissions,
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use async_trait::async_trait;
use lambdaload_core::{
    archive::{ScriptMetadata, with_env},
    k6::{
        dependencies::Dependencies,
        exit::{ProcessExit, code},
        version::{K6Version, secret_file},
    },
    plan::Samples,
    ports::{
        Generator, GeneratorError, GeneratorSpec, LoadGenerator, Printed, SampleStream, ScriptInputs, SummarySpec,
    },
    secrets::Secrets,
};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::{NamedTempFile, TempDir, TempPath};
use tokio::{fs, io::AsyncReadExt as _, process::Command, sync::OnceCell};

use super::{
    command,
    log::{Level, Listener},
    pipe::{self, PipeStream},
    process::{FollowedLog, Running},
    receiver::Receiver,
    rest::{Port, Rest},
    summarize,
};
use crate::process::Process;

/// A stock k6. Each use is a process of its own, in an environment and a temporary folder of its own.
pub struct K6 {
    program: PathBuf,
    memory_limit: Option<u64>,
    blocked_ips: Vec<String>,
    listener: Option<Listener>,
    version: OnceCell<K6Version>,
}

impl fmt::Debug for K6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("K6")
            .field("program", &self.program)
            .field("memory_limit", &self.memory_limit)
            .finish_non_exhaustive()
    }
}

impl K6 {
    /// The k6 at this path; see [`super::find`].
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            memory_limit: None,
            blocked_ips: Vec::new(),
            listener: None,
            version: OnceCell::new(),
        }
    }

    /// Bytes that each running k6 should stay below: `GOMEMLIMIT`. It is a soft limit; the nearer k6 comes, the more
    /// processor time it spends on collecting garbage. Without it, k6 may need five times the memory its VUs hold.
    #[must_use]
    pub fn with_memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Address ranges (`169.254.0.0/16`) that no script may reach from a running k6, beside those that it bars itself: by
    /// name or number, with any protocol. The addresses of k6's name servers are not concerned.
    #[must_use]
    pub fn with_blocked_ips(mut self, ranges: Vec<String>) -> Self {
        self.blocked_ips = ranges;
        self
    }

    /// The ranges for one archive. k6's flag replaces the script's own, which must stay barred.
    fn blocked_for(&self, archive: &[u8]) -> Result<Vec<String>, GeneratorError> {
        if self.blocked_ips.is_empty() {
            return Ok(Vec::new());
        }
        let metadata =
            ScriptMetadata::read(archive).map_err(|error| failed("reading the script's barred addresses", error))?;
        Ok([metadata.blacklist_ips(), &self.blocked_ips].concat())
    }

    /// Tells `listener` everything that k6 and the scripts log, as it comes. It must not block.
    #[must_use]
    pub fn with_listener(mut self, listener: Listener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Runs a command of k6 to its end and returns its standard output; its errors if it ended badly.
    async fn output_of(&self, mut command: Command) -> Result<Vec<u8>, GeneratorError> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (process, output) = self.spawn(command, Vec::new()).await?;
        let log = FollowedLog::new(output.stderr, self.listener.clone(), Secrets::default());
        let mut bytes = Vec::new();
        if let Some(mut stdout) = output.stdout {
            stdout.read_to_end(&mut bytes).await.map_err(|error| failed("reading what k6 prints", error))?;
        }
        let exit = process.exited().await;
        log.read_to_end().await;
        match exit {
            ProcessExit::Code(code::OK) => Ok(bytes),
            exit => Err(GeneratorError::Refused { exit, log: log.messages(Level::Error) }),
        }
    }

    pub(super) fn listener(&self) -> Option<Listener> {
        self.listener.clone()
    }

    pub(super) async fn spawn(
        &self,
        command: Command,
        input: Vec<u8>,
    ) -> Result<(Process, crate::process::Output), GeneratorError> {
        Process::start(command, Signal::KILL, input).await.map_err(|error| {
            let program = self.program.display();
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => GeneratorError::NotFound(format!(
                    "{program} cannot be run: {error}. Name an executable k6 with --k6 or LAMBDALOAD_K6"
                )),
                _ => failed("starting k6", format!("{program}: {error}")),
            }
        })
    }

    pub(super) fn command(&self, home: &TempDir, subcommand: &str) -> Command {
        command::k6(&self.program, home.path(), subcommand)
    }
}

#[async_trait]
impl LoadGenerator for K6 {
    async fn version(&self) -> Result<K6Version, GeneratorError> {
        let ask = async || {
            let home = private_folder()?;
            let mut command = self.command(&home, "version");
            command.arg("--json");
            let output = self.output_of(command).await?;
            read_version(&output).map_err(|found| {
                let program = self.program.display();
                GeneratorError::NotFound(format!(
                    "{program} is no k6 that can be used: expected its version as JSON, found `{found}`"
                ))
            })
        };
        self.version.get_or_try_init(ask).await.copied()
    }

    async fn archive(&self, script: &Path, inputs: &ScriptInputs) -> Result<Vec<u8>, GeneratorError> {
        let home = private_folder()?;
        let to = home.path().join(ARCHIVE);
        let secrets = write_secrets(&home, &inputs.secrets)?;
        let mut command = self.command(&home, "archive");
        command::archive(&mut command, script, inputs, secrets.as_deref(), &to);
        self.output_of(command).await?;
        fs::read(&to).await.map_err(|error| failed("reading the archive that k6 made", error))
    }

    async fn inspect(&self, archive: &[u8], inputs: &ScriptInputs) -> Result<Vec<u8>, GeneratorError> {
        let home = private_folder()?;
        let archive = write_archive(&home, archive).await?;
        let secrets = write_secrets(&home, &inputs.secrets)?;
        let mut command = self.command(&home, "inspect");
        command::inspect(&mut command, &archive, secrets.as_deref(), inputs.no_thresholds);
        self.output_of(command).await
    }

    async fn dependencies(&self, test: &Path) -> Result<Dependencies, GeneratorError> {
        let home = private_folder()?;
        let mut command = self.command(&home, "deps");
        command::dependencies(&mut command, test);
        let output = self.output_of(command).await?;
        serde_json::from_slice(&output).map_err(|error| failed("reading what `k6 deps` prints", error))
    }

    async fn extensions(&self) -> Result<BTreeMap<String, String>, GeneratorError> {
        #[derive(Deserialize)]
        struct Json {
            #[serde(default)]
            extensions: Vec<Extension>,
        }
        #[derive(Deserialize)]
        struct Extension {
            version: String,
            #[serde(default)]
            imports: Vec<String>,
        }
        let home = private_folder()?;
        let mut command = self.command(&home, "version");
        command.arg("--json");
        let output = self.output_of(command).await?;
        let json: Json = serde_json::from_slice(&output).map_err(|error| failed("reading k6's extensions", error))?;
        let each = json.extensions.into_iter().flat_map(|Extension { version, imports }| {
            imports.into_iter().map(move |module| (module, version.clone()))
        });
        Ok(each.collect())
    }

    async fn start(&self, spec: GeneratorSpec) -> Result<Generator, GeneratorError> {
        let version = self.version().await?;
        let GeneratorSpec { archive, segment, linger, rps, env, samples, secrets } = spec;
        let blocked_ips = self.blocked_for(&archive)?;
        let archive = script_archive(&archive, env, &secrets)?;
        let home = private_folder()?;
        let secret_file = write_secrets(&home, &secrets)?;
        let path = home.path().join("samples.json");
        let source = match samples {
            Samples::Exact => {
                let pipe = pipe::make(&path).map_err(|error| failed("making the pipe for k6's samples", error))?;
                SampleSource::Pipe(pipe)
            }
            Samples::Aggregated => {
                let receiver = Receiver::listen().await;
                SampleSource::Pushes(receiver.map_err(|error| failed("listening for k6's samples", error))?)
            }
        };
        let port = Port::reserve().map_err(|error| failed("reserving a port for k6's REST API", error))?;
        let rest = Rest::new(port.number()).map_err(|error| failed("preparing to talk to k6", error))?;
        let mut command = self.command(&home, "run");
        let run = command::Run {
            version,
            segment,
            linger,
            rps,
            port: port.number(),
            output: match &source {
                SampleSource::Pipe(_) => command::Output::Pipe(&path),
                SampleSource::Pushes(receiver) => command::Output::Pushes(receiver),
            },
            secrets: secret_file.as_deref(),
            memory_limit: self.memory_limit,
            blocked_ips: &blocked_ips,
        };
        command::run(&mut command, &run);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let (process, output) = self.spawn(command, archive).await?;
        let process = Arc::new(process);
        let log = FollowedLog::new(output.stderr, self.listener.clone(), secrets.clone());
        let samples: Box<dyn SampleStream> = match source {
            SampleSource::Pipe(pipe) => Box::new(PipeStream::new(pipe, Arc::clone(&process))),
            SampleSource::Pushes(receiver) => Box::new(receiver.into_stream(Arc::clone(&process))),
        };
        let running = Running::new(process, log, rest, port, home).with_secrets(secrets, secret_file);
        Ok(Generator { control: Box::new(running), samples })
    }

    async fn summarize(&self, spec: SummarySpec) -> Result<Printed, GeneratorError> {
        summarize::summarize(self, spec).await
    }
}

/// Where a k6 that is being started will leave its samples.
enum SampleSource {
    Pipe(OwnedFd),
    Pushes(Receiver),
}

/// k6 knows an archive by its contents; the name is for people who look.
const ARCHIVE: &str = "archive.tar";

/// A folder that only this user can look into, removed when it is dropped.
pub(super) fn private_folder() -> Result<TempDir, GeneratorError> {
    let folder = tempfile::Builder::new().prefix("lambdaload-k6-").permissions(Permissions::from_mode(0o700)).tempdir();
    folder.map_err(|error| failed("making a temporary folder for k6", error))
}

async fn write_archive(home: &TempDir, archive: &[u8]) -> Result<PathBuf, GeneratorError> {
    let path = home.path().join(ARCHIVE);
    fs::write(&path, archive).await.map_err(|error| failed("writing the archive for k6", error))?;
    Ok(path)
}

/// The archive with variables and secrets. In memory only: neither a file nor an argument of k6 has the secrets.
pub(super) fn script_archive(
    archive: &[u8],
    env: Vec<(String, String)>,
    secrets: &Secrets,
) -> Result<Vec<u8>, GeneratorError> {
    let of_secrets = secrets.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let archive = with_env(archive, env.into_iter().chain(of_secrets));
    archive.map_err(|error| failed("giving the script its variables", error))
}

/// A file for k6's secret source that only this user can read, gone when it is dropped; none without secrets.
pub(super) fn write_secrets(home: &TempDir, secrets: &Secrets) -> Result<Option<TempPath>, GeneratorError> {
    if secrets.is_empty() {
        return Ok(None);
    }
    let contents = secret_file::contents(secrets.iter());
    let write = || {
        let mut file = NamedTempFile::new_in(home.path())?;
        file.write_all(contents.as_bytes())?;
        Ok(file.into_temp_path())
    };
    write().map(Some).map_err(|error: io::Error| failed("writing the secrets for k6", error))
}

pub(super) fn failed(operation: &'static str, error: impl Into<lambdaload_core::ports::Cause>) -> GeneratorError {
    GeneratorError::Process { operation, cause: error.into() }
}

/// Reads what `k6 version --json` prints; gives back what it was if it is something else.
fn read_version(output: &[u8]) -> Result<K6Version, String> {
    #[derive(Deserialize)]
    struct Json {
        version: String,
    }
    let found = || String::from_utf8_lossy(output).trim().chars().take(200).collect::<String>();
    let json: Json = serde_json::from_slice(output).map_err(|_| found())?;
    K6Version::parse(&json.version).map_err(|_| found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_with_secrets_is_for_this_user_only_and_goes_away() {
        let home = private_folder().unwrap();
        assert!(write_secrets(&home, &Secrets::default()).unwrap().is_none());
        let secrets: Secrets =
            [("A", "a=1234"), ("KEY", "two\nlines")].map(|(n, v)| (n.to_owned(), v.to_owned())).into_iter().collect();
        let file = write_secrets(&home, &secrets).unwrap().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(home.path())), (0o600, 0o700));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "A=a=1234\n");
        drop(file);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
