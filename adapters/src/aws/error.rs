//! What AWS says when it refuses, in words that say what to do.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use lambdaload_core::ports::Cause;
use serde_json::{Value, json};

/// Something in the account that calls are about. [`super::Config::subject`] makes one.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The SDK's name of the service: `DynamoDB`.
    pub service: &'static str,
    /// For people: ``the table `lambdaload` ``.
    pub name: String,
    /// As policies name it; `*` for what is not known here.
    pub arn: String,
    /// The region.
    pub region: String,
    /// The endpoint, if it is not AWS's own.
    pub endpoint: Option<String>,
}

/// AWS does not let us do something. [`missing_permission`] finds it in an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{principal} may not do {action} on {resource}{}", self.remedy())]
pub struct MissingPermission {
    /// As policies name it: `dynamodb:PutItem`.
    pub action: String,
    /// What it was to be done on: an ARN.
    pub resource: String,
    /// Who was to do it: an ARN, if AWS said.
    pub principal: String,
    /// What decided, in AWS's words, if it said: `no identity-based policy allows the dynamodb:PutItem action`.
    pub reason: Option<String>,
}

impl MissingPermission {
    /// The statement that would allow it, for a policy of the principal. It is about all runs, not about this one only.
    pub fn statement(&self) -> Value {
        json!({"Effect": "Allow", "Action": self.action, "Resource": for_all_runs(&self.resource)})
    }

    /// Whether something forbids it, so that no statement could allow it.
    pub fn is_forbidden(&self) -> bool {
        self.reason.as_ref().is_some_and(|reason| reason.contains("explicit deny"))
    }

    fn remedy(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        if self.is_forbidden() {
            return format!("{reason}. What forbids it must be changed; no further permission helps");
        }
        format!("{reason}. Add to {}: {}", self.policy(), self.statement())
    }

    /// Which policy lacks the [statement](Self::statement), in words.
    pub fn policy(&self) -> &'static str {
        match &self.reason {
            Some(reason) if reason.contains("permissions boundary") => "its permissions boundary",
            Some(reason) if reason.contains("service control policy") => "the organisation's service control policy",
            Some(reason) if reason.contains("VPC endpoint policy") => "the policy of the VPC endpoint",
            _ => "its policy",
        }
    }
}

/// The missing permission that has caused an error, if one has.
pub fn missing_permission<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e MissingPermission> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

impl Subject {
    /// The same kind of thing, another one.
    #[must_use]
    pub fn with_arn(&self, arn: String) -> Self {
        Self { arn, ..self.clone() }
    }

    /// What a call's error means. `action` is the call as policies name it.
    pub fn cause<E>(&self, action: &str, error: &SdkError<E, HttpResponse>) -> Cause
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let code = error.code().unwrap_or_default();
        let said = error.message().unwrap_or_default();
        if is_denied(code, error) {
            return self.denied(action, said).into();
        }
        let advice = match error {
            SdkError::TimeoutError(_) => Some(format!(
                "{} did not answer in time: if that goes on, look at the network and the AWS Health Dashboard",
                self.place()
            )),
            SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => Some(format!(
                "{} could not be reached: look at the network, the proxy, the region and AWS_ENDPOINT_URL",
                self.place()
            )),
            SdkError::DispatchFailure(_) if chain(error).any(<dyn Error>::is::<CredentialsError>) => {
                Some("the AWS credentials have ended, and new ones could not be loaded: sign in again".to_owned())
            }
            SdkError::ResponseError(_) => Some(format!(
                "{} gave an answer that is none of AWS's: look at the proxy and AWS_ENDPOINT_URL",
                self.place()
            )),
            _ => self.advice(code, said),
        };
        let words = self.words(error);
        match advice {
            Some(advice) => format!("{advice} ({words})").into(),
            None => words.into(),
        }
    }

    fn denied(&self, action: &str, said: &str) -> MissingPermission {
        let named = Denial::parse(said);
        MissingPermission {
            action: named.action.unwrap_or(action).to_owned(),
            resource: named.resource.unwrap_or(&self.arn).to_owned(),
            principal: named.principal.unwrap_or("whoever the AWS credentials are of").to_owned(),
            reason: named.reason.map(str::to_owned),
        }
    }

    /// What to do about a code, for those that have one meaning for whoever runs lambdaload.
    fn advice(&self, code: &str, said: &str) -> Option<String> {
        let (name, region) = (&self.name, &self.region);
        Some(match code {
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
                "the AWS credentials have expired: sign in again (`aws sso login`), or get new ones".to_owned()
            }
            "RequestTimeTooSkewed" | "RequestExpired" => "the clock of this machine is wrong: set it".to_owned(),
            "InvalidSignatureException" if said.contains("Signature expired") || said.contains("not yet current") => {
                "the clock of this machine is wrong: set it".to_owned()
            }
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "AuthFailure" => format!(
                "{} does not know these AWS credentials: look at AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN",
                self.place()
            ),
            "OptInRequired" => format!("the account may not use {region} yet: enable the region, or use another"),
            "NoSuchBucket" => {
                format!("there is no {name}: was the stack deleted, or is it in another account or region?")
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                format!("{name} is not in {region}: use the region of the stack (--region)")
            }
            "ResourceNotFoundException" => {
                format!("there is no {name} in {region}: was the stack deployed, and in this account and region?")
            }
            _ if is_throttling(code) => {
                format!("{} takes no more calls at the moment; it was tried several times", self.place())
            }
            _ if code == "ValidationException" && said.contains("Item size") => {
                "it is larger than DynamoDB's 400 kB".to_owned()
            }
            _ => return None,
        })
    }

    fn place(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", self.service),
            None => format!("{} in {}", self.service, self.region),
        }
    }

    /// What the service or the SDK said itself.
    fn words<E>(&self, error: &SdkError<E, HttpResponse>) -> String
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let mut words = match (error, error.code(), error.message()) {
            (SdkError::ServiceError(_), Some(code), Some(message)) if !message.is_empty() => {
                format!("{code}: {message}")
            }
            (SdkError::ServiceError(_), Some(code), _) => code.to_owned(),
            (SdkError::ServiceError(_), None, _) => {
                format!("{} answered with HTTP {}", self.place(), status.unwrap_or_default())
            }
            // The layers between say no more than that there was no connection.
            (SdkError::DispatchFailure(failure), ..) if failure.is_io() || failure.is_timeout() => {
                chain(error).last().map_or_else(String::new, ToString::to_string)
            }
            (other, ..) => words_of(other),
        };
        if let Some(id) = error.meta().extra("aws_request_id") {
            words += &format!(", request {id}");
        }
        words
    }
}

/// The error of a call that is behind no port.
pub(super) fn call_error<E>(
    operation: &'static str,
    subject: &Subject,
    action: &str,
    error: &SdkError<E, HttpResponse>,
) -> lambdaload_core::ports::CallError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    lambdaload_core::ports::CallError { operation, cause: subject.cause(action, error) }
}

/// An error and what has caused it, each once.
pub(super) fn words_of(error: &(dyn Error + 'static)) -> String {
    let mut all: Vec<String> = Vec::new();
    for cause in chain(error) {
        let words = cause.to_string();
        if !words.is_empty() && !all.iter().any(|earlier| earlier.contains(&words)) {
            all.push(words);
        }
    }
    all.join(": ")
}

fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

fn is_denied<E>(code: &str, error: &SdkError<E, HttpResponse>) -> bool {
    let forbidden = || error.raw_response().is_some_and(|response| response.status().as_u16() == 403);
    matches!(
        code,
        "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "NotAuthorized"
            | "NotAuthorizedException"
            | "AuthorizationError"
            | "AuthorizationErrorException"
            | "AllAccessDisabled"
            | "Forbidden"
    ) || (code.is_empty() && forbidden())
}

/// Whether the service asks for fewer calls.
pub(super) fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "LimitExceededException"
            | "EC2ThrottledException"
            | "SlowDown"
            | "ServiceUnavailable"
            | "PriorRequestNotComplete"
    )
}

/// What is in AWS's message about a denial.
#[derive(Debug, Default, PartialEq, Eq)]
struct Denial<'t> {
    principal: Option<&'t str>,
    action: Option<&'t str>,
    resource: Option<&'t str>,
    reason: Option<&'t str>,
}

impl<'t> Denial<'t> {
    /// `User: arn:… is not authorized to perform: dynamodb:PutItem on resource: arn:… because no …`, or `… with an …`.
    fn parse(said: &'t str) -> Self {
        let Some((before, after)) = said.split_once("is not authorized to perform: ") else {
            return Self::default();
        };
        let principal = before.rsplit_once("User: ").map(|(_, name)| name.trim()).filter(|name| !name.is_empty());
        let reason = after
            .split_once(" because ")
            .map(|(_, reason)| reason)
            .or_else(|| after.find("with an explicit deny").map(|at| &after[at + "with ".len()..]));
        let action = after.split_whitespace().next();
        let resource = after.split_once("on resource: ").and_then(|(_, rest)| rest.split_whitespace().next());
        // A role is passed to whoever uses it, which only a condition says.
        Self {
            principal,
            action: action.map(bare),
            resource: resource.map(bare).filter(|arn| arn.starts_with("arn:") || *arn == "*"),
            reason: reason.map(bare),
        }
    }
}

/// Without the punctuation around it.
fn bare(text: &str) -> &str {
    text.trim().trim_end_matches('.').trim_matches('"').trim_end_matches(',')
}

/// An ARN up to what belongs to one run or archive, which no policy names.
fn for_all_runs(arn: &str) -> String {
    let is_id = |word: &str| {
        let ulid = word.len() == 26 && word.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        let hash = word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
        ulid || hash
    };
    let mut start = 0;
    for word in arn.split(|c: char| !c.is_ascii_alphanumeric()) {
        if is_id(word) {
            return format!("{}*", arn.get(..start).unwrap_or_default());
        }
        start += word.len() + 1;
    }
    arn.to_owned()
}
