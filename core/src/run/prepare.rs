//! From a script to a plan: k6 validates, we decide, and nothing has been spent.

mod extensions;
mod kinds;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use extensions::MissingExtensions;

use crate::{
    archive::{Archive, ArchiveError, ScriptMetadata, mentions},
    k6::{
        exit::{ProcessExit, code},
        options::{Options, OptionsError},
        version::{K6Version, VersionError},
    },
    plan::{Host, Plan, PlanError, Request},
    ports::{GeneratorError, LoadGenerator, ScriptInputs},
    secrets::{Secrets, placeholder},
    variables,
};

/// What is to be run.
#[derive(Debug)]
pub enum Source {
    /// A script.
    Script {
        /// Where it is.
        path: PathBuf,
        /// What it is given.
        given: Given,
    },
    /// What `k6 archive` made.
    Archive {
        /// Where it is.
        path: PathBuf,
        /// Its bytes.
        bytes: Vec<u8>,
        /// What adds to, or replaces, what the archive has.
        given: Given,
    },
}

/// What the user gives a script.
#[derive(Debug, Default)]
pub struct Given {
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Flags of k6 that override the script's options.
    pub flags: Vec<String>,
    /// Names of secrets. None of them is a variable.
    pub secrets: Vec<String>,
}

impl Given {
    fn is_nothing(&self) -> bool {
        self.env.is_empty() && self.flags.is_empty() && self.secrets.is_empty()
    }
}

/// A plan, and the archive that its workers will run.
#[derive(Debug)]
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// The archive's bytes.
    pub archive: Vec<u8>,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// k6 refused the script, or could not be run.
    #[error(transparent)]
    Generator(#[from] GeneratorError),
    /// This k6 cannot be driven.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The archive.
    #[error("{path} cannot be run: {error}", path = .path.display())]
    Archive {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: ArchiveError,
    },
    /// This k6 lacks what the test needs.
    #[error(transparent)]
    Extensions(#[from] MissingExtensions),
    /// An archive of an earlier run, whose script was given secrets.
    #[error("{path} wants the {what} {names}: give {them}, as in `--secret {first}`", path = .path.display(),
        what = if .missing.len() == 1 { "secret" } else { "secrets" }, names = .missing.join(", "),
        them = if .missing.len() == 1 { "it" } else { "them" }, first = .missing[0])]
    Secrets {
        /// Where it is.
        path: PathBuf,
        /// Their names.
        missing: Vec<String>,
    },
    /// What k6 printed.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl PrepareError {
    /// The exit code that k6 would give, or gave.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Generator(GeneratorError::Refused {
                exit: ProcessExit::Code(code @ (97..=110 | code::UNREADABLE_FLAG)),
                ..
            }) => *code,
            Self::Extensions(_) => code::SCRIPT_EXCEPTION,
            _ => code::INVALID_CONFIG,
        }
    }
}

/// Archives, inspects and plans.
pub async fn prepare(
    generator: &dyn LoadGenerator,
    source: Source,
    request: Request,
    host: impl Into<Host>,
) -> Result<Prepared, PrepareError> {
    let version = generator.version().await?;
    version.check_supported()?;
    let no_thresholds = request.no_thresholds;
    let (path, bytes, env, secrets) = match source {
        Source::Script { path, given } => {
            let own = variables::while_archiving();
            let env = given.env.iter().map(|(name, _)| name.clone()).collect();
            let inputs = inputs(&given, own, no_thresholds);
            let bytes = archive(generator, version, &path, inputs).await?;
            (path, bytes, env, given.secrets)
        }
        Source::Archive { path, bytes, given } => {
            // Before k6 gets it: k6 would take a foreign file for a script.
            let unusable = |error| PrepareError::Archive { path: path.clone(), error };
            Archive::read(&bytes).map_err(unusable)?;
            let metadata = ScriptMetadata::read(&bytes).map_err(unusable)?;
            let env = env_of_archive(&path, &metadata, &given)?;
            let bytes = if given.is_nothing() && !metadata.lacks_vus() {
                bytes
            } else {
                archive(generator, version, &path, inputs(&given, Vec::new(), no_thresholds)).await?
            };
            (path, bytes, env, given.secrets)
        }
    };
    extensions::check(generator, version, &path, &bytes).await?;
    let inputs = ScriptInputs { secrets: Secrets::placeholders(&secrets), no_thresholds, ..ScriptInputs::default() };
    let options = match generator.inspect(&bytes, &inputs).await {
        Ok(options) => Options::parse(&options)?,
        Err(refusal) => return Err(extensions::explain(generator, version, &path, refusal).await),
    };
    let archive = Archive::read(&bytes).map_err(|error| PrepareError::Archive { path, error })?;
    let has = |hook| mentions(&bytes, hook).unwrap_or(true);
    let hooks = (has("setup"), has("teardown"));
    let plan = Plan::decide(request, archive, version, &options, hooks, host.into())?;
    let mut plan = Plan { env, secrets, ..plan };
    kinds::find_out(generator, &bytes, &inputs, &mut plan.thresholds).await;
    Ok(Prepared { plan, archive: bytes })
}

/// What k6 is given to archive a script: of variables with the same name the user's stay over `own`, and secrets over both.
fn inputs(given: &Given, own: Vec<(String, String)>, no_thresholds: bool) -> ScriptInputs {
    let secrets = Secrets::placeholders(&given.secrets);
    let of_secrets = secrets.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let env: BTreeMap<_, _> = own.into_iter().chain(given.env.iter().cloned()).chain(of_secrets).collect();
    ScriptInputs { env: env.into_iter().collect(), flags: given.flags.clone(), secrets, no_thresholds }
}

async fn archive(
    generator: &dyn LoadGenerator,
    version: K6Version,
    path: &Path,
    mut inputs: ScriptInputs,
) -> Result<Vec<u8>, PrepareError> {
    let bytes = match generator.archive(path, &inputs).await {
        Ok(bytes) => bytes,
        Err(refusal) => return Err(extensions::explain(generator, version, path, refusal).await),
    };
    let metadata = ScriptMetadata::read(&bytes);
    if !metadata.map_err(|error| PrepareError::Archive { path: path.to_owned(), error })?.lacks_vus() {
        return Ok(bytes);
    }
    inputs.flags.push("--vus=1".to_owned());
    Ok(generator.archive(path, &inputs).await?)
}

/// The names of an archive's own variables, with those that are given. What lambdaload itself has put into an archive was
/// nobody's choice.
fn env_of_archive(path: &Path, metadata: &ScriptMetadata, given: &Given) -> Result<Vec<String>, PrepareError> {
    let own = variables::while_archiving();
    let is_own = |name: &str, value: &str| own.iter().any(|(n, v)| n == name && v == value);
    let is_given = |name: &str| given.secrets.iter().chain(given.env.iter().map(|(n, _)| n)).any(|n| n == name);
    let missing: Vec<String> = metadata
        .env()
        .filter(|(name, value)| *value == placeholder(name) && !is_given(name))
        .map(|(name, _)| name.to_owned())
        .collect();
    if !missing.is_empty() {
        return Err(PrepareError::Secrets { path: path.to_owned(), missing });
    }
    let of_archive = metadata.env().filter(|(name, value)| !is_own(name, value)).map(|(name, _)| name.to_owned());
    let mut names: Vec<String> = of_archive.chain(given.env.iter().map(|(name, _)| name.clone())).collect();
    names.retain(|name| !given.secrets.contains(name));
    names.sort();
    names.dedup();
    Ok(names)
}
