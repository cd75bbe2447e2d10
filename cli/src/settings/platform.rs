//! Where workers run, and what that may take: flags over environment over file.

use std::{num::NonZeroU64, time::Duration};

use lambdaload_core::{
    cost::{Assumptions, Prices},
    plan::{DEFAULT_TASK_SIZE, Network},
};

use super::{Sources, environment, not_valid_variable};
use crate::{
    error::Failure,
    platform_args::{PlatformArgs, parse_dollars},
};

/// How long a run waits for room.
const QUEUE_TIMEOUT: Duration = Duration::from_mins(10);

/// Concurrent executions that are left to the user's own functions.
const RESERVE: u32 = 100;

/// Where workers run, and what that may take.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlatformSettings {
    /// Whether the command leaves as soon as the run has been started.
    pub(crate) detach: bool,
    /// VUs that a worker may carry; none is what is thought of it.
    pub(crate) vus_per_worker: Option<u64>,
    /// How long a run may wait for room.
    pub(crate) queue_timeout: Duration,
    /// Concurrent executions that are left to the user's own functions.
    pub(crate) reserve_concurrency: u32,
    /// What workers on Fargate are to have.
    pub(crate) tasks: TaskSettings,
    /// Dollars that a run may be expected to cost.
    pub(crate) max_cost: Option<f64>,
    /// Whether nothing is asked.
    pub(crate) yes: bool,
    /// What to expect of the test.
    pub(crate) assumed: Assumptions,
    /// What things cost.
    pub(crate) prices: Prices,
}

/// What workers on Fargate are to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskSettings {
    /// Processors, in units of 1/1024.
    pub(crate) cpu: u32,
    /// Memory in MB.
    pub(crate) memory: u32,
    /// Where they are in the network; without subnets, in the default VPC.
    pub(crate) network: Network,
    /// Whether they are on Spot capacity.
    pub(crate) spot: bool,
}

impl Sources {
    /// Where workers run, and what that may take.
    pub(super) fn platform(&mut self, args: &PlatformArgs) -> Result<PlatformSettings, Failure> {
        let of_environment = || {
            let text = self.environment.get(environment::MAX_COST)?;
            Some(parse_dollars(text).map_err(|expected| not_valid_variable(environment::MAX_COST, text, expected)))
        };
        let max_cost = args.max_cost.map(Ok).or_else(of_environment).transpose()?;
        let (file, usual) = (&mut self.file, Assumptions::default());
        let (cpu, memory) = DEFAULT_TASK_SIZE;
        let of_either = |flag: &[String], file: &[String]| if flag.is_empty() { file } else { flag }.to_vec();
        let tasks = TaskSettings {
            cpu: args.cpu.or(file.cpu).unwrap_or(cpu),
            memory: args.memory.or(file.memory).unwrap_or(memory),
            network: Network {
                subnets: of_either(&args.subnet_ids, &file.subnet_ids),
                security_groups: of_either(&args.security_group_ids, &file.security_group_ids),
                public_ip: !args.no_assign_public_ip && file.assign_public_ip.unwrap_or(true),
            },
            spot: args.spot || file.spot,
        };
        Ok(PlatformSettings {
            detach: args.detach,
            vus_per_worker: args.vus_per_worker.or(file.vus_per_worker.map(NonZeroU64::get)),
            queue_timeout: args.queue_timeout.or(file.queue_timeout).unwrap_or(QUEUE_TIMEOUT),
            reserve_concurrency: args.reserve_concurrency.or(file.reserve_concurrency).unwrap_or(RESERVE),
            tasks,
            max_cost: max_cost.or(file.max_cost),
            yes: args.yes || file.yes,
            assumed: Assumptions {
                requests_per_second: args.assume_rps.or(file.assume_rps),
                request_bytes: args.assume_request_bytes.or(file.assume_request_bytes).unwrap_or(usual.request_bytes),
            },
            prices: std::mem::take(&mut file.prices),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{
        args::{Command, CommandLine, TestArgs},
        settings::{FileSettings, environment::Environment},
    };

    fn settings(variables: [(&str, &str); 2], file: &str, args: PlatformArgs) -> Result<PlatformSettings, Failure> {
        let sources = Sources { environment: Environment::from(variables), file: FileSettings::parse(file)? };
        Ok(sources.test(TestArgs { platform: args, ..TestArgs::default() })?.platform)
    }

    const NOTHING: [(&str, &str); 2] = [("LAMBDALOAD_PLATFORM", ""), ("LAMBDALOAD_MAX_COST", "")];
    const FILE: &str = "platform = \"lambda\"\nmax-cost = 2\nqueue-timeout = \"90s\"\nreserve-concurrency = 5\n\
        vus-per-worker = 7\nyes = true\nassume-rps = 300\n[prices]\negress-gb = 0.02";

    #[test]
    fn runs_are_local_and_wait_ten_minutes_unless_something_else_is_said() {
        let usual = settings(NOTHING, "", PlatformArgs::default()).expect("resolves");
        assert_eq!((usual.max_cost, usual.yes), (None, false));
        assert_eq!((usual.queue_timeout, usual.reserve_concurrency), (Duration::from_mins(10), 100));
        assert_eq!((usual.vus_per_worker, usual.assumed, usual.prices), Default::default());
    }

    #[test]
    fn flags_are_over_the_environment_and_that_over_the_file() {
        let of_file = settings(NOTHING, FILE, PlatformArgs::default()).expect("resolves");
        assert_eq!((of_file.max_cost, of_file.yes), (Some(2.0), true));
        assert_eq!((of_file.queue_timeout, of_file.reserve_concurrency), (Duration::from_secs(90), 5));
        assert_eq!(of_file.vus_per_worker, Some(7));
        assert_eq!(of_file.assumed, Assumptions { requests_per_second: Some(300.0), request_bytes: 1_200 });
        assert_eq!(of_file.prices, Prices { egress_gb: 0.02, ..Prices::default() });

        let variables = [("LAMBDALOAD_PLATFORM", "local"), ("LAMBDALOAD_MAX_COST", "$3.5")];
        let of_environment = settings(variables, FILE, PlatformArgs::default()).expect("resolves");
        assert_eq!(of_environment.max_cost, Some(3.5));

        let args = PlatformArgs { max_cost: Some(0.5), ..PlatformArgs::default() };
        let of_flags = settings(variables, FILE, args).expect("resolves");
        assert_eq!(of_flags.max_cost, Some(0.5));
    }

    #[test]
    fn tasks_are_of_the_usual_size_in_the_default_network_unless_something_else_is_said() {
        let usual = settings(NOTHING, "", PlatformArgs::default()).expect("resolves").tasks;
        assert_eq!((usual.cpu, usual.memory, usual.spot), (1_024, 2_048, false));
        assert_eq!(usual.network, Network { public_ip: true, ..Network::default() });
        let file = "cpu = 2048\nmemory = 4096\nsubnet-ids = ['a']\nassign-public-ip = false\nspot = true";
        let of_file = settings(NOTHING, file, PlatformArgs::default()).expect("resolves").tasks;
        assert_eq!((of_file.cpu, of_file.memory, of_file.spot), (2_048, 4_096, true));
        assert_eq!((of_file.network.subnets.as_slice(), of_file.network.public_ip), (&["a".to_owned()][..], false));
        let args = PlatformArgs { cpu: Some(512), subnet_ids: vec!["b".into(), "c".into()], ..PlatformArgs::default() };
        let of_flags = settings(NOTHING, file, args).expect("resolves").tasks;
        assert_eq!((of_flags.cpu, of_flags.network.subnets), (512, vec!["b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn the_network_of_tasks_is_that_of_the_flags_or_of_the_file() {
        let network = |line: &str, file: &str| {
            let line = CommandLine::try_parse_from(line.split(' ')).expect("reads");
            let Command::Plan(args) = line.command else { panic!("{line:?}") };
            settings(NOTHING, file, args.platform).expect("resolves").tasks.network
        };
        let named = |group: &str, public_ip| Network {
            subnets: vec!["subnet-1".to_owned(), "subnet-2".to_owned()],
            security_groups: vec![group.to_owned(), "sg-2".to_owned()],
            public_ip,
        };
        let flags = "lambdaload plan a.js --subnet-ids subnet-1,subnet-2 --security-group-ids sg-1,sg-2";
        assert_eq!(network(flags, ""), named("sg-1", true));
        assert_eq!(network(&format!("{flags} --no-assign-public-ip"), ""), named("sg-1", false));
        // The flag only takes away.
        assert_eq!(network(&format!("{flags} --no-assign-public-ip"), "assign-public-ip = true"), named("sg-1", false));
        let file =
            "subnet-ids = ['subnet-1', 'subnet-2']\nsecurity-group-ids = ['sg-7', 'sg-2']\nassign-public-ip = false";
        assert_eq!(network("lambdaload plan a.js", file), named("sg-7", false));
        assert_eq!(network(flags, file), named("sg-1", false));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let refused =
            |variables, file| settings(variables, file, PlatformArgs::default()).expect_err("refused").headline;
        assert_eq!(
            refused([("LAMBDALOAD_MAX_COST", "-1"), ("", "")], ""),
            "LAMBDALOAD_MAX_COST=-1 in the environment: expected dollars, for example 2.50"
        );
        assert_eq!(
            refused(NOTHING, "queue-timeout = \"10\""),
            "lambdaload.toml, line 1: queue-timeout = 10: expected a duration such as 10m, or 0"
        );
        assert_eq!(
            refused(NOTHING, "queue-timeout = \"25h\""),
            "lambdaload.toml, line 1: queue-timeout = 25h: expected at most 24h"
        );
        assert!(refused(NOTHING, "vus-per-worker = 0").contains("nonzero"));
        assert!(refused(NOTHING, "max-cost = -2").contains("max-cost = -2: expected dollars"));
        assert!(refused(NOTHING, "[prices]\nlambda = 1").contains("unknown key `lambda`, expected one of `lambda-gb-"));
    }
}
