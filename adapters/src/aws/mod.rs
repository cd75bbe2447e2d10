//! Runs in an AWS account: S3 as store, DynamoDB as ledger, Lambda functions as workers.
//!
//! Everything is made from one [`Config`], which reads the SDK's standard settings: profiles, single sign-on, roles, region,
//! and endpoints (`AWS_ENDPOINT_URL`, also by service).

#[cfg(feature = "aws-operator")]
mod account;
mod config;
#[cfg(feature = "image")]
mod ecr;
mod ecs;
mod error;
#[cfg(feature = "aws-operator")]
mod fargate;
mod fleet;
mod functions;
mod invoke;
mod ledger;
#[cfg(feature = "image")]
mod leftovers;
mod pause;
#[cfg(feature = "aws-operator")]
mod remains;
#[cfg(feature = "aws-operator")]
mod schedules;
mod secrets;
#[cfg(feature = "aws-operator")]
mod signed;
mod slots;
#[cfg(feature = "aws-operator")]
mod stack;
mod store;
mod table;
mod task;
mod tests;
mod topic;
mod verdicts;

#[cfg(feature = "aws-operator")]
pub use account::{Account, Concurrency, Identity};
pub use config::{Choice, Config, ConfigError};
#[cfg(feature = "image")]
pub use ecr::{Ecr, RepositoryError};
pub use ecs::{EcsFleet, EcsTasks, stop_all_tasks};
pub use error::{MissingPermission, Subject, missing_permission};
#[cfg(feature = "aws-operator")]
pub use fargate::TaskQuota;
pub use fleet::LambdaFleet;
pub use functions::{AwsFunctions, Calls, FunctionNames};
pub use ledger::{DynamoLedger, Retention};
#[cfg(feature = "image")]
pub use leftovers::Leftovers;
#[cfg(feature = "aws-operator")]
pub use remains::{Places, Remain, Remains};
#[cfg(feature = "aws-operator")]
pub use schedules::{FoundSchedule, ScheduleParts, Schedules};
pub use secrets::{RunSecrets, SecretsError};
pub use slots::DynamoSlots;
#[cfg(feature = "aws-operator")]
pub use stack::{DeletionError, FargateParts, Found, Stack, StackError, Stacks};
pub use store::S3Store;
pub use task::task_name;
pub use tests::DynamoTests;
pub use topic::SnsTopics;
