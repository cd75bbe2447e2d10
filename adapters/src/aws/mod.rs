//! Runs in an AWS account: S3 as store, DynamoDB as ledger, Lambda functions as workers.
//!
//! Everything is made from one [`Config`], which reads the SDK's standard settings: profiles, single sign-on, roles, region,
//! and endpoints (`AWS_ENDPOINT_URL`, also by service).

mod config;
mod error;
mod fleet;
mod functions;
mod invoke;
mod ledger;
mod pause;
mod secrets;
mod slots;
mod store;
mod table;
mod verdicts;

pub use config::{Choice, Config, ConfigError};
pub use error::{MissingPermission, Subject, missing_permission};
pub use fleet::LambdaFleet;
pub use functions::{AwsFunctions, Calls, FunctionNames};
pub use ledger::{DynamoLedger, Retention};
pub use secrets::{RunSecrets, SecretsError};
pub use slots::DynamoSlots;
pub use store::S3Store;
