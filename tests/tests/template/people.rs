//! What the policies of `infra/policies` let people do.

use lambdaload_tests::template::Stack;
use serde_json::{Value, json};

use crate::permissions::{Arns, STACK, check, rows};

fn policy(text: &str) -> Value {
    // A managed policy may have 6,144 characters; AWS does not count white space.
    let counted = text.chars().filter(|character| !character.is_whitespace()).count();
    assert!(counted <= 6144, "{counted} characters");
    serde_json::from_str(text).unwrap()
}

#[test]
fn who_makes_schedules_makes_those_of_tests_only() {
    let policy = policy(include_str!("../../../infra/policies/schedules.json"));
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let arns = Arns::of(&stack);
    let mut may: Vec<(&str, &str)> = ["GetItem", "Query", "PutItem", "DeleteItem"]
        .map(|action| (&*format!("dynamodb:{action}").leak(), "tests"))
        .to_vec();
    may.extend(
        ["CreateSchedule", "GetSchedule", "UpdateSchedule", "DeleteSchedule"]
            .map(|action| (&*format!("scheduler:{action}").leak(), "tests")),
    );
    check("who makes schedules", &policy, &rows(&arns, &may));
    let secret =
        |name: &str| format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:lambdaload/{name}-a1B2c3");
    let pass = |role: &str, service: &str, allowed| {
        let role = format!("arn:aws:iam::123456789012:role/{role}-1A2B");
        ("iam:PassRole", role, json!({ "iam:PassedToService": service }), allowed)
    };
    check(
        "who makes schedules",
        &policy,
        &[
            ("scheduler:ListSchedules", "*".to_owned(), json!({}), true),
            ("secretsmanager:PutSecretValue", secret("lambdaload/schedule/nightly"), json!({}), true),
            ("secretsmanager:GetSecretValue", secret("lambdaload/schedule/nightly"), json!({}), false),
            ("secretsmanager:PutSecretValue", secret("lambdaload/01M8"), json!({}), false),
            pass("lambdaload-TestScheduleRole", "scheduler.amazonaws.com", true),
            pass("lambdaload-TestScheduleRole", "lambda.amazonaws.com", false),
            pass("lambdaload-ScheduleRole", "scheduler.amazonaws.com", false),
        ],
    );
}

#[test]
fn a_ci_user_runs_tests_and_changes_nothing_else() {
    let policy = policy(include_str!("../../../infra/policies/ci-user.json"));
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let arns = Arns::of(&stack);
    let read = ["dynamodb:GetItem", "dynamodb:Query"];
    let mut may: Vec<(&str, &str)> = vec![
        ("s3:GetObject", "archives"),
        ("s3:GetObject", "runs"),
        ("s3:GetObject", "setup"),
        ("s3:GetObject", "log"),
        ("s3:PutObject", "archives"),
        ("s3:ListBucket", "bucket"),
        ("lambda:InvokeFunction", "launcher"),
        ("lambda:InvokeFunction", "reaper"),
        ("secretsmanager:DeleteSecret", "own"),
    ];
    may.extend(["run#01M8", "runs", "slots"].into_iter().flat_map(|partition| read.map(|action| (action, partition))));
    may.extend(["dynamodb:PutItem", "dynamodb:UpdateItem"].map(|action| (action, "run#01M8")));
    check("CI user", &policy, &rows(&arns, &may));
    let stack_arn = |name: &str| format!("arn:aws:cloudformation:eu-central-1:123456789012:stack/{name}/0a1b");
    let batch = |partitions: &[&str]| json!({ "dynamodb:LeadingKeys": partitions });
    check(
        "CI user",
        &policy,
        &[
            ("cloudformation:DescribeStacks", stack_arn(STACK), json!({}), true),
            ("cloudformation:DescribeStacks", stack_arn("other"), json!({}), false),
            ("cloudformation:DeleteStack", stack_arn(STACK), json!({}), false),
            ("lambda:GetAccountSettings", "*".to_owned(), json!({}), true),
            ("cloudwatch:GetMetricStatistics", "*".to_owned(), json!({}), true),
            ("ec2:DescribeSubnets", "*".to_owned(), json!({}), true),
            ("servicequotas:GetServiceQuota", "*".to_owned(), json!({}), true),
            ("secretsmanager:CreateSecret", arns.secret.clone(), json!({}), true),
            ("s3:PutObject", arns.object("runs/01M8/handle_summary.json"), json!({}), true),
            ("s3:PutObject", arns.object("runs/01M8/live.json"), json!({}), false),
            ("dynamodb:BatchGetItem", arns.table.clone(), batch(&["run#1", "run#2"]), true),
            ("dynamodb:BatchGetItem", arns.table.clone(), batch(&["run#1", "else"]), false),
        ],
    );
}

#[test]
fn an_operator_deploys_and_destroys_this_and_no_other() {
    let policy = policy(include_str!("../../../infra/policies/operator.json"));
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let mut rows: Vec<(&str, String, Value, bool)> = Vec::new();
    let mut both = |action, own: String| {
        let other = own.replace(STACK, "payments");
        rows.extend([(action, own, json!({}), true), (action, other, json!({}), false)]);
    };
    for action in ["CreateChangeSet", "ExecuteChangeSet", "DeleteStack", "DescribeStacks"] {
        let action: &str = format!("cloudformation:{action}").leak();
        both(action, format!("arn:aws:cloudformation:eu-central-1:123456789012:stack/{STACK}/0a1b"));
    }
    for action in ["lambda:CreateFunction", "lambda:PutFunctionConcurrency", "lambda:PutFunctionRecursionConfig"] {
        both(action, stack.arn("WorkerFunction"));
    }
    for action in ["iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"] {
        both(action, stack.arn("WorkerRole"));
    }
    for action in ["s3:CreateBucket", "s3:PutLifecycleConfiguration", "s3:PutBucketPolicy", "s3:DeleteBucket"] {
        both(action, stack.arn("Bucket"));
    }
    for action in ["dynamodb:CreateTable", "dynamodb:UpdateTimeToLive", "dynamodb:DeleteTable"] {
        both(action, stack.arn("Table"));
    }
    both("s3:DeleteObject", format!("{}/runs/a", stack.arn("Bucket")));
    for queue in ["DeadLetters", "MissedTests"] {
        both("sqs:CreateQueue", stack.arn(queue));
    }
    for group in ["ScheduleGroup", "TestScheduleGroup"] {
        both("scheduler:CreateScheduleGroup", stack.arn(group));
    }
    both("scheduler:DeleteSchedule", Arns::of(&stack).test);
    for action in ["logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:FilterLogEvents"] {
        both(action, stack.arn("WorkerLogs").trim_end_matches(":*").to_owned());
    }
    let alarm = format!("arn:aws:cloudwatch:eu-central-1:123456789012:alarm:{STACK}-ReaperErrorsAlarm-1A");
    both("cloudwatch:PutMetricAlarm", alarm);
    let pass = |service: &str| json!({ "iam:PassedToService": service });
    rows.extend([
        ("iam:PassRole", stack.arn("WorkerRole"), pass("lambda.amazonaws.com"), true),
        ("iam:PassRole", stack.arn("ScheduleRole"), pass("scheduler.amazonaws.com"), true),
        ("iam:PassRole", stack.arn("WorkerRole"), pass("ec2.amazonaws.com"), false),
        ("iam:PassRole", "arn:aws:iam::123456789012:role/admin".to_owned(), pass("lambda.amazonaws.com"), false),
        ("iam:AttachRolePolicy", stack.arn("WorkerRole"), json!({}), false),
        ("lambda:GetAccountSettings", "*".to_owned(), json!({}), true),
        ("scheduler:ListSchedules", "*".to_owned(), json!({}), true),
    ]);
    check("operator", &policy, &rows);
}

#[test]
fn an_operator_of_a_stack_with_fargate_has_a_second_policy() {
    let policy = policy(include_str!("../../../infra/policies/operator-fargate.json"));
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let mut rows: Vec<(&str, String, Value, bool)> = Vec::new();
    let mut both = |action, own: String| {
        let other = own.replace(STACK, "payments");
        rows.extend([(action, own, json!({}), true), (action, other, json!({}), false)]);
    };
    for action in ["ecs:CreateCluster", "ecs:DeleteCluster"] {
        both(action, stack.arn("Cluster"));
    }
    both("ecs:StopTask", format!("arn:aws:ecs:eu-central-1:123456789012:task/{STACK}/0123"));
    for action in ["ecr:CreateRepository", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:DeleteRepository"] {
        both(action, stack.arn("WorkerRepository"));
    }
    for action in ["events:PutRule", "events:PutTargets"] {
        both(action, stack.arn("TaskStoppedRule"));
    }
    both("lambda:AddPermission", stack.arn("ReaperFunction"));
    both("logs:CreateLogGroup", stack.arn("TaskLogs").trim_end_matches(":*").to_owned());
    let pass = |service: &str| json!({ "iam:PassedToService": service });
    rows.extend([
        ("ecr:GetAuthorizationToken", "*".to_owned(), json!({}), true),
        ("iam:PassRole", stack.arn("TaskRole"), pass("ecs-tasks.amazonaws.com"), true),
        ("iam:PassRole", stack.arn("TaskRole"), pass("ec2.amazonaws.com"), false),
        ("ecs:RunTask", "arn:aws:ecs:eu-central-1:123456789012:task-definition/x:1".to_owned(), json!({}), false),
    ]);
    check("operator", &policy, &rows);
}
