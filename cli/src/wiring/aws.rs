//! From the name of a stack to what stands behind the ports of its runs.

use std::{sync::Arc, time::Duration};

use lambdaload_adapters::{
    aws::{
        Account, Calls, Concurrency, Config, DynamoLedger, DynamoSlots, DynamoTests, Places, Retention, RunSecrets,
        S3Store, ScheduleParts, Schedules, Stack, Stacks,
    },
    clock::TokioClock,
};
use lambdaload_core::{
    k6::version::K6Version,
    plan::{self, Architecture, LambdaStack},
    ports::SlotBook,
    run::WatchPorts,
};

use crate::{error::Failure, settings::StackSettings};

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
