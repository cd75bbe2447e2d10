//! Lambda invocations as workers.

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use lambdaload_core::{
    ports::{Fleet, FleetLoss, WorkerTask},
    records::FailureKind,
};
use tokio::time::Instant;

use super::{config::Config, invoke::Function};

/// Invocations that are handed over at once. Each takes some tens of milliseconds, so that 1,000 take one or two seconds.
const AT_ONCE: usize = 50;

/// How long a launch goes on that Lambda throttles. The others wait for each worker before they start.
const PATIENCE: Duration = Duration::from_secs(15);

/// Workers as asynchronous invocations of one function.
///
/// Lambda says that it has accepted an invocation, and nothing after that: workers say themselves in the ledger that they
/// are there, and the function's on-failure destination says which have failed. A running one cannot be stopped from
/// outside; it stops when it sees the run's record.
#[derive(Clone, Debug)]
pub struct LambdaFleet {
    function: Function,
}

impl LambdaFleet {
    /// Workers of this function, by its name or ARN.
    pub fn new(config: &Config, function: impl Into<String>) -> Self {
        Self { function: Function::new(config, aws_sdk_lambda::Client::new(config.sdk()), function) }
    }

    async fn start(&self, task: WorkerTask, deadline: Instant) -> Option<FleetLoss> {
        let loss = |words: String| FleetLoss {
            index: task.index,
            kind: FailureKind::NotLaunched,
            message: format!("it could not be invoked: {words}"),
        };
        let payload = match serde_json::to_string(&task) {
            Ok(payload) => payload,
            Err(error) => return Some(loss(error.to_string())),
        };
        if Instant::now() >= deadline {
            return Some(loss(format!("the launch has taken {} s already", PATIENCE.as_secs())));
        }
        self.function.event(&payload, deadline).await.err().map(|cause| loss(cause.to_string()))
    }
}

#[async_trait]
impl Fleet for LambdaFleet {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        let deadline = Instant::now() + PATIENCE;
        stream::iter(tasks.to_vec())
            .map(|task| self.start(task, deadline))
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// Lambda cannot be asked.
    async fn gone(&self) -> Vec<FleetLoss> {
        Vec::new()
    }

    /// No call ends an invocation: workers end themselves when they see the run's record.
    async fn kill_all(&self) {}
}
