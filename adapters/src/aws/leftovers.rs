//! What is of no use without its stack, and what CloudFormation leaves of it: images keep their repository, definitions of
//! tasks are struck off but kept, and a log group is there again if a function writes once more.

use aws_sdk_ecs::{Client, types::TaskDefinitionStatus};
use aws_smithy_runtime_api::client::result::SdkError;
use lambdaload_core::{
    deployment::Function,
    ports::{CallError, Cause},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    config::Config,
    ecr::Ecr,
    ecs::all_tasks,
    error::{Subject, call_error},
    remains::Remain,
    signed::{Question, ask, refused},
    stack::FargateParts,
};

/// Definitions that ECS deletes in one call at most.
const AT_ONCE: usize = 10;

/// What a deployment leaves beside its data.
#[derive(Debug)]
pub struct Leftovers {
    config: Config,
    stack: String,
    fargate: Option<OfTasks>,
}

/// What there is of tasks.
#[derive(Debug)]
struct OfTasks {
    ecs: Client,
    ecr: Ecr,
    cluster: String,
    /// Of the definitions.
    family: String,
    /// By its name in the registry.
    repository: String,
    definitions: Subject,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogGroups {
    #[serde(default)]
    log_groups: Vec<LogGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogGroup {
    log_group_name: String,
}

impl Leftovers {
    /// Of the stack of this name, and of what it has for tasks.
    pub fn new(config: &Config, stack: &str, fargate: Option<&FargateParts>) -> Self {
        let of_tasks = |parts: &FargateParts| {
            let family = format!("{stack}-worker");
            let arn = format!("ecs:{}:*:task-definition/{family}:*", config.region());
            OfTasks {
                ecs: Client::new(config.sdk()),
                ecr: Ecr::new(config),
                cluster: parts.cluster.clone(),
                repository: parts.repository.split_once('/').map_or("", |(_, name)| name).to_owned(),
                definitions: config.subject("ECS", format!("task definitions `{family}`"), &arn),
                family,
            }
        };
        Self { config: config.clone(), stack: stack.to_owned(), fargate: fargate.map(of_tasks) }
    }

    /// What is there, by AWS's own word.
    pub async fn list(&self) -> Result<Vec<Remain>, CallError> {
        let mut found = Vec::new();
        if let Some(of_tasks) = &self.fargate {
            let tasks = all_tasks(&self.config, &of_tasks.cluster).await?;
            if !tasks.is_empty() {
                found.push(Remain::Tasks(tasks.len()));
            }
            if let Some(images) = of_tasks.ecr.images(&of_tasks.repository).await? {
                found.push(Remain::Repository { name: of_tasks.repository.clone(), images: images.len() });
            }
            let definitions = of_tasks.definitions().await?.len();
            if definitions > 0 {
                found.push(Remain::Definitions { family: of_tasks.family.clone(), revisions: definitions });
            }
        }
        found.extend(self.log_groups().await?.into_iter().map(Remain::LogGroup));
        Ok(found)
    }

    /// Removes all images, so that CloudFormation can delete their repository.
    pub async fn remove_images(&self) -> Result<(), CallError> {
        match &self.fargate {
            Some(of_tasks) => of_tasks.ecr.remove_images(&of_tasks.repository).await,
            None => Ok(()),
        }
    }

    /// Removes what a deleted stack has left.
    pub async fn remove(&self) -> Result<(), CallError> {
        if let Some(of_tasks) = &self.fargate {
            of_tasks.remove_definitions().await?;
        }
        for group in self.log_groups().await? {
            self.ask_logs("deleting a log group", "DeleteLogGroup", &json!({ "logGroupName": group })).await?;
        }
        Ok(())
    }

    /// Those of the stack's own names that there are. Each is asked for by its whole name, which is the beginning of others'
    /// names too but comes before them: an account has more groups than one answer holds.
    async fn log_groups(&self) -> Result<Vec<String>, CallError> {
        let operation = "looking for the log groups";
        let of_functions = Function::ALL.map(|function| format!("/aws/lambda/{}", function.name(&self.stack)));
        let of_tasks = self.fargate.as_ref().map(|of_tasks| format!("/aws/ecs/{}", of_tasks.family));
        let mut found = Vec::new();
        for name in of_functions.into_iter().chain(of_tasks) {
            let answer = self.ask_logs(operation, "DescribeLogGroups", &json!({ "logGroupNamePrefix": name })).await?;
            let groups: LogGroups = serde_json::from_str(&answer)
                .map_err(|error| CallError { operation, cause: format!("CloudWatch Logs: {error}").into() })?;
            found
                .extend(groups.log_groups.into_iter().map(|group| group.log_group_name).filter(|group| *group == name));
        }
        Ok(found)
    }

    async fn ask_logs(&self, operation: &'static str, action: &str, body: &Value) -> Result<String, CallError> {
        let failed = |cause: Cause| CallError { operation, cause };
        let (service, target) = ("CloudWatch Logs", format!("Logs_20140328.{action}"));
        match ask(&self.config, Question::json(service, "logs", &target, body)).await.map_err(failed)? {
            (200, answer) => Ok(answer),
            // Somebody else was faster.
            (400, answer) if answer.contains("ResourceNotFoundException") => Ok(String::new()),
            (status, answer) => Err(failed(refused(service, &format!("logs:{action}"), status, &answer).into())),
        }
    }
}

impl OfTasks {
    /// All that anybody can still start tasks of, or see.
    async fn definitions(&self) -> Result<Vec<String>, CallError> {
        let mut found = self.definitions_that_are(TaskDefinitionStatus::Active).await?;
        found.extend(self.definitions_that_are(TaskDefinitionStatus::Inactive).await?);
        Ok(found)
    }

    async fn definitions_that_are(&self, status: TaskDefinitionStatus) -> Result<Vec<String>, CallError> {
        let list = self.ecs.list_task_definitions().family_prefix(&self.family).status(status);
        let mut pages = list.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(definition) = pages.next().await {
            let subject = self.definitions.with_arn("*".to_owned());
            let definition = definition.map_err(|error| {
                call_error("listing the task definitions", &subject, "ecs:ListTaskDefinitions", &error)
            })?;
            found.push(definition);
        }
        // What is asked for may be taken for the beginning of a name.
        found.retain(|arn| arn.contains(&format!(":task-definition/{}:", self.family)));
        Ok(found)
    }

    /// Of the stack's own CloudFormation has struck off the last one, and of others earlier updates.
    async fn remove_definitions(&self) -> Result<(), CallError> {
        for some in self.definitions_that_are(TaskDefinitionStatus::Inactive).await?.chunks(AT_ONCE) {
            match self.ecs.delete_task_definitions().set_task_definitions(Some(some.to_vec())).send().await {
                // It has them all in full. What is left is asked for later, so nobody has to understand it.
                Ok(_) | Err(SdkError::ResponseError(_)) => {}
                Err(error) => {
                    let action = "ecs:DeleteTaskDefinitions";
                    return Err(call_error("deleting task definitions", &self.definitions, action, &error));
                }
            }
        }
        Ok(())
    }
}
