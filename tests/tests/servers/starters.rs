use std::{fs, path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lambdaload_tests::{
    cli::{descendants, is_alive, wait_for},
    servers::{ACCESS_KEY, DynamoDbLocal, Microburst, Ministack, REGION, Toxiproxy, Versitygw},
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

/// A request in JSON to an AWS API: the status and the answer.
fn ask(endpoint: &str, service: &str, path: &str, target: &str, body: &Value) -> (u16, String) {
    let mut response = agent()
        .post(format!("{endpoint}{path}"))
        .header("Authorization", authorization(ACCESS_KEY, service, "20260101"))
        .header("Content-Type", "application/x-amz-json-1.0")
        .header("X-Amz-Target", target)
        .send(body.to_string())
        .expect("an answer");
    (response.status().as_u16(), response.body_mut().read_to_string().expect("text"))
}

/// Asks an S3 server for an object: the status and the answer.
fn get_object(endpoint: &str, key: &str) -> (u16, String) {
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

fn dynamodb(endpoint: &str, action: &str, body: &Value) -> (u16, String) {
    ask(endpoint, "dynamodb", "/", &format!("DynamoDB_20120810.{action}"), body)
}

fn create_table(endpoint: &str, name: &str) {
    let table = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    });
    let (status, answer) = dynamodb(endpoint, "CreateTable", &table);
    assert_eq!(status, 200, "{answer}");
}

fn tables(endpoint: &str) -> Value {
    let (status, answer) = dynamodb(endpoint, "ListTables", &json!({}));
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str::<Value>(&answer).expect("JSON")["TableNames"].clone()
}

/// Nothing of a server is left: neither its process nor anything on its port.
fn assert_gone(pid: u32, endpoint: &str) {
    assert!(!is_alive(pid), "{pid} still runs");
    let address = endpoint.trim_start_matches("http://");
    assert!(std::net::TcpStream::connect(address).is_err(), "somebody still answers on {address}");
}

/// The folder in which a server works, which must be its own.
fn folder(pid: u32) -> PathBuf {
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).expect("a working directory");
    assert!(folder.starts_with(std::env::temp_dir()), "it works in {}", folder.display());
    folder
}

/// A function that answers every event with what it was given, in the words of the Lambda runtime API.
const ECHO: &str = r#"#!/usr/bin/env python3
import json, os, subprocess, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
subprocess.Popen(["sleep", "600"])
while True:
    event = urllib.request.urlopen(api + "next")
    given = {"endpoint": os.environ.get("AWS_ENDPOINT_URL"), "extra": os.environ.get("EXTRA"), "home": os.environ.get("CARGO")}
    answer = json.dumps({"event": json.load(event), "given": given}).encode()
    id = event.headers["Lambda-Runtime-Aws-Request-Id"]
    urllib.request.urlopen(urllib.request.Request(api + id + "/response", answer)).read()
"#;

fn create_echo(endpoint: &str) {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("bootstrap", zip::write::SimpleFileOptions::default().unix_permissions(0o755)).expect("a zip");
    std::io::Write::write_all(&mut zip, ECHO.as_bytes()).expect("a zip");
    let zip = zip.finish().expect("a zip").into_inner();
    let function = json!({
        "FunctionName": "echo", "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": 30,
        "Role": format!("arn:aws:iam::{}:role/echo", Ministack::ACCOUNT),
        "Code": {"ZipFile": STANDARD.encode(zip)},
    });
    let (status, answer) = ask(endpoint, "lambda", "/2015-03-31/functions", "", &function);
    assert_eq!(status, 201, "{answer}");
    wait_for("the function to be active", || {
        let url = format!("{endpoint}/2015-03-31/functions/echo/configuration");
        let answer = ureq::get(url).call().ok()?.body_mut().read_to_string().ok()?;
        answer
            .contains(r#""State": "Active""#)
            .then_some(())
            .or_else(|| answer.contains(r#""State":"Active""#).then_some(()))
    });
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn ministack_runs_functions_and_takes_them_with_it() {
    let account = Ministack::start_with(&[("EXTRA", "of this test")]);
    let endpoint = account.endpoint();
    create_echo(&endpoint);
    let (status, answer) = ask(&endpoint, "lambda", "/2015-03-31/functions/echo/invocations", "", &json!({"a": 1}));
    assert_eq!(status, 200, "{answer}");
    let said: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(said["event"], json!({"a": 1}));
    // What the test itself has in its environment must not reach a function.
    assert_eq!(said["given"], json!({"endpoint": endpoint, "extra": "of this test", "home": null}));

    let pid = account.pid();
    let folder = folder(pid);
    let children: Vec<u32> = descendants(pid).into_iter().map(|(pid, _)| pid).collect();
    assert!(children.len() >= 2, "the function and its own child are not below ministack: {children:?}");
    drop(account);
    assert_gone(pid, &endpoint);
    let left: Vec<u32> = children.into_iter().filter(|pid| is_alive(*pid)).collect();
    assert_eq!(left, Vec::<u32>::new(), "processes of functions are left");
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn two_accounts_know_nothing_of_each_other() {
    let (one, other) = (Ministack::start(), Ministack::start());
    create_table(&one.endpoint(), "only-here");
    assert_eq!(tables(&one.endpoint()), json!(["only-here"]));
    assert_eq!(tables(&other.endpoint()), json!([]));
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn two_dynamodbs_know_nothing_of_each_other() {
    let (one, other) = (DynamoDbLocal::start(), DynamoDbLocal::start());
    create_table(&one.endpoint(), "only-here");
    assert_eq!(tables(&one.endpoint()), json!(["only-here"]));
    assert_eq!(tables(&other.endpoint()), json!([]));
    let (pid, endpoint) = (one.pid(), one.endpoint());
    drop(one);
    assert_gone(pid, &endpoint);
    assert_eq!(tables(&other.endpoint()), json!([]));
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn two_s3s_know_the_key_and_nobody_elses_signature() {
    let (one, other) = (Versitygw::start(), Versitygw::start());
    for server in [&one, &other] {
        assert_refused(&get_object(&server.endpoint(), ACCESS_KEY), "SignatureDoesNotMatch");
        assert_refused(&get_object(&server.endpoint(), "nobody"), "InvalidAccessKeyId");
    }
    let (pid, endpoint) = (one.pid(), one.endpoint());
    drop(one);
    assert_gone(pid, &endpoint);
}

fn assert_refused((status, answer): &(u16, String), why: &str) {
    assert!(*status == 403 && answer.contains(&format!("<Code>{why}</Code>")), "{status}: {answer}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn toxiproxy_passes_cuts_slows_and_heals() {
    let account = Ministack::start();
    let toxiproxy = Toxiproxy::start();
    let proxy = toxiproxy.before(&account.endpoint());
    let health =
        || ureq::get(format!("{}/_ministack/health", proxy.endpoint())).call().map(|answer| answer.status().as_u16());
    assert_eq!(health().expect("through the proxy"), 200);

    proxy.enable(false);
    health().expect_err("the proxy is off");
    proxy.enable(true);
    assert_eq!(health().expect("the proxy is on"), 200);

    proxy.poison_answers("limit_data", json!({"bytes": 20}));
    health().expect_err("only 20 bytes of the answer come through");
    proxy.heal();
    assert_eq!(health().expect("healed"), 200);

    let (pid, endpoint) = (toxiproxy.pid(), proxy.endpoint().to_owned());
    drop(toxiproxy);
    assert_gone(pid, &endpoint);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn microburst_throttles_in_the_words_of_aws() {
    let account = Ministack::start();
    let faults = Microburst::before(&account.endpoint());
    assert_eq!(tables(&faults.endpoint()), json!([]));
    assert_eq!(faults.fired_count("dynamodb"), 0);

    let throttled = "ProvisionedThroughputExceededException";
    faults.set_rules(
        json!([{"service": "dynamodb", "operation": "ListTables", "times": 2, "error": {"code": throttled}}]),
    );
    for _ in 0..2 {
        let (status, answer) = dynamodb(&faults.endpoint(), "ListTables", &json!({}));
        assert!(status == 400 && answer.contains(throttled), "{status}: {answer}");
    }
    assert_eq!(tables(&faults.endpoint()), json!([]), "two times and no more");
    assert_eq!(faults.fired_count("dynamodb"), 2);
    assert_eq!(faults.fired_count("s3"), 0);

    faults.set_rules(json!([{"service": "s3", "error": {"code": "SlowDown"}}]));
    let (status, answer) = get_object(&faults.endpoint(), ACCESS_KEY);
    assert!(status == 503 && answer.contains("<Code>SlowDown</Code>"), "{status}: {answer}");
    faults.heal();
    let (status, answer) = get_object(&faults.endpoint(), ACCESS_KEY);
    assert!(status == 404 && answer.contains("<Code>NoSuchBucket</Code>"), "{status}: {answer}");

    let (pid, endpoint) = (faults.pid(), faults.endpoint());
    drop(faults);
    assert_gone(pid, &endpoint);
}
