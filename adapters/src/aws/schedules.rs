//! The schedules by which tests start, in a group of their own, as a person's command makes and changes them.

use std::collections::BTreeMap;

use aws_sdk_scheduler::{
    Client,
    operation::{
        create_schedule::CreateScheduleError, delete_schedule::DeleteScheduleError, get_schedule::GetScheduleError,
        list_schedules::ListSchedulesError, update_schedule::UpdateScheduleError,
    },
    types::{
        ActionAfterCompletion, DeadLetterConfig, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy,
        ScheduleState, Target,
    },
};
use aws_smithy_types::error::operation::BuildError;
use lambdaload_core::{
    ports::CallError,
    run::{fire::FireRequest, launch::LaunchRequest},
    schedule::{SCHEDULED_TIME, ScheduleName, StoredTest, Timing},
};

use super::{
    config::Config,
    error::{Subject, call_error},
};

/// What schedules of a deployment are made of, by outputs of its stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleParts {
    /// The group.
    pub group: String,
    /// ARN of the launcher.
    pub launcher_arn: String,
    /// ARN of the role in which EventBridge Scheduler calls it.
    pub role_arn: String,
    /// ARN of the queue for calls that Lambda does not take.
    pub missed_arn: String,
}

/// A schedule as EventBridge Scheduler has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSchedule {
    /// In the Scheduler's language.
    pub expression: String,
    /// By name.
    pub timezone: String,
    /// Whether it fires.
    pub enabled: bool,
}

/// The schedules of a deployment.
#[derive(Clone, Debug)]
pub struct Schedules {
    client: Client,
    parts: ScheduleParts,
    subject: Subject,
}

impl Schedules {
    /// Those in the group of `parts`.
    pub fn new(config: &Config, parts: ScheduleParts) -> Self {
        let group = &parts.group;
        let arn = format!("scheduler:{}:*:schedule/{group}/*", config.region());
        let subject = config.subject("Scheduler", format!("schedule group `{group}`"), &arn);
        Self { client: Client::new(config.sdk()), parts, subject }
    }

    /// Makes the schedule of a stored test, or changes it to what the test says now.
    pub async fn put(&self, test: &StoredTest) -> Result<(), CallError> {
        let operation = "making a schedule";
        let malformed = |error: BuildError| CallError { operation, cause: error.to_string().into() };
        let target = self.target(test).map_err(|cause| CallError { operation, cause })?;
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().map_err(malformed)?;
        let state = if test.paused { ScheduleState::Disabled } else { ScheduleState::Enabled };
        let afterwards =
            if test.timing.is_once() { ActionAfterCompletion::Delete } else { ActionAfterCompletion::None };
        let description: String = test.plan.note.as_deref().unwrap_or(&test.plan.name).chars().take(512).collect();
        let update = self
            .client
            .update_schedule()
            .group_name(&self.parts.group)
            .name(test.name.as_str())
            .description(&description)
            .schedule_expression(test.timing.expression())
            .set_schedule_expression_timezone(timezone(test))
            .flexible_time_window(window.clone())
            .state(state.clone())
            .action_after_completion(afterwards.clone())
            .target(target.clone());
        match update.send().await {
            Ok(_) => return Ok(()),
            Err(error)
                if matches!(error.as_service_error(), Some(UpdateScheduleError::ResourceNotFoundException(_))) => {}
            Err(error) => return Err(call_error(operation, &self.subject, "scheduler:UpdateSchedule", &error)),
        }
        let create = self
            .client
            .create_schedule()
            .group_name(&self.parts.group)
            .name(test.name.as_str())
            .description(description)
            .schedule_expression(test.timing.expression())
            .set_schedule_expression_timezone(timezone(test))
            .flexible_time_window(window)
            .state(state)
            .action_after_completion(afterwards)
            .target(target);
        match create.send().await {
            Ok(_) => Ok(()),
            // The answer to an earlier try was lost.
            Err(error) if matches!(error.as_service_error(), Some(CreateScheduleError::ConflictException(_))) => Ok(()),
            Err(error) => Err(call_error(operation, &self.subject, "scheduler:CreateSchedule", &error)),
        }
    }

    /// Late is worse than never: nothing is tried again, and what was not taken is kept where somebody sees it.
    fn target(&self, test: &StoredTest) -> Result<Target, lambdaload_core::ports::Cause> {
        let request = LaunchRequest::Fire(FireRequest {
            version: None,
            schedule: test.name.clone(),
            scheduled_at: Some(SCHEDULED_TIME.to_owned()),
            run: None,
            tries: 0,
        });
        let target = Target::builder()
            .arn(&self.parts.launcher_arn)
            .role_arn(&self.parts.role_arn)
            .input(serde_json::to_string(&request)?)
            .retry_policy(RetryPolicy::builder().maximum_retry_attempts(0).maximum_event_age_in_seconds(60).build())
            .dead_letter_config(DeadLetterConfig::builder().arn(&self.parts.missed_arn).build())
            .build();
        target.map_err(|error| error.to_string().into())
    }

    /// One schedule; none if there is none (any more).
    pub async fn find(&self, name: &ScheduleName) -> Result<Option<FoundSchedule>, CallError> {
        match self.client.get_schedule().group_name(&self.parts.group).name(name.as_str()).send().await {
            Ok(found) => Ok(Some(FoundSchedule {
                expression: found.schedule_expression().unwrap_or_default().to_owned(),
                timezone: found.schedule_expression_timezone().unwrap_or("UTC").to_owned(),
                enabled: found.state() != Some(&ScheduleState::Disabled),
            })),
            Err(error) if matches!(error.as_service_error(), Some(GetScheduleError::ResourceNotFoundException(_))) => {
                Ok(None)
            }
            Err(error) => Err(call_error("reading a schedule", &self.subject, "scheduler:GetSchedule", &error)),
        }
    }

    /// All schedules, and whether they fire; none if there is no group (any more).
    pub async fn list(&self) -> Result<BTreeMap<String, bool>, CallError> {
        let mut pages = self.client.list_schedules().group_name(&self.parts.group).into_paginator().items().send();
        let mut found = BTreeMap::new();
        while let Some(schedule) = pages.next().await {
            match schedule {
                Ok(schedule) => {
                    let name = schedule.name().unwrap_or_default().to_owned();
                    found.insert(name, schedule.state() != Some(&ScheduleState::Disabled));
                }
                Err(error)
                    if matches!(error.as_service_error(), Some(ListSchedulesError::ResourceNotFoundException(_))) =>
                {
                    return Ok(BTreeMap::new());
                }
                Err(error) => {
                    let subject = Subject { arn: "*".to_owned(), ..self.subject.clone() };
                    return Err(call_error("listing schedules", &subject, "scheduler:ListSchedules", &error));
                }
            }
        }
        Ok(found)
    }

    /// Deletes one. Doing so twice does no harm.
    pub async fn delete(&self, name: &str) -> Result<(), CallError> {
        match self.client.delete_schedule().group_name(&self.parts.group).name(name).send().await {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(error.as_service_error(), Some(DeleteScheduleError::ResourceNotFoundException(_))) =>
            {
                Ok(())
            }
            Err(error) => Err(call_error("deleting a schedule", &self.subject, "scheduler:DeleteSchedule", &error)),
        }
    }
}

/// A rate has no zone.
fn timezone(test: &StoredTest) -> Option<String> {
    (!matches!(test.timing, Timing::Rate(_))).then(|| test.timezone.clone())
}
