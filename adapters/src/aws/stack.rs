//! A deployment: what its CloudFormation stack says of it, and its end.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_cloudformation::{
    Client,
    error::ProvideErrorMetadata as _,
    primitives::DateTime,
    types::{self, ResourceStatus, StackStatus},
};
use lambdaload_core::{
    deployment::{NO_TOPICS, output},
    ports::CallError,
};
use tokio::time::{Instant, sleep};

use super::{
    config::Config,
    error::{Subject, call_error},
};

/// Between two looks at a stack that is being deleted.
const DELETION_POLL: Duration = Duration::from_secs(2);

/// Emptying and deleting what a stack has takes minutes, not longer.
const DELETION_PATIENCE: Duration = Duration::from_mins(20);

/// A deployment that can be used: names of its parts, as outputs of its stack.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the output of that name")]
pub struct Stack {
    /// The stack's name.
    pub name: String,
    /// The account: twelve digits.
    pub account: String,
    /// The lambdaload version that the stack was deployed from.
    pub version: String,
    pub region: String,
    pub bucket: String,
    pub table: String,
    pub launcher_function: String,
    pub launcher_arn: String,
    pub test_group: String,
    pub test_role: String,
    pub missed_tests: String,
    /// ARNs of the topics that may be told verdicts.
    pub notify_topics: Vec<String>,
    pub worker_function: String,
    pub aggregator_function: String,
    pub reaper_function: String,
    /// In MB.
    pub worker_memory: u32,
    /// Workers at one time, in all runs.
    pub worker_capacity: u32,
    /// Whether that many are reserved for workers out of the account's concurrency.
    pub workers_reserved: bool,
    /// `arm64` or `x86_64`.
    pub architecture: String,
    pub k6_version: String,
    /// What names of the runs' secrets begin with.
    pub secret_prefix: String,
    /// What it has for workers on Fargate; none in a stack without.
    pub fargate: Option<FargateParts>,
}

/// What a stack has for workers on Fargate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FargateParts {
    /// Workers on Fargate at one time, in all runs.
    pub capacity: u32,
    /// The cluster of tasks.
    pub cluster: String,
    /// The repository of the workers' image.
    pub repository: String,
}

/// A stack as CloudFormation describes it, usable or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its ARN, by which it can be asked for after its end too.
    pub id: String,
    /// In CloudFormation's words: `CREATE_COMPLETE`.
    pub status: String,
    /// Why it is so, where CloudFormation says it.
    pub reason: Option<String>,
    /// The outputs by name.
    pub outputs: BTreeMap<String, String>,
}

/// Why there is no deployment that can be used.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// There is no stack of this name.
    #[error("there is no stack `{name}` in {region}")]
    Missing {
        /// Its name.
        name: String,
        /// Where it was looked for.
        region: String,
    },
    /// There is one, but not for use.
    #[error("the stack `{name}` cannot be used: it is {status}{}", .reason.as_ref().map(|reason| format!("\nCloudFormation says: {reason}")).unwrap_or_default())]
    NotReady {
        /// Its name.
        name: String,
        /// In CloudFormation's words.
        status: String,
        /// CloudFormation's reason.
        reason: Option<String>,
    },
    /// There is one of this name that is not from lambdaload's template.
    #[error("the stack `{name}` is not lambdaload's: it has no output {}", .missing.join(", "))]
    NotOurs {
        /// Its name.
        name: String,
        /// Outputs that it lacks.
        missing: Vec<&'static str>,
    },
    /// An output that says something else than expected.
    #[error("the stack `{name}` says {output} = {found}: expected a number")]
    Output {
        /// Its name.
        name: String,
        /// The output.
        output: &'static str,
        /// What it says.
        found: String,
    },
    /// AWS did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a stack is still there.
#[derive(Debug, thiserror::Error)]
pub enum DeletionError {
    /// Some of what it has could not be deleted.
    #[error("the stack `{name}` could not be deleted: it is {status}")]
    Failed {
        /// Its name.
        name: String,
        /// In CloudFormation's words.
        status: String,
        /// Which part, and why.
        reasons: Vec<String>,
    },
    /// It takes very long.
    #[error("the stack `{name}` is still being deleted after {} minutes", DELETION_PATIENCE.as_secs() / 60)]
    Slow {
        /// Its name.
        name: String,
    },
    /// AWS did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The stacks of an account in a region.
#[derive(Debug)]
pub struct Stacks {
    client: Client,
    config: Config,
}

impl Stacks {
    /// Those that `config` leads to.
    pub fn new(config: &Config) -> Self {
        Self { client: Client::new(config.sdk()), config: config.clone() }
    }

    /// The stack of this name.
    pub async fn find(&self, name: &str) -> Result<Found, StackError> {
        let found = self.describe(name).await?;
        found.ok_or_else(|| StackError::Missing { name: name.to_owned(), region: self.config.region().to_owned() })
    }

    /// The latest stack of this name that was deleted. CloudFormation remembers them for 90 days, with their outputs.
    pub async fn find_deleted(&self, name: &str) -> Result<Option<Found>, CallError> {
        let mut pages =
            self.client.list_stacks().stack_status_filter(StackStatus::DeleteComplete).into_paginator().items().send();
        let mut latest: Option<types::StackSummary> = None;
        while let Some(stack) = pages.next().await {
            let stack = stack.map_err(|error| {
                call_error("listing the deleted stacks", &self.subject("*"), "cloudformation:ListStacks", &error)
            })?;
            let made_at = |stack: &types::StackSummary| stack.creation_time().map(DateTime::as_nanos);
            if stack.stack_name() == Some(name) && latest.as_ref().is_none_or(|l| made_at(l) < made_at(&stack)) {
                latest = Some(stack);
            }
        }
        match latest.as_ref().and_then(types::StackSummary::stack_id) {
            Some(id) => self.describe(id).await,
            None => Ok(None),
        }
    }

    /// Deletes a stack and waits for its end. What it has under the policy `Retain` stays.
    pub async fn delete(&self, found: &Found) -> Result<(), DeletionError> {
        let asked = self.client.delete_stack().stack_name(&found.id).send().await;
        asked.map_err(|error| {
            call_error("deleting the stack", &self.subject(&found.name), "cloudformation:DeleteStack", &error)
        })?;
        let deadline = Instant::now() + DELETION_PATIENCE;
        loop {
            let Some(now) = self.describe(&found.id).await? else { return Ok(()) };
            match now.status.as_str() {
                "DELETE_COMPLETE" => return Ok(()),
                "DELETE_IN_PROGRESS" if Instant::now() > deadline => {
                    return Err(DeletionError::Slow { name: now.name });
                }
                "DELETE_IN_PROGRESS" => sleep(DELETION_POLL).await,
                _ => {
                    let mut reasons = self.deletion_failures(found).await?;
                    if reasons.is_empty() {
                        reasons.extend(now.reason);
                    }
                    return Err(DeletionError::Failed { name: now.name, status: now.status, reasons });
                }
            }
        }
    }

    /// What could not be deleted in the latest attempt, and why.
    async fn deletion_failures(&self, found: &Found) -> Result<Vec<String>, CallError> {
        let events = self.client.describe_stack_events().stack_name(&found.id).send().await;
        let events = events.map_err(|error| {
            let subject = self.subject(&found.name);
            call_error("reading the stack's events", &subject, "cloudformation:DescribeStackEvents", &error)
        })?;
        // The latest come first; those of an earlier attempt are behind the beginning of this one.
        let of_this_attempt = events.stack_events().iter().take_while(|event| {
            let of_stack = event.physical_resource_id() == event.stack_id();
            !(of_stack && event.resource_status() == Some(&ResourceStatus::DeleteInProgress))
        });
        let failed = of_this_attempt.filter(|event| event.resource_status() == Some(&ResourceStatus::DeleteFailed));
        let words = |event: &types::StackEvent| {
            let part = event.logical_resource_id().unwrap_or("a resource");
            let name = event.physical_resource_id().map(|id| format!(" ({id})")).unwrap_or_default();
            format!("{part}{name}: {}", event.resource_status_reason().unwrap_or("CloudFormation gave no reason"))
        };
        Ok(failed.filter(|event| event.physical_resource_id() != event.stack_id()).map(words).collect())
    }

    /// `name` may be a stack's ARN.
    async fn describe(&self, name: &str) -> Result<Option<Found>, CallError> {
        match self.client.describe_stacks().stack_name(name).send().await {
            Ok(output) => Ok(output.stacks().first().map(Found::from)),
            Err(error) => {
                // CloudFormation has no error of its own for this.
                let service = error.as_service_error();
                let missing = service.is_some_and(|error| {
                    error.code() == Some("ValidationError")
                        && error.message().is_some_and(|message| message.contains("does not exist"))
                });
                if missing {
                    return Ok(None);
                }
                let name = name.split('/').nth(1).unwrap_or(name);
                Err(call_error("reading the stack", &self.subject(name), "cloudformation:DescribeStacks", &error))
            }
        }
    }
}

impl Stacks {
    fn subject(&self, name: &str) -> Subject {
        let arn = format!("cloudformation:{}:*:stack/{name}/*", self.config.region());
        self.config.subject("CloudFormation", format!("stack `{name}`"), &arn)
    }
}

fn topics(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|topic| *topic != NO_TOPICS).map(str::to_owned).collect()
}

impl From<&types::Stack> for Found {
    fn from(stack: &types::Stack) -> Self {
        let output = |output: &types::Output| {
            Some((output.output_key()?.to_owned(), output.output_value().unwrap_or_default().to_owned()))
        };
        Self {
            name: stack.stack_name().unwrap_or_default().to_owned(),
            id: stack.stack_id().unwrap_or_default().to_owned(),
            status: stack.stack_status().map(StackStatus::as_str).unwrap_or_default().to_owned(),
            reason: stack.stack_status_reason().filter(|reason| !reason.is_empty()).map(str::to_owned),
            outputs: stack.outputs().iter().filter_map(output).collect(),
        }
    }
}

impl Found {
    /// The deployment, if it can be used now.
    pub fn usable(&self) -> Result<Stack, StackError> {
        // While an update's remains are cleaned away, and after one that was taken back, all parts are there.
        let ready = matches!(
            self.status.as_str(),
            "CREATE_COMPLETE"
                | "UPDATE_COMPLETE"
                | "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
                | "UPDATE_ROLLBACK_COMPLETE"
                | "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"
                | "IMPORT_COMPLETE"
                | "IMPORT_ROLLBACK_COMPLETE"
        );
        if !ready {
            let (name, status, reason) = (self.name.clone(), self.status.clone(), self.reason.clone());
            return Err(StackError::NotReady { name, status, reason });
        }
        self.stack()
    }

    /// Whether it never came to be whole, so that it may have no outputs.
    pub fn failed_to_create(&self) -> bool {
        matches!(
            self.status.as_str(),
            "CREATE_FAILED" | "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "REVIEW_IN_PROGRESS" | "DELETE_FAILED"
        )
    }

    /// What the outputs say, whether or not the stack can be used.
    pub fn stack(&self) -> Result<Stack, StackError> {
        let of = |name: &'static str| self.outputs.get(name).map(String::as_str).unwrap_or_default();
        let missing: Vec<&str> = output::ALL.into_iter().filter(|name| of(name).trim().is_empty()).collect();
        if !missing.is_empty() {
            return Err(StackError::NotOurs { name: self.name.clone(), missing });
        }
        let text = |name| of(name).to_owned();
        let number = |name: &'static str| {
            let found = of(name);
            let wrong = |_| StackError::Output { name: self.name.clone(), output: name, found: found.to_owned() };
            found.parse().map_err(wrong)
        };
        Ok(Stack {
            name: self.name.clone(),
            // arn:aws:cloudformation:eu-central-1:123456789012:stack/…
            account: self.id.split(':').nth(4).unwrap_or_default().to_owned(),
            version: text(output::VERSION),
            region: text(output::REGION),
            bucket: text(output::BUCKET),
            table: text(output::TABLE),
            launcher_function: text(output::LAUNCHER_FUNCTION),
            launcher_arn: text(output::LAUNCHER_ARN),
            test_group: text(output::TEST_GROUP),
            test_role: text(output::TEST_ROLE),
            missed_tests: text(output::MISSED_TESTS),
            notify_topics: topics(of(output::NOTIFY_TOPICS)),
            worker_function: text(output::WORKER_FUNCTION),
            aggregator_function: text(output::AGGREGATOR_FUNCTION),
            reaper_function: text(output::REAPER_FUNCTION),
            worker_memory: number(output::WORKER_MEMORY)?,
            worker_capacity: number(output::WORKER_CAPACITY)?,
            workers_reserved: of(output::WORKERS_RESERVED) == "true",
            architecture: text(output::ARCHITECTURE),
            k6_version: text(output::K6_VERSION),
            secret_prefix: text(output::SECRET_PREFIX),
            fargate: match of(output::FARGATE_CAPACITY) {
                "" => None,
                _ => Some(FargateParts {
                    capacity: number(output::FARGATE_CAPACITY)?,
                    cluster: text(output::CLUSTER),
                    repository: text(output::WORKER_IMAGE_REPOSITORY),
                }),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUTS: [(&str, &str); 19] = [
        ("Version", "0.1.0"),
        ("Region", "eu-central-1"),
        ("Bucket", "b"),
        ("Table", "t"),
        ("LauncherFunction", "l"),
        ("LauncherArn", "arn:l"),
        ("TestScheduleGroup", "x-tests"),
        ("TestScheduleRole", "arn:r"),
        ("MissedTests", "arn:m"),
        ("NotifyTopics", "none"),
        ("WorkerFunction", "w"),
        ("AggregatorFunction", "a"),
        ("ReaperFunction", "r"),
        ("WorkerMemory", "2048"),
        ("WorkerCapacity", "200"),
        ("WorkersReserved", "true"),
        ("Architecture", "arm64"),
        ("K6Version", "1.8.1"),
        ("SecretPrefix", "lambdaload/x/"),
    ];

    const ID: &str = "arn:aws:cloudformation:eu-central-1:123456789012:stack/x/01234567";

    fn found(status: &str) -> Found {
        Found {
            name: "x".into(),
            id: ID.into(),
            status: status.into(),
            reason: None,
            outputs: OUTPUTS.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }

    #[test]
    fn outputs_become_names() {
        let stack = found("UPDATE_COMPLETE").usable().expect("is usable");
        assert_eq!((stack.bucket.as_str(), stack.reaper_function.as_str()), ("b", "r"));
        assert_eq!(stack.account, "123456789012");
        assert_eq!((stack.worker_memory, stack.worker_capacity), (2_048, 200));
        assert_eq!(stack.fargate, None);
        let mut with = found("UPDATE_COMPLETE");
        let more = [("FargateCapacity", "50"), ("Cluster", "x"), ("WorkerImageRepository", "r/x-worker")];
        with.outputs.extend(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let fargate = with.usable().expect("is usable").fargate.expect("has Fargate");
        assert_eq!((fargate.capacity, fargate.cluster.as_str(), fargate.repository.as_str()), (50, "x", "r/x-worker"));
    }

    #[test]
    fn a_stack_that_is_not_ready_says_what_it_is() {
        for status in ["CREATE_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_FAILED", "REVIEW_IN_PROGRESS", "NEW_STATE"] {
            let error = found(status).usable().expect_err(status);
            assert!(matches!(&error, StackError::NotReady { status: said, .. } if said == status), "{error}");
        }
        // Its end can still be brought about.
        found("DELETE_FAILED").stack().expect("reads");
    }

    #[test]
    fn outputs_that_are_not_ours_are_named() {
        let mut other = found("CREATE_COMPLETE");
        other.outputs.remove("Table");
        other.outputs.insert("Bucket".into(), " ".into());
        let error = other.usable().expect_err("not ours").to_string();
        assert_eq!(error, "the stack `x` is not lambdaload's: it has no output Bucket, Table");
        let mut odd = found("CREATE_COMPLETE");
        odd.outputs.insert("WorkerCapacity".into(), "many".into());
        let error = odd.usable().expect_err("odd").to_string();
        assert_eq!(error, "the stack `x` says WorkerCapacity = many: expected a number");
    }
}
