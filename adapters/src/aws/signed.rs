//! Calls of services whose SDK would cost more than all else: signed by AWS's own library, sent as everything here is sent.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use lambdaload_core::ports::Cause;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    config::{Config, connector},
    error::is_throttling,
    pause::pause,
};

/// One call.
const PATIENCE: Duration = Duration::from_secs(10);

/// A service that takes no more calls at the moment, or fails itself, is asked this often.
const TRIES: u32 = 3;

/// Letters of an answer that is none of the service's own.
pub(super) const QUOTED: usize = 200;

/// What is asked.
#[derive(Clone)]
pub(super) struct Question<'a> {
    /// The SDK's name of the service, by which an endpoint may be set: `EC2`.
    pub(super) service: &'a str,
    /// Its name in endpoints and signatures: `ec2`.
    pub(super) name: &'a str,
    /// What tells its protocol which call it is.
    pub(super) headers: Vec<(&'static str, &'a str)>,
    pub(super) body: String,
}

impl<'a> Question<'a> {
    /// One of AWS's protocol in JSON, by the name of the call with that of the service's version before it.
    pub(super) fn json(service: &'a str, name: &'a str, target: &'a str, body: &Value) -> Self {
        let headers = vec![("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        Self { service, name, headers, body: body.to_string() }
    }
}

/// What a service answers: the status, and the body as it is.
pub(super) async fn ask(config: &Config, question: Question<'_>) -> Result<(u16, String), Cause> {
    let mut tries = 1;
    loop {
        let (status, answer) = ask_once(config, question.clone()).await?;
        // The code of an error is one word of it, in whatever format.
        let mut words = answer.split(|character: char| !character.is_ascii_alphanumeric());
        let may_pass = status >= 500 || status >= 400 && words.any(is_throttling);
        if !may_pass || tries >= TRIES {
            return Ok((status, answer));
        }
        pause(tries).await;
        tries += 1;
    }
}

async fn ask_once(config: &Config, question: Question<'_>) -> Result<(u16, String), Cause> {
    let Question { service, name, headers, body } = question;
    let suffix = if config.partition() == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
    let region = config.region();
    let url = config.endpoint(service).unwrap_or_else(|| format!("https://{name}.{region}.{suffix}"));
    let url = format!("{}/", url.trim_end_matches('/'));
    let provider = config.sdk().credentials_provider().ok_or("there are no AWS credentials")?;
    let identity = provider.provide_credentials().await?.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(name)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let signable = SignableRequest::new("POST", &url, headers.iter().copied(), SignableBody::Bytes(body.as_bytes()))?;
    let (signature, _) = sign(signable, &params)?.into_parts();
    let mut request = http::Request::post(&url);
    for (header, value) in headers {
        request = request.header(header, value);
    }
    let mut request = request.body(SdkBody::from(body))?;
    signature.apply_to_request_http1x(&mut request);
    let answered = timeout(PATIENCE, async {
        let answer = connector(None, None).call(request.try_into()?).await?;
        let status = answer.status().as_u16();
        let bytes = ByteStream::new(answer.into_body()).collect().await?.into_bytes();
        Ok::<_, Cause>((status, String::from_utf8_lossy(&bytes).into_owned()))
    });
    answered.await.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
}

/// What a service of the protocol in JSON says instead of an answer, and for want of a permission which one that is.
pub(super) fn refused(service: &str, action: &str, status: u16, answer: &str) -> String {
    let refusal: Value = serde_json::from_str(answer).unwrap_or_default();
    let text = |name: &str| refusal[name].as_str().unwrap_or_default();
    let kind = text("__type").rsplit('#').next().unwrap_or_default();
    // By one of these names, or by both.
    let message = if text("message").is_empty() { text("Message") } else { text("message") };
    let said = [kind, message].into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join(": ");
    // Whatever answers here may be no AWS.
    let said = if said.is_empty() { answer.trim().chars().take(QUOTED).collect() } else { said };
    let remedy = if kind.contains("AccessDenied") { format!("; it takes {action}") } else { String::new() };
    format!("{service} answers with {status}: {said}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told() {
        let quotas = |status, answer| refused("Service Quotas", "servicequotas:GetServiceQuota", status, answer);
        assert_eq!(
            quotas(400, r#"{"__type":"com.amazonaws.x#AccessDeniedException","Message":"no"}"#),
            "Service Quotas answers with 400: AccessDeniedException: no; it takes servicequotas:GetServiceQuota"
        );
        assert_eq!(
            quotas(400, r#"{"__type":"NoSuchResourceException","message":"none","Message":"none"}"#),
            "Service Quotas answers with 400: NoSuchResourceException: none"
        );
        assert_eq!(quotas(502, "<html>bad gateway"), "Service Quotas answers with 502: <html>bad gateway");
    }
}
