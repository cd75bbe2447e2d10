//! The functions of a deployment calling each other, and a person's command calling them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_sdk_lambda::Client;
use aws_sdk_scheduler::{
    operation::create_schedule::CreateScheduleError,
    types::{ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy, Target},
};
use aws_smithy_types::{DateTime, date_time::Format, error::operation::BuildError};
use lambdaload_core::{
    ids::RunId,
    ports::{AggregatorTask, CallError, Cause, Functions, Timestamp},
    run::{
        fire::FireRequest,
        launch::{LaunchReply, LaunchRequest},
    },
};
use serde_json::json;
use tokio::time::Instant;

use super::{config::Config, error::Subject, invoke::Function};

/// How long a call of one function is tried that Lambda throttles.
const PATIENCE: Duration = Duration::from_secs(15);

/// The most that a launcher takes: its time-out in the template, and its cold start.
const LAUNCHING: Duration = Duration::from_secs(150);

/// How often, and how long, EventBridge Scheduler calls a reaper that Lambda does not accept.
const APPOINTMENT_TRIES: i32 = 10;
const APPOINTMENT_AGE_S: i32 = 900;

/// An appointment is so far away at least, since what is past is never kept.
const SOONEST: Duration = Duration::from_secs(10);

/// What the functions of a deployment are called, and what is needed to make appointments with the reaper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionNames {
    /// Name of the aggregator.
    pub aggregator: String,
    /// Name of the launcher.
    pub launcher: String,
    /// ARN of the reaper.
    pub reaper_arn: String,
    /// EventBridge Scheduler's group for appointments.
    pub schedule_group: String,
    /// ARN of the role in which EventBridge Scheduler calls the reaper.
    pub schedule_role: String,
}

/// The other functions, as a function calls them.
#[derive(Clone, Debug)]
pub struct AwsFunctions {
    aggregator: Function,
    launcher: Function,
    scheduler: aws_sdk_scheduler::Client,
    names: FunctionNames,
    schedules: Subject,
}

impl AwsFunctions {
    /// The functions with these names.
    pub fn new(config: &Config, names: FunctionNames) -> Self {
        let client = Client::new(config.sdk());
        let group = &names.schedule_group;
        let arn = format!("scheduler:{}:*:schedule/{group}/*", config.region());
        Self {
            aggregator: Function::new(config, client.clone(), &names.aggregator),
            launcher: Function::new(config, client, &names.launcher),
            scheduler: aws_sdk_scheduler::Client::new(config.sdk()),
            schedules: config.subject("Scheduler", format!("schedule group `{group}`"), &arn),
            names,
        }
    }

    async fn appoint(&self, run: &RunId, name: &str, at: Timestamp) -> Result<(), Cause> {
        let name = format!("{run}-{name}");
        let soonest = Timestamp(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + SOONEST);
        let malformed = |error: BuildError| -> Cause { error.to_string().into() };
        let target = Target::builder()
            .arn(&self.names.reaper_arn)
            .role_arn(&self.names.schedule_role)
            .input(json!({"run": run}).to_string())
            .retry_policy(
                RetryPolicy::builder()
                    .maximum_retry_attempts(APPOINTMENT_TRIES)
                    .maximum_event_age_in_seconds(APPOINTMENT_AGE_S)
                    .build(),
            )
            .build()
            .map_err(malformed)?;
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().map_err(malformed)?;
        let request = self
            .scheduler
            .create_schedule()
            .group_name(&self.names.schedule_group)
            .name(&name)
            .client_token(&name)
            .schedule_expression(at_expression(at.max(soonest))?)
            .flexible_time_window(window)
            .action_after_completion(ActionAfterCompletion::Delete)
            .target(target);
        match request.send().await {
            Ok(_) => Ok(()),
            // It was made before, maybe for another moment.
            Err(error) if matches!(error.as_service_error(), Some(CreateScheduleError::ConflictException(_))) => Ok(()),
            Err(error) => Err(self.schedules.cause("scheduler:CreateSchedule", &error)),
        }
    }
}

#[async_trait]
impl Functions for AwsFunctions {
    async fn aggregate(&self, task: &AggregatorTask) -> Result<(), CallError> {
        let operation = "calling an aggregator";
        hand_over(&self.aggregator, operation, task).await
    }

    async fn launch(&self, run: &RunId) -> Result<(), CallError> {
        let operation = "calling the launcher";
        hand_over(&self.launcher, operation, &LaunchRequest::Resume { run: run.clone() }).await
    }

    async fn fire(&self, request: &FireRequest) -> Result<(), CallError> {
        hand_over(&self.launcher, "calling the launcher", &LaunchRequest::Fire(request.clone())).await
    }

    async fn reap_at(&self, run: &RunId, name: &'static str, at: Timestamp) -> Result<(), CallError> {
        let operation = "making an appointment with the reaper";
        self.appoint(run, name, at).await.map_err(|cause| CallError { operation, cause })
    }
}

/// The functions that a person's command calls.
#[derive(Clone, Debug)]
pub struct Calls {
    launcher: Function,
    reaper: Function,
}

impl Calls {
    /// The functions with these names or ARNs.
    pub fn new(config: &Config, launcher: impl Into<String>, reaper: impl Into<String>) -> Self {
        let client = Client::new(config.sdk());
        let launcher = Function::new(config, client.clone(), launcher);
        Self { launcher, reaper: Function::new(config, client, reaper) }
    }

    /// Has the launcher do something, and waits for what became of it. Asking again changes nothing.
    pub async fn start(&self, request: &LaunchRequest) -> Result<LaunchReply, CallError> {
        let operation = "calling the launcher";
        let failed = |cause| CallError { operation, cause };
        let payload = serde_json::to_string(request).map_err(|error| failed(error.into()))?;
        let answer = self.launcher.call(&payload, LAUNCHING).await.map_err(failed)?;
        serde_json::from_slice(&answer).map_err(|error| {
            failed(format!("its answer was not understood ({error}): is the stack of another version?").into())
        })
    }

    /// Has the reaper look at a run now.
    pub async fn reap(&self, run: &RunId) -> Result<(), CallError> {
        hand_over(&self.reaper, "calling the reaper", &json!({"run": run})).await
    }
}

async fn hand_over(
    function: &Function,
    operation: &'static str,
    event: &impl serde::Serialize,
) -> Result<(), CallError> {
    let failed = |cause| CallError { operation, cause };
    let payload = serde_json::to_string(event).map_err(|error| failed(error.into()))?;
    function.event(&payload, Instant::now() + PATIENCE).await.map_err(failed)
}

/// `at(2026-11-22T12:00:01)`: whole seconds in UTC, not before `moment`.
fn at_expression(moment: Timestamp) -> Result<String, Cause> {
    let seconds = moment.0.div_euclid(1_000_000) + i64::from(moment.0.rem_euclid(1_000_000) > 0);
    let text = DateTime::from_secs(seconds).fmt(Format::DateTime)?;
    Ok(format!("at({})", text.trim_end_matches('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appointments_are_never_early() {
        let second = 1_795_348_800_000_000;
        for (micros, expected) in [
            (0, "at(2026-11-22T12:00:00)"),
            (1, "at(2026-11-22T12:00:01)"),
            (999_999, "at(2026-11-22T12:00:01)"),
            (43_200_000_000, "at(2026-11-23T00:00:00)"),
        ] {
            assert_eq!(at_expression(Timestamp(second + micros)).unwrap(), expected);
        }
    }
}
