use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use lambdaload_tests::{
    cli::wait_for,
    servers::{ACCESS_KEY, Environment, Fault, Ministack, Recorder, Versitygw},
};
use serde_json::{Value, json};

use crate::requests::{create_table, dynamodb, packed, try_ask};

/// The Python that ministack runs in, which has AWS's own SDK.
fn python() -> std::path::PathBuf {
    let ministack = std::env::var_os("LAMBDALOAD_MINISTACK").expect("LAMBDALOAD_MINISTACK");
    Path::new(&ministack).with_file_name("python")
}

/// Runs a script of AWS's SDK for Python: whether it ended well, and what it said.
fn run(script: &str, arguments: &[&str], environment: &Environment, more: &[(&str, &str)]) -> (bool, String) {
    let mut client = Command::new(python());
    client
        .args(["-c", script])
        .args(arguments)
        .env_clear()
        .envs(environment.iter().cloned())
        .envs(more.iter().copied());
    let output = client.output().expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// What was asked since, as `action resource`; every answer must have been 200 and for this key.
fn needs(recorder: &Recorder, since: usize, key: &str) -> Vec<String> {
    let calls = recorder.calls().split_off(since);
    assert!(calls.iter().all(|call| call.status == Some(200) && call.access_key == key), "{calls:?}");
    let needs = calls.iter().flat_map(|call| &call.needs);
    needs.map(|need| format!("{} {}", need.action, need.resource)).collect()
}

const OBJECTS: &str = r#"
import boto3
s3 = boto3.client("s3")
s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
s3.put_object(Bucket="bucket", Key="a folder/ü+1", Body=b"x" * 100000)
assert len(s3.get_object(Bucket="bucket", Key="a folder/ü+1")["Body"].read()) == 100000
assert s3.head_object(Bucket="bucket", Key="a folder/ü+1")["ContentLength"] == 100000
assert s3.list_objects_v2(Bucket="bucket", Prefix="a folder/")["KeyCount"] == 1
s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "a folder/ü+1"}]})
"#;

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn signatures_for_s3_stay_valid() {
    let server = Versitygw::start();
    let recorder = Recorder::before(&server.endpoint());
    let (_, said) = run(OBJECTS, &[], &recorder.environment(), &[("AWS_SECRET_ACCESS_KEY", "another")]);
    assert!(said.contains("SignatureDoesNotMatch"), "the server doesn't look at signatures: {said}");
    assert_eq!(recorder.calls().len(), 1);

    let (well, said) = run(OBJECTS, &[], &recorder.environment(), &[]);
    assert!(well, "{said}");
    let expected = [
        "s3:CreateBucket arn:aws:s3:::bucket",
        "s3:PutObject arn:aws:s3:::bucket/a folder/ü+1",
        "s3:GetObject arn:aws:s3:::bucket/a folder/ü+1",
        "s3:GetObject arn:aws:s3:::bucket/a folder/ü+1",
        "s3:ListBucket arn:aws:s3:::bucket",
        "s3:DeleteObject arn:aws:s3:::bucket/a folder/ü+1",
    ];
    assert_eq!(needs(&recorder, 1, ACCESS_KEY), expected);
}

/// Signatures of the account's root are not looked at, so there has to be another user.
const USER: &str = r#"
import boto3, json
iam = boto3.client("iam")
iam.create_user(UserName="u")
everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
iam.put_user_policy(UserName="u", PolicyName="everything", PolicyDocument=json.dumps(everything))
key = iam.create_access_key(UserName="u")["AccessKey"]
print(key["AccessKeyId"], key["SecretAccessKey"])
"#;

const ITEMS: &str = r#"
import boto3
dynamodb, sts = boto3.client("dynamodb"), boto3.client("sts")
dynamodb.create_table(TableName="table", BillingMode="PAY_PER_REQUEST",
    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}])
dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": "table", "Item": {"pk": {"S": "1"}}}}])
print(sts.get_caller_identity()["Arn"])
"#;

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn signatures_for_an_account_stay_valid() {
    let account = Ministack::start_with(&[("AUTH", "true")]);
    let recorder = Recorder::before(&account.endpoint());
    let (well, said) = run(USER, &[], &account.environment(), &[]);
    assert!(well, "{said}");
    let (key, secret) = said.trim().split_once(' ').expect("a key and a secret");
    let as_user = |secret| [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)];
    let (_, said) = run(ITEMS, &[], &recorder.environment(), &as_user("another"));
    assert!(said.contains("InvalidSignatureException"), "the account doesn't look at signatures: {said}");
    assert_eq!(recorder.calls().len(), 1);

    let (_, said) = run(ITEMS, &[], &recorder.environment(), &as_user(secret));
    assert_eq!(said.trim(), "arn:aws:iam::123456789012:user/u");
    let table = "arn:aws:dynamodb:eu-central-1:123456789012:table/table";
    let expected =
        [&format!("dynamodb:CreateTable {table}"), &format!("dynamodb:PutItem {table}"), "sts:GetCallerIdentity *"];
    assert_eq!(needs(&recorder, 1, key), expected);
}

/// A function that asks who it is.
const WHO: &str = r#"
import boto3, json, os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    event = urllib.request.urlopen(api + "next")
    event.read()
    answer = json.dumps(boto3.client("sts").get_caller_identity()["Arn"]).encode()
    id = event.headers["Lambda-Runtime-Aws-Request-Id"]
    urllib.request.urlopen(urllib.request.Request(api + id + "/response", answer)).read()
"#;

/// Makes a role and a function, and invokes it.
const INVOKE: &str = r#"
import base64, boto3, json, sys
trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}]}
role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
f = boto3.client("lambda")
f.create_function(FunctionName="who", Runtime="provided.al2023", Handler="bootstrap", Timeout=60, Role=role, Code={"ZipFile": base64.b64decode(sys.argv[1])})
f.get_waiter("function_active_v2").wait(FunctionName="who")
print(f.invoke(FunctionName="who")["Payload"].read().decode())
"#;

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_function_is_known_by_its_key() {
    let recorder = Recorder::start();
    let account = Ministack::start_with(&[("AUTH", "true"), ("AWS_ENDPOINT_URL", &recorder.endpoint())]);
    recorder.forward_to(&account.endpoint());
    let code = packed(&format!("#!{}\n{WHO}", python().display()));
    let (_, said) = run(INVOKE, &[&code], &account.environment(), &[]);
    assert_eq!(said.trim(), "\"arn:aws:sts::123456789012:assumed-role/r/who\"");
    // The client went straight to the account, the function through the recorder.
    let calls = recorder.calls();
    let who: Vec<_> = calls.iter().map(|call| (call.function.as_deref(), call.is("sts:GetCallerIdentity"))).collect();
    assert_eq!(who, [(Some("who"), true)]);
}

/// An account with a counter in a table, behind a recorder.
struct Counter {
    account: Ministack,
    recorder: Recorder,
}

impl Counter {
    fn start() -> Self {
        let account = Ministack::start();
        create_table(&account.endpoint(), "counters");
        let recorder = Recorder::before(&account.endpoint());
        Self { account, recorder }
    }

    /// The status of the answer, or 0 if there is none.
    fn increment(&self) -> u16 {
        let update = json!({
            "TableName": "counters", "Key": {"pk": {"S": "c"}},
            "UpdateExpression": "ADD n :one", "ExpressionAttributeValues": {":one": {"N": "1"}},
        });
        let target = "DynamoDB_20120810.UpdateItem";
        try_ask(&self.recorder.endpoint(), "dynamodb", "/", target, &update).map_or(0, |(status, _)| status)
    }

    fn value(&self) -> u64 {
        let get = json!({"TableName": "counters", "Key": {"pk": {"S": "c"}}});
        let (_, answer) = dynamodb(&self.account.endpoint(), "GetItem", &get);
        let item: Value = serde_json::from_str(&answer).expect("JSON");
        item["Item"]["n"]["N"].as_str().map_or(0, |n| n.parse().expect("a number"))
    }

    fn make(&self, fault: Fault) {
        self.recorder.make(fault, 1, |call| call.is("dynamodb:UpdateItem") && call.body["TableName"] == "counters");
    }
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn requests_come_twice_late_or_never() {
    let counter = Counter::start();
    assert_eq!((counter.increment(), counter.value()), (200, 1));

    counter.make(Fault::Twice);
    assert_eq!((counter.increment(), counter.value()), (200, 3));

    counter.make(Fault::Lost);
    assert_eq!((counter.increment(), counter.value()), (0, 3));

    counter.make(Fault::AnswerLost);
    assert_eq!((counter.increment(), counter.value()), (0, 4));

    let delay = Duration::from_millis(300);
    counter.make(Fault::Delayed(delay));
    let start = Instant::now();
    assert_eq!((counter.increment(), counter.value()), (200, 5));
    assert!(start.elapsed() >= delay, "it took {:?}", start.elapsed());

    counter.make(Fault::Queued(delay));
    let start = Instant::now();
    assert_eq!(counter.increment(), 202);
    wait_for("the queued request to come", || (counter.value() == 6).then_some(()));
    assert!(start.elapsed() >= delay, "it took {:?}", start.elapsed());

    counter.make(Fault::Lost);
    counter.recorder.heal();
    assert_eq!((counter.increment(), counter.value()), (200, 7));
    let statuses: Vec<_> = counter.recorder.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(200), Some(200), None, Some(200), Some(200), Some(200), Some(200)]);
}

#[test]
fn a_server_that_is_not_there_is_said() {
    let recorder = Recorder::start();
    let (status, answer) = dynamodb(&recorder.endpoint(), "ListTables", &json!({}));
    assert_eq!((status, answer.as_str()), (502, "the recorder got no answer: it was told no server yet"));
}
