//! How many workers: as many as were asked for, or as the work and the machine are good for.

use crate::{
    k6::options::Options,
    plan::{PlanError, PlannedScenario, plural},
};

/// More than any account or machine takes; a mistyped number should not start to launch.
pub const MAX_WORKERS: u32 = 10_000;

/// A file descriptor per VU for its connection, and these for k6 itself, its files and its REST API.
const SPARE_FILES: u64 = 64;

/// How many workers the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// As many as the work and the machine are good for.
    #[default]
    Auto,
    /// So many, unless the work is too little for them.
    Exactly(u32),
}

/// What the machine of the local fleet can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Processors.
    pub cores: u32,
    /// File descriptors that one process may hold.
    pub open_files: u64,
}

pub(super) fn choose_workers(
    wanted: Workers,
    scenarios: &[PlannedScenario],
    options: &Options,
    machine: Machine,
) -> Result<(u32, Option<String>), PlanError> {
    // A worker beyond the largest scenario's VUs would have no work in any scenario.
    let useful = scenarios.iter().map(|s| s.max_vus).max().unwrap_or(1).max(1);
    // A share of `rps` must not be 0: k6 takes that for no limit.
    let (useful, limit) = match options.rps() {
        Some(rps) if rps < useful => {
            (rps, format!("the script's rps is {rps}, and less than one request per second cannot be dealt out"))
        }
        _ => (useful, format!("no scenario has more than {} to deal out", plural(useful, "VU"))),
    };
    let useful = u32::try_from(useful).unwrap_or(u32::MAX).min(MAX_WORKERS);
    match wanted {
        Workers::Exactly(0) => Err(PlanError::NoWorkers),
        Workers::Exactly(n) if n > MAX_WORKERS => Err(PlanError::TooManyWorkers(n)),
        Workers::Exactly(n) if n > useful => Ok((useful, Some(format!("{n} asked for, but {limit}")))),
        Workers::Exactly(n) => Ok((n, None)),
        Workers::Auto => {
            let files = machine.open_files.saturating_sub(SPARE_FILES).max(1);
            let by_files = u32::try_from(options.max_vus.div_ceil(files)).unwrap_or(MAX_WORKERS);
            let n = machine.cores.max(by_files).max(1);
            let reason = if useful < n {
                limit
            } else if by_files > machine.cores {
                format!("{} VUs at {files} connections a process", options.max_vus)
            } else {
                format!("one per processor ({})", machine.cores)
            };
            Ok((n.min(useful), Some(reason)))
        }
    }
}
