//! From settings to ports: what stands behind them in an account.

use std::{sync::Arc, time::Duration};

use lambda_runtime::{Context, tracing};
use lambdaload_adapters::{
    aws::{
        AwsFunctions, Choice, Config, ConfigError, DynamoLedger, DynamoSlots, FunctionNames, LambdaFleet, Retention,
        RunSecrets, S3Store,
    },
    clock::TokioClock,
    k6::{K6, Listener},
};
use lambdaload_core::{
    deployment::Function,
    ids::RunId,
    run::{AccountPorts, Deployment},
};

use crate::settings::Settings;

/// Of a worker's memory, this is for what is beside k6's heap: the sidecar, and k6's own code and stacks.
const BESIDE_HEAP_MB: u64 = 256;

/// k6's heap is not held below this, or it would do nothing but collect garbage.
const LEAST_HEAP_MB: u64 = 128;

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
        Ok(Self {
            ports: AccountPorts {
                clock: Arc::new(TokioClock::new()),
                store: Arc::new(S3Store::new(&config, &settings.bucket)),
                ledger: Arc::new(DynamoLedger::new(&config, &settings.table, retention)),
                fleet: Arc::new(LambdaFleet::new(&config, &settings.worker)),
                slots: Arc::new(DynamoSlots::new(&config, &settings.table)),
                functions: Arc::new(AwsFunctions::new(&config, names)),
            },
            deployment: Deployment {
                capacity: settings.capacity,
                worker_life: Function::Worker.timeout(),
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
            Some(memory) => k6.with_memory_limit(memory.saturating_sub(BESIDE_HEAP_MB).max(LEAST_HEAP_MB) << 20),
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
        let now = clock.now().0.max(0).unsigned_abs();
        // An emulator may say nothing: then it is as the template says.
        let left = match context.deadline {
            0 => limit,
            milliseconds => Duration::from_micros(milliseconds.saturating_mul(1_000).saturating_sub(now)),
        };
        clock.monotonic() + left.min(limit)
    }
}
