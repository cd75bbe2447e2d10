//! Calling Lambda functions.

use std::time::Duration;

use aws_sdk_lambda::{
    Client,
    error::ProvideErrorMetadata as _,
    operation::invoke::{InvokeError, InvokeOutput},
    primitives::Blob,
    types::InvocationType,
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use lambdaload_core::ports::Cause;
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    config::{ATTEMPT, Config},
    error::{Subject, is_throttling},
    pause::pause,
};

/// One function.
#[derive(Clone, Debug)]
pub(super) struct Function {
    client: Client,
    name: String,
    subject: Subject,
}

/// What Lambda answers for a function that failed.
#[derive(Deserialize)]
struct FunctionError {
    #[serde(rename = "errorMessage", default)]
    message: String,
}

impl Function {
    /// By its name or ARN.
    pub(super) fn new(config: &Config, client: Client, name: impl Into<String>) -> Self {
        let name = name.into();
        let arn = match name.strip_prefix("arn:") {
            Some(arn) => arn.split_once(':').map_or_else(String::new, |(_, rest)| rest.to_owned()),
            None => format!("lambda:{}:*:function:{name}", config.region()),
        };
        let subject = config.subject("Lambda", format!("function `{name}`"), &arn);
        Self { client, name, subject }
    }

    /// Hands it an event, which Lambda accepts or not. What may pass is tried again until `deadline`.
    pub(super) async fn event(&self, payload: &str, deadline: Instant) -> Result<(), Cause> {
        let mut tries = 0;
        loop {
            tries += 1;
            // With the SDK's own tries, one throttled launch of hundreds would use up what they have in common.
            let once = aws_sdk_lambda::config::Builder::new().retry_config(RetryConfig::disabled());
            let request = self.request(payload, InvocationType::Event).customize().config_override(once);
            let Err(error) = request.send().await else { return Ok(()) };
            if !may_pass(&error) || Instant::now() >= deadline {
                return Err(self.cause(&error));
            }
            pause(tries).await;
        }
    }

    /// Calls it and waits for its answer, as long as the function may take.
    pub(super) async fn call(&self, payload: &str, timeout: Duration) -> Result<Vec<u8>, Cause> {
        let patience = TimeoutConfig::builder()
            .operation_attempt_timeout(timeout + ATTEMPT)
            .operation_timeout(timeout + 2 * ATTEMPT)
            .build();
        let settings = aws_sdk_lambda::config::Builder::new().timeout_config(patience);
        let request = self.request(payload, InvocationType::RequestResponse).customize().config_override(settings);
        let answer: InvokeOutput = request.send().await.map_err(|error| self.cause(&error))?;
        let body = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let Some(kind) = answer.function_error else { return Ok(body) };
        let said = serde_json::from_slice(&body).map(|error: FunctionError| error.message).unwrap_or_default();
        let said = if said.is_empty() { kind } else { said };
        let name = self.name.rsplit(':').next().unwrap_or_default();
        Err(format!("function `{}` failed: {said}. Its log group is /aws/lambda/{name}", self.name).into())
    }

    fn request(
        &self,
        payload: &str,
        kind: InvocationType,
    ) -> aws_sdk_lambda::operation::invoke::builders::InvokeFluentBuilder {
        self.client.invoke().function_name(&self.name).invocation_type(kind).payload(Blob::new(payload))
    }

    fn cause(&self, error: &SdkError<InvokeError, HttpResponse>) -> Cause {
        self.subject.cause("lambda:InvokeFunction", error)
    }
}

fn may_pass(error: &SdkError<InvokeError, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(answer) => {
            is_throttling(error.code().unwrap_or_default()) || answer.raw().status().as_u16() >= 500
        }
        _ => false,
    }
}
