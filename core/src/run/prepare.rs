//! From a script to a plan: k6 validates, we decide, and nothing has been spent.

mod extensions;
mod kinds;

use std::path::PathBuf;

pub use extensions::MissingExtensions;

use crate::{
    archive::{Archive, ArchiveError, mentions},
    k6::{
        exit::{ProcessExit, code},
        options::{Options, OptionsError},
        version::VersionError,
    },
    plan::{Machine, Plan, PlanError, Request},
    ports::{GeneratorError, LoadGenerator},
};

/// What is to be run.
#[derive(Debug)]
pub enum Source {
    /// A script.
    Script {
        /// Where it is.
        path: PathBuf,
        /// Its `-e` variables.
        env: Vec<(String, String)>,
    },
    /// What `k6 archive` made.
    Archive {
        /// Where it is.
        path: PathBuf,
        /// Its bytes.
        bytes: Vec<u8>,
        /// `-e` variables that add to or replace those in the archive. Its options stay as they are.
        env: Vec<(String, String)>,
    },
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
            Self::Generator(GeneratorError::Refused { exit: ProcessExit::Code(code @ 97..=110), .. }) => *code,
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
    machine: Machine,
) -> Result<Prepared, PrepareError> {
    let version = generator.version().await?;
    version.check_supported()?;
    let check_thresholds = !request.no_thresholds;
    let (path, bytes) = match source {
        Source::Script { path, env } => match generator.archive(&path, &env, check_thresholds).await {
            Ok(bytes) => (path, bytes),
            Err(refusal) => return Err(extensions::explain(generator, version, &path, refusal).await),
        },
        Source::Archive { path, bytes, env } => {
            // Before k6 gets it: k6 would take a foreign file for a script.
            Archive::read(&bytes).map_err(|error| PrepareError::Archive { path: path.clone(), error })?;
            let bytes = if env.is_empty() { bytes } else { generator.archive(&path, &env, check_thresholds).await? };
            (path, bytes)
        }
    };
    extensions::check(generator, version, &path, &bytes).await?;
    let options = match generator.inspect(&bytes, check_thresholds).await {
        Ok(options) => Options::parse(&options)?,
        Err(refusal) => return Err(extensions::explain(generator, version, &path, refusal).await),
    };
    let archive = Archive::read(&bytes).map_err(|error| PrepareError::Archive { path, error })?;
    let mut plan = Plan::new(request, archive, version, &options, machine)?;
    plan.has_teardown = mentions(&bytes, "teardown").unwrap_or(true);
    kinds::find_out(generator, &bytes, &mut plan.thresholds).await;
    Ok(Prepared { plan, archive: bytes })
}
