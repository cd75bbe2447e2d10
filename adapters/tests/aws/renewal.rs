//! Credentials that end while a run goes on, as those of a task or a function in a long test do: the endpoint of the
//! container gives new ones, and store and ledger go on.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_smithy_types::{DateTime, date_time::Format};
use axum::{
    body::Bytes,
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
    response::Response,
};
use lambdaload_adapters::aws::{Choice, Config, DynamoLedger, S3Store};
use lambdaload_core::{
    ports::{Ledger as _, ObjectStore as _},
    testing::contract::sample_run,
};
use lambdaload_tests::servers::{ACCESS_KEY, REGION};
use serde_json::json;

use crate::common::{DEADLINE, RETENTION, Stub, json_error, ledger, loader, ministack, run_id, store, xml_error};

/// The SDK takes new keys ten seconds before the old ones end.
const LIFE: Duration = Duration::from_secs(12);

/// The keys that were given out, by number, with their end, and what was done with them.
#[derive(Default)]
struct Keys {
    ends: Vec<SystemTime>,
    /// How often each was used while it lasted.
    used: Vec<usize>,
    refused: usize,
}

/// The endpoint of a container: each time new keys.
async fn endpoint_of_container(keys: &Arc<Mutex<Keys>>) -> Stub {
    let keys = Arc::clone(keys);
    Stub::start(move |_, _, _| {
        let end = SystemTime::now() + LIFE;
        let mut keys = keys.lock().unwrap();
        keys.ends.push(end);
        keys.used.push(0);
        let number = keys.ends.len();
        let answer = json!({
            "AccessKeyId": format!("ASIATEST{number}"), "SecretAccessKey": format!("secret {number}"),
            "Token": format!("token {number}"), "Expiration": DateTime::from(end).fmt(Format::DateTime).unwrap(),
        });
        async move {
            Response::builder().header("content-type", "application/json").body(answer.to_string().into()).unwrap()
        }
    })
    .await
}

/// An account that takes a key only with its token and until its end, as AWS does; behind it is one that takes any.
async fn strict(keys: &Arc<Mutex<Keys>>, account: String) -> Stub {
    let keys = Arc::clone(keys);
    // As in the adapters: a build that can push images has TLS in every client.
    #[cfg(feature = "image")]
    let _known = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    Stub::start(move |head: Parts, body: Bytes, _| {
        let (account, client) = (account.clone(), client.clone());
        let number = key_number(&head.headers);
        let is_valid = {
            let mut keys = keys.lock().unwrap();
            let end = number.and_then(|number| keys.ends.get(number - 1)).copied();
            let is_valid = end.is_some_and(|end| SystemTime::now() < end);
            match number.filter(|_| is_valid) {
                Some(number) => keys.used[number - 1] += 1,
                None => keys.refused += 1,
            }
            is_valid
        };
        async move {
            let is_table = head.headers.contains_key("x-amz-target");
            match (is_valid, is_table) {
                (true, _) => forward(&client, &account, head, body).await,
                (false, true) => {
                    json_error(400, "ExpiredTokenException", "The security token included in the request is expired")
                }
                (false, false) => xml_error(400, "ExpiredToken", "The provided token has expired."),
            }
        }
    })
    .await
}

/// The number of the key that signed, if its token came with it.
fn key_number(headers: &HeaderMap) -> Option<usize> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let number = authorization.split("Credential=ASIATEST").nth(1)?.split('/').next()?.parse().ok()?;
    let token = headers.get("x-amz-security-token")?.to_str().ok()?;
    (token == format!("token {number}")).then_some(number)
}

async fn forward(client: &reqwest::Client, account: &str, head: Parts, body: Bytes) -> Response {
    let url = format!("{account}{}", head.uri);
    let mut headers = head.headers;
    headers.remove("host");
    headers.remove("x-amz-security-token");
    let signed = headers[AUTHORIZATION].to_str().unwrap();
    let key = signed.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_owned();
    // What there is belongs to one account, whichever key was used.
    headers.insert(AUTHORIZATION, signed.replace(&key, ACCESS_KEY).parse().unwrap());
    let answer = client.request(head.method, url).headers(headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        response = response.header(name, value);
    }
    response.body(answer.bytes().await.unwrap().into()).unwrap()
}

/// What the other process is told: bucket and table.
const TOLD: &str = "LAMBDALOAD_TEST_RENEWAL";

/// What a worker that lives for hours does, until its input ends: the other process of the test below, because the SDK
/// reads where its credentials come from in the environment of the process. Alone it does nothing.
#[tokio::test]
#[ignore = "is run by a_long_run_goes_on_with_new_keys"]
async fn the_long_run() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let (bucket, table) = told.split_once(' ').unwrap();
    let config = Config::load(Choice::default()).await.unwrap();
    let (store, ledger) = (S3Store::new(&config, bucket), DynamoLedger::new(&config, table, RETENTION));
    let mut run = sample_run(&run_id(1));
    ledger.create_run(&run).await.unwrap();
    let mut end = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    for number in 0_u32.. {
        run.aggregator_beat += 1;
        run = ledger.replace_run(&run).await.unwrap_or_else(|error| panic!("call {number}: {error}"));
        let (key, bytes) = (format!("chunk {number}"), number.to_be_bytes().to_vec());
        store.put_new(&key, bytes.clone()).await.unwrap_or_else(|error| panic!("call {number}: {error}"));
        assert_eq!(store.get(&key).await.unwrap(), bytes);
        if tokio::time::timeout(Duration::from_millis(100), &mut end).await.is_ok() {
            break;
        }
    }
    assert_eq!(ledger.run(&run.id).await.unwrap(), run);
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_long_run_goes_on_with_new_keys() {
    let (_, bucket) = store(&ministack()).await;
    let (.., table) = ledger(&ministack()).await;
    let keys = Arc::default();
    let (container, account) = (endpoint_of_container(&keys).await, strict(&keys, ministack()).await);
    let mut process = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "renewal::the_long_run", "--ignored", "--nocapture"])
        .env_clear()
        .env(TOLD, format!("{bucket} {table}"))
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v2/credentials", container.endpoint))
        .env("AWS_ENDPOINT_URL", &account.endpoint)
        .env("AWS_REGION", REGION)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let two_ended = async {
        loop {
            let ended = {
                let keys = keys.lock().unwrap();
                let ended = |(end, used): &(&SystemTime, &usize)| **end < SystemTime::now() && **used > 0;
                keys.ends.iter().zip(&keys.used).filter(ended).count()
            };
            if ended >= 2 || process.try_wait().unwrap().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, two_ended).await.expect("two keys were used and ended");
    drop(process.stdin.take());
    let status = tokio::time::timeout(DEADLINE, process.wait()).await.expect("the other process ends").unwrap();
    assert!(status.success(), "the long run ended with {status}");
    let (refused, used) = {
        let keys = keys.lock().unwrap();
        (keys.refused, keys.used.iter().filter(|used| **used > 0).count())
    };
    assert_eq!(refused, 0, "a key was used after its end");
    assert!(used >= 3, "{used} keys were used");

    // The account is strict: the first key opens nothing any more.
    let first = Credentials::new("ASIATEST1", "secret 1", Some("token 1".into()), None, "tests");
    let config = Config::load_from(loader(&account.endpoint).credentials_provider(first)).await.unwrap();
    let error = S3Store::new(&config, &bucket).get("chunk 0").await.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
}
