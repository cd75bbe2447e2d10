//! Least privilege: whole runs with policies enforced, by a user that has what `infra/policies/ci-user.json` says, and
//! every call of the API against the policies.

use std::collections::{BTreeMap, BTreeSet};

use lambdaload_tests::{
    account::{Account, Differences},
    cli::{Folder, Running, Said, wait_for},
    fixture,
    servers::{Call, Permission, Recorder},
    target::Target,
    tls::Certificate,
};
use serde_json::Value;

/// What the user may do: run tests, and make schedules of them.
const POLICIES: [&str; 2] =
    [include_str!("../../../infra/policies/ci-user.json"), include_str!("../../../infra/policies/schedules.json")];

/// Who is told verdicts.
const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:verdicts";

/// Nobody but the script may see it.
const SECRET: &str = "correct-horse-battery-staple";

const SCRIPT: &str = "
import http from 'k6/http';
import { check } from 'k6';

export const options = {
  scenarios: { all: { executor: 'per-vu-iterations', vus: 4, iterations: 3, maxDuration: '30s' } },
  thresholds: { checks: ['rate==1'], iterations: ['count==12'] },
};

export function setup() {
  http.get(`${__ENV.TARGET}/setup`);
  return { list: [1, 2, 3] };
}

export default function (data) {
  const answer = http.get(`${__ENV.TARGET}/headers`, { headers: { 'X-Token': __ENV.TOKEN } });
  check(answer, { ok: (r) => r.status === 200 && data.list.length === 3 });
  console.log(`the token is ${__ENV.TOKEN}`);
}

export function teardown() {
  http.get(`${__ENV.TARGET}/teardown`);
}

export function handleSummary() {
  return { 'summary.txt': 'done' };
}
";

/// What a role is granted that these runs don't use, and why it is.
///
/// The role, the statement and the action, and the end of the resource where a statement has several.
const UNUSED: [(&str, &str); 32] = [
    (
        "aggregator CallSuccessorLauncherAndSubstitute lambda:InvokeFunction lambdaload-aggregator",
        "only of runs longer than one aggregator",
    ),
    (
        "aggregator CallSuccessorLauncherAndSubstitute lambda:InvokeFunction lambdaload-worker",
        "only if the worker that has teardown to do is lost",
    ),
    (
        "aggregator FindMissingObjects s3:ListBucket",
        "what is asked for here is there; without it an object that is missing looks forbidden",
    ),
    (
        "aggregator HandFailuresToTheReaper lambda:InvokeFunction",
        "Lambda itself hands a failed call over in the function's name",
    ),
    (
        "aggregator LetTheSchedulerCallTheReaper iam:PassRole",
        "only for a run that is started or watched over again after a fault",
    ),
    ("aggregator Log logs:CreateLogStream", "Lambda itself writes the log in the function's name"),
    ("aggregator Log logs:PutLogEvents", "Lambda itself writes the log in the function's name"),
    (
        "aggregator MakeAppointments scheduler:CreateSchedule",
        "only for a run that is started or watched over again after a fault",
    ),
    (
        "launcher CallWorkersAggregatorAndWhoeverWaits lambda:InvokeFunction lambdaload-launcher",
        "only if the run that it concludes gives room back",
    ),
    ("launcher ConcludeRunsThatCannotStart s3:GetObject", "only of runs that cannot start"),
    ("launcher ConcludeRunsThatCannotStart s3:PutObject", "only of runs that cannot start"),
    ("launcher DeleteSecretsOfRuns secretsmanager:DeleteSecret", "only of runs that cannot start"),
    (
        "launcher FindMissingObjects s3:ListBucket",
        "what is asked for here is there; without it an object that is missing looks forbidden",
    ),
    (
        "launcher HandFailuresToTheReaper lambda:InvokeFunction",
        "Lambda itself hands a failed call over in the function's name",
    ),
    ("launcher TellVerdicts sns:Publish", "only of runs that cannot start"),
    ("launcher Log logs:CreateLogStream", "Lambda itself writes the log in the function's name"),
    ("launcher Log logs:PutLogEvents", "Lambda itself writes the log in the function's name"),
    ("reaper CallAggregatorAndLauncher lambda:InvokeFunction lambdaload-aggregator", "only if an aggregator died"),
    (
        "reaper CallAggregatorAndLauncher lambda:InvokeFunction lambdaload-launcher",
        "only if the run that it concludes gives room back",
    ),
    (
        "reaper FindMissingObjects s3:ListBucket",
        "what is asked for here is there; without it an object that is missing looks forbidden",
    ),
    ("reaper KeepOwnFailures sqs:SendMessage", "Lambda itself keeps the call that the reaper failed at"),
    (
        "reaper LetTheSchedulerCallTheReaper iam:PassRole",
        "only for a run that is started or watched over again after a fault",
    ),
    ("reaper Log logs:CreateLogStream", "Lambda itself writes the log in the function's name"),
    ("reaper Log logs:PutLogEvents", "Lambda itself writes the log in the function's name"),
    (
        "reaper MakeAppointments scheduler:CreateSchedule",
        "only for a run that is started or watched over again after a fault",
    ),
    ("reaper TellVerdicts sns:Publish", "only of runs whose aggregator has not told"),
    ("reaper MergeRuns s3:GetObject", "only of runs in which workers have measured something"),
    (
        "worker FindMissingObjects s3:ListBucket",
        "what is asked for here is there; without it an object that is missing looks forbidden",
    ),
    (
        "worker HandFailuresToTheReaper lambda:InvokeFunction",
        "Lambda itself hands a failed call over in the function's name",
    ),
    ("worker Log logs:CreateLogStream", "Lambda itself writes the log in the function's name"),
    ("worker Log logs:PutLogEvents", "Lambda itself writes the log in the function's name"),
    ("worker RecordItself dynamodb:Query", "only if a call of a worker comes twice"),
];

/// An account that enforces policies, and whose calls are recorded.
struct Guarded {
    account: Account,
    recorder: Recorder,
    user: BTreeMap<&'static str, String>,
    folder: Folder,
    /// Its files are used as long as the account is.
    _certificate: Certificate,
}

impl Guarded {
    fn new() -> Self {
        // The bucket's policy forbids everything but TLS to everybody.
        let certificate = Certificate::new();
        let recorder = Recorder::start_with_tls(&certificate);
        let endpoint = recorder.endpoint();
        let account = Account::deploy(&Differences {
            variables: &[("AUTH", "true"), ("AWS_ENDPOINT_URL", &endpoint)],
            // What workers on Fargate need is not used here.
            parameters: &["WorkerCapacity=2", "Fargate=false", &format!("NotifyTopicArns={TOPIC}")],
            certificate: Some(&certificate),
            ..Differences::default()
        });
        recorder.forward_to(&account.endpoint());
        account.ask("client('sns').create_topic(Name='verdicts')\nprint('null')");
        // The emulator takes the group `default` for that of every schedule, because the group is in the body. What the
        // template grants is compared with what was asked for below.
        account.ask(
            "iam = client('iam')
policy = {'Version': '2012-10-17', 'Statement': [
    {'Effect': 'Allow', 'Action': 'scheduler:CreateSchedule', 'Resource': 'arn:aws:scheduler:*:*:schedule/default/*'}]}
for role in iam.list_roles()['Roles']:
    if any(name in role['RoleName'] for name in ('-LauncherRole-', '-AggregatorRole-', '-ReaperRole-')):
        iam.put_role_policy(RoleName=role['RoleName'], PolicyName='emulator', PolicyDocument=json.dumps(policy))
print('null')",
        );
        let [runs, schedules] = POLICIES;
        let key = account.ask(&format!(
            "iam = client('iam')
iam.create_user(UserName='ci')
iam.put_user_policy(UserName='ci', PolicyName='ci', PolicyDocument='''{runs}''')
iam.put_user_policy(UserName='ci', PolicyName='schedules', PolicyDocument='''{schedules}''')
emulator = {{'Version': '2012-10-17', 'Statement': [{{'Effect': 'Allow',
    'Action': ['scheduler:' + action + 'Schedule' for action in ('Create', 'Get', 'Update', 'Delete')],
    'Resource': 'arn:aws:scheduler:*:*:schedule/default/*'}}]}}
iam.put_user_policy(UserName='ci', PolicyName='emulator', PolicyDocument=json.dumps(emulator))
print(json.dumps(iam.create_access_key(UserName='ci')['AccessKey'], default=str))"
        ));
        let text = |field: &str| key[field].as_str().expect("a key").to_owned();
        let user = BTreeMap::from([
            ("AWS_ACCESS_KEY_ID", text("AccessKeyId")),
            ("AWS_SECRET_ACCESS_KEY", text("SecretAccessKey")),
        ]);
        let folder = Folder::new();
        folder.write("script.js", SCRIPT);
        Self { account, recorder, user, folder, _certificate: certificate }
    }

    /// Runs the command to its end, which must be this one.
    fn run(&self, code: i32, arguments: &[&str]) -> Said {
        let mut command = self.account.command(&self.folder, arguments);
        command.envs(self.recorder.environment()).envs(&self.user).env("TOKEN", SECRET);
        let said = Running::start(command).wait();
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:#?}\nthe account: {}", self.account.said());
        said
    }

    /// Starts a run that nobody watches, and returns its id.
    fn start(&self, arguments: &[&str]) -> String {
        let said = self.run(0, &[&["run", "--detach", "--workers", "2"], arguments].concat());
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
        answer["run"].as_str().unwrap_or_else(|| panic!("no run: {said:#?}")).to_owned()
    }

    fn state(&self, run: &str) -> String {
        let said = self.run(0, &["runs", "list", "--output", "json"]);
        let list: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
        let found = list.as_array().expect("a list").iter().find(|entry| entry["run"] == run);
        found.unwrap_or_else(|| panic!("no {run}: {list:#}"))["status"].to_string()
    }

    /// The policy of a function's role, as it was deployed.
    fn policy_of(&self, function: &str) -> Value {
        let policies = self.account.ask(&format!(
            "role = client('lambda').get_function_configuration(FunctionName='{function}')['Role'].split('/')[-1]
iam = client('iam')
names = iam.list_role_policies(RoleName=role)['PolicyNames']
print(json.dumps([iam.get_role_policy(RoleName=role, PolicyName=n)['PolicyDocument'] for n in names if n != 'emulator']))"
        ));
        assert_eq!(policies.as_array().map(Vec::len), Some(1), "{policies:#}");
        policies[0].clone()
    }
}

/// What a policy allows, one action on one resource at a time.
struct Grant {
    /// The statement, the action, and the resource's end if the statement has several.
    name: String,
    action: String,
    resource: String,
}

impl Grant {
    fn all(policy: &Value) -> Vec<Self> {
        let several = |value: &Value| -> Vec<String> {
            let one = value.as_str().map(str::to_owned);
            let many = value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            one.into_iter().chain(many).collect()
        };
        let mut grants = Vec::new();
        for statement in policy["Statement"].as_array().expect("statements") {
            assert_eq!(statement["Effect"], "Allow");
            let resources = several(&statement["Resource"]);
            for action in several(&statement["Action"]) {
                for resource in &resources {
                    let mut name = format!("{} {action}", statement["Sid"].as_str().expect("a Sid"));
                    if resources.len() > 1 {
                        let end = resource.trim_end_matches("/*").rsplit([':', '/']).next().unwrap_or_default();
                        name = format!("{name} {end}");
                    }
                    grants.push(Self { name, action: action.clone(), resource: resource.clone() });
                }
            }
        }
        grants
    }

    fn allows(&self, need: &Permission) -> bool {
        self.action == need.action && is_like(&self.resource, &need.resource)
    }
}

/// Whether a text is like a pattern in which `*` stands for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| is_like(after, &rest[at..]))
        }),
    }
}

/// Calls that no grant allows.
fn not_allowed(calls: &[&Call], grants: &[Grant]) -> BTreeSet<Permission> {
    // AWS tells everybody who they are, whatever their policies say.
    let needs = calls.iter().flat_map(|call| &call.needs).filter(|need| need.action != "sts:GetCallerIdentity");
    needs.filter(|need| !grants.iter().any(|grant| grant.allows(need))).cloned().collect()
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn whole_runs_need_what_policies_grant_and_nothing_less() {
    let (guarded, target) = (Guarded::new(), Target::start());
    let url = format!("TARGET={}", target.url());
    let steady = fixture("steady.js").display().to_string();
    let with_secret = ["script.js", "--min-workers", "1", "--secret", "TOKEN", "-e", &url];

    // One has all the room, two wait: one that is stopped there, and one that gets room when the first is stopped.
    let first = guarded.start(&[&steady, "-e", "DURATION=90s"]);
    let gives_up = guarded.start(&with_secret);
    let waits = guarded.start(&with_secret);
    wait_for("the first run to run", || guarded.state(&first).contains("running").then_some(()));
    assert!(guarded.state(&waits).contains("queued"), "{}", guarded.state(&waits));
    guarded.run(0, &["stop", &gives_up]);
    guarded.run(0, &["stop", &first]);
    let said = guarded.run(0, &["watch", &waits, "--output", "json", "--quiet"]);
    let verdict: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    assert_eq!(verdict["outcome"], "passed", "{verdict:#}");
    assert_eq!(target.requests().get("/setup"), Some(&1));
    assert_eq!(target.requests().get("/teardown"), Some(&1));
    assert!(target.headers().iter().all(|headers| headers.get("x-token").is_some_and(|token| token == SECRET)));
    // And one that somebody sees from its start to its end.
    guarded.run(0, &[&["run", "--workers", "2"][..], &with_secret].concat());

    // A stored test that starts as a schedule starts it, with secrets of its own.
    let when = ["schedule", "create", "nightly", "--cron", "0 2 * * *", "--notify", TOPIC, "--workers", "2"];
    guarded.run(0, &[&when[..], &with_secret].concat());
    guarded.run(0, &[&["schedule", "update", "nightly", "--rate", "1h"][..], &with_secret].concat());
    for what in ["pause", "resume", "show"] {
        guarded.run(0, &["schedule", what, "nightly"]);
    }
    guarded.run(0, &["schedule", "list"]);
    let started: Value =
        serde_json::from_str(&guarded.run(0, &["schedule", "run-now", "nightly"]).stdout).expect("JSON");
    guarded.run(0, &["watch", started["run"].as_str().expect("a run"), "--quiet"]);
    let has_told = || guarded.recorder.calls().iter().any(|call| call.is("sns:Publish")).then_some(());
    wait_for("the topic to be told", has_told);
    guarded.run(0, &["schedule", "delete", "nightly"]);

    let logs = guarded.run(0, &["logs", &waits]);
    let shown = guarded.run(0, &["runs", "get", &waits, "--output", "json"]);
    guarded.run(0, &["runs", "download", &waits]);
    let doctor = guarded.run(0, &["doctor"]);
    for said in [&logs, &shown, &doctor] {
        assert!(!format!("{said:?}").contains(SECRET), "{said:#?}");
    }
    assert!(logs.stdout.contains("the token is"), "{logs:#?}");

    let calls = guarded.recorder.calls();
    let refused: Vec<_> = calls.iter().filter(|call| call.status == Some(403)).map(|call| &call.needs).collect();
    assert!(refused.is_empty(), "{refused:#?}");

    // All of this by TLS, which is all that the bucket takes.
    let policy = guarded.account.ask(
        "s3 = client('s3')
bucket = next(b['Name'] for b in s3.list_buckets()['Buckets'] if b['Name'].startswith('lambdaload-bucket'))
print(s3.get_bucket_policy(Bucket=bucket)['Policy'])",
    );
    assert_eq!(policy["Statement"][0]["Sid"], "OnlyByTls", "{policy:#}");

    // Nothing missing.
    let of_user: Vec<&Call> =
        calls.iter().filter(|call| call.access_key == guarded.user["AWS_ACCESS_KEY_ID"]).collect();
    let grants: Vec<Grant> =
        POLICIES.iter().flat_map(|policy| Grant::all(&serde_json::from_str(policy).expect("a policy"))).collect();
    assert!(!of_user.is_empty());
    assert_eq!(not_allowed(&of_user, &grants), BTreeSet::new(), "ci-user.json and schedules.json");
    let nobody: Vec<_> = calls
        .iter()
        .filter(|call| call.function.is_none() && call.access_key != guarded.user["AWS_ACCESS_KEY_ID"])
        .map(|call| (&call.access_key, &call.needs))
        .collect();
    assert!(nobody.is_empty(), "whose are these? {nobody:#?}");

    let (mut unused, mut granted) = (BTreeSet::new(), BTreeSet::new());
    for function in ["launcher", "worker", "aggregator", "reaper"] {
        let name = format!("lambdaload-{function}");
        let own: Vec<&Call> = calls.iter().filter(|call| call.function.as_deref() == Some(&name)).collect();
        assert!(!own.is_empty(), "the {function} called nobody");
        let grants = Grant::all(&guarded.policy_of(&name));
        assert_eq!(not_allowed(&own, &grants), BTreeSet::new(), "the {function}");
        let is_used = |grant: &&Grant| own.iter().any(|call| call.needs.iter().any(|need| grant.allows(need)));
        granted.extend(grants.iter().map(|grant| format!("{function} {}", grant.name)));
        unused.extend(grants.iter().filter(|grant| !is_used(grant)).map(|grant| format!("{function} {}", grant.name)));
    }
    // Nothing more than that. On a slow machine an appointment with the reaper comes before the end, and uses some.
    let reasoned: BTreeSet<String> = UNUSED.iter().map(|(grant, _)| (*grant).to_owned()).collect();
    assert_eq!(unused.difference(&reasoned).collect::<Vec<_>>(), Vec::<&String>::new(), "is granted, but never used");
    assert_eq!(reasoned.difference(&granted).collect::<Vec<_>>(), Vec::<&String>::new(), "is listed, but not granted");

    // Nobody but Secrets Manager was told the secret.
    let has_it = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    let told: Vec<_> = calls.iter().filter(|call| has_it(&call.sent)).collect();
    assert!(!told.is_empty(), "the secret was never handed over");
    let is_handed_over =
        |call: &&Call| call.is("secretsmanager:CreateSecret") || call.is("secretsmanager:PutSecretValue");
    assert!(told.iter().all(is_handed_over), "{told:#?}");
    // The log is the emulator's own and that of the functions.
    let log = guarded.account.said_all();
    assert!(log.contains("[lambda]") && !log.contains(SECRET));
}
