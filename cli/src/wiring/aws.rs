//! From the name of a stack to what stands behind the ports of its runs.

use std::{sync::Arc, time::Duration};

use lambdaload_adapters::{
    aws::{
        Account, Calls, Concurrency, Config, DynamoLedger, DynamoSlots, DynamoTests, Places, Retention, RunSecrets,
        S3Store, ScheduleParts, Schedules, Stack, Stacks, TaskQuota,
    },
    clock::TokioClock,
};
use lambdaload_core::{
    k6::version::K6Version,
    plan::{self, Architecture, FargateStack, Host, LambdaStack, TaskAccount},
    ports::{CallError, SlotBook},
    run::WatchPorts,
};

use crate::{
    error::Failure,
    platform_args::PlatformName,
    settings::{StackSettings, TaskSettings},
};

/// This command makes no records, so none of them gets its end from here.
const RETENTION: Retention = Retention { runs: Duration::ZERO, workers: Duration::ZERO };

/// How AWS is reached, with credentials that could be loaded.
pub(crate) async fn aws_config(settings: &StackSettings) -> Result<Config, Failure> {
    Ok(Config::load(settings.choice.clone()).await?)
}

/// A deployment that can be used.
#[derive(Debug)]
pub(crate) struct Deployment {
    config: Config,
    /// How a person has named it.
    settings: StackSettings,
    /// What its stack says of it.
    pub(crate) stack: Stack,
}

impl Deployment {
    /// By the name of its stack.
    pub(crate) async fn find(settings: &StackSettings) -> Result<Self, Failure> {
        let config = aws_config(settings).await?;
        let stack = Stacks::new(&config).find(&settings.stack).await?.usable()?;
        Ok(Self { config, settings: settings.clone(), stack })
    }

    /// Of a stack that was found before.
    pub(crate) fn new(config: Config, settings: StackSettings, stack: Stack) -> Self {
        Self { config, settings, stack }
    }

    /// Whether this command may start runs there: both have to be the same version.
    pub(crate) fn check_version(&self) -> Result<(), Failure> {
        if self.stack.version == env!("CARGO_PKG_VERSION") { Ok(()) } else { Err(Failure::other_version(&self.stack)) }
    }

    /// What names it again on a command line, with a space before.
    pub(crate) fn flags(&self) -> String {
        self.settings.flags()
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        format!("the stack `{}` in {}", self.stack.name, self.config.region())
    }

    /// The ports of whoever looks on.
    pub(crate) fn watch_ports(&self) -> WatchPorts {
        let Stack { bucket, table, account, .. } = &self.stack;
        WatchPorts {
            clock: Arc::new(TokioClock::new()),
            store: Arc::new(S3Store::new(&self.config, bucket).owned_by(account)),
            ledger: Arc::new(DynamoLedger::new(&self.config, table, RETENTION)),
        }
    }

    /// The book of slots.
    pub(crate) fn slots(&self) -> Arc<dyn SlotBook> {
        Arc::new(DynamoSlots::new(&self.config, &self.stack.table))
    }

    /// The stored tests.
    pub(crate) fn tests(&self) -> DynamoTests {
        DynamoTests::new(&self.config, &self.stack.table)
    }

    /// The schedules by which they start.
    pub(crate) fn schedules(&self) -> Schedules {
        Schedules::new(&self.config, schedule_parts(&self.stack))
    }

    /// The functions that a person may call.
    pub(crate) fn calls(&self) -> Calls {
        Calls::new(&self.config, &self.stack.launcher_function, &self.stack.reaper_function)
    }

    /// Secrets of runs.
    pub(crate) fn secrets(&self) -> RunSecrets {
        RunSecrets::new(&self.config, &self.stack.secret_prefix)
    }

    /// What plans are made for.
    pub(crate) fn for_plan(&self) -> Result<LambdaStack, Failure> {
        let stack = &self.stack;
        let odd = |output: &str, found: &str, expected: &str| {
            Failure::infrastructure(format!("the stack `{}` says {output} = {found}: expected {expected}", stack.name))
                .hint("`sam build && sam deploy` repairs it")
        };
        let architecture = Architecture::parse(&stack.architecture)
            .ok_or_else(|| odd("Architecture", &stack.architecture, "arm64 or x86_64"))?;
        let k6_version = K6Version::parse(&stack.k6_version)
            .map_err(|_| odd("K6Version", &stack.k6_version, "a version of k6, for example 1.8.1"))?;
        Ok(LambdaStack {
            version: stack.version.clone(),
            k6_version,
            memory_mb: stack.worker_memory,
            architecture,
            capacity: stack.worker_capacity,
            region: self.config.region().to_owned(),
        })
    }

    /// What plans of runs on Fargate are made for; none in a stack without.
    async fn fargate(&self, tasks: &TaskSettings) -> Result<Option<FargateStack>, Failure> {
        let Some(parts) = &self.stack.fargate else { return Ok(None) };
        let LambdaStack { version, k6_version, architecture, region, .. } = self.for_plan()?;
        let mut network = tasks.network.clone();
        if network.subnets.is_empty() {
            network.subnets = match Account::new(&self.config).default_subnets().await {
                // A test that fits on Lambda does without; another one is refused with what to do.
                Err(_) if self.settings.platform == PlatformName::Auto => Vec::new(),
                found => found?,
            };
        }
        Ok(Some(FargateStack {
            version,
            k6_version,
            cpu: tasks.cpu,
            memory_mb: tasks.memory,
            architecture,
            capacity: parts.capacity,
            region,
            spot: tasks.spot,
            network,
        }))
    }

    /// Where workers of a new run may be.
    pub(crate) async fn host(&self, tasks: &TaskSettings) -> Result<Host, Failure> {
        let lambda = self.for_plan()?;
        match self.settings.platform {
            PlatformName::Fargate => match self.fargate(tasks).await? {
                Some(stack) => Ok(Host::Fargate(stack)),
                None => Err(Failure::not_valid(format!("the stack `{}` is without Fargate", self.stack.name))
                    .hint("deploy it with Fargate: `sam deploy --parameter-overrides Fargate=true`")),
            },
            PlatformName::Auto => match self.fargate(tasks).await? {
                Some(fargate) => Ok(Host::Either(lambda, fargate)),
                None => Ok(Host::Lambda(lambda)),
            },
            PlatformName::Lambda | PlatformName::Local => Ok(Host::Lambda(lambda)),
        }
    }

    /// What the account has left for workers on Fargate.
    pub(crate) async fn tasks(&self, spot: bool) -> Result<TaskAccount, CallError> {
        let TaskQuota { limit, in_use } = Account::new(&self.config).task_quota(spot).await?;
        Ok(TaskAccount { limit, in_use })
    }

    /// What the account has left for workers.
    pub(crate) async fn account(&self) -> Result<plan::Account, Failure> {
        let account = Account::new(&self.config);
        let (Concurrency { limit, unreserved }, in_use) = tokio::try_join!(account.concurrency(), account.in_use())?;
        let worker_reserved = self.stack.workers_reserved.then_some(self.stack.worker_capacity);
        Ok(plan::Account { limit, unreserved, in_use, worker_reserved })
    }
}

/// Where a stack's data are.
pub(crate) fn places(stack: &Stack) -> Places {
    let Stack { bucket, table, secret_prefix, .. } = stack.clone();
    Places { bucket, table, secret_prefix, schedules: schedule_parts(stack) }
}

fn schedule_parts(stack: &Stack) -> ScheduleParts {
    ScheduleParts {
        group: stack.test_group.clone(),
        launcher_arn: stack.launcher_arn.clone(),
        role_arn: stack.test_role.clone(),
        missed_arn: stack.missed_tests.clone(),
    }
}
