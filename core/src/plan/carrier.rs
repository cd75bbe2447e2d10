//! What one worker in an account carries, and how many workers a test needs for that.

use crate::{
    archive::Archive,
    ids::WorkerIndex,
    k6::{options::Options, version::K6Version},
    plan::{PlanError, PlannedScenario, Request, Workers, load, plural, workers::Useful},
    segment::Segment,
    summary::format::grouped,
};

/// Those that are no connections of VUs: k6's own and the worker's, which were seen to be below 40.
const SPARE_FILES: u64 = 124;

/// Estimates of memory, in MB. k6 was seen to take 41 by itself and a third of one for each VU of a script of three lines;
/// its makers speak of 1 to 5 for each VU of a simple script, and mind 10 % to be left free.
const BASE_MB: u64 = 150;
const MB_PER_VU: u64 = 5;

/// Copies of the archive: the worker's, one with variables, k6's.
const ARCHIVE_COPIES: u64 = 3;

/// Iterations per second, each of one HTTP request, that one processor starts. k6 takes 0.1 ms for a request to a server
/// nearby without TLS; a script of substance takes several times that, and a fifth is left free.
const RATE_PER_VCPU: f64 = 2_000.0;

/// What workers cannot carry.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CarrierError {
    #[error(
        "--workers {workers} would put {} on each worker, and one carries {}: {why}\n\
         use --workers {least} or more, or give workers more memory {more}\n\
         --vus-per-worker N overrides the estimate",
        count_of_vus(*.vus), grouped(*.carries)
    )]
    Overloaded { workers: u32, vus: u64, carries: u64, why: String, least: u32, more: &'static str },
    #[error(
        "each worker would have {} at least, and one carries {}: {why}\n\
         the work cannot be dealt out to more than {}: {reason}\n\
         give workers more memory {more}, or override the estimate with --vus-per-worker N",
        count_of_vus(*.vus), grouped(*.carries), plural((*.most).into(), "worker")
    )]
    TooHeavy { vus: u64, carries: u64, why: String, most: u32, reason: String, more: &'static str },
    #[error(
        "the script was read by k6 {local}, and the workers of this stack have {stack}, which may not know all of it\n\
         use k6 {stack} here (--k6 PATH), or deploy the stack with k6 {local}"
    )]
    NewerK6 { local: K6Version, stack: K6Version },
    #[error(
        "the script was read by k6 {local}, and the workers of this stack have {stack}: their major versions differ\n\
         use k6 {stack} here (--k6 PATH), or deploy the stack with k6 {local}"
    )]
    OtherK6 { local: K6Version, stack: K6Version },
}

pub(super) fn count_of_vus(count: u64) -> String {
    format!("{} VU{}", grouped(count), if count == 1 { "" } else { "s" })
}

pub(super) fn rounded(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    grouped(number.round() as u64)
}

/// Refuses a k6 that has made an archive which the stack's may not understand.
pub(super) fn check_k6(local: K6Version, stack: K6Version) -> Result<(), CarrierError> {
    if local.major != stack.major {
        Err(CarrierError::OtherK6 { local, stack })
    } else if local.minor > stack.minor {
        Err(CarrierError::NewerK6 { local, stack })
    } else {
        Ok(())
    }
}

/// What one worker has.
pub(super) struct WorkerSize {
    /// File descriptors.
    pub(super) files: u64,
    pub(super) memory_mb: u32,
    pub(super) vcpus: f64,
    /// Workers at one time, in all runs.
    pub(super) capacity: u32,
    /// How it is given more memory.
    pub(super) more: &'static str,
}

impl WorkerSize {
    /// Connections of VUs.
    pub(super) fn connections(&self) -> u64 {
        self.files.saturating_sub(SPARE_FILES)
    }

    /// Iterations per second that it can start, as an estimate.
    pub(super) fn rate(&self) -> f64 {
        self.vcpus * RATE_PER_VCPU
    }
}

/// What a worker carries, and why.
pub(super) struct Carried {
    pub(super) vus: u64,
    why: String,
}

impl Carried {
    pub(super) fn of(size: &WorkerSize, archive: &Archive, vus_per_worker: Option<u64>) -> Self {
        if let Some(vus) = vus_per_worker {
            return Self { vus, why: "--vus-per-worker".to_owned() };
        }
        let by_files = size.connections();
        let base = BASE_MB + archive.size.saturating_mul(ARCHIVE_COPIES).div_ceil(1_000_000);
        let memory = u64::from(size.memory_mb);
        let by_memory = (memory * 9 / 10).saturating_sub(base) / MB_PER_VU;
        let vus = by_files.min(by_memory).max(1);
        let files = format!("file descriptors {} of {}", grouped(vus + SPARE_FILES), grouped(size.files));
        let megabytes = format!("memory {} of {} MB", grouped(base + vus * MB_PER_VU), grouped(memory));
        let why = if by_memory < by_files { [megabytes, files] } else { [files, megabytes] };
        Self { vus, why: why.join("; ") }
    }
}

/// How many workers of this size, and why where that was not simply asked for.
pub(super) fn workers(
    request: &Request,
    scenarios: &[PlannedScenario],
    options: &Options,
    archive: &Archive,
    size: &WorkerSize,
) -> Result<(u32, Option<String>), PlanError> {
    let useful = Useful::of(scenarios, options);
    let one = Carried::of(size, archive, request.vus_per_worker);
    let vus_with = |workers| Segment::new(WorkerIndex::FIRST, workers).map_or(0, |s| load::most_vus(scenarios, s));
    let all = vus_with(1);
    let first_guess = u32::try_from(all.div_ceil(one.vus.max(1))).unwrap_or(u32::MAX).max(1);
    let least = (first_guess.min(useful.most)..=useful.most).find(|n| vus_with(*n) <= one.vus);
    let more = size.more;
    let Some(least) = least else {
        let (Useful { most, reason }, Carried { vus: carries, why }) = (useful, one);
        return Err(CarrierError::TooHeavy { vus: vus_with(most), carries, why, most, reason, more }.into());
    };
    match request.workers {
        Workers::Exactly(wanted) => {
            let (workers, reason) = useful.limit(wanted)?;
            if workers < least {
                let (vus, Carried { vus: carries, why }) = (vus_with(workers), one);
                return Err(CarrierError::Overloaded { workers, vus, carries, why, least, more }.into());
            }
            Ok((workers, reason))
        }
        Workers::Auto => {
            let rate = load::most_rate(scenarios, Segment::WHOLE).unwrap_or(0.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
            let by_rate = (rate / size.rate()).ceil() as u32;
            // More than there is room for is no reason to refuse: it is a guess, of which the plan warns.
            let by_rate = by_rate.min(size.capacity).min(useful.most);
            Ok(if by_rate > least {
                let (rate, each, vcpus) = (rounded(rate), rounded(size.rate()), size.vcpus);
                let memory = grouped(size.memory_mb.into());
                let why = format!("{rate} iterations/s ÷ {each} per worker ({vcpus:.2} vCPU at {memory} MB)");
                (by_rate, Some(why))
            } else {
                let why = format!("{} ÷ {} per worker ({})", count_of_vus(all), grouped(one.vus), one.why);
                (least, Some(why))
            })
        }
    }
}
