//! Who we are to AWS, and how much of what everything in an account and region shares is left.

use std::time::{Duration, SystemTime};

use aws_sdk_cloudwatch::{
    primitives::DateTime,
    types::{Datapoint, Statistic},
};
use aws_sdk_lambda::types::{AccountLimit, InvocationType};
use lambdaload_core::ports::CallError;

use super::{
    config::Config,
    error::{Subject, call_error},
};

/// How far back use is looked for. CloudWatch has the last minute or two late.
pub(super) const LOOKED_AT: Duration = Duration::from_mins(5);

/// Somebody, in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Twelve digits.
    pub account: String,
    /// A user, or a role with the name of its session.
    pub arn: String,
}

/// How many Lambda invocations of an account may run at one time in a region, all functions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// The quota as it is applied.
    pub limit: u32,
    /// What of it no function has reserved for itself.
    pub unreserved: u32,
}

/// An account in a region.
#[derive(Debug)]
pub struct Account {
    sts: aws_sdk_sts::Client,
    lambda: aws_sdk_lambda::Client,
    pub(super) cloudwatch: aws_sdk_cloudwatch::Client,
    pub(super) config: Config,
}

impl Account {
    /// The one that `config` leads to.
    pub fn new(config: &Config) -> Self {
        Self {
            sts: aws_sdk_sts::Client::new(config.sdk()),
            lambda: aws_sdk_lambda::Client::new(config.sdk()),
            cloudwatch: aws_sdk_cloudwatch::Client::new(config.sdk()),
            config: config.clone(),
        }
    }

    /// Of what is about the whole account.
    pub(super) fn subject(&self, service: &'static str, name: &str) -> Subject {
        Subject { arn: "*".to_owned(), ..self.config.subject(service, name, "") }
    }

    /// Who asks. Nobody needs a permission for this.
    pub async fn identity(&self) -> Result<Identity, CallError> {
        let said = self.sts.get_caller_identity().send().await;
        let said = said.map_err(|error| {
            call_error("asking AWS who we are", &self.subject("STS", "identity"), "sts:GetCallerIdentity", &error)
        })?;
        let text = |value: Option<&str>| value.unwrap_or("unknown").to_owned();
        Ok(Identity { account: text(said.account()), arn: text(said.arn()) })
    }

    /// The quota of concurrent executions.
    pub async fn concurrency(&self) -> Result<Concurrency, CallError> {
        let settings = self.lambda.get_account_settings().send().await;
        let settings = settings.map_err(|error| {
            let subject = self.subject("Lambda", "settings of the account");
            call_error("reading the account's Lambda settings", &subject, "lambda:GetAccountSettings", &error)
        })?;
        let limit = settings.account_limit();
        let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
        Ok(Concurrency {
            limit: number(limit.map(AccountLimit::concurrent_executions)),
            unreserved: number(limit.and_then(AccountLimit::unreserved_concurrent_executions)),
        })
    }

    /// Whether we may call a function; it is not run.
    pub async fn may_call(&self, function: &str) -> Result<(), CallError> {
        let asked = self.lambda.invoke().function_name(function).invocation_type(InvocationType::DryRun).send().await;
        asked.map(drop).map_err(|error| {
            let arn = format!("lambda:{}:*:function:{function}", self.config.region());
            let subject = self.config.subject("Lambda", format!("function `{function}`"), &arn);
            call_error("asking whether we may call a function", &subject, "lambda:InvokeFunction", &error)
        })
    }

    /// How many executions there were at one time in the last minutes, by CloudWatch, of functions that have reserved none.
    pub async fn in_use(&self) -> Result<u32, CallError> {
        let now = SystemTime::now();
        let statistics = self
            .cloudwatch
            .get_metric_statistics()
            .namespace("AWS/Lambda")
            .metric_name("UnreservedConcurrentExecutions")
            .start_time(DateTime::from(now.checked_sub(LOOKED_AT).unwrap_or(now)))
            .end_time(DateTime::from(now))
            .period(60)
            .statistics(Statistic::Maximum)
            .send()
            .await
            .map_err(|error| {
                let subject = self.subject("CloudWatch", "metrics of Lambda");
                let operation = "reading how many Lambda executions are in use";
                call_error(operation, &subject, "cloudwatch:GetMetricStatistics", &error)
            })?;
        let most = statistics.datapoints().iter().filter_map(Datapoint::maximum).fold(0.0, f64::max);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count; out of range is clamped")]
        let most = most.ceil() as u32;
        Ok(most)
    }
}
