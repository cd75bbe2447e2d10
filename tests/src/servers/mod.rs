//! The servers that stand for an AWS account in tests.
//!
//! Each is a real program on a free port, in a folder of its own, and is gone with everything it started when its value
//! is dropped, or when the test's process ends in whatever way. `cargo xtask servers` provides the programs and
//! `cargo xtask test` names them in variables.
//!
//! All take the same [credentials](ACCESS_KEY) and the same [`REGION`], and each `environment()` sets its own endpoint
//! variable. So environments may be combined: put those of a strict server behind those of [`Ministack`].

mod dynamodb_local;
mod limiter;
mod microburst;
mod ministack;
pub mod podman;
mod process;
mod recorder;
mod registry;
mod runtime_emulator;
mod serving;
mod toxiproxy;
mod versitygw;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

pub use dynamodb_local::DynamoDbLocal;
pub use limiter::Limiter;
pub use microburst::Microburst;
pub use ministack::Ministack;
pub use podman::Podman;
pub use recorder::{Call, Fault, Permission, Recorder};
pub use registry::Registry;
pub use runtime_emulator::RuntimeEmulator;
use serde_json::{Value, json};
pub use toxiproxy::{Proxy, Toxiproxy};
pub use versitygw::Versitygw;

use crate::cli::wait_for;

/// The access key that every server accepts.
pub const ACCESS_KEY: &str = "test";
/// The secret access key to [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "test";
/// Where the servers say they are.
pub const REGION: &str = "eu-central-1";

/// Variables for a client of one of these servers.
pub type Environment = Vec<(String, String)>;

/// What an SDK needs to talk to `endpoint`, which is named by `variable`, and to nobody else.
fn environment(variable: &str, endpoint: &str) -> Environment {
    let pairs = [
        (variable, endpoint),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        // A key that is missed by mistake is an error at once, not after a search on the network.
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The program or folder that `variable` names.
///
/// # Panics
/// Without it: these tests need the real thing.
fn provided(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set: `cargo xtask servers` provides it, and `cargo xtask test` sets it"),
    }
}

/// Says what is left out, also of tests that pass: what is written by `eprintln!` is shown of those that fail only.
pub(crate) fn say(skipped: &str) {
    writeln!(io::stderr(), "{skipped}").expect("stderr");
}

/// One request to an emulated service of AWS that speaks JSON: `target` names the version of its API, and what is asked. They
/// check of a signature only that there is one.
fn ask(endpoint: &str, service: &str, target: &str, body: &Value) -> Result<Value, String> {
    let scope = format!("{ACCESS_KEY}/20260101/{REGION}/{service}/aws4_request");
    let signed = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
    let version = if service == "dynamodb" { "1.0" } else { "1.1" };
    let kind = format!("application/x-amz-json-{version}");
    let headers = [("X-Amz-Target", target), ("Content-Type", &kind), ("Authorization", &signed)];
    let (status, answer) = http("POST", endpoint, &headers, &body.to_string()).map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("{target} is answered {status}: {answer}"));
    }
    serde_json::from_str(&answer).map_err(|error| format!("{target}: {error}"))
}

/// Makes a table as a deployment has one, and waits until it is there.
///
/// # Panics
/// If there is no DynamoDB, or it makes none.
pub fn make_table(endpoint: &str, name: &str) {
    let dynamodb = |action: &str, body: &Value| {
        let answer = ask(endpoint, "dynamodb", &format!("DynamoDB_20120810.{action}"), body);
        answer.unwrap_or_else(|why| panic!("no table {name}: {why}"))
    };
    let attributes = ["pk", "sk"].map(|name| json!({ "AttributeName": name, "AttributeType": "S" }));
    let keys = [("pk", "HASH"), ("sk", "RANGE")].map(|(name, kind)| json!({ "AttributeName": name, "KeyType": kind }));
    dynamodb(
        "CreateTable",
        &json!({
            "TableName": name, "AttributeDefinitions": attributes, "KeySchema": keys, "BillingMode": "PAY_PER_REQUEST",
        }),
    );
    wait_for(&format!("the table {name}"), || {
        let described = dynamodb("DescribeTable", &json!({ "TableName": name }));
        (described["Table"]["TableStatus"] == "ACTIVE").then_some(())
    });
}

/// One HTTP request to a server of our own, whose certificate is believed: the status and the body. An error only if there
/// was no answer.
fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<(u16, String), ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(std::time::Duration::from_secs(30)))
        .tls_config(ureq::tls::TlsConfig::builder().disable_verification(true).build())
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = agent.run(request.body(body)?)?;
    Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
}
