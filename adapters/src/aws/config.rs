//! How AWS is reached: whose credentials, which region, how long anything may take.

use std::{sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnectorSettings, SharedHttpClient},
    runtime_components::RuntimeComponents,
};
use aws_types::{app_name::AppName, service_config::ServiceConfigKey};
use tokio::time::timeout;

use super::error::{Subject, words_of};

/// A TCP and TLS connection to a region on the other side of the world takes less than a second.
const CONNECTING: Duration = Duration::from_millis(1_500);

/// One attempt. S3 and DynamoDB answer within tens of milliseconds; one that has not in two seconds is lost, and the next
/// one goes over another connection, to another of their machines.
pub(super) const ATTEMPT: Duration = Duration::from_secs(2);

/// All attempts of one call. The use-cases give a call up after five seconds; it is better that we do, who can say why.
pub(super) const CALL: Duration = Duration::from_millis(4_500);

/// Attempts of one call at most. With the pauses below, of which each is a random part, those that fail at once go on for
/// about a second: what is throttled then is given back to the use-cases, which have a longer patience.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a body may stand still before it counts as lost.
const STALLED: Duration = Duration::from_secs(4);

/// How long a person's credentials may take: a program that asks for a token, or a role behind a role.
const SIGNING_IN: Duration = Duration::from_mins(2);

/// Whom to be, and where; what is `None` is as the environment and the files of the AWS command line say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// A region: `eu-central-1`.
    pub region: Option<String>,
    /// A profile of `~/.aws/config`.
    pub profile: Option<String>,
}

/// How AWS is reached. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Config {
    sdk: SdkConfig,
    region: Arc<str>,
}

/// AWS cannot be reached as things are set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No region is set.
    #[error("no AWS region is set: expected one in --region, in AWS_REGION, or in the profile in ~/.aws/config")]
    NoRegion,
    /// There are no credentials.
    #[error(
        "no AWS credentials were found: expected a profile (AWS_PROFILE), a sign-in (`aws sso login`), AWS_ACCESS_KEY_ID \
         and AWS_SECRET_ACCESS_KEY, or a role of this machine"
    )]
    NoCredentials,
    /// There should be credentials, but they could not be had.
    #[error(
        "the AWS credentials could not be loaded: {0}. If they come from single sign-on, sign in again: `aws sso login`"
    )]
    Credentials(String),
}

impl Config {
    /// From the standard settings. The credentials are loaded here, because that may take far longer than a call may.
    pub async fn load(choice: Choice) -> Result<Self, ConfigError> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = choice.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(profile) = choice.profile {
            loader = loader.profile_name(profile);
        }
        Self::load_from(loader).await
    }

    /// From the standard settings, but for what the loader has already.
    pub async fn load_from(loader: ConfigLoader) -> Result<Self, ConfigError> {
        let mut loader = loader
            .http_client(http_client())
            .identity_cache(IdentityCache::lazy().load_timeout(SIGNING_IN).build())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS)
                    .with_initial_backoff(FIRST_PAUSE)
                    .with_max_backoff(LONGEST_PAUSE),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECTING)
                    .operation_attempt_timeout(ATTEMPT)
                    .operation_timeout(CALL)
                    .build(),
            )
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALLED).build());
        if let Ok(name) = AppName::new(concat!("lambdaload-", env!("CARGO_PKG_VERSION"))) {
            loader = loader.app_name(name);
        }
        let sdk = loader.load().await;
        let Some(region) = sdk.region().map(|region| Arc::from(region.as_ref())) else {
            return Err(ConfigError::NoRegion);
        };
        let provider = sdk.credentials_provider().ok_or(ConfigError::NoCredentials)?;
        let first = match timeout(SIGNING_IN, provider.provide_credentials()).await {
            Ok(Ok(credentials)) => credentials,
            Ok(Err(CredentialsError::CredentialsNotLoaded(_))) => return Err(ConfigError::NoCredentials),
            Ok(Err(error)) => return Err(ConfigError::Credentials(words_of(&error))),
            Err(_) => {
                return Err(ConfigError::Credentials(format!("there was none within {} s", SIGNING_IN.as_secs())));
            }
        };
        let provider = SharedCredentialsProvider::new(Remembered { first, provider });
        Ok(Self { sdk: sdk.into_builder().credentials_provider(provider).build(), region })
    }

    /// For making clients of services.
    pub fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// Where everything is.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The endpoint that was set for a service, by the SDK's name of it (`DynamoDB`); none for AWS's own.
    pub fn endpoint(&self, service: &str) -> Option<String> {
        let key = ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url");
        let own = self.sdk.service_config().zip(key.build().ok()).and_then(|(config, key)| config.load_config(key));
        own.or_else(|| self.sdk.endpoint_url().map(str::to_owned))
    }

    /// `aws`, or what ARNs in China and for governments begin with.
    pub fn partition(&self) -> &'static str {
        match self.region.split('-').collect::<Vec<_>>()[..] {
            ["cn", ..] => "aws-cn",
            ["us", "gov", ..] => "aws-us-gov",
            _ => "aws",
        }
    }

    /// Something in the account that calls are about: how people and policies call it. `arn` goes on behind the partition:
    /// `dynamodb:eu-central-1:*:table/runs`.
    pub fn subject(&self, service: &'static str, name: impl Into<String>, arn: &str) -> Subject {
        Subject {
            service,
            name: name.into(),
            arn: format!("arn:{}:{arn}", self.partition()),
            region: self.region.to_string(),
            endpoint: self.endpoint(service),
        }
    }
}

/// HTTP as everywhere in lambdaload: TLS by ring with the certificates of the system, proxies from the environment.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(connector)
}

/// What sends requests.
pub(super) fn connector(settings: Option<&HttpConnectorSettings>, components: Option<&RuntimeComponents>) -> Connector {
    let mut connector = Connector::builder();
    connector.set_connector_settings(settings.cloned());
    connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
    connector.set_proxy_config(Some(ProxyConfig::from_env()));
    connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
}

/// Credentials that were loaded once, and new ones when these are over.
#[derive(Debug)]
struct Remembered {
    first: Credentials,
    provider: SharedCredentialsProvider,
}

impl ProvideCredentials for Remembered {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        /// New ones are loaded so long before the old ones end.
        const MARGIN: Duration = Duration::from_mins(5);
        let lasts = self.first.expiry().is_none_or(|end| std::time::SystemTime::now() + MARGIN < end);
        if lasts {
            future::ProvideCredentials::ready(Ok(self.first.clone()))
        } else {
            self.provider.provide_credentials()
        }
    }
}
