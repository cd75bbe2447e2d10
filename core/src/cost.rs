//! What a run is expected to cost, from list prices and a plan.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Architecture, FargateStack, Plan, Platform, Traffic};

/// Where the prices below are from: AWS's public price pages of this month, for this region. They leave free tiers,
/// discounts and taxes out.
const LIST: &str = "us-east-1 list prices of November 2026";

/// Prices in dollars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Prices {
    /// A GB-second of Lambda on arm64.
    pub lambda_gb_second_arm64: f64,
    /// A GB-second of Lambda on `x86_64`.
    pub lambda_gb_second_x86: f64,
    /// An hour of a processor of Fargate on arm64.
    pub fargate_vcpu_hour_arm64: f64,
    /// An hour of a GB of Fargate on arm64.
    pub fargate_gb_hour_arm64: f64,
    /// An hour of a processor of Fargate on `x86_64`.
    pub fargate_vcpu_hour_x86: f64,
    /// An hour of a GB of Fargate on `x86_64`.
    pub fargate_gb_hour_x86: f64,
    /// What of these prices is paid for Spot capacity. It changes with supply.
    pub fargate_spot_share: f64,
    /// An hour of a public IPv4 address.
    pub public_ipv4_hour: f64,
    /// A million invocations.
    pub lambda_million_requests: f64,
    /// A million objects put into S3.
    pub s3_million_puts: f64,
    /// A million objects read from S3.
    pub s3_million_gets: f64,
    /// A million write units of `DynamoDB`, on demand: 1 kB each.
    pub dynamodb_million_writes: f64,
    /// A million read units of `DynamoDB`, on demand: 4 kB each, or 8 kB that may be a moment old.
    pub dynamodb_million_reads: f64,
    /// A GB taken into `CloudWatch` Logs.
    pub logs_gb: f64,
    /// A GB sent to the internet.
    pub egress_gb: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            lambda_gb_second_arm64: 0.000_013_333_4,
            lambda_gb_second_x86: 0.000_016_666_7,
            fargate_vcpu_hour_arm64: 0.032_38,
            fargate_gb_hour_arm64: 0.003_56,
            fargate_vcpu_hour_x86: 0.040_48,
            fargate_gb_hour_x86: 0.004_445,
            fargate_spot_share: 0.3,
            public_ipv4_hour: 0.005,
            lambda_million_requests: 0.20,
            s3_million_puts: 5.00,
            s3_million_gets: 0.40,
            dynamodb_million_writes: 0.625,
            dynamodb_million_reads: 0.125,
            logs_gb: 0.50,
            egress_gb: 0.09,
        }
    }
}

impl Prices {
    fn source(&self) -> &'static str {
        if *self == Self::default() { LIST } else { "prices of lambdaload.toml" }
    }
}

/// What is taken for granted until a run has shown it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumptions {
    /// HTTP requests per second in all; none guesses from the scenarios.
    pub requests_per_second: Option<f64>,
    /// Bytes sent with each of them.
    pub request_bytes: u64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self { requests_per_second: None, request_bytes: 1_200 }
    }
}

/// What a run is expected to cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// In dollars.
    pub total: f64,
    /// What it is made of.
    pub parts: Vec<Part>,
    /// What it is based on.
    pub traffic: Traffic,
    /// Whether somebody said how many requests there will be.
    pub requests_were_given: bool,
    /// Which prices, for people.
    pub prices: String,
    /// Whether these are list prices of the run's region.
    pub is_regional: bool,
}

/// A part of an estimate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What for.
    pub what: Item,
    /// In dollars.
    pub dollars: f64,
}

/// What costs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Time of workers.
    Workers,
    /// Public addresses of workers.
    Addresses,
    /// Time of the aggregator.
    Aggregator,
    /// Invocations, objects, reads and writes of records.
    Requests,
    /// What workers write into their logs.
    Logs,
    /// What is sent to the target, as if that were not in the same region.
    Egress,
}

/// What a run uses, in the units that are billed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    worker_gb_seconds: f64,
    tasks: Tasks,
    aggregator_gb_seconds: f64,
    invocations: f64,
    puts: f64,
    gets: f64,
    write_units: f64,
    read_units: f64,
    logs_gb: f64,
    egress_gb: f64,
}

/// What workers on Fargate use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tasks {
    vcpu_hours: f64,
    gb_hours: f64,
    address_hours: f64,
    is_spot: bool,
}

/// A task's time before it is ready, in which its image is pulled, is paid; and at least a minute is.
const TASK_START: Duration = Duration::from_secs(45);
const LEAST_TASK: Duration = Duration::from_mins(1);

impl Tasks {
    fn of(plan: &Plan, stack: &FargateStack) -> Self {
        let each = plan.duration.saturating_add(AROUND).saturating_add(TASK_START).max(LEAST_TASK);
        let hours = f64::from(plan.workers) * each.as_secs_f64() / 3_600.0;
        Self {
            vcpu_hours: hours * stack.vcpus(),
            gb_hours: hours * f64::from(stack.memory_mb) / 1_024.0,
            address_hours: if stack.network.public_ip { hours } else { 0.0 },
            is_spot: stack.spot,
        }
    }

    fn dollars(&self, prices: &Prices, architecture: Architecture) -> f64 {
        let (vcpu, gb) = match architecture {
            Architecture::Arm64 => (prices.fargate_vcpu_hour_arm64, prices.fargate_gb_hour_arm64),
            Architecture::X86 => (prices.fargate_vcpu_hour_x86, prices.fargate_gb_hour_x86),
        };
        let share = if self.is_spot { prices.fargate_spot_share } else { 1.0 };
        (self.vcpu_hours * vcpu + self.gb_hours * gb) * share
    }
}

/// Memory of the aggregator, in MB.
const AGGREGATOR_MB: f64 = 1_024.0;

/// A worker's time beside that of the scenarios: its start, waiting for the others, its last words. Minutes of `setup()`
/// and `teardown()` are not known before.
const AROUND: Duration = Duration::from_secs(15);

/// Sizes of records, as units of `DynamoDB`: a worker's is below 1 kB, a run's (which has the plan) below 8 kB.
const WORKER_WRITE: f64 = 1.0;
const RUN_WRITE: f64 = 8.0;
const RUN_READ: f64 = 2.0;
/// Half a unit for each 4 kB that may be a moment old.
const RUN_READ_BY_WORKER: f64 = 1.0;
const WORKER_READ: f64 = 0.5;

/// A worker's claim and its changes of phase.
const WRITES_OF_PHASES: f64 = 6.0;

/// What a worker logs, in GB.
const LOG: f64 = 0.001;

/// Archive and data of `setup()`; closing record.
const GETS_OF_WORKER: f64 = 2.0;
const PUTS_OF_WORKER: f64 = 1.0;

impl Usage {
    fn of(plan: &Plan, traffic: &Traffic) -> Self {
        let memory_mb = plan.platform.lambda().map_or(0, |stack| stack.memory_mb);
        let workers = f64::from(plan.workers);
        // The scenarios may end earlier.
        let seconds = plan.duration.saturating_add(AROUND).as_secs_f64();
        let every = |pause: Duration| seconds / pause.as_secs_f64().max(0.1);
        let (flushes, polls, looks) = (every(plan.pace.flush), every(plan.pace.poll), every(plan.pace.look()));
        Self {
            worker_gb_seconds: workers * f64::from(memory_mb) / 1_024.0 * seconds,
            tasks: plan.platform.fargate().map(|stack| Tasks::of(plan, stack)).unwrap_or_default(),
            aggregator_gb_seconds: AGGREGATOR_MB / 1_024.0 * seconds,
            invocations: workers + 4.0,
            // A chunk with each flush, which the aggregator reads once; it writes the live state with each look and, at its
            // end, more.
            puts: workers * (flushes + PUTS_OF_WORKER) + looks + 5.0,
            gets: workers * (flushes + PUTS_OF_WORKER + GETS_OF_WORKER),
            write_units: workers * (flushes + WRITES_OF_PHASES) * WORKER_WRITE + (flushes + 10.0) * RUN_WRITE,
            read_units: polls * workers * RUN_READ_BY_WORKER + looks * (workers * WORKER_READ + RUN_READ),
            logs_gb: workers * LOG,
            egress_gb: traffic.bytes() / 1e9,
        }
    }

    fn parts(&self, prices: &Prices, architecture: Architecture) -> Vec<Part> {
        let gb_second = match architecture {
            Architecture::Arm64 => prices.lambda_gb_second_arm64,
            Architecture::X86 => prices.lambda_gb_second_x86,
        };
        let millions = self.invocations * prices.lambda_million_requests
            + self.puts * prices.s3_million_puts
            + self.gets * prices.s3_million_gets
            + self.write_units * prices.dynamodb_million_writes
            + self.read_units * prices.dynamodb_million_reads;
        let parts = [
            (Item::Workers, self.worker_gb_seconds * gb_second + self.tasks.dollars(prices, architecture)),
            (Item::Addresses, self.tasks.address_hours * prices.public_ipv4_hour),
            (Item::Aggregator, self.aggregator_gb_seconds * gb_second),
            (Item::Requests, millions / 1e6),
            (Item::Logs, self.logs_gb * prices.logs_gb),
            (Item::Egress, self.egress_gb * prices.egress_gb),
        ];
        parts.into_iter().map(|(what, dollars)| Part { what, dollars }).collect()
    }
}

impl Estimate {
    /// What a plan comes to; none where nothing costs anything.
    pub(crate) fn of(plan: &Plan, assumed: Assumptions, prices: &Prices) -> Option<Self> {
        let (architecture, region) = match &plan.platform {
            Platform::Local => return None,
            Platform::Lambda(stack) => (stack.architecture, &stack.region),
            Platform::Fargate(stack) => (stack.architecture, &stack.region),
        };
        let traffic = Traffic::of(plan, assumed);
        let parts = Usage::of(plan, &traffic).parts(prices, architecture);
        Some(Self {
            total: parts.iter().map(|part| part.dollars).sum(),
            parts,
            traffic,
            requests_were_given: assumed.requests_per_second.is_some(),
            prices: prices.source().to_owned(),
            is_regional: region == "us-east-1" || *prices != Prices::default(),
        })
    }

    /// What this costs, of all.
    pub fn part(&self, what: Item) -> f64 {
        self.parts.iter().filter(|part| part.what == what).map(|part| part.dollars).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        archive::Archive,
        k6::{options::Options, version::K6Version},
        plan::{Host, LambdaStack, Request, Workers},
        testing::stack,
    };

    fn lambda(memory_mb: u32) -> LambdaStack {
        LambdaStack { memory_mb, capacity: 10_000, ..stack::lambda() }
    }

    fn fargate() -> FargateStack {
        FargateStack { capacity: 10_000, ..stack::fargate() }
    }

    fn plan(workers: u32, minutes: u64, host: impl Into<Host>, assumed: Assumptions) -> Plan {
        let vus = workers * 10;
        let json = format!(
            r#"{{"scenarios":{{"s":{{"executor":"constant-vus","vus":{vus},"duration":"{minutes}m","gracefulStop":"0s"}}}},
                "totalDuration":"{minutes}m","maxVUs":{vus}}}"#
        );
        let hash = serde_json::from_str("\"ab\"").expect("a hash");
        let archive = Archive { hash, size: 1, files: 1, filename: "file:///a.js".into() };
        let request =
            Request { script: "a.js".into(), workers: Workers::Exactly(workers), assumed, ..Request::default() };
        let options = Options::parse(json.as_bytes()).expect("reads");
        Plan::new(request, archive, K6Version::new(1, 8, 1), &options, host).expect("plans")
    }

    fn estimate(workers: u32, minutes: u64, memory_mb: u32) -> Estimate {
        plan(workers, minutes, lambda(memory_mb), Assumptions::default()).cost.expect("costs something")
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 0.000_6 * expected.max(1.0), "{found} is not {expected}");
    }

    #[test]
    fn two_hundred_workers_of_two_gigabytes_for_ten_minutes_by_hand() {
        // 200 · 2 GB · 600 s = 240,000 GB-s.
        let usage = Usage { worker_gb_seconds: 240_000.0, ..Usage::default() };
        let workers = |architecture| usage.parts(&Prices::default(), architecture)[0].dollars;
        close(workers(Architecture::X86), 4.00);
        close(workers(Architecture::Arm64), 3.20);

        let estimate = estimate(200, 10, 2_048);
        // With 15 s around: 246,000 GB-s.
        close(estimate.part(Item::Workers), 246_000.0 * 0.000_013_333_4);
        close(estimate.part(Item::Aggregator), 615.0 * 0.000_013_333_4);
        close(estimate.part(Item::Logs), 0.10);
        // 2,000 VUs for 600 s, a request each a second, 1,200 bytes: 1.44 GB.
        close(estimate.traffic.requests, 1_200_000.0);
        close(estimate.part(Item::Egress), 1.44 * 0.09);
        // With a flush of 2 s and a poll of 1 s: 307.5 flushes, 615 polls, as many looks of the aggregator.
        let puts = 200.0 * 308.5 + 620.0;
        let gets = 200.0 * 310.5;
        let writes = 200.0 * 313.5 + 317.5 * 8.0;
        let reads = 615.0 * (200.0 * 1.5 + 2.0);
        let requests = (puts * 5.0 + gets * 0.4 + writes * 0.625 + reads * 0.125 + 204.0 * 0.2) / 1e6;
        close(estimate.part(Item::Requests), requests);
        close(estimate.part(Item::Requests), 0.400_5);
        close(estimate.total, estimate.parts.iter().map(|part| part.dollars).sum());
        assert!((3.90..4.00).contains(&estimate.total), "{}", estimate.total);
    }

    #[test]
    fn two_hundred_tasks_of_one_processor_and_two_gigabytes_for_ten_minutes_by_hand() {
        let hours = 200.0 / 6.0;
        let tasks = Tasks { vcpu_hours: hours, gb_hours: 2.0 * hours, address_hours: hours, is_spot: false };
        let usage = Usage { tasks, ..Usage::default() };
        let part = |usage: &Usage, architecture, item| {
            let parts = usage.parts(&Prices::default(), architecture);
            parts.iter().filter(|part| part.what == item).map(|part| part.dollars).sum::<f64>()
        };
        close(part(&usage, Architecture::X86, Item::Workers), 1.645_7);
        close(part(&usage, Architecture::Arm64, Item::Workers), 1.316_7);
        close(part(&usage, Architecture::Arm64, Item::Addresses), 0.166_7);
        let spot = Usage { tasks: Tasks { is_spot: true, ..tasks }, ..usage };
        close(part(&spot, Architecture::Arm64, Item::Workers), 0.395);
    }

    #[test]
    fn requests_are_what_is_known_of_them() {
        let given = Assumptions { requests_per_second: Some(500.0), request_bytes: 10_000 };
        let cost = plan(10, 1, lambda(2_048), given).cost.expect("costs something");
        assert!(cost.requests_were_given);
        close(cost.traffic.requests, 30_000.0);
        close(cost.part(Item::Egress), 0.3 * 0.09);
        close(cost.traffic.bits_per_second() / 1e6, 40.0);
        assert!(!estimate(10, 1, 2_048).requests_were_given);
    }

    #[test]
    fn prices_are_of_their_source() {
        assert_eq!((estimate(1, 1, 512).prices.as_str(), estimate(1, 1, 512).is_regional), (LIST, true));
        let own = Prices { egress_gb: 0.0, ..Prices::default() };
        let plan = plan(1, 1, lambda(512), Assumptions::default());
        let cost = Estimate::of(&plan, Assumptions::default(), &own).expect("costs something");
        assert_eq!((cost.part(Item::Egress), cost.prices.as_str()), (0.0, "prices of lambdaload.toml"));
    }

    /// Prints the table of BENCHMARKS.md.
    #[test]
    #[expect(clippy::print_stdout, reason = "figures for people")]
    fn cost_grows_in_a_straight_line_with_workers_and_with_minutes() {
        println!(
            "| fleet | workers | minutes | S3 puts | S3 gets | DynamoDB writes | DynamoDB reads | dollars | a worker-minute |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
        let on_lambda = [1, 10, 50, 200, 500, 1_000, 2_000].map(|workers| (Host::from(lambda(2_048)), workers, 10));
        let briefly = [1, 5].map(|minutes| (Host::from(lambda(2_048)), 200, minutes));
        let on_fargate = [(200, 60), (50, 480), (200, 480)];
        let on_fargate = on_fargate.map(|(workers, minutes)| (Host::from(fargate()), workers, minutes));
        let mut of_a_worker_minute = Vec::new();
        for (host, workers, minutes) in on_lambda.into_iter().chain(briefly).chain(on_fargate) {
            let fleet = if matches!(host, Host::Lambda(_)) { "Lambda" } else { "Fargate" };
            let plan = plan(workers, minutes, host, Assumptions::default());
            let cost = plan.cost.clone().expect("costs something");
            let Usage { puts, gets, write_units, read_units, .. } = Usage::of(&plan, &cost.traffic);
            let share = cost.total / f64::from(workers) / minutes as f64;
            println!(
                "| {fleet} | {workers} | {minutes} | {puts:.0} | {gets:.0} | {write_units:.0} | {read_units:.0} | {:.3} | {share:.5} |",
                cost.total
            );
            if workers >= 50 && fleet == "Lambda" {
                of_a_worker_minute.push(share);
            }
        }
        let (least, most) =
            of_a_worker_minute.iter().fold((f64::MAX, 0_f64), |(l, m), share| (l.min(*share), m.max(*share)));
        assert!(most < 2.0 * least, "{of_a_worker_minute:?}");
    }

    proptest! {
        #[test]
        fn more_costs_more(workers in 1_u32..150, minutes in 1_u64..12, memory in 600_u32..5_000) {
            let base = estimate(workers, minutes, memory).total;
            prop_assert!(base > 0.0);
            prop_assert!(estimate(workers + 1, minutes, memory).total > base);
            prop_assert!(estimate(workers, minutes + 1, memory).total > base);
            prop_assert!(estimate(workers, minutes, memory + 1).total > base);
        }
    }
}
