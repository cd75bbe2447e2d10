//! What a Lambda worker can carry, and for how long.

use std::time::Duration;

use crate::{
    deployment::Function,
    ids::WorkerIndex,
    plan::{
        LambdaStack, Plan, PlanError, Platform,
        carrier::{WorkerSize, count_of_vus, rounded},
        most_vus_of_a_worker, plural, words,
    },
    summary::format::grouped,
};

/// File descriptors of an invocation.
const FILES: u64 = 1_024;

/// Below so many connections a VU, one that talks to several hosts may run out of them.
const CONNECTIONS_PER_VU: u64 = 2;

/// How long one invocation may take: Lambda's own limit, and the timeout of the worker function.
pub const INVOCATION: Duration = Function::Worker.timeout();

/// What Lambda, or this stack, cannot do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum LambdaError {
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
         shorten the test or its timeouts, or use --platform fargate, whose workers live for days",
        words(*.lasts), words(*.longest), words(INVOCATION)
    )]
    TooLong { lasts: Duration, longest: Duration, hooks: String },
    #[error(
        "setup() and teardown() may take so long that Lambda leaves no time for the test: {hooks}\n\
         a worker lives {} at most; lower setupTimeout and teardownTimeout, or use --platform fargate",
        words(INVOCATION)
    )]
    NoTime { hooks: String },
}

fn are(workers: u32) -> String {
    let verb = if workers == 1 { "is" } else { "are" };
    format!("{} {verb}", plural(workers.into(), "worker"))
}

impl LambdaStack {
    pub(super) fn check_capacity(&self, workers: u32) -> Result<(), LambdaError> {
        let capacity = self.capacity;
        if workers <= capacity {
            return Ok(());
        }
        Err(LambdaError::BeyondCapacity { workers, capacity, region: self.region.clone() })
    }

    /// What one of its workers has.
    pub(super) fn size(&self) -> WorkerSize {
        WorkerSize {
            files: FILES,
            memory_mb: self.memory_mb,
            vcpus: self.vcpus(),
            capacity: self.capacity,
            more: "(parameter WorkerMemory of the stack)",
        }
    }
}

impl Plan {
    /// Refuses what the run's platform cannot carry, or has not the time for. Plans that come from elsewhere need this
    /// as much as new ones.
    pub fn check(&self) -> Result<(), PlanError> {
        let stack = match &self.platform {
            Platform::Local => return Ok(()),
            Platform::Fargate(stack) => return Ok(stack.check(self)?),
            Platform::Lambda(stack) => stack,
        };
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

    /// What may make a run in an account mean less than a person may think, or cause trouble with AWS.
    pub fn account_warnings(&self) -> Vec<String> {
        let size = match &self.platform {
            Platform::Local => return Vec::new(),
            Platform::Lambda(stack) => stack.size(),
            Platform::Fargate(stack) => stack.size(),
        };
        let workers_k6 = self.k6_version;
        let other_k6 = self
            .archived_by
            .map(|local| format!("the script was read by k6 {local}, and the workers have {workers_k6}"));
        let each = most_vus_of_a_worker(&self.scenarios, self.workers);
        let connections = size.connections();
        let few_connections = (each.saturating_mul(CONNECTIONS_PER_VU) > connections).then(|| {
            format!(
                "{} on a worker share {} connections: too few if a VU talks to several hosts or uses http.batch()",
                count_of_vus(each),
                grouped(connections)
            )
        });
        let rate = self.worker_rate(WorkerIndex::FIRST).filter(|rate| *rate > size.rate()).map(|rate| {
            let (rate, good, vcpus) = (rounded(rate), rounded(size.rate()), size.vcpus);
            format!(
                "a worker would start {rate} iterations/s, and {vcpus:.2} vCPU are good for about {good}: take more workers"
            )
        });
        let spot = self.platform.is_spot().then(|| {
            "AWS may take Spot capacity back at any time with two minutes' notice: a worker that is taken makes the \
             measurement invalid, unless --min-workers bears it"
                .to_owned()
        });
        let traffic = self.cost.as_ref().map(|cost| cost.traffic.warnings(self.workers));
        let all = [other_k6, few_connections, rate, spot].into_iter().flatten();
        all.chain(traffic.into_iter().flatten()).collect()
    }
}

#[cfg(test)]
mod tests;
