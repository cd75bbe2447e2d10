//! How many workers: as many as were asked for, or as the work and the machine are good for.

use crate::{
    k6::options::Options,
    plan::{PlanError, PlannedScenario, Request, plural},
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

/// Workers that can have work, and why not more.
pub(super) struct Useful {
    pub(super) most: u32,
    pub(super) reason: String,
}

impl Useful {
    pub(super) fn of(scenarios: &[PlannedScenario], options: &Options) -> Self {
        // A worker beyond the largest scenario's VUs would have no work in any scenario.
        let useful = scenarios.iter().map(|s| s.max_vus).max().unwrap_or(1).max(1);
        // A share of `rps` must not be 0: k6 takes that for no limit.
        let (useful, reason) = match options.rps() {
            Some(rps) if rps < useful => {
                (rps, format!("the script's rps is {rps}, and less than one request per second cannot be dealt out"))
            }
            _ => (useful, format!("no scenario has more than {} to deal out", plural(useful, "VU"))),
        };
        Self { most: u32::try_from(useful).unwrap_or(u32::MAX).min(MAX_WORKERS), reason }
    }

    /// So many workers as were asked for, or fewer if that is more than can have work.
    pub(super) fn limit(self, wanted: u32) -> Result<(u32, Option<String>), PlanError> {
        match wanted {
            0 => Err(PlanError::NoWorkers),
            n if n > MAX_WORKERS => Err(PlanError::TooManyWorkers(n)),
            n if n > self.most => Ok((self.most, Some(format!("{n} asked for, but {}", self.reason)))),
            n => Ok((n, None)),
        }
    }
}

/// How many workers on this machine.
pub(super) fn on_machine(
    request: &Request,
    scenarios: &[PlannedScenario],
    options: &Options,
    machine: Machine,
) -> Result<(u32, Option<String>), PlanError> {
    let useful = Useful::of(scenarios, options);
    let Workers::Exactly(wanted) = request.workers else {
        let files = machine.open_files.saturating_sub(SPARE_FILES).max(1);
        let vus = request.vus_per_worker.unwrap_or(files).max(1);
        let by_vus = u32::try_from(options.max_vus.div_ceil(vus)).unwrap_or(MAX_WORKERS);
        let n = machine.cores.max(by_vus).max(1);
        let reason = if useful.most < n {
            useful.reason
        } else if by_vus <= machine.cores {
            format!("one per processor ({})", machine.cores)
        } else if request.vus_per_worker.is_some() {
            format!("{} VUs at {vus} a worker (--vus-per-worker)", options.max_vus)
        } else {
            format!("{} VUs at {files} connections a process", options.max_vus)
        };
        return Ok((n.min(useful.most), Some(reason)));
    };
    useful.limit(wanted)
}
