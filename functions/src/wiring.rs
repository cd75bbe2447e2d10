//! From settings to ports: what stands behind them in an account.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use lambda_runtime::{Context, tracing};
use lambdaload_adapters::{
    aws::{
        AwsFunctions, Choice, Config, ConfigError, DynamoLedger, DynamoSlots, DynamoTests, EcsTasks, FunctionNames,
        LambdaFleet, Retention, RunSecrets, S3Store, SnsTopics,
    },
    clock::TokioClock,
    k6::{K6, Listener},
};
use lambdaload_core::{
    deployment::Function,
    ids::RunId,
    plan::Platform,
    ports::{Fleet, FleetLoss, Fleets, ObjectStore, Timestamp, WorkerTask},
    records::{FailureKind, RunRecord},
    run::{AccountPorts, Deployment},
};

use crate::settings::Settings;

/// Of a worker's memory, this is for what is beside k6's heap: the sidecar, and k6's own code and stacks.
const BESIDE_HEAP_MB: u64 = 256;

/// k6's heap is not held below this, or it would do nothing but collect garbage.
const LEAST_HEAP_MB: u64 = 128;

/// The fleets of a deployment.
struct AwsFleets {
    lambda: Arc<LambdaFleet>,
    /// None in a stack without Fargate.
    tasks: Option<EcsTasks>,
}

impl Fleets for AwsFleets {
    fn of(&self, run: &RunRecord) -> Arc<dyn Fleet> {
        match (&run.plan.platform, &self.tasks) {
            (Platform::Fargate(stack), Some(tasks)) => Arc::new(tasks.fleet(run, stack)),
            (Platform::Fargate(_), None) => Arc::new(NoFleet),
            (Platform::Local | Platform::Lambda(_), _) => self.lambda.clone(),
        }
    }
}

/// The fleet of runs whose stack was deployed again without Fargate.
struct NoFleet;

#[async_trait]
impl Fleet for NoFleet {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        let loss = |task: &WorkerTask| FleetLoss {
            index: task.index,
            kind: FailureKind::NotLaunched,
            message: "the stack is without Fargate: deploy it with Fargate=true".to_owned(),
        };
        tasks.iter().map(loss).collect()
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        Vec::new()
    }

    async fn kill_all(&self) {}
}

/// All that the functions work with; made once for an execution environment.
pub(crate) struct Wiring {
    pub(crate) ports: AccountPorts,
    pub(crate) deployment: Deployment,
    pub(crate) secrets: RunSecrets,
    k6: String,
    blocked_ips: Vec<String>,
    memory: Option<u64>,
}

impl Wiring {
    /// From what the template says. Nothing is asked of the services yet.
    pub(crate) async fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let config = Config::load(Choice::default()).await?;
        let retention = Retention { runs: settings.retention, workers: settings.retention };
        let names = FunctionNames {
            aggregator: settings.aggregator.clone(),
            launcher: settings.launcher.clone(),
            reaper_arn: settings.reaper_arn.clone(),
            schedule_group: settings.schedule_group.clone(),
            schedule_role: settings.schedule_role.clone(),
        };
        let store: Arc<dyn ObjectStore> = Arc::new(S3Store::new(&config, &settings.bucket));
        let tasks = settings
            .fargate
            .as_ref()
            .map(|fargate| EcsTasks::new(&config, &fargate.cluster, &fargate.definition, Arc::clone(&store)));
        let lambda = Arc::new(LambdaFleet::new(&config, &settings.worker));
        Ok(Self {
            ports: AccountPorts {
                clock: Arc::new(TokioClock::new()),
                store,
                ledger: Arc::new(DynamoLedger::new(&config, &settings.table, retention)),
                fleets: Arc::new(AwsFleets { lambda, tasks }),
                slots: Arc::new(DynamoSlots::new(&config, &settings.table)),
                task_slots: Arc::new(DynamoSlots::of_tasks(&config, &settings.table)),
                functions: Arc::new(AwsFunctions::new(&config, names)),
                tests: Arc::new(DynamoTests::new(&config, &settings.table)),
                notifier: Arc::new(SnsTopics::new(&config)),
            },
            deployment: Deployment {
                capacity: settings.capacity,
                worker_life: Function::Worker.timeout(),
                task_capacity: settings.fargate.as_ref().map_or(0, |fargate| fargate.capacity),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            secrets: RunSecrets::new(&config, &settings.secret_prefix),
            k6: settings.k6.clone(),
            blocked_ips: settings.blocked_ips.clone(),
            memory: settings.memory,
        })
    }

    /// The k6 of a worker.
    pub(crate) fn k6(&self, listener: Listener) -> K6 {
        let k6 = K6::new(&self.k6).with_blocked_ips(self.blocked_ips.clone()).with_listener(listener);
        match self.memory {
            Some(memory) => k6.with_memory_limit(heap(memory)),
            None => k6,
        }
    }

    /// Deletes a run's secrets, which nobody needs any more. If that fails they stay, encrypted, for whoever may read them.
    pub(crate) async fn forget_secrets(&self, run: &RunId) {
        if let Err(error) = self.secrets.delete(run).await {
            tracing::warn!(%run, %error, "the run's secrets could not be deleted");
        }
    }

    /// When the runtime ends this process, by the ports' monotonic clock.
    pub(crate) fn ends_at(&self, context: &Context, limit: Duration) -> Duration {
        let clock = &*self.ports.clock;
        clock.monotonic() + left(context.deadline, clock.now(), limit)
    }
}

/// Bytes for k6's heap in a worker with so many MB.
fn heap(memory: u64) -> u64 {
    memory.saturating_sub(BESIDE_HEAP_MB).max(LEAST_HEAP_MB) << 20
}

/// The time until a deadline in milliseconds since 1970, which the function's own time-out limits: an emulator may say 0.
fn left(deadline: u64, now: Timestamp, limit: Duration) -> Duration {
    match deadline {
        0 => limit,
        milliseconds => {
            let deadline = Timestamp(i64::try_from(milliseconds.saturating_mul(1_000)).unwrap_or(i64::MAX));
            deadline.since(now).min(limit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_what_the_runtime_says_and_not_more_than_the_template() {
        let (now, limit) = (Timestamp(1_795_348_800_000_000), Duration::from_mins(15));
        assert_eq!(left(1_795_348_860_500, now, limit), Duration::from_millis(60_500));
        assert_eq!(left(1_795_348_799_000, now, limit), Duration::ZERO);
        assert_eq!((left(0, now, limit), left(u64::MAX, now, limit)), (limit, limit));
    }

    #[test]
    fn the_heap_leaves_room_for_what_is_beside_it() {
        assert_eq!((heap(2048), heap(300)), (1792 << 20, 128 << 20));
    }
}
