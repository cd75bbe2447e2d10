//! Who may do what. A simulator of AWS's policies answers, since an emulated account knows few conditions.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use lambdaload_core::deployment::Function;
use lambdaload_tests::template::{Stack, provided};
use serde_json::{Value, json};

/// The stack that the policies for people name.
pub(crate) const STACK: &str = "lambdaload";

/// A topic that a stack may tell.
const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:verdicts";

/// One thing somebody may or may not do.
struct Question<'a> {
    policy: &'a Value,
    resource_policy: Option<&'a Value>,
    action: &'a str,
    resource: String,
    context: Value,
}

/// What the simulator says to each.
fn simulate(questions: &[Question<'_>]) -> Option<Vec<String>> {
    let simulator = provided("LAMBDALOAD_SIMULATOR")?;
    let questions: Vec<Value> = questions
        .iter()
        .map(|asked| {
            let Question { policy, resource_policy, action, resource, context } = asked;
            let mut asked = json!({ "policy": policy, "action": action, "resource": resource, "context": context });
            if let Some(resource_policy) = resource_policy {
                asked["resourcePolicy"] = (*resource_policy).clone();
            }
            asked
        })
        .collect();
    let mut node = Command::new("node").arg(simulator).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    node.stdin.take().unwrap().write_all(json!(questions).to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "the simulator failed");
    let answers: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), questions.len());
    Some(answers)
}

/// Asks about one policy; each row is an action, a resource, a context, and whether it is allowed.
pub(crate) fn check(who: &str, policy: &Value, rows: &[(&str, String, Value, bool)]) {
    let questions: Vec<_> = rows
        .iter()
        .map(|(action, resource, context, _)| Question {
            policy,
            resource_policy: None,
            action,
            resource: resource.clone(),
            context: context.clone(),
        })
        .collect();
    let Some(answers) = simulate(&questions) else { return };
    for ((action, resource, context, allowed), answer) in rows.iter().zip(answers) {
        let expected = if *allowed { "Allowed" } else { "ImplicitlyDenied" };
        assert_eq!(answer, expected, "{who}: {action} on {resource} with {context}");
    }
}

fn key(key: &str) -> Value {
    json!({ "dynamodb:LeadingKeys": [key] })
}

/// The resources of a stack, as roles meet them.
pub(crate) struct Arns {
    pub(crate) bucket: String,
    pub(crate) table: String,
    pub(crate) secret: String,
    pub(crate) schedule: String,
    /// A schedule by which a test starts.
    pub(crate) test: String,
}

impl Arns {
    pub(crate) fn of(stack: &Stack) -> Self {
        Self {
            bucket: stack.arn("Bucket"),
            table: stack.arn("Table"),
            secret: format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:lambdaload/{STACK}/01M8-a1B2c3"),
            schedule: format!("arn:aws:scheduler:eu-central-1:123456789012:schedule/{STACK}/01M8-end"),
            test: format!("arn:aws:scheduler:eu-central-1:123456789012:schedule/{STACK}-tests/nightly"),
        }
    }

    pub(crate) fn object(&self, key: &str) -> String {
        format!("{}/{key}", self.bucket)
    }

    /// A function of the stack.
    pub(crate) fn function(function: Function) -> String {
        format!("arn:aws:lambda:eu-central-1:123456789012:function:{}", function.name(STACK))
    }
}

/// What every function's role is asked: objects, items and calls, each with those that it needs.
pub(crate) fn rows(arns: &Arns, may: &[(&str, &str)]) -> Vec<(&'static str, String, Value, bool)> {
    let mut rows = Vec::new();
    let mut ask = |action: &'static str, what: &str, resource: String, context: Value| {
        rows.push((action, resource, context, may.contains(&(action, what))));
    };
    for (what, key) in [
        ("archives", "archives/a"),
        ("runs", "runs/01M8/a"),
        ("chunk", "interim/chunks/01M8/a"),
        ("setup", "interim/setups/01M8.json"),
        ("log", "interim/logs/01M8/1/1.log"),
    ] {
        for action in ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"] {
            ask(action, what, arns.object(key), json!({}));
        }
    }
    ask("s3:ListBucket", "bucket", arns.bucket.clone(), json!({}));
    for partition in ["run#01M8", "runs", "slots", "tests", "else"] {
        for action in
            ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"]
        {
            ask(action, partition, arns.table.clone(), key(partition));
        }
    }
    ask("dynamodb:Scan", "table", arns.table.clone(), json!({}));
    for function in Function::ALL {
        ask("lambda:InvokeFunction", function.word(), Arns::function(function), json!({}));
        ask("lambda:UpdateFunctionCode", function.word(), Arns::function(function), json!({}));
    }
    for action in ["secretsmanager:GetSecretValue", "secretsmanager:DeleteSecret"] {
        ask(action, "own", arns.secret.clone(), json!({}));
        ask(action, "others", arns.secret.replace(&format!("/{STACK}/"), "/other/"), json!({}));
    }
    ask("scheduler:CreateSchedule", "own", arns.schedule.clone(), json!({}));
    for action in
        ["scheduler:CreateSchedule", "scheduler:UpdateSchedule", "scheduler:GetSchedule", "scheduler:DeleteSchedule"]
    {
        ask(action, "tests", arns.test.clone(), json!({}));
    }
    ask("sns:Publish", "topic", TOPIC.to_owned(), json!({}));
    ask("scheduler:CreateSchedule", "others", arns.schedule.replace(&format!("/{STACK}/"), "/default/"), json!({}));
    rows
}

const ITEMS: [&str; 4] = ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem"];

fn with_items<'a>(partitions: &[&'a str], others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let items = partitions.iter().flat_map(|partition| ITEMS.map(|action| (action, *partition)));
    items.chain(others.iter().copied()).collect()
}

#[test]
fn a_worker_reads_its_test_and_writes_its_run() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let may = [
        ("s3:GetObject", "archives"),
        ("s3:GetObject", "setup"),
        ("s3:PutObject", "runs"),
        ("s3:PutObject", "chunk"),
        ("s3:PutObject", "setup"),
        ("s3:PutObject", "log"),
        ("s3:ListBucket", "bucket"),
        ("lambda:InvokeFunction", "reaper"),
        ("secretsmanager:GetSecretValue", "own"),
    ];
    check("worker", &stack.policy_of("WorkerRole"), &rows(&Arns::of(&stack), &with_items(&["run#01M8"], &may)));
}

#[test]
fn the_launcher_records_runs_and_starts_them() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let may = [
        ("s3:GetObject", "archives"),
        ("s3:GetObject", "runs"),
        ("s3:PutObject", "runs"),
        ("s3:ListBucket", "bucket"),
        ("lambda:InvokeFunction", "launcher"),
        ("lambda:InvokeFunction", "worker"),
        ("lambda:InvokeFunction", "aggregator"),
        ("lambda:InvokeFunction", "reaper"),
        ("scheduler:CreateSchedule", "own"),
        ("secretsmanager:DeleteSecret", "own"),
    ];
    let may = with_items(&["run#01M8", "runs", "slots", "tests"], &may);
    check("launcher", &stack.policy_of("LauncherRole"), &rows(&Arns::of(&stack), &may));
}

#[test]
fn appointments_are_made_with_one_role_only() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let pass = |service: &str, role: &str, allowed| {
        ("iam:PassRole", stack.arn(role), json!({ "iam:PassedToService": service }), allowed)
    };
    for (role, may) in [("LauncherRole", true), ("AggregatorRole", true), ("ReaperRole", true), ("WorkerRole", false)] {
        let rows = [
            pass("scheduler.amazonaws.com", "ScheduleRole", may),
            pass("lambda.amazonaws.com", "ScheduleRole", false),
            pass("scheduler.amazonaws.com", "ReaperRole", false),
        ];
        check(role, &stack.policy_of(role), &rows);
    }
}

#[test]
fn a_task_may_do_what_a_worker_may_and_call_nobody() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let may = [
        ("s3:GetObject", "archives"),
        ("s3:GetObject", "runs"),
        ("s3:GetObject", "setup"),
        ("s3:PutObject", "runs"),
        ("s3:PutObject", "chunk"),
        ("s3:PutObject", "setup"),
        ("s3:PutObject", "log"),
        ("s3:ListBucket", "bucket"),
        ("secretsmanager:GetSecretValue", "own"),
    ];
    check("task", &stack.policy_of("TaskRole"), &rows(&Arns::of(&stack), &with_items(&["run#01M8"], &may)));
    check("execution", &stack.policy_of("ExecutionRole"), &rows(&Arns::of(&stack), &[]));
}

#[test]
fn tasks_are_started_in_the_own_cluster_with_their_own_roles() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let policy = stack.properties("RunTasks")["PolicyDocument"].clone();
    let arn = |rest: &str| format!("arn:aws:ecs:eu-central-1:123456789012:{rest}");
    let (own, other) = (stack.arn("Cluster"), arn("cluster/other"));
    let run = |definition: &str, cluster: &str, may| {
        ("ecs:RunTask", arn(&format!("task-definition/{definition}:3")), json!({ "ecs:cluster": cluster }), may)
    };
    let pass = |role: &str, service: &str, may| {
        ("iam:PassRole", stack.arn(role), json!({ "iam:PassedToService": service }), may)
    };
    let worker = format!("{STACK}-worker");
    check(
        "launcher",
        &policy,
        &[
            run(&worker, &own, true),
            run(&worker, &other, false),
            run("other", &own, false),
            ("ecs:StopTask", arn(&format!("task/{STACK}/0123")), json!({}), false),
            ("ecs:TagResource", arn(&format!("task/{STACK}/0123")), json!({ "ecs:CreateAction": "RunTask" }), true),
            ("ecs:TagResource", arn(&format!("task/{STACK}/0123")), json!({}), false),
            ("ecs:RegisterTaskDefinition", arn("task-definition/x:1"), json!({}), false),
            pass("TaskRole", "ecs-tasks.amazonaws.com", true),
            pass("ExecutionRole", "ecs-tasks.amazonaws.com", true),
            pass("TaskRole", "lambda.amazonaws.com", false),
            pass("LauncherRole", "ecs-tasks.amazonaws.com", false),
        ],
    );
    let own = arn(&format!("task/{STACK}/0123"));
    check(
        "aggregator",
        &stack.properties("WatchTasks")["PolicyDocument"],
        &[
            ("ecs:StopTask", own.clone(), json!({}), true),
            ("ecs:DescribeTasks", own, json!({}), true),
            ("ecs:StopTask", arn("task/other/0123"), json!({}), false),
        ],
    );
}

#[test]
fn the_aggregator_conducts_and_hands_over() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let may = [
        ("s3:GetObject", "runs"),
        ("s3:PutObject", "runs"),
        ("s3:GetObject", "chunk"),
        ("s3:GetObject", "setup"),
        ("s3:GetObject", "log"),
        ("s3:PutObject", "chunk"),
        ("s3:PutObject", "setup"),
        ("s3:PutObject", "log"),
        ("s3:ListBucket", "bucket"),
        ("lambda:InvokeFunction", "aggregator"),
        ("lambda:InvokeFunction", "launcher"),
        ("lambda:InvokeFunction", "worker"),
        ("lambda:InvokeFunction", "reaper"),
        ("scheduler:CreateSchedule", "own"),
        ("secretsmanager:DeleteSecret", "own"),
    ];
    let may = with_items(&["run#01M8", "slots"], &may);
    check("aggregator", &stack.policy_of("AggregatorRole"), &rows(&Arns::of(&stack), &may));
}

#[test]
fn the_reaper_concludes_and_calls_who_goes_on() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let may = [
        ("s3:GetObject", "runs"),
        ("s3:PutObject", "runs"),
        ("s3:GetObject", "chunk"),
        ("s3:GetObject", "setup"),
        ("s3:GetObject", "log"),
        ("s3:ListBucket", "bucket"),
        ("lambda:InvokeFunction", "aggregator"),
        ("lambda:InvokeFunction", "launcher"),
        ("scheduler:CreateSchedule", "own"),
        ("secretsmanager:DeleteSecret", "own"),
    ];
    let may = with_items(&["run#01M8", "slots", "tests"], &may);
    let policy = stack.policy_of("ReaperRole");
    check("reaper", &policy, &rows(&Arns::of(&stack), &may));
    check("reaper", &policy, &[("sqs:SendMessage", stack.arn("DeadLetters"), json!({}), true)]);
}

#[test]
fn the_scheduler_calls_the_reaper_only() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let may = [("lambda:InvokeFunction", "reaper")];
    check("scheduler", &stack.policy_of("ScheduleRole"), &rows(&Arns::of(&stack), &may));
    let trust = &stack.properties("ScheduleRole")["AssumeRolePolicyDocument"]["Statement"][0];
    let whose = json!({
        "StringEquals": { "aws:SourceAccount": "123456789012" },
        "ArnEquals": { "aws:SourceArn": stack.arn("ScheduleGroup") },
    });
    assert_eq!(trust["Condition"], whose);
}

#[test]
fn the_scheduler_starts_tests_by_the_launcher_only() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let policy = stack.policy_of("TestScheduleRole");
    check("scheduler", &policy, &rows(&Arns::of(&stack), &[("lambda:InvokeFunction", "launcher")]));
    let keep = |queue, allowed| ("sqs:SendMessage", stack.arn(queue), json!({}), allowed);
    check("scheduler", &policy, &[keep("MissedTests", true), keep("DeadLetters", false)]);
    let trust = &stack.properties("TestScheduleRole")["AssumeRolePolicyDocument"]["Statement"][0];
    let whose = json!({
        "StringEquals": { "aws:SourceAccount": "123456789012" },
        "ArnEquals": { "aws:SourceArn": stack.arn("TestScheduleGroup") },
    });
    assert_eq!(trust["Condition"], whose);
}

#[test]
fn whoever_concludes_runs_tells_the_topics_of_the_stack_and_no_others() {
    let (Some(told), Some(silent)) = (Stack::of(STACK, &[("NotifyTopicArns", TOPIC)]), Stack::of(STACK, &[])) else {
        return;
    };
    for (role, may) in [("LauncherRole", true), ("AggregatorRole", true), ("ReaperRole", true), ("WorkerRole", false)] {
        let publish = |topic: &str, allowed| ("sns:Publish", topic.to_owned(), json!({}), allowed);
        let other = TOPIC.replace("verdicts", "payments");
        check(role, &told.policy_of(role), &[publish(TOPIC, may), publish(&other, false)]);
        check(role, &silent.policy_of(role), &[publish(TOPIC, false)]);
    }
}

#[test]
fn a_function_writes_its_own_log() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    for function in ["Launcher", "Worker", "Aggregator", "Reaper"] {
        let rows: Vec<_> = ["Launcher", "Worker", "Aggregator", "Reaper"]
            .into_iter()
            .map(|of| {
                let stream = stack.arn(&format!("{of}Logs")).replace(":*", ":log-stream:today");
                ("logs:PutLogEvents", stream, json!({}), of == function)
            })
            .collect();
        check(function, &stack.policy_of(&format!("{function}Role")), &rows);
    }
}

#[test]
fn nothing_is_granted_by_wildcards_alone() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    for role in stack.all("AWS::IAM::Role").keys() {
        for statement in stack.policy_of(role)["Statement"].as_array().unwrap() {
            let words = |field: &str| match &statement[field] {
                Value::Array(values) => values.iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
                one => vec![one.as_str().unwrap().to_owned()],
            };
            assert!(words("Action").iter().all(|action| !action.contains('*')), "{role}: {statement}");
            if words("Action") == ["ecr:GetAuthorizationToken"] {
                // It knows no resources.
                continue;
            }
            let names_a_thing = |arn: &String| arn.starts_with("arn:aws:") && arn.matches('*').count() <= 1;
            assert!(words("Resource").iter().all(names_a_thing), "{role}: {statement}");
        }
    }
}

#[test]
fn bucket_and_queue_speak_tls_only() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let anything =
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
    let bucket = &stack.properties("BucketPolicy")["PolicyDocument"];
    let queue = &stack.properties("DeadLettersPolicy")["PolicyDocument"];
    let missed = &stack.properties("MissedTestsPolicy")["PolicyDocument"];
    let object = format!("{}/runs/a", stack.arn("Bucket"));
    let question = |policy, action, resource: &str, tls: &str| Question {
        policy: &anything,
        resource_policy: Some(policy),
        action,
        resource: resource.to_owned(),
        context: json!({ "aws:SecureTransport": tls }),
    };
    let questions = [
        question(bucket, "s3:GetObject", &object, "false"),
        question(bucket, "s3:GetObject", &object, "true"),
        question(bucket, "s3:ListBucket", &stack.arn("Bucket"), "false"),
        question(queue, "sqs:SendMessage", &stack.arn("DeadLetters"), "false"),
        question(queue, "sqs:SendMessage", &stack.arn("DeadLetters"), "true"),
        question(missed, "sqs:SendMessage", &stack.arn("MissedTests"), "false"),
        question(missed, "sqs:SendMessage", &stack.arn("MissedTests"), "true"),
    ];
    let Some(answers) = simulate(&questions) else { return };
    assert_eq!(
        answers,
        [
            "ExplicitlyDenied",
            "Allowed",
            "ExplicitlyDenied",
            "ExplicitlyDenied",
            "Allowed",
            "ExplicitlyDenied",
            "Allowed"
        ]
    );
}
