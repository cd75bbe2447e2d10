//! What these tests share: servers, buckets and tables of one's own, and a server that says what it is told to.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::Credentials;
use aws_sdk_s3::types::CreateBucketConfiguration;
use axum::{Router, body::Bytes, extract::Request, http::request::Parts, response::Response};
use lambdaload_adapters::aws::{Config, DynamoLedger, DynamoSlots, Retention, S3Store};
use lambdaload_core::ids::RunId;
use lambdaload_tests::servers::{ACCESS_KEY, DynamoDbLocal, Ministack, REGION, SECRET_KEY, Versitygw, make_table};

/// Longer than anything takes here.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) const RETENTION: Retention =
    Retention { runs: Duration::from_hours(400 * 24), workers: Duration::from_hours(30 * 24) };

/// The one emulated account of these tests.
pub(crate) fn ministack() -> String {
    static SERVER: OnceLock<Ministack> = OnceLock::new();
    SERVER.get_or_init(Ministack::start).endpoint()
}

/// The one strict S3.
pub(crate) fn versitygw() -> String {
    static SERVER: OnceLock<Versitygw> = OnceLock::new();
    SERVER.get_or_init(Versitygw::start).endpoint()
}

/// The one strict DynamoDB.
pub(crate) fn dynamodb_local() -> String {
    static SERVER: OnceLock<DynamoDbLocal> = OnceLock::new();
    SERVER.get_or_init(DynamoDbLocal::start).endpoint()
}

/// Settings that reach a server, and nothing of the environment.
pub(crate) fn loader(endpoint: &str) -> ConfigLoader {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
    aws_config::defaults(BehaviorVersion::latest())
        .empty_test_environment()
        .region(Region::new(REGION))
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
}

pub(crate) async fn config(endpoint: &str) -> Config {
    Config::load_from(loader(endpoint)).await.unwrap()
}

/// A name that no other test has.
pub(crate) fn name(kind: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    format!("{kind}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A client that reaches a server, for what the product does not do.
pub(crate) fn s3(config: &Config) -> aws_sdk_s3::Client {
    let settings = aws_sdk_s3::config::Builder::from(config.sdk()).force_path_style(true);
    aws_sdk_s3::Client::from_conf(settings.build())
}

/// A new bucket and the store in it.
pub(crate) async fn store(endpoint: &str) -> (S3Store, String) {
    let config = config(endpoint).await;
    let bucket = name("bucket");
    let location = CreateBucketConfiguration::builder().location_constraint(REGION.into()).build();
    s3(&config).create_bucket().bucket(&bucket).create_bucket_configuration(location).send().await.unwrap();
    (S3Store::new(&config, &bucket), bucket)
}

/// A new table.
pub(crate) fn table(endpoint: &str) -> String {
    let name = name("table");
    make_table(endpoint, &name);
    name
}

/// A ledger and a book of slots in a new table.
pub(crate) async fn ledger(endpoint: &str) -> (DynamoLedger, DynamoSlots, String) {
    let (config, table) = (config(endpoint).await, table(endpoint));
    (DynamoLedger::new(&config, &table, RETENTION), DynamoSlots::new(&config, &table), table)
}

/// One of many ids.
pub(crate) fn run_id(number: usize) -> RunId {
    RunId::parse(&format!("01JD8QZV3M4T5W6X7Y8Z{number:06}")).unwrap()
}

/// A server of HTTP that answers as a test says, and knows how many requests it had, at all and at once.
pub(crate) struct Stub {
    pub(crate) endpoint: String,
    counts: Arc<Counts>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    all: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Stub {
    /// Answers each request, of which it is given head, body and number, from 1.
    pub(crate) async fn start<F>(answer: impl Fn(Parts, Bytes, usize) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send,
    {
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let handler = move |request: Request| {
            let (answer, counts) = (answer.clone(), Arc::clone(&counted));
            async move {
                let number = counts.all.fetch_add(1, Ordering::SeqCst) + 1;
                counts.most.fetch_max(counts.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let answer = answer(parts, body, number).await;
                counts.now.fetch_sub(1, Ordering::SeqCst);
                answer
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(handler)).await.unwrap();
        });
        Self { endpoint, counts, serving }
    }

    /// How many requests it had.
    pub(crate) fn requests(&self) -> usize {
        self.counts.all.load(Ordering::SeqCst)
    }

    /// How many it had at one time at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.counts.most.load(Ordering::SeqCst)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer as AWS's JSON services give errors.
pub(crate) fn json_error(status: u16, code: &str, message: &str) -> Response {
    let body = serde_json::json!({"__type": format!("com.amazonaws.x#{code}"), "message": message, "Message": message});
    Response::builder()
        .status(status)
        .header("x-amzn-errortype", code)
        .header("x-amzn-requestid", "0f1e2d3c")
        .header("content-type", "application/x-amz-json-1.0")
        .body(body.to_string().into())
        .unwrap()
}

/// An answer as S3 gives errors.
pub(crate) fn xml_error(status: u16, code: &str, message: &str) -> Response {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Response::builder().status(status).header("x-amz-request-id", "0f1e2d3c").body(body.into()).unwrap()
}
