//! Flags that say what a run on a platform may take.

#![expect(clippy::doc_markdown, reason = "the descriptions here are what --help prints")]

use std::time::Duration;

use clap::{Args, ValueEnum};
use lambdaload_core::{k6::options::go_duration, plan::words};
use serde::Deserialize;

/// What a run may take where its workers run.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Where workers run")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct PlatformArgs {
    /// In an account: prints the run's id as JSON and leaves as soon as the run has been started or queued; `lambdaload watch ID`
    /// shows it and exits with its verdict
    #[arg(long)]
    pub(crate) detach: bool,
    /// VUs that a worker may carry, in place of what its memory and file descriptors are thought to be good for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) vus_per_worker: Option<u64>,
    /// How long a run in an account may wait until there is room for its workers; 0 does not wait [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_queue_timeout)]
    pub(crate) queue_timeout: Option<Duration>,
    /// Concurrent executions of the account that a run on lambda leaves to your own functions [default: 100]
    #[arg(long, value_name = "N")]
    pub(crate) reserve_concurrency: Option<u32>,
    /// Processors of a worker on fargate, in units of which 1024 are one [default: 1024]
    #[arg(long, value_name = "UNITS")]
    pub(crate) cpu: Option<u32>,
    /// Memory of a worker on fargate in MB [default: 2048]
    #[arg(long, value_name = "MB")]
    pub(crate) memory: Option<u32>,
    /// Subnets for workers on fargate, separated by commas [default: those of the default VPC]
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) subnet_ids: Vec<String>,
    /// Security groups of workers on fargate, separated by commas [default: the default one of the subnets' VPC]
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) security_group_ids: Vec<String>,
    /// Gives workers on fargate no public address; they need a NAT gateway then
    #[arg(long)]
    pub(crate) no_assign_public_ip: bool,
    /// Runs workers on fargate on Spot capacity, which costs about a third and may be taken away: the verdict says so
    #[arg(long)]
    pub(crate) spot: bool,
    /// Refuses a run that is expected to cost more [env: LAMBDALOAD_MAX_COST]
    #[arg(long, value_name = "DOLLARS", value_parser = parse_dollars)]
    pub(crate) max_cost: Option<f64>,
    /// Asks nothing; without a terminal nothing is asked anyway
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// HTTP requests per second to expect, for costs and bandwidth [default: one for each iteration, and where VUs loop one
    /// for each VU and second]
    #[arg(long, value_name = "N", value_parser = parse_positive)]
    pub(crate) assume_rps: Option<f64>,
    /// Bytes to expect to be sent with each request, for costs and bandwidth [default: 1200]
    #[arg(long, value_name = "BYTES")]
    pub(crate) assume_request_bytes: Option<u64>,
}

/// Where workers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlatformName {
    /// Processes on this machine
    #[default]
    Local,
    /// Lambda invocations of a stack in the user's account
    Lambda,
    /// Tasks on Fargate of a stack in the user's account, for tests that last longer than 13 minutes
    Fargate,
    /// Lambda if the test fits there, else Fargate
    Auto,
}

/// The longest that a run may wait: whoever waits longer has forgotten it.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Reads a time to wait.
pub(crate) fn parse_queue_timeout(text: &str) -> Result<Duration, String> {
    // k6 would take a bare number for milliseconds, which nobody means here.
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    match go_duration::parse(text).filter(|duration| has_unit || duration.is_zero()) {
        Some(duration) if duration > LONGEST_WAIT => Err(format!("expected at most {}", words(LONGEST_WAIT))),
        Some(duration) => Ok(duration),
        None => Err("expected a duration such as 10m, or 0".to_owned()),
    }
}

/// Reads an amount of money.
pub(crate) fn parse_dollars(text: &str) -> Result<f64, &'static str> {
    let dollars = text.trim_start_matches('$').parse().ok().filter(|dollars: &f64| dollars.is_finite());
    dollars.filter(|dollars| *dollars >= 0.0).ok_or("expected dollars, for example 2.50")
}

/// Reads a number above 0.
pub(crate) fn parse_positive(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or("expected a number above 0")
}
