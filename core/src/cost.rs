//! What a run is expected to cost, from list prices and a plan.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Architecture, Plan, Traffic};

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
    aggregator_gb_seconds: f64,
    invocations: f64,
    puts: f64,
    gets: f64,
    write_units: f64,
    read_units: f64,
    logs_gb: f64,
    egress_gb: f64,
}

/// Memory of the aggregator, in MB.
const AGGREGATOR_MB: f64 = 1_024.0;

/// A worker's time beside that of the scenarios: its start, waiting for the others, its last words. Minutes of `setup()`
/// and `teardown()` are not known before.
const AROUND: Duration = Duration::from_secs(15);

/// Sizes of records, as units of `DynamoDB`: a worker's is below 2 kB, a run's (which has the plan) below 8 kB.
const WORKER_WRITE: f64 = 2.0;
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
    fn of(plan: &Plan, memory_mb: u32, traffic: &Traffic) -> Self {
        let workers = f64::from(plan.workers);
        // The scenarios may end earlier.
        let seconds = (plan.duration + AROUND).as_secs_f64();
        let (flushes, polls) =
            (seconds / plan.pace.flush.as_secs_f64().max(0.1), seconds / plan.pace.poll.as_secs_f64().max(0.1));
        Self {
            worker_gb_seconds: workers * f64::from(memory_mb) / 1_024.0 * seconds,
            aggregator_gb_seconds: AGGREGATOR_MB / 1_024.0 * seconds,
            invocations: workers + 4.0,
            // A chunk with each flush, which the aggregator reads once; it writes the live state and, at its end, more.
            puts: workers * (flushes + PUTS_OF_WORKER) + flushes + 5.0,
            gets: workers * (flushes + PUTS_OF_WORKER + GETS_OF_WORKER),
            write_units: workers * (flushes + WRITES_OF_PHASES) * WORKER_WRITE + (flushes + 10.0) * RUN_WRITE,
            read_units: polls * (workers * (RUN_READ_BY_WORKER + WORKER_READ) + RUN_READ),
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
            (Item::Workers, self.worker_gb_seconds * gb_second),
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
        let stack = plan.platform.lambda()?;
        let traffic = Traffic::of(plan, assumed);
        let parts = Usage::of(plan, stack.memory_mb, &traffic).parts(prices, stack.architecture);
        Some(Self {
            total: parts.iter().map(|part| part.dollars).sum(),
            parts,
            traffic,
            requests_were_given: assumed.requests_per_second.is_some(),
            prices: prices.source().to_owned(),
            is_regional: stack.region == "us-east-1" || *prices != Prices::default(),
        })
    }

    /// What this costs, of all.
    pub fn part(&self, what: Item) -> f64 {
        self.parts.iter().filter(|part| part.what == what).map(|part| part.dollars).sum()
    }
}
