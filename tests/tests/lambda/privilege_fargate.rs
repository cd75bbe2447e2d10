//! Least privilege of runs on Fargate, with policies enforced: of those who start tasks, of the tasks themselves, and of
//! whoever operates the stack. The tasks are processes with the credentials that their role gives; so this needs no
//! containers.

use std::collections::BTreeSet;

use lambdaload_tests::{
    cli::wait_for,
    servers::{Call, Permission},
    target::Target,
};
use serde_json::Value;

use crate::{
    guarded::{Grant, Guarded, POLICIES, SECRET, not_allowed},
    life::leave_tasks_and_images,
    played::{Containers, Fate},
};

/// Goes on until it is stopped or its worker is killed, and has something to do in the end.
const LONG: &str = "
import { sleep } from 'k6';
export const options = { scenarios: { all: { executor: 'constant-vus', vus: 2, duration: __ENV.DURATION } } };
export function setup() { return {}; }
export default function () { sleep(0.1); }
export function teardown() {}
";

/// What is granted for Fargate that these runs don't use, and why it is.
///
/// The role, the statement and the action, and the end of the resource where a statement has several.
const UNUSED: [(&str, &str); 9] = [
    (
        "AggregatorRole LookAtTasksAndStopThem ecs:StopTask",
        "only if a task was lost, or was not heard of, when its run ends",
    ),
    ("TaskRole FindMissingObjects s3:ListBucket", "without it an object that is missing looks forbidden"),
    ("TaskRole RecordItself dynamodb:Query", "only if a worker is started twice"),
    ("ExecutionRole SignInToRegistries ecr:GetAuthorizationToken", "ECS itself pulls the image"),
    ("ExecutionRole PullTheImage ecr:BatchCheckLayerAvailability", "ECS itself pulls the image"),
    ("ExecutionRole PullTheImage ecr:BatchGetImage", "ECS itself pulls the image"),
    ("ExecutionRole PullTheImage ecr:GetDownloadUrlForLayer", "ECS itself pulls the image"),
    ("ExecutionRole Log logs:CreateLogStream", "ECS itself writes the log"),
    ("ExecutionRole Log logs:PutLogEvents", "ECS itself writes the log"),
];

/// What ECS gives a task by its role. The emulator's root stands for ECS, but it can't say on whose behalf it asks, as the
/// role's trust wants to know; so it is trusted by name.
fn credentials(guarded: &Guarded) -> Value {
    guarded.account.ask(
        "found = next(r for r in client('iam').list_roles()['Roles'] if '-TaskRole-' in r['RoleName'])
role, trust = found['Arn'], found['AssumeRolePolicyDocument']
root = {'Effect': 'Allow', 'Principal': {'AWS': role.split(':role')[0] + ':root'}, 'Action': 'sts:AssumeRole'}
trust['Statement'].append(root)
client('iam').update_assume_role_policy(RoleName=found['RoleName'], PolicyDocument=json.dumps(trust))
given = client('sts').assume_role(RoleArn=role, RoleSessionName='task')['Credentials']
print(json.dumps({'RoleArn': role, 'AccessKeyId': given['AccessKeyId'], 'SecretAccessKey': given['SecretAccessKey'],
    'Token': given['SessionToken'], 'Expiration': given['Expiration'].strftime('%Y-%m-%dT%H:%M:%SZ')}))",
    )
}

/// All calls; of those that start tasks AWS asks too whether whoever makes them may pass on the roles of these.
fn calls(guarded: &Guarded) -> Vec<Call> {
    let roles = guarded.account.ask(
        "definition = client('ecs').describe_task_definition(taskDefinition='lambdaload-worker')['taskDefinition']
print(json.dumps([definition['executionRoleArn'], definition['taskRoleArn']]))",
    );
    let roles = roles.as_array().expect("two roles").iter().filter_map(Value::as_str);
    let passed: Vec<Permission> =
        roles.map(|role| Permission { action: "iam:PassRole".to_owned(), resource: role.to_owned() }).collect();
    assert_eq!(passed.len(), 2);
    let mut calls = guarded.recorder.calls();
    for call in calls.iter_mut().filter(|call| call.is("ecs:RunTask")) {
        call.needs.extend(passed.clone());
    }
    calls
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn runs_on_fargate_need_what_policies_grant_and_nothing_less() {
    let (guarded, target) = (Guarded::new(&["FargateCapacity=2"]), Target::start());
    guarded.folder.write("long.js", LONG);
    let credentials = credentials(&guarded);
    let of_role = credentials["AccessKeyId"].as_str().expect("a key").to_owned();
    let ours = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let environment = guarded.account.environment().into_iter().chain(guarded.recorder.environment());
    let environment = environment.filter(|(name, _)| !ours.contains(&name.as_str())).collect();
    let mut tasks = Containers::with_role(&guarded.account, environment, credentials);
    let url = format!("TARGET={}", target.url());
    let on = ["--platform", "fargate", "--min-workers", "1"];
    let with_secret = [&on[..], &["script.js", "--secret", "TOKEN", "-e", &url]].concat();

    // One is stopped while it runs; one waits for its room, and is seen to its end.
    let first = guarded.start(&[&on[..], &["long.js", "-e", "DURATION=90s"]].concat());
    tasks.start_all(2, |_| Fate::Runs);
    wait_for("the first run to run", || guarded.state(&first).contains("running").then_some(()));
    let waits = guarded.start(&with_secret);
    guarded.run(0, &["stop", &first]);
    tasks.start_all(4, |_| Fate::Runs);
    let said = guarded.run(0, &["watch", &waits, "--output", "json", "--quiet"]);
    let verdict: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    assert_eq!(verdict["outcome"], "passed", "{verdict:#}\n{}", guarded.account.said());
    assert_eq!(target.requests().get("/teardown"), Some(&1));
    assert!(target.headers().iter().all(|headers| headers.get("x-token").is_some_and(|token| token == SECRET)));

    // Who has teardown to do is killed, so the aggregator starts a substitute.
    let killed = guarded.start(&[&on[..], &["long.js", "-e", "DURATION=15s"]].concat());
    tasks.start_all(6, |_| Fate::Runs);
    wait_for("the third run to run", || guarded.state(&killed).contains("running").then_some(()));
    tasks.kill(0);
    tasks.start_all(7, |_| Fate::Runs);
    guarded.run(0, &["watch", &killed, "--quiet"]);

    guarded.assert_nothing_was_refused();
    let calls = calls(&guarded);
    let nobody: Vec<_> = calls
        .iter()
        .filter(|call| call.function.is_none() && call.access_key != of_role)
        .filter(|call| call.access_key != guarded.user["AWS_ACCESS_KEY_ID"])
        .map(|call| (&call.access_key, &call.needs))
        .collect();
    assert!(nobody.is_empty(), "whose are these? {nobody:#?}");

    // Nothing missing: of the user, of functions, and of tasks.
    let of_key = |key: &str| calls.iter().filter(|call| call.access_key == key).collect::<Vec<_>>();
    let of_user: Vec<Grant> =
        POLICIES.iter().flat_map(|policy| Grant::all(&serde_json::from_str(policy).expect("a policy"))).collect();
    assert_eq!(not_allowed(&of_key(&guarded.user["AWS_ACCESS_KEY_ID"]), &of_user), BTreeSet::new(), "the user");
    let (mut unused, mut granted) = (BTreeSet::new(), BTreeSet::new());
    let mut compare = |role: &str, own: &[&Call], grants: &[Grant]| {
        let is_used = |grant: &Grant| own.iter().any(|call| call.needs.iter().any(|need| grant.allows(need)));
        granted.extend(grants.iter().map(|grant| format!("{role} {}", grant.name)));
        unused.extend(grants.iter().filter(|grant| !is_used(grant)).map(|grant| format!("{role} {}", grant.name)));
    };
    for (function, role, of_tasks) in [
        ("lambdaload-launcher", "LauncherRole", &["run-tasks"][..]),
        ("lambdaload-aggregator", "AggregatorRole", &["run-tasks", "watch-tasks"]),
        ("lambdaload-reaper", "ReaperRole", &[]),
    ] {
        let own: Vec<&Call> = calls.iter().filter(|call| call.function.as_deref() == Some(function)).collect();
        assert!(!own.is_empty(), "{function} called nobody");
        assert_eq!(not_allowed(&own, &guarded.grants_of(role)), BTreeSet::new(), "{function}");
        let policies = guarded.policies_of(role);
        // What a function may do beside tasks, runs on Lambda are compared with.
        let others: Vec<&str> = policies.keys().map(String::as_str).filter(|name| name.ends_with("-tasks")).collect();
        assert_eq!(others, of_tasks, "{role}");
        let grants: Vec<Grant> = of_tasks.iter().flat_map(|name| Grant::all(&policies[*name])).collect();
        compare(role, &own, &grants);
    }
    let of_tasks = of_key(&of_role);
    assert!(!of_tasks.is_empty(), "tasks called nobody");
    assert_eq!(not_allowed(&of_tasks, &guarded.grants_of("TaskRole")), BTreeSet::new(), "tasks");
    compare("TaskRole", &of_tasks, &guarded.grants_of("TaskRole"));
    compare("ExecutionRole", &[], &guarded.grants_of("ExecutionRole"));
    // Nothing more than that.
    let reasoned: BTreeSet<String> = UNUSED.iter().map(|(grant, _)| (*grant).to_owned()).collect();
    assert_eq!(unused.difference(&reasoned).collect::<Vec<_>>(), Vec::<&String>::new(), "is granted, but never used");
    assert_eq!(reasoned.difference(&granted).collect::<Vec<_>>(), Vec::<&String>::new(), "is listed, but not granted");

    // Nobody but Secrets Manager was told the secret.
    let has_it = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    let told: Vec<_> = calls.iter().filter(|call| has_it(&call.sent)).collect();
    assert!(!told.is_empty() && told.iter().all(|call| call.is("secretsmanager:CreateSecret")), "{told:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn whoever_operates_a_stack_with_fargate_can_destroy_it() {
    let guarded = Guarded::new(&[]);
    let policies = [
        include_str!("../../../infra/policies/operator.json"),
        include_str!("../../../infra/policies/operator-fargate.json"),
    ];
    let operator = guarded.user_with("operator", &policies);
    leave_tasks_and_images(&guarded.account);
    guarded.run_as(&operator, 0, &["destroy", "--all", "--yes"]);
    guarded.assert_nothing_was_refused();
    let calls = guarded.recorder.calls();
    let own: Vec<&Call> = calls.iter().filter(|call| call.access_key == operator["AWS_ACCESS_KEY_ID"]).collect();
    for action in ["ecs:StopTask", "ecr:BatchDeleteImage", "ecs:DeleteTaskDefinitions", "cloudformation:DeleteStack"] {
        assert!(own.iter().any(|call| call.is(action)), "{action}");
    }
    let grants: Vec<Grant> =
        policies.iter().flat_map(|policy| Grant::all(&serde_json::from_str(policy).expect("a policy"))).collect();
    assert_eq!(not_allowed(&own, &grants), BTreeSet::new(), "operator.json and operator-fargate.json");
}
