use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use lambdaload_tests::{
    cli::{descendants, is_alive, wait_for},
    servers::{ACCESS_KEY, DynamoDbLocal, Microburst, Ministack, Podman, Toxiproxy, Versitygw, podman},
    target::Target,
};
use serde_json::{Value, json};

use crate::requests::{ask, create_function, create_table, dynamodb, get_object};

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

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn ministack_runs_functions_and_takes_them_with_it() {
    let account = Ministack::start_with(&[("EXTRA", "of this test")]);
    let endpoint = account.endpoint();
    create_function(&endpoint, "echo", ECHO);
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
    // They are killed, but the system may take its time.
    wait_for("the processes of functions to end", || (!children.iter().any(|pid| is_alive(*pid))).then_some(()));
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

/// Has the number of a server's process written to it by the child of the test below.
const HELD: &str = "LAMBDALOAD_TESTS_HOLD_A_SERVER";

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_server_is_gone_when_its_test_was_killed() {
    if let Some(file) = std::env::var_os(HELD) {
        let server = Toxiproxy::start();
        fs::write(file, server.pid().to_string()).expect("a file");
        std::thread::sleep(std::time::Duration::from_mins(5));
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    let name = "starters::a_server_is_gone_when_its_test_was_killed";
    let mut test = Command::new(std::env::current_exe().expect("this program"));
    let mut test = test
        .args(["--exact", name, "--include-ignored"])
        .env(HELD, &file)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let pid = wait_for("a server", || fs::read_to_string(&file).ok()?.parse::<u32>().ok());
    assert!(is_alive(pid));
    test.kill().expect("it runs");
    test.wait().expect("it ends");
    wait_for("the server to end", || (!is_alive(pid)).then_some(()));
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn podman_runs_containers_and_takes_them_with_it() {
    let Some(podman) = Podman::or_skip() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy("/bin/busybox", folder.path().join("busybox")).expect("busybox");
    fs::write(folder.path().join("Dockerfile"), "FROM scratch\nCOPY busybox /busybox\n").expect("a file");
    podman.build("sleeper", folder.path());
    let target = Target::start();
    let url = format!("{}/cart", target.url().replace("127.0.0.1", podman::HOST));
    assert_eq!(
        podman.run(&["run", "--rm", "--network", podman::NETWORK, "sleeper", "/busybox", "wget", "-qO-", &url]),
        "cart"
    );

    podman.run(&["run", "--detach", "--network", podman::NETWORK, "sleeper", "/busybox", "sleep", "600"]);
    let containers = podman.containers();
    assert_eq!(containers.len(), 1, "{containers:?}");
    let (socket, pid) = (podman.host(), containers[0].1);
    assert!(is_alive(pid));
    drop(podman);
    assert!(!is_alive(pid), "{pid} still runs");
    let folder = PathBuf::from(socket.trim_start_matches("unix://")).parent().map(PathBuf::from).expect("a folder");
    assert!(!folder.exists(), "{} is left", folder.display());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&folder.display().to_string()), "{mounts}");
}
