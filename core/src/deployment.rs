//! What the template of a deployment, its functions and the command have agreed on. A test holds the template against it.

use std::time::Duration;

/// The stack that the command looks for unless it is told another.
pub const DEFAULT_STACK: &str = "lambdaload";

/// Where the layer puts k6.
pub const K6_PATH: &str = "/opt/bin/k6";

/// The value of [`variable::FUNCTION`] of a worker that is a task of ECS: the program of the functions as a program of its own.
pub const TASK: &str = "task";

/// The name of the container in the definition of tasks.
pub const TASK_CONTAINER: &str = "worker";

/// Where the image of tasks has k6.
pub const TASK_K6_PATH: &str = "/k6";

/// The user and group as whom tasks run.
pub const TASK_USER: u32 = 10_001;

/// How long ECS waits between telling a task to end and killing it: the longest that it can.
pub const STOP_TIMEOUT: Duration = Duration::from_mins(2);

/// The longest that Lambda lets any function run.
pub const LAMBDA_LIMIT: Duration = Duration::from_mins(15);

/// How old a call may become before Lambda drops it: late is worse than never.
pub const EVENT_AGE: Duration = Duration::from_mins(1);

/// One of the four functions of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Starts runs.
    Launcher,
    /// Runs k6 on its segment.
    Worker,
    /// Conducts a run, merges, judges.
    Aggregator,
    /// Concludes what nobody else does.
    Reaper,
}

impl Function {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Launcher, Self::Worker, Self::Aggregator, Self::Reaper];

    /// The value of [`variable::FUNCTION`], and the end of the function's name after the stack's.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Launcher => "launcher",
            Self::Worker => "worker",
            Self::Aggregator => "aggregator",
            Self::Reaper => "reaper",
        }
    }

    /// The function that [`Self::word`] names.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.word() == word)
    }

    /// The function's name in a stack.
    pub fn name(self, stack: &str) -> String {
        format!("{stack}-{}", self.word())
    }

    /// How long Lambda lets it run.
    pub const fn timeout(self) -> Duration {
        match self {
            Self::Launcher => Duration::from_mins(2),
            Self::Worker | Self::Aggregator => LAMBDA_LIMIT,
            // It may wait for a sign of life before it concludes.
            Self::Reaper => Duration::from_mins(5),
        }
    }

    /// Its memory in MB; a worker's is a parameter of the stack, of which this is the default.
    pub const fn memory(self) -> u32 {
        match self {
            Self::Launcher => 512,
            Self::Worker => 2048,
            Self::Aggregator | Self::Reaper => 1024,
        }
    }

    /// The variables that it is given besides in a stack with Fargate.
    pub const fn fargate_variables(self) -> &'static [&'static str] {
        match self {
            Self::Worker => &[],
            Self::Launcher | Self::Aggregator | Self::Reaper => {
                &[variable::TASK_CAPACITY, variable::CLUSTER, variable::TASK_DEFINITION]
            }
        }
    }

    /// The variables that it is given, [`variable::FUNCTION`] among them.
    pub const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Worker => &[
                variable::FUNCTION,
                variable::BUCKET,
                variable::TABLE,
                variable::RETENTION_DAYS,
                variable::SECRET_PREFIX,
                variable::BLOCKED_IPS,
            ],
            Self::Launcher | Self::Aggregator | Self::Reaper => &[
                variable::FUNCTION,
                variable::BUCKET,
                variable::TABLE,
                variable::RETENTION_DAYS,
                variable::CAPACITY,
                variable::SECRET_PREFIX,
                variable::WORKER_FUNCTION,
                variable::AGGREGATOR_FUNCTION,
                variable::LAUNCHER_FUNCTION,
                variable::REAPER_ARN,
                variable::SCHEDULE_GROUP,
                variable::SCHEDULE_ROLE,
            ],
        }
    }
}

/// Environment variables of the functions.
pub mod variable {
    /// Which function this is: [`super::Function::word`].
    pub const FUNCTION: &str = "LAMBDALOAD_FUNCTION";
    /// The bucket's name.
    pub const BUCKET: &str = "LAMBDALOAD_BUCKET";
    /// The table's name.
    pub const TABLE: &str = "LAMBDALOAD_TABLE";
    /// After how many days records of workers and runs may go.
    pub const RETENTION_DAYS: &str = "LAMBDALOAD_RETENTION_DAYS";
    /// The name of the function that starts runs.
    pub const LAUNCHER_FUNCTION: &str = "LAMBDALOAD_LAUNCHER_FUNCTION";
    /// The name of the function that runs k6.
    pub const WORKER_FUNCTION: &str = "LAMBDALOAD_WORKER_FUNCTION";
    /// The name of the function that conducts a run.
    pub const AGGREGATOR_FUNCTION: &str = "LAMBDALOAD_AGGREGATOR_FUNCTION";
    /// The ARN of the function that appointments call.
    pub const REAPER_ARN: &str = "LAMBDALOAD_REAPER_ARN";
    /// The Scheduler group of appointments.
    pub const SCHEDULE_GROUP: &str = "LAMBDALOAD_SCHEDULE_GROUP";
    /// The ARN of the role with which the Scheduler keeps appointments.
    pub const SCHEDULE_ROLE: &str = "LAMBDALOAD_SCHEDULE_ROLE";
    /// What the names of all secrets of the deployment begin with.
    pub const SECRET_PREFIX: &str = "LAMBDALOAD_SECRET_PREFIX";
    /// Workers at one time, in all runs.
    pub const CAPACITY: &str = "LAMBDALOAD_CAPACITY";
    /// The path of k6. The template leaves it out: [`super::K6_PATH`] then.
    pub const K6: &str = "LAMBDALOAD_K6";
    /// Workers on Fargate at one time, in all runs. Stacks without Fargate leave this and the next two out.
    pub const TASK_CAPACITY: &str = "LAMBDALOAD_FARGATE_CAPACITY";
    /// The cluster of tasks.
    pub const CLUSTER: &str = "LAMBDALOAD_CLUSTER";
    /// The definition of tasks, by its family.
    pub const TASK_DEFINITION: &str = "LAMBDALOAD_TASK_DEFINITION";
    /// What a task is to do: a [`crate::run::batch::Order`] as JSON.
    pub const ORDER: &str = "LAMBDALOAD_TASK";
    /// The memory of a task in MB.
    pub const TASK_MEMORY: &str = "LAMBDALOAD_TASK_MEMORY";
    /// Where ECS tells a task about itself. ECS sets it.
    pub const TASK_METADATA: &str = "ECS_CONTAINER_METADATA_URI_V4";
    /// Address ranges that k6 may not reach, separated by commas.
    pub const BLOCKED_IPS: &str = "LAMBDALOAD_BLOCKED_IPS";
}

/// Address ranges that no script may reach from a worker: link-local ones, where a cloud keeps its metadata service.
pub const BLOCKED_LINK_LOCAL: [&str; 3] = ["169.254.0.0/16", "fe80::/10", "fd00:ec2::/32"];

/// Address ranges that no script may reach from a worker either, unless a stack allows it: loopback, where Lambda's runtime
/// API is.
pub const BLOCKED_LOOPBACK: [&str; 3] = ["127.0.0.0/8", "0.0.0.0/8", "::1/128"];

/// What the names of a stack's secrets begin with.
pub fn secret_prefix(stack: &str) -> String {
    format!("lambdaload/{stack}/")
}

/// What the names of the secrets of schedules have between that and the schedule's name.
pub const SECRETS_OF_SCHEDULES: &str = "schedule/";

/// What the output [`output::NOTIFY_TOPICS`] says if there are none.
pub const NO_TOPICS: &str = "none";

/// The Scheduler group of a stack's tests.
pub fn test_group(stack: &str) -> String {
    format!("{stack}-tests")
}

/// The queue of firings that never came to a stack's launcher.
pub fn missed_queue(stack: &str) -> String {
    format!("{stack}-missed-tests")
}

/// Outputs of the stack, which the command reads.
pub mod output {
    /// The version of lambdaload that the template is of.
    pub const VERSION: &str = "Version";
    /// The bucket's name.
    pub const BUCKET: &str = "Bucket";
    /// The table's name.
    pub const TABLE: &str = "Table";
    /// The name of the function that starts runs.
    pub const LAUNCHER_FUNCTION: &str = "LauncherFunction";
    /// The ARN of the same, which schedules call.
    pub const LAUNCHER_ARN: &str = "LauncherArn";
    /// The Scheduler group of tests.
    pub const TEST_GROUP: &str = "TestScheduleGroup";
    /// The ARN of the role with which the Scheduler starts tests.
    pub const TEST_ROLE: &str = "TestScheduleRole";
    /// The ARN of the queue of firings that never came to the launcher.
    pub const MISSED_TESTS: &str = "MissedTests";
    /// The ARNs of the topics that may be told verdicts, separated by commas, or [`super::NO_TOPICS`].
    pub const NOTIFY_TOPICS: &str = "NotifyTopics";
    /// The name of the function that runs k6.
    pub const WORKER_FUNCTION: &str = "WorkerFunction";
    /// The name of the function that conducts a run.
    pub const AGGREGATOR_FUNCTION: &str = "AggregatorFunction";
    /// The name of the function that concludes what nobody else does.
    pub const REAPER_FUNCTION: &str = "ReaperFunction";
    /// A worker's memory in MB.
    pub const WORKER_MEMORY: &str = "WorkerMemory";
    /// Workers at one time, in all runs.
    pub const WORKER_CAPACITY: &str = "WorkerCapacity";
    /// `true` if the capacity is reserved for the workers out of the account's concurrency.
    pub const WORKERS_RESERVED: &str = "WorkersReserved";
    /// `arm64` or `x86_64`.
    pub const ARCHITECTURE: &str = "Architecture";
    /// The version of k6 in the layer.
    pub const K6_VERSION: &str = "K6Version";
    /// What the names of all secrets of the deployment begin with.
    pub const SECRET_PREFIX: &str = "SecretPrefix";
    /// The Region.
    pub const REGION: &str = "Region";
    /// Workers on Fargate at one time, in all runs. Only stacks with Fargate have this and the next two.
    pub const FARGATE_CAPACITY: &str = "FargateCapacity";
    /// The cluster of tasks.
    pub const CLUSTER: &str = "Cluster";
    /// The repository of the workers' image, as registries are addressed.
    pub const WORKER_IMAGE_REPOSITORY: &str = "WorkerImageRepository";
    /// Those of stacks with Fargate.
    pub const FARGATE: [&str; 3] = [FARGATE_CAPACITY, CLUSTER, WORKER_IMAGE_REPOSITORY];
    /// Those of every stack.
    pub const ALL: [&str; 19] = [
        VERSION,
        BUCKET,
        TABLE,
        LAUNCHER_FUNCTION,
        LAUNCHER_ARN,
        TEST_GROUP,
        TEST_ROLE,
        MISSED_TESTS,
        NOTIFY_TOPICS,
        WORKER_FUNCTION,
        AGGREGATOR_FUNCTION,
        REAPER_FUNCTION,
        WORKER_MEMORY,
        WORKER_CAPACITY,
        WORKERS_RESERVED,
        ARCHITECTURE,
        K6_VERSION,
        SECRET_PREFIX,
        REGION,
    ];
}

/// How the table is laid out.
pub mod table {
    /// The partition key.
    pub const PARTITION_KEY: &str = "pk";
    /// The sort key.
    pub const SORT_KEY: &str = "sk";
    /// The partition of stored tests.
    pub const TESTS: &str = "tests";
    /// The attribute by which items that may go are deleted, in seconds since 1970.
    pub const EXPIRES: &str = "expires";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_their_words() {
        for function in Function::ALL {
            assert_eq!(Function::of(function.word()), Some(function));
            assert_eq!(function.variables()[0], variable::FUNCTION);
            assert!(function.timeout() <= LAMBDA_LIMIT);
        }
        assert_eq!(Function::of("Worker"), None);
        assert_eq!(Function::Worker.name(DEFAULT_STACK), "lambdaload-worker");
    }
}
