//! What a worker on Fargate can carry, and for how long.

use std::time::Duration;

use crate::{
    plan::{FargateStack, Plan, carrier::WorkerSize, plural, words},
    summary::format::grouped,
};

/// How long a worker may live. Fargate itself sets no limit, but a run without an end is a mistake, and AWS retires what
/// tasks run on from time to time.
pub const LONGEST_LIFE: Duration = Duration::from_hours(7 * 24);

/// Tasks that a launcher can start while it lives: AWS takes a hundred at once and twenty a second then.
pub const MAX_TASKS: u32 = 1_500;

/// A worker's processors and memory, unless others are asked for.
pub const DEFAULT_SIZE: (u32, u32) = (1_024, 2_048);

/// File descriptors of a task, which the task definition sets.
pub const FILES: u64 = 65_535;

/// Processors of a task, in units of 1/1024, and the memory that Fargate has for them in MB: from, to, in steps of. The
/// smallest has half a GB as well.
const SIZES: [(u32, u32, u32, u32); 7] = [
    (256, 1_024, 2_048, 1_024),
    (512, 1_024, 4_096, 1_024),
    (1_024, 2_048, 8_192, 1_024),
    (2_048, 4_096, 16_384, 1_024),
    (4_096, 8_192, 30_720, 1_024),
    (8_192, 16_384, 61_440, 4_096),
    (16_384, 32_768, 122_880, 8_192),
];

/// What Fargate, or this stack, cannot do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FargateError {
    #[error(
        "--cpu {cpu}: Fargate has {}\n\
         1024 is one processor",
        SIZES.map(|(cpu, ..)| cpu.to_string()).join(", ")
    )]
    Cpu { cpu: u32 },
    #[error(
        "--memory {memory}: with --cpu {cpu} Fargate has {from} to {to} MB, in steps of {step}\n\
         more processors have more memory"
    )]
    Memory { cpu: u32, memory: u32, from: u32, to: u32, step: u32 },
    #[error(
        "{} asked for, and this stack may have {} on Fargate at one time\n\
         deploy it with a larger capacity: `sam deploy --parameter-overrides FargateCapacity={workers}`\n\
         the account's quota of vCPUs in {region} must be large enough for that; AWS raises it on request (Service Quotas, \
         AWS Fargate, {})",
        plural((*.workers).into(), "worker"), grouped((*.capacity).into()), quota(*.spot)
    )]
    BeyondCapacity { workers: u32, capacity: u32, region: String, spot: bool },
    #[error(
        "the scenarios may last {}, and with all that may come before and after them a worker would live longer than {}\n\
         shorten the test",
        words(*.lasts), words(LONGEST_LIFE)
    )]
    TooLong { lasts: Duration },
    #[error(
        "tasks need a subnet, and none was named or found\n\
         name some with --subnet-ids; those of a default VPC are found if there is one, which takes ec2:DescribeSubnets"
    )]
    NoSubnets,
}

/// The account's quota that limits tasks, by name and code in Service Quotas.
pub fn quota(spot: bool) -> &'static str {
    if spot {
        "Fargate Spot vCPU resource count, L-36FBB829"
    } else {
        "Fargate On-Demand vCPU resource count, L-3032A538"
    }
}

impl FargateStack {
    /// What one of its workers has.
    pub(super) fn size(&self) -> WorkerSize {
        WorkerSize {
            files: FILES,
            memory_mb: self.memory_mb,
            vcpus: self.vcpus(),
            capacity: self.capacity,
            more: "(--cpu and --memory)",
        }
    }

    /// Refuses a size that Fargate does not have.
    pub(super) fn check_size(&self) -> Result<(), FargateError> {
        let (cpu, memory) = (self.cpu, self.memory_mb);
        let Some((_, from, to, step)) = SIZES.into_iter().find(|(size, ..)| *size == cpu) else {
            return Err(FargateError::Cpu { cpu });
        };
        let is_smallest = cpu == 256 && memory == 512;
        if is_smallest || (from..=to).contains(&memory) && (memory - from).is_multiple_of(step) {
            return Ok(());
        }
        Err(FargateError::Memory { cpu, memory, from, to, step })
    }

    /// Refuses a plan that cannot be run on it.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), FargateError> {
        self.check_size()?;
        let (workers, capacity) = (plan.workers, self.capacity);
        if workers > capacity {
            let (region, spot) = (self.region.clone(), self.spot);
            return Err(FargateError::BeyondCapacity { workers, capacity, region, spot });
        }
        if self.network.subnets.is_empty() {
            return Err(FargateError::NoSubnets);
        }
        if plan.worker_life() > LONGEST_LIFE {
            return Err(FargateError::TooLong { lasts: plan.duration });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        archive::Archive,
        k6::{options::Options, version::K6Version},
        plan::{Host, LambdaStack, Network, PlanError, Platform, Request, Workers},
        testing::stack::{self, fargate as stack},
    };

    fn lambda() -> LambdaStack {
        LambdaStack { capacity: 10, ..stack::lambda() }
    }

    fn plan(host: impl Into<Host>, vus: u32, minutes: u64, workers: Workers) -> Result<Plan, PlanError> {
        let json = format!(
            r#"{{"scenarios":{{"s":{{"executor":"constant-vus","vus":{vus},"duration":"{minutes}m","gracefulStop":"0s"}}}},
                "totalDuration":"{minutes}m","maxVUs":{vus}}}"#
        );
        let hash = serde_json::from_str("\"ab\"").expect("a hash");
        let archive = Archive { hash, size: 1, files: 1, filename: "file:///a.js".into() };
        let request = Request { script: "a.js".into(), workers, ..Request::default() };
        let options = Options::parse(json.as_bytes()).expect("reads");
        Plan::decide(request, archive, K6Version::new(1, 8, 1), &options, (true, true), host.into())
    }

    #[test]
    fn hours_fit_and_weeks_do_not() {
        let day = plan(stack(), 100, 24 * 60, Workers::Exactly(4)).expect("plans");
        assert!(day.worker_life() > Duration::from_hours(24) && day.longest().is_none());
        assert_eq!(day.deadlines.launch, Duration::from_mins(5));
        let error = plan(stack(), 100, 7 * 24 * 60, Workers::Exactly(4)).expect_err("too long").to_string();
        assert!(error.starts_with("the scenarios may last 168h, and with all that may come"), "{error}");
    }

    #[test]
    fn sizes_are_those_that_fargate_has() {
        let with = |cpu, memory_mb| FargateStack { cpu, memory_mb, ..stack() }.check_size();
        for (cpu, memory) in
            [(256, 512), (256, 2_048), (1_024, 8_192), (4_096, 30_720), (8_192, 20_480), (16_384, 122_880)]
        {
            assert_eq!(with(cpu, memory), Ok(()), "{cpu} {memory}");
        }
        for (cpu, memory) in [(256, 4_096), (1_024, 1_024), (1_024, 2_500), (8_192, 17_408), (1_000, 2_048)] {
            assert!(with(cpu, memory).is_err(), "{cpu} {memory}");
        }
        assert_eq!(
            with(1_024, 512).expect_err("refused").to_string(),
            "--memory 512: with --cpu 1024 Fargate has 2048 to 8192 MB, in steps of 1024\nmore processors have more memory"
        );
        assert!(with(1, 512).expect_err("refused").to_string().contains("256, 512, 1024, 2048, 4096, 8192, 16384"));
    }

    #[test]
    fn what_a_task_carries_is_bound_by_memory() {
        // 2,048 MB less a tenth and 151, at 5 each.
        let auto = plan(stack(), 1_000, 60, Workers::Auto).expect("plans");
        assert_eq!(auto.workers, 3);
        assert!(auto.workers_reason.is_some_and(|why| why.contains("338 per worker (memory ")));
        let more = plan(FargateStack { cpu: 4_096, memory_mb: 30_720, ..stack() }, 1_000, 60, Workers::Auto);
        assert_eq!(more.expect("plans").workers, 1);
        let error = plan(stack(), 1_000, 60, Workers::Exactly(2)).expect_err("too few").to_string();
        assert!(error.contains("use --workers 3 or more, or give workers more memory (--cpu and --memory)"), "{error}");
    }

    #[test]
    fn capacity_and_subnets_are_looked_at() {
        let error = plan(stack(), 100, 1, Workers::Exactly(51)).expect_err("too many").to_string();
        assert!(
            error.starts_with("51 workers asked for, and this stack may have 50 on Fargate at one time"),
            "{error}"
        );
        assert!(error.contains("FargateCapacity=51") && error.contains("L-3032A538"), "{error}");
        let nowhere = FargateStack { network: Network::default(), ..stack() };
        let error = plan(nowhere, 1, 1, Workers::Exactly(1)).expect_err("nowhere");
        assert!(matches!(error, PlanError::Fargate(FargateError::NoSubnets)), "{error}");
    }

    #[test]
    fn lambda_is_chosen_for_what_fits_there_and_the_reason_is_told() {
        let either = |minutes, workers| plan(Host::Either(lambda(), stack()), 100, minutes, Workers::Exactly(workers));
        let short = either(5, 4).expect("plans");
        assert!(matches!(short.platform, Platform::Lambda(_)));
        let reason = short.platform_reason.expect("a reason");
        assert!(reason.starts_with("it lasts 5m at most, and Lambda allows "), "{reason}");
        let long = either(60, 4).expect("plans");
        assert!(matches!(long.platform, Platform::Fargate(_)));
        let reason = long.platform_reason.expect("a reason");
        assert!(reason.starts_with("not on lambda: the scenarios may last 1h, graceful stops"), "{reason}");
        let large = either(5, 20).expect("plans");
        assert!(matches!(large.platform, Platform::Fargate(_)));
        // What fits nowhere is explained for where it would have to be.
        let error = either(60, 60).expect_err("refused");
        assert!(matches!(error, PlanError::Fargate(FargateError::BeyondCapacity { .. })), "{error}");
    }

    #[test]
    fn spot_says_what_it_means() {
        let spot = plan(FargateStack { spot: true, ..stack() }, 10, 60, Workers::Exactly(2)).expect("plans");
        assert!(spot.platform.is_spot());
        assert!(spot.account_warnings().iter().any(|warning| warning.starts_with("AWS may take Spot capacity back")));
        let usual = plan(stack(), 10, 60, Workers::Exactly(2)).expect("plans");
        assert!(usual.account_warnings().is_empty(), "{:?}", usual.account_warnings());
        let (spot, usual) = (spot.cost.expect("costs").total, usual.cost.expect("costs").total);
        assert!(spot < usual, "{spot} {usual}");
    }
}
