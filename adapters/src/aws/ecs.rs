//! Tasks of ECS on Fargate as workers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_ecs::{
    Client,
    error::ProvideErrorMetadata as _,
    operation::{
        list_tasks::ListTasksError,
        run_task::{RunTaskError, RunTaskOutput},
    },
    types::{
        AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, Container, ContainerOverride, KeyValuePair,
        LaunchType, NetworkConfiguration, Tag, Task, TaskOverride, TaskStopCode,
    },
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use futures::{StreamExt as _, stream};
use lambdaload_core::{
    deployment::{TASK_CONTAINER, variable},
    ids::Attempt,
    plan::FargateStack,
    ports::{CallError, Fleet, FleetLoss, ObjectStore, WorkerTask},
    records::{FailureKind, RunRecord},
    run::{
        batch::{Batch, LARGEST, Order, Roster, batches},
        tasks::{StopReason, TaskEnd, refusal},
    },
};
use tokio::time::Instant;

use super::{
    config::Config,
    error::{Subject, call_error, is_throttling},
    pause::pause,
};

/// Tasks that AWS starts at once in an account and region, and each second once these are used up.
const BURST: u32 = 100;
const PER_SECOND: u32 = 20;

/// Calls at one time. Each takes about a second.
const AT_ONCE: usize = 4;

/// How long a call that may pass is tried again, from when its turn has come. The others wait for each worker.
const PATIENCE: Duration = Duration::from_secs(20);

/// One call: ECS takes longer for ten tasks than other services for anything.
const RUN_TASK: Duration = Duration::from_secs(10);

/// Between two questions about tasks: whoever conducts asks each second, and ECS takes 20 questions a second in all.
const ASK: Duration = Duration::from_secs(10);

/// Tasks that ECS describes in one call at most.
const DESCRIBED: usize = 100;

/// Tasks that are stopped at one time.
const STOPPED_AT_ONCE: usize = 20;

/// Where a deployment's tasks run.
#[derive(Clone)]
pub struct EcsTasks {
    client: Client,
    cluster: String,
    /// Its family: the latest revision counts.
    definition: String,
    store: Arc<dyn ObjectStore>,
    subject: Subject,
}

impl EcsTasks {
    /// Tasks of this definition, by its family, in this cluster. Who is who among them stands in the store.
    pub fn new(
        config: &Config,
        cluster: impl Into<String>,
        definition: impl Into<String>,
        store: Arc<dyn ObjectStore>,
    ) -> Self {
        let (cluster, definition) = (cluster.into(), definition.into());
        let arn = format!("ecs:{}:*:task-definition/{definition}:*", config.region());
        let subject = config.subject("ECS", format!("task definition `{definition}` or cluster `{cluster}`"), &arn);
        Self { client: Client::new(config.sdk()), cluster, definition, store, subject }
    }

    /// The fleet of one run.
    pub fn fleet(&self, run: &RunRecord, stack: &FargateStack) -> EcsFleet {
        EcsFleet { ecs: self.clone(), run: run.clone(), stack: stack.clone(), known: Mutex::default() }
    }
}

/// All tasks of a cluster that run or are about to, whoever started them. A cluster that is not there has none.
pub(super) async fn all_tasks(config: &Config, cluster: &str) -> Result<Vec<String>, CallError> {
    let mut pages = Client::new(config.sdk()).list_tasks().cluster(cluster).into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(task) = pages.next().await {
        match task {
            Ok(task) => found.push(task),
            Err(error) if error.as_service_error().is_some_and(ListTasksError::is_cluster_not_found_exception) => break,
            Err(error) => {
                return Err(call_error("listing the tasks", &tasks_of(config, cluster), "ecs:ListTasks", &error));
            }
        }
    }
    Ok(found)
}

/// Stops them, and says how many there were.
pub async fn stop_all_tasks(config: &Config, cluster: &str) -> Result<usize, CallError> {
    let client = Client::new(config.sdk());
    let tasks = all_tasks(config, cluster).await?;
    for task in &tasks {
        let stop = client.stop_task().cluster(cluster).task(task).reason("lambdaload: the stack is deleted").send();
        let subject = tasks_of(config, cluster);
        stop.await.map_err(|error| call_error("stopping a task", &subject, "ecs:StopTask", &error))?;
    }
    Ok(tasks.len())
}

fn tasks_of(config: &Config, cluster: &str) -> Subject {
    let arn = format!("ecs:{}:*:task/{cluster}/*", config.region());
    config.subject("ECS", format!("tasks of the cluster `{cluster}`"), &arn)
}

/// Workers of one run as tasks. Batches of ten are started by one call, which may be repeated: its client token makes ECS
/// answer as before.
pub struct EcsFleet {
    ecs: EcsTasks,
    run: RunRecord,
    stack: FargateStack,
    known: Mutex<Known>,
}

/// What has become of tasks, as far as that was asked.
#[derive(Default)]
struct Known {
    asked: Option<Instant>,
    /// Tasks by their ARNs, each with its worker.
    tasks: BTreeMap<String, WorkerTask>,
    /// Those that have stopped; none for an end that the worker has told of.
    ends: BTreeMap<String, Option<TaskEnd>>,
}

/// When the tasks of a call may be started, after so many before them.
fn starts_after(before: u32, count: u32) -> Duration {
    let beyond = before.saturating_add(count).saturating_sub(BURST);
    Duration::from_secs(beyond.into()) / PER_SECOND
}

impl EcsFleet {
    /// Starts a batch, unless it was started before; those of which there is no task.
    async fn start(&self, batch: Batch) -> Vec<FleetLoss> {
        let store = &*self.ecs.store;
        let (roster, why) = if let Ok(roster) = batch.read(store).await {
            (Ok(roster), String::new())
        } else {
            let (names, why) = self.run_tasks(&batch).await;
            (self.enrol(&batch, Roster { names }).await, why)
        };
        let (started, message) = match roster {
            Ok(roster) => (roster.names.len(), format!("its task was not started: {}", said_or(&why))),
            Err(error) => (0, format!("its task was not told which worker it is: {error}")),
        };
        let lost = batch.workers().skip(started);
        let kind = FailureKind::NotLaunched;
        lost.map(|task| FleetLoss { index: task.index, kind, message: message.clone() }).collect()
    }

    /// Writes who is who; without that nobody begins.
    async fn enrol(&self, batch: &Batch, roster: Roster) -> Result<Roster, String> {
        let mut tries = 0;
        loop {
            tries += 1;
            match batch.enrol(&*self.ecs.store, &roster).await {
                Ok(roster) => return Ok(roster),
                Err(_) if tries < 5 => pause(tries).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The ARNs of the tasks that could be started, and why others could not.
    async fn run_tasks(&self, batch: &Batch) -> (Vec<String>, String) {
        let deadline = Instant::now() + PATIENCE;
        let (mut names, mut round, mut tries) = (Vec::new(), 1, 0);
        loop {
            let missing = batch.count.saturating_sub(u32::try_from(names.len()).unwrap_or(u32::MAX));
            let token = format!("{}-{}-{round}", batch.run, batch.first.number());
            let (why, may_pass) = match self.run_task(batch, missing, token).await {
                Ok(output) => {
                    names.extend(output.tasks().iter().filter_map(|task| task.task_arn().map(str::to_owned)));
                    if names.len() >= batch.count as usize {
                        return (names, String::new());
                    }
                    // The same token would be answered alike.
                    round += 1;
                    failures(&output)
                }
                Err(error) => {
                    let said = self.ecs.subject.cause("ecs:RunTask", &error).to_string();
                    let words = error.message().unwrap_or_default();
                    (refusal(words).map_or(said.clone(), |what| format!("{what} ({said})")), may_pass(&error))
                }
            };
            if !may_pass || Instant::now() >= deadline {
                return (names, why);
            }
            tries += 1;
            pause(tries).await;
        }
    }

    async fn run_task(
        &self,
        batch: &Batch,
        count: u32,
        token: String,
    ) -> Result<RunTaskOutput, SdkError<RunTaskError, HttpResponse>> {
        let order = serde_json::to_string(&Order::Batch(batch.clone()));
        let order = order.map_err(SdkError::construction_failure)?;
        let variables = [(variable::ORDER, order), (variable::TASK_MEMORY, self.stack.memory_mb.to_string())];
        let pair = |(name, value): (&str, String)| KeyValuePair::builder().name(name).value(value).build();
        let container = ContainerOverride::builder()
            .name(TASK_CONTAINER)
            .set_environment(Some(variables.into_iter().map(pair).collect()))
            .build();
        let overrides = TaskOverride::builder()
            .cpu(self.stack.cpu.to_string())
            .memory(self.stack.memory_mb.to_string())
            .container_overrides(container)
            .build();
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let request = self
            .ecs
            .client
            .run_task()
            .cluster(&self.ecs.cluster)
            .task_definition(&self.ecs.definition)
            .count(i32::try_from(count.min(LARGEST)).unwrap_or(1))
            .client_token(token)
            .started_by(batch.run.as_str())
            .network_configuration(self.network().map_err(SdkError::construction_failure)?)
            .overrides(overrides)
            .tags(tag("Application", "lambdaload"))
            .tags(tag("Run", batch.run.as_str()));
        let request = if self.stack.spot {
            let spot = CapacityProviderStrategyItem::builder().capacity_provider("FARGATE_SPOT").weight(1).build();
            request.capacity_provider_strategy(spot.map_err(SdkError::construction_failure)?)
        } else {
            request.launch_type(LaunchType::Fargate)
        };
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(RUN_TASK).operation_timeout(RUN_TASK).build();
        let once = aws_sdk_ecs::config::Builder::new().retry_config(RetryConfig::disabled()).timeout_config(timeouts);
        request.customize().config_override(once).send().await
    }

    fn network(&self) -> Result<NetworkConfiguration, aws_sdk_ecs::error::BuildError> {
        let network = &self.stack.network;
        let groups = Some(network.security_groups.clone()).filter(|groups| !groups.is_empty());
        let public = if network.public_ip { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled };
        let vpc = AwsVpcConfiguration::builder()
            .set_subnets(Some(network.subnets.clone()))
            .set_security_groups(groups)
            .assign_public_ip(public);
        Ok(NetworkConfiguration::builder().awsvpc_configuration(vpc.build()?).build())
    }

    /// All tasks that were started, by their ARNs.
    async fn tasks(&self) -> BTreeMap<String, WorkerTask> {
        let known = self.lock().tasks.clone();
        if known.len() >= self.run.plan.workers as usize {
            return known;
        }
        let all = self.run.plan.worker_indices().chain([self.run.plan.substitute()]);
        let all: Vec<WorkerTask> =
            all.map(|index| WorkerTask { run: self.run.id.clone(), index, attempt: Attempt(1) }).collect();
        let rosters = stream::iter(batches(&self.run.plan, &all))
            .map(async |batch| (batch.read(&*self.ecs.store).await, batch))
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let mut tasks = BTreeMap::new();
        for (roster, batch) in rosters {
            tasks.extend(roster.unwrap_or_default().names.into_iter().zip(batch.workers()));
        }
        self.lock().tasks.clone_from(&tasks);
        tasks
    }

    /// Asks ECS about those that are not known to have stopped.
    async fn ask(&self) {
        let tasks = self.tasks().await;
        let open: Vec<String> = {
            let known = self.lock();
            tasks.keys().filter(|name| !known.ends.contains_key(*name)).cloned().collect()
        };
        for some in open.chunks(DESCRIBED) {
            let asked =
                self.ecs.client.describe_tasks().cluster(&self.ecs.cluster).set_tasks(Some(some.to_vec())).send();
            // What could not be asked is asked later.
            let Ok(answer) = asked.await else { return };
            let stopped = answer.tasks().iter().filter(|task| task.last_status() == Some("STOPPED"));
            let ends = stopped.filter_map(|task| Some((task.task_arn()?.to_owned(), end_of(task))));
            self.lock().ends.extend(ends);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end_of(task: &Task) -> Option<TaskEnd> {
    let container = task.containers().first();
    StopReason {
        code: task.stop_code().map(TaskStopCode::as_str).unwrap_or_default(),
        reason: task.stopped_reason().unwrap_or_default(),
        exit: container.and_then(Container::exit_code),
        container: container.and_then(|container| container.reason()).unwrap_or_default(),
    }
    .explain()
}

fn said_or(why: &str) -> &str {
    if why.is_empty() { "ECS gave no reason" } else { why }
}

/// Why ECS has started fewer tasks than asked for, and whether that may pass while the others wait.
fn failures(output: &RunTaskOutput) -> (String, bool) {
    let Some(failure) = output.failures().first() else { return (String::new(), false) };
    let said = [failure.reason(), failure.detail()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let may_pass = said.contains("Capacity is unavailable");
    let words = match refusal(&said) {
        Some(what) => format!("{what} ({said})"),
        None => said,
    };
    (words, may_pass)
}

fn may_pass(error: &SdkError<RunTaskError, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(answer) => {
            is_throttling(error.code().unwrap_or_default()) || answer.raw().status().as_u16() >= 500
        }
        _ => false,
    }
}

#[async_trait]
impl Fleet for EcsFleet {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        let began_at = Instant::now();
        let mut before = 0;
        let turns: Vec<(Duration, Batch)> = batches(&self.run.plan, tasks)
            .into_iter()
            .map(|batch| {
                let turn = starts_after(before, batch.count);
                before += batch.count;
                (turn, batch)
            })
            .collect();
        let losses: Vec<Vec<FleetLoss>> = stream::iter(turns)
            .map(async |(turn, batch)| {
                tokio::time::sleep_until(began_at + turn).await;
                self.start(batch).await
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        // Of a batch that is launched again only those that were asked for are of interest.
        let asked = |loss: &FleetLoss| tasks.iter().any(|task| task.index == loss.index);
        losses.into_iter().flatten().filter(asked).collect()
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        let is_time = {
            let mut known = self.lock();
            let is_time = known.asked.is_none_or(|asked| asked.elapsed() >= ASK);
            if is_time {
                known.asked = Some(Instant::now());
            }
            is_time
        };
        if is_time {
            self.ask().await;
        }
        let known = self.lock();
        let gone = known.ends.iter().filter_map(|(name, end)| Some((known.tasks.get(name)?, end.as_ref()?)));
        gone.map(|(task, end)| FleetLoss { index: task.index, kind: end.kind, message: end.words.clone() }).collect()
    }

    async fn kill_all(&self) {
        let tasks = self.tasks().await;
        let open: Vec<String> = {
            let known = self.lock();
            tasks.into_keys().filter(|name| !known.ends.contains_key(name)).collect()
        };
        stream::iter(open)
            .for_each_concurrent(STOPPED_AT_ONCE, async |name| {
                let reason = "lambdaload: the run is over or was stopped";
                let stop = self.ecs.client.stop_task().cluster(&self.ecs.cluster).task(name).reason(reason);
                // One that cannot be stopped stops itself when it sees the run's record.
                drop(stop.send().await);
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_started_as_fast_as_aws_takes_them() {
        assert_eq!([0, 90].map(|before| starts_after(before, 10)), [Duration::ZERO; 2]);
        assert_eq!(starts_after(100, 10), Duration::from_millis(500));
        // A thousand in 45 seconds.
        assert_eq!(starts_after(990, 10), Duration::from_secs(45));
    }
}
