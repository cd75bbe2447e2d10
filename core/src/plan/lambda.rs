//! What a Lambda worker can carry, and for how long.

use std::time::Duration;

use crate::{
    archive::Archive,
    deployment::Function,
    ids::WorkerIndex,
    k6::{options::Options, version::K6Version},
    plan::{
        LambdaStack, Plan, PlanError, PlannedScenario, Request, Workers, load, most_vus_of_a_worker, plural, words,
        workers::Useful,
    },
    segment::Segment,
    summary::format::grouped,
};

/// How long one invocation may take: Lambda's own limit, and the timeout of the worker function.
pub const INVOCATION: Duration = Function::Worker.timeout();

/// File descriptors of an invocation.
const FILES: u64 = 1_024;

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

/// Below so many connections a VU, one that talks to several hosts may run out of them.
const CONNECTIONS_PER_VU: u64 = 2;

/// What Lambda, or this stack, cannot do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LambdaError {
    #[error(
        "--workers {workers} would put {} on each worker, and one carries {}: {why}\n\
         use --workers {least} or more, or give workers more memory (parameter WorkerMemory of the stack)\n\
         --vus-per-worker N overrides the estimate",
        count_of_vus(*.vus), grouped(*.carries)
    )]
    Overloaded { workers: u32, vus: u64, carries: u64, why: String, least: u32 },
    #[error(
        "each worker would have {} at least, and one carries {}: {why}\n\
         the work cannot be dealt out to more than {}: {reason}\n\
         give workers more memory (parameter WorkerMemory of the stack), or override the estimate with --vus-per-worker N",
        count_of_vus(*.vus), grouped(*.carries), plural((*.most).into(), "worker")
    )]
    TooHeavy { vus: u64, carries: u64, why: String, most: u32, reason: String },
    #[error(
        "{} needed, and this stack may have {} at one time\n\
         deploy it with a larger capacity: `sam deploy --parameter-overrides WorkerCapacity={workers}`\n\
         the account's quota of concurrent executions in {region} must be larger than that; AWS raises it on request \
         (Service Quotas, AWS Lambda, Concurrent executions, L-B99A9384)",
        are(*.workers), grouped((*.capacity).into())
    )]
    BeyondCapacity { workers: u32, capacity: u32, region: String },
    #[error(
        "the scenarios may last {}, graceful stops included, and Lambda allows {} for them\n\
         a worker lives {} at most; starting it, {hooks}, stopping and uploading take the rest\n\
         shorten the test or its timeouts, or use --platform local (Fargate workers, which live for hours, are yet to come)",
        words(*.lasts), words(*.longest), words(INVOCATION)
    )]
    TooLong { lasts: Duration, longest: Duration, hooks: String },
    #[error(
        "setup() and teardown() may take so long that Lambda leaves no time for the test: {hooks}\n\
         a worker lives {} at most; lower setupTimeout and teardownTimeout, or use --platform local",
        words(INVOCATION)
    )]
    NoTime { hooks: String },
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

fn count_of_vus(count: u64) -> String {
    format!("{} VU{}", grouped(count), if count == 1 { "" } else { "s" })
}

pub(super) fn rounded(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    grouped(number.round() as u64)
}

fn are(workers: u32) -> String {
    let verb = if workers == 1 { "is" } else { "are" };
    format!("{} {verb}", plural(workers.into(), "worker"))
}

impl LambdaStack {
    /// Refuses a k6 that has made an archive which the stack's may not understand.
    pub(super) fn check_k6(&self, local: K6Version) -> Result<(), LambdaError> {
        let stack = self.k6_version;
        if local.major != stack.major {
            Err(LambdaError::OtherK6 { local, stack })
        } else if local.minor > stack.minor {
            Err(LambdaError::NewerK6 { local, stack })
        } else {
            Ok(())
        }
    }

    fn check_capacity(&self, workers: u32) -> Result<(), LambdaError> {
        let capacity = self.capacity;
        if workers <= capacity {
            return Ok(());
        }
        Err(LambdaError::BeyondCapacity { workers, capacity, region: self.region.clone() })
    }

    /// Iterations per second that a worker can start, as an estimate.
    fn rate(&self) -> f64 {
        self.vcpus() * RATE_PER_VCPU
    }
}

/// What a worker carries, and why.
struct Carried {
    vus: u64,
    why: String,
}

impl Carried {
    fn of(stack: &LambdaStack, archive: &Archive, vus_per_worker: Option<u64>) -> Self {
        if let Some(vus) = vus_per_worker {
            return Self { vus, why: "--vus-per-worker".to_owned() };
        }
        let by_files = FILES - SPARE_FILES;
        let base = BASE_MB + archive.size.saturating_mul(ARCHIVE_COPIES).div_ceil(1_000_000);
        let memory = u64::from(stack.memory_mb);
        let by_memory = (memory * 9 / 10).saturating_sub(base) / MB_PER_VU;
        let vus = by_files.min(by_memory).max(1);
        let files = format!("file descriptors {} of {}", grouped(vus + SPARE_FILES), grouped(FILES));
        let megabytes = format!("memory {} of {} MB", grouped(base + vus * MB_PER_VU), grouped(memory));
        let why = if by_memory < by_files { [megabytes, files] } else { [files, megabytes] };
        Self { vus, why: why.join("; ") }
    }
}

/// How many workers on Lambda, and why where that was not simply asked for.
pub(super) fn workers(
    request: &Request,
    scenarios: &[PlannedScenario],
    options: &Options,
    archive: &Archive,
    stack: &LambdaStack,
) -> Result<(u32, Option<String>), PlanError> {
    let useful = Useful::of(scenarios, options);
    let one = Carried::of(stack, archive, request.vus_per_worker);
    let vus_with = |workers| Segment::new(WorkerIndex::FIRST, workers).map_or(0, |s| load::most_vus(scenarios, s));
    let all = vus_with(1);
    let first_guess = u32::try_from(all.div_ceil(one.vus.max(1))).unwrap_or(u32::MAX).max(1);
    let least = (first_guess.min(useful.most)..=useful.most).find(|n| vus_with(*n) <= one.vus);
    let Some(least) = least else {
        let (Useful { most, reason }, Carried { vus: carries, why }) = (useful, one);
        return Err(LambdaError::TooHeavy { vus: vus_with(most), carries, why, most, reason }.into());
    };
    let (workers, reason) = match request.workers {
        Workers::Exactly(wanted) => {
            let (workers, reason) = useful.limit(wanted)?;
            if workers < least {
                let (vus, Carried { vus: carries, why }) = (vus_with(workers), one);
                return Err(LambdaError::Overloaded { workers, vus, carries, why, least }.into());
            }
            (workers, reason)
        }
        Workers::Auto => {
            let rate = load::most_rate(scenarios, Segment::WHOLE).unwrap_or(0.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
            let by_rate = (rate / stack.rate()).ceil() as u32;
            // More than there is room for is no reason to refuse: it is a guess, of which the plan warns.
            let by_rate = by_rate.min(stack.capacity).min(useful.most);
            if by_rate > least {
                let (rate, each, vcpus) = (rounded(rate), rounded(stack.rate()), stack.vcpus());
                let memory = grouped(stack.memory_mb.into());
                let why = format!("{rate} iterations/s ÷ {each} per worker ({vcpus:.2} vCPU at {memory} MB)");
                (by_rate, Some(why))
            } else {
                let why = format!("{} ÷ {} per worker ({})", count_of_vus(all), grouped(one.vus), one.why);
                (least, Some(why))
            }
        }
    };
    stack.check_capacity(workers)?;
    Ok((workers, reason))
}

impl Plan {
    /// Refuses what the run's platform cannot carry, or has not the time for. Plans that come from elsewhere need this
    /// as much as new ones.
    pub fn check(&self) -> Result<(), PlanError> {
        let Some(stack) = self.platform.lambda() else { return Ok(()) };
        stack.check_capacity(self.workers)?;
        if self.worker_life() <= INVOCATION {
            return Ok(());
        }
        let (setup, teardown) = (words(self.deadlines.setup), words(self.deadlines.teardown));
        let hooks = format!("setup() ({setup}) and teardown() ({teardown})");
        Err(match self.longest() {
            Some(longest) if !longest.is_zero() => LambdaError::TooLong { lasts: self.duration, longest, hooks }.into(),
            _ => LambdaError::NoTime { hooks }.into(),
        })
    }

    /// What may make a run on Lambda mean less than a person may think, or cause trouble with AWS.
    pub fn lambda_warnings(&self) -> Vec<String> {
        let Some(stack) = self.platform.lambda() else { return Vec::new() };
        let other_k6 = self
            .archived_by
            .map(|local| format!("the script was read by k6 {local}, and the workers have {}", stack.k6_version));
        let each = most_vus_of_a_worker(&self.scenarios, self.workers);
        let few_connections = (each.saturating_mul(CONNECTIONS_PER_VU) > FILES - SPARE_FILES).then(|| {
            format!(
                "{} on a worker share {} connections: too few if a VU talks to several hosts or uses http.batch()",
                count_of_vus(each),
                grouped(FILES - SPARE_FILES)
            )
        });
        let rate = self.worker_rate(WorkerIndex::FIRST).filter(|rate| *rate > stack.rate()).map(|rate| {
            let (rate, good, vcpus) = (rounded(rate), rounded(stack.rate()), stack.vcpus());
            format!(
                "a worker would start {rate} iterations/s, and {vcpus:.2} vCPU are good for about {good}: take more workers"
            )
        });
        let traffic = self.cost.as_ref().map(|cost| cost.traffic.warnings(self.workers));
        let all = [other_k6, few_connections, rate].into_iter().flatten();
        all.chain(traffic.into_iter().flatten()).collect()
    }
}

#[cfg(test)]
mod tests;
