//! Requests to AWS APIs without an SDK.

use std::{io::Write as _, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lambdaload_tests::{
    cli::wait_for,
    servers::{ACCESS_KEY, Ministack, REGION},
};
use serde_json::{Value, json};

/// What says who asks. The signature is wrong, and only S3 servers mind.
fn authorization(key: &str, service: &str, day: &str) -> String {
    let scope = format!("AWS4-HMAC-SHA256 Credential={key}/{day}/{REGION}/{service}/aws4_request");
    let headers = "host;x-amz-content-sha256;x-amz-date";
    format!("{scope}, SignedHeaders={headers}, Signature={}", "0".repeat(64))
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

/// A request in JSON to an AWS API: the status and the answer, if there is one.
pub(crate) fn try_ask(
    endpoint: &str,
    service: &str,
    path: &str,
    target: &str,
    body: &Value,
) -> Result<(u16, String), ureq::Error> {
    let mut response = agent()
        .post(format!("{endpoint}{path}"))
        .header("Authorization", authorization(ACCESS_KEY, service, "20260101"))
        .header("Content-Type", "application/x-amz-json-1.0")
        .header("X-Amz-Target", target)
        .send(body.to_string())?;
    Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
}

/// A request in JSON to an AWS API: the status and the answer.
pub(crate) fn ask(endpoint: &str, service: &str, path: &str, target: &str, body: &Value) -> (u16, String) {
    try_ask(endpoint, service, path, target, body).expect("an answer")
}

/// Asks an S3 server for an object: the status and the answer.
pub(crate) fn get_object(endpoint: &str, key: &str) -> (u16, String) {
    // S3 servers refuse what was signed a while ago.
    let now = Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ"]).output().expect("the time").stdout;
    let now = String::from_utf8(now).expect("text");
    let mut response = agent()
        .get(format!("{endpoint}/bucket/object"))
        .header("Authorization", authorization(key, "s3", &now[..8]))
        .header("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
        .header("X-Amz-Date", now.trim_end())
        .call()
        .expect("an answer");
    (response.status().as_u16(), response.body_mut().read_to_string().expect("text"))
}

/// A request to DynamoDB.
pub(crate) fn dynamodb(endpoint: &str, action: &str, body: &Value) -> (u16, String) {
    ask(endpoint, "dynamodb", "/", &format!("DynamoDB_20120810.{action}"), body)
}

/// A table with the key `pk`.
pub(crate) fn create_table(endpoint: &str, name: &str) {
    let table = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    });
    let (status, answer) = dynamodb(endpoint, "CreateTable", &table);
    assert_eq!(status, 200, "{answer}");
}

/// A program as a function's code: a zip in base64.
pub(crate) fn packed(program: &str) -> String {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("bootstrap", zip::write::SimpleFileOptions::default().unix_permissions(0o755)).expect("a zip");
    zip.write_all(program.as_bytes()).expect("a zip");
    STANDARD.encode(zip.finish().expect("a zip").into_inner())
}

/// Makes a function of a program that speaks Lambda's runtime API, and waits until it can be invoked.
pub(crate) fn create_function(endpoint: &str, name: &str, program: &str) {
    let function = json!({
        "FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": 30,
        "Role": format!("arn:aws:iam::{}:role/any", Ministack::ACCOUNT), "Code": {"ZipFile": packed(program)},
    });
    let (status, answer) = ask(endpoint, "lambda", "/2015-03-31/functions", "", &function);
    assert_eq!(status, 201, "{answer}");
    wait_for("the function to be active", || {
        let url = format!("{endpoint}/2015-03-31/functions/{name}/configuration");
        let answer = agent().get(url).call().ok()?.body_mut().read_to_string().ok()?;
        let configuration: Value = serde_json::from_str(&answer).ok()?;
        (configuration["State"] == "Active").then_some(())
    });
}
