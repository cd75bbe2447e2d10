//! An account that enforces policies and whose calls are recorded, and what its policies grant.

use std::collections::{BTreeMap, BTreeSet};

use lambdaload_tests::{
    account::{Account, Differences},
    cli::{Folder, Running, Said},
    servers::{Call, Permission, Recorder},
    tls::Certificate,
};
use serde_json::Value;

/// What a user may have who runs tests and makes schedules of them.
pub(crate) const POLICIES: [&str; 2] =
    [include_str!("../../../infra/policies/ci-user.json"), include_str!("../../../infra/policies/schedules.json")];

/// Who is told verdicts.
pub(crate) const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:verdicts";

/// Nobody but the script may see it.
pub(crate) const SECRET: &str = "correct-horse-battery-staple";

/// It has setup, teardown and a summary of its own, and needs the secret `TOKEN`.
pub(crate) const SCRIPT: &str = "
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

/// What the emulator asks leave for where AWS asks for something else: it takes the group of every schedule for `default`,
/// because the group is in the body, and a cluster for whatever is done to its tasks. What the template and the policies
/// grant is compared with what AWS asks for by the recorded calls.
const EMULATOR: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Resource": "arn:aws:scheduler:*:*:schedule/default/*",
     "Action": ["scheduler:CreateSchedule", "scheduler:GetSchedule", "scheduler:UpdateSchedule", "scheduler:DeleteSchedule"]},
    {"Effect": "Allow", "Resource": "arn:aws:ecs:*:*:cluster/lambdaload",
     "Action": ["ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask", "ecs:ListTasks"]}]}"#;

/// The variables of a user's access key.
pub(crate) type Key = BTreeMap<&'static str, String>;

/// An account that enforces policies, and whose calls are recorded.
pub(crate) struct Guarded {
    pub(crate) account: Account,
    pub(crate) recorder: Recorder,
    /// Whoever runs tests and makes schedules.
    pub(crate) user: Key,
    pub(crate) folder: Folder,
    /// Its files are used as long as the account is.
    _certificate: Certificate,
}

impl Guarded {
    /// With these parameters of the template.
    pub(crate) fn new(parameters: &[&str]) -> Self {
        // The bucket's policy forbids everything but TLS to everybody.
        let certificate = Certificate::new();
        let recorder = Recorder::start_with_tls(&certificate);
        let endpoint = recorder.endpoint();
        let account = Account::deploy(&Differences {
            variables: &[("AUTH", "true"), ("AWS_ENDPOINT_URL", &endpoint)],
            parameters,
            certificate: Some(&certificate),
            ..Differences::default()
        });
        recorder.forward_to(&account.endpoint());
        account.ask("client('sns').create_topic(Name='verdicts')\nprint('null')");
        account.ask(&format!(
            "iam = client('iam')
for role in iam.list_roles()['Roles']:
    if any(name in role['RoleName'] for name in ('-LauncherRole-', '-AggregatorRole-', '-ReaperRole-')):
        iam.put_role_policy(RoleName=role['RoleName'], PolicyName='emulator', PolicyDocument={EMULATOR:?})
print('null')"
        ));
        let folder = Folder::new();
        folder.write("script.js", SCRIPT);
        let mut guarded = Self { account, recorder, user: Key::new(), folder, _certificate: certificate };
        guarded.user = guarded.user_with("ci", &POLICIES);
        guarded
    }

    /// A new user with these policies.
    pub(crate) fn user_with(&self, name: &str, policies: &[&str]) -> Key {
        let texts: Vec<&str> = policies.iter().copied().chain([EMULATOR]).collect();
        let texts = Value::from(texts).to_string();
        let key = self.account.ask(&format!(
            "iam = client('iam')
iam.create_user(UserName='{name}')
for number, text in enumerate(json.loads({texts:?})):
    iam.put_user_policy(UserName='{name}', PolicyName=f'policy-{{number}}', PolicyDocument=text)
print(json.dumps(iam.create_access_key(UserName='{name}')['AccessKey'], default=str))"
        ));
        let text = |field: &str| key[field].as_str().expect("a key").to_owned();
        Key::from([("AWS_ACCESS_KEY_ID", text("AccessKeyId")), ("AWS_SECRET_ACCESS_KEY", text("SecretAccessKey"))])
    }

    /// Runs the command to its end, which must be this one.
    pub(crate) fn run(&self, code: i32, arguments: &[&str]) -> Said {
        self.run_as(&self.user, code, arguments)
    }

    /// The same with another user's key.
    pub(crate) fn run_as(&self, user: &Key, code: i32, arguments: &[&str]) -> Said {
        let mut command = self.account.command(&self.folder, arguments);
        command.envs(self.recorder.environment()).envs(user).env("TOKEN", SECRET);
        let said = Running::start(command).wait();
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:#?}\nthe account: {}", self.account.said());
        said
    }

    /// Starts a run that nobody watches, and returns its id.
    pub(crate) fn start(&self, arguments: &[&str]) -> String {
        let said = self.run(0, &[&["run", "--detach", "--workers", "2"], arguments].concat());
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
        answer["run"].as_str().unwrap_or_else(|| panic!("no run: {said:#?}")).to_owned()
    }

    pub(crate) fn state(&self, run: &str) -> String {
        let said = self.run(0, &["runs", "list", "--output", "json"]);
        let list: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
        let found = list.as_array().expect("a list").iter().find(|entry| entry["run"] == run);
        found.unwrap_or_else(|| panic!("no {run}: {list:#}"))["status"].to_string()
    }

    /// The policies of a role of the template, as they were deployed.
    pub(crate) fn policies_of(&self, role: &str) -> BTreeMap<String, Value> {
        let policies = self.account.ask(&format!(
            "iam = client('iam')
role = next(r['RoleName'] for r in iam.list_roles()['Roles'] if '-{role}-' in r['RoleName'])
names = [n for n in iam.list_role_policies(RoleName=role)['PolicyNames'] if n != 'emulator']
print(json.dumps({{n: iam.get_role_policy(RoleName=role, PolicyName=n)['PolicyDocument'] for n in names}}))"
        ));
        serde_json::from_value(policies).expect("policies by their names")
    }

    /// All that a role of the template may do.
    pub(crate) fn grants_of(&self, role: &str) -> Vec<Grant> {
        self.policies_of(role).values().flat_map(Grant::all).collect()
    }

    /// What was refused; nothing may be.
    pub(crate) fn assert_nothing_was_refused(&self) {
        let calls = self.recorder.calls();
        let refused: Vec<_> = calls.iter().filter(|call| call.status == Some(403)).map(|call| &call.needs).collect();
        assert!(refused.is_empty(), "{refused:#?}");
    }
}

/// What a policy allows, one action on one resource at a time.
pub(crate) struct Grant {
    /// The statement, the action, and the resource's end if the statement has several.
    pub(crate) name: String,
    action: String,
    resource: String,
}

impl Grant {
    pub(crate) fn all(policy: &Value) -> Vec<Self> {
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

    pub(crate) fn allows(&self, need: &Permission) -> bool {
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
pub(crate) fn not_allowed(calls: &[&Call], grants: &[Grant]) -> BTreeSet<Permission> {
    // AWS tells everybody who they are, whatever their policies say.
    let needs = calls.iter().flat_map(|call| &call.needs).filter(|need| need.action != "sts:GetCallerIdentity");
    needs.filter(|need| !grants.iter().any(|grant| grant.allows(need))).cloned().collect()
}
