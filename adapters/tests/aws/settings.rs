use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use aws_config::Region;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use lambdaload_adapters::aws::{Config, ConfigError};
use lambdaload_core::ports::Ledger as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::{Stub, config, json_error, loader, run_id};

/// Credentials that take their time, or are none.
#[derive(Debug)]
struct Slow(Result<Credentials, &'static str>);

impl ProvideCredentials for Slow {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            if self.0.is_ok() {
                // Longer than a call may take: a person types the digits of a token.
                tokio::time::sleep(Duration::from_secs(6)).await;
            }
            self.0.clone().map_err(|why| match why {
                "" => CredentialsError::not_loaded("nothing there"),
                why => CredentialsError::provider_error(why),
            })
        })
    }
}

#[tokio::test]
async fn credentials_may_take_longer_than_a_call() {
    let stub = Stub::start(|_, _, _| async { json_error(400, "ResourceNotFoundException", "nothing") }).await;
    let end = SystemTime::now() + Duration::from_hours(1);
    let credentials = Credentials::new("AKIDTEST", "secret", None, Some(end), "tests");
    let config = Config::load_from(loader(&stub.endpoint).credentials_provider(Slow(Ok(credentials)))).await.unwrap();
    let ledger = lambdaload_adapters::aws::DynamoLedger::new(&config, "runs", crate::common::RETENTION);
    let error = ledger.run(&run_id(1)).await.unwrap_err().to_string();
    assert!(error.contains("ResourceNotFoundException"), "the call was not made: {error}");
    assert_eq!(stub.requests(), 1);
}

#[tokio::test]
async fn what_is_not_set_is_said() {
    let nobody = loader("http://127.0.0.1:1").credentials_provider(Slow(Err("")));
    let error = Config::load_from(nobody).await.unwrap_err();
    assert!(matches!(error, ConfigError::NoCredentials), "{error}");
    let expired = loader("http://127.0.0.1:1").credentials_provider(Slow(Err("the token has expired")));
    let error = Config::load_from(expired).await.unwrap_err().to_string();
    assert!(error.contains("the token has expired. If they come from single sign-on, sign in again"), "{error}");
    let nowhere = loader("http://127.0.0.1:1").region(None::<Region>);
    let error = Config::load_from(nowhere).await.unwrap_err();
    assert!(matches!(error, ConfigError::NoRegion), "{error}");
}

/// Good once, and over at once.
#[derive(Debug, Default)]
struct Ending(AtomicBool);

impl ProvideCredentials for Ending {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(if self.0.swap(true, Ordering::SeqCst) {
            Err(CredentialsError::provider_error("the session is over"))
        } else {
            Ok(Credentials::new("AKIDTEST", "secret", None, Some(SystemTime::now()), "tests"))
        })
    }
}

#[tokio::test]
async fn credentials_that_end_in_between_are_said_to_have_ended() {
    let config = Config::load_from(loader("http://127.0.0.1:1").credentials_provider(Ending::default())).await.unwrap();
    let ledger = lambdaload_adapters::aws::DynamoLedger::new(&config, "runs", crate::common::RETENTION);
    let error = ledger.run(&run_id(1)).await.unwrap_err().to_string();
    assert!(error.contains("new ones could not be loaded: sign in again"), "{error}");
    assert!(error.contains("the session is over"), "{error}");
}

#[tokio::test]
async fn arns_are_those_of_the_region() {
    let partition = async |region: &'static str| {
        let config = Config::load_from(loader("http://127.0.0.1:1").region(Region::new(region))).await.unwrap();
        config.subject("S3", "bucket", "s3:::bucket").arn
    };
    assert_eq!(partition("eu-central-1").await, "arn:aws:s3:::bucket");
    assert_eq!(partition("cn-north-1").await, "arn:aws-cn:s3:::bucket");
    assert_eq!(partition("us-gov-west-1").await, "arn:aws-us-gov:s3:::bucket");
    let config = config("http://127.0.0.1:1").await;
    assert_eq!(config.endpoint("DynamoDB").as_deref(), Some("http://127.0.0.1:1"));
}

/// Endpoints of AWS are spoken to by TLS, and one that does not speak it is said to be wrong.
#[tokio::test]
async fn https_is_tls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let first_byte = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let byte = connection.read_u8().await.unwrap();
        connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        byte
    });
    let config = config(&endpoint).await;
    let ledger = lambdaload_adapters::aws::DynamoLedger::new(&config, "runs", crate::common::RETENTION);
    let error = ledger.run(&run_id(1)).await.unwrap_err().to_string();
    assert_eq!(first_byte.await.unwrap(), 0x16, "no TLS handshake");
    assert!(error.contains("could not be reached"), "{error}");
}
