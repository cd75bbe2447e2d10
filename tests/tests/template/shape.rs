//! Names, variables, times, memory, and how data are kept.

use std::collections::{BTreeMap, BTreeSet};

use lambdaload_core::{
    chunk::ChunkKey,
    deployment::{self, Function, output, table, variable},
    ids::{Attempt, RunId, WorkerIndex},
    ports::keys,
};
use lambdaload_tests::template::{REGION, Stack};
use serde_json::{Value, json};

const STACK: &str = "shop-load";

fn stack() -> Option<Stack> {
    Stack::of(STACK, &[])
}

/// The function's name in the template.
fn logical(function: Function) -> &'static str {
    match function {
        Function::Launcher => "LauncherFunction",
        Function::Worker => "WorkerFunction",
        Function::Aggregator => "AggregatorFunction",
        Function::Reaper => "ReaperFunction",
    }
}

#[test]
fn functions_are_what_the_code_says() {
    let Some(stack) = stack() else { return };
    assert_eq!(stack.all("AWS::Lambda::Function").len(), Function::ALL.len());
    for function in Function::ALL {
        let word = function.word();
        let properties = stack.properties(logical(function));
        assert_eq!(properties["FunctionName"], function.name(STACK));
        assert_eq!(properties["Timeout"], function.timeout().as_secs(), "{word}");
        assert_eq!(properties["MemorySize"], function.memory(), "{word}");
        assert_eq!(properties["Runtime"], "provided.al2023", "{word}");
        assert_eq!(properties["Handler"], "bootstrap", "{word}");
        assert_eq!(properties["Architectures"], json!(["arm64"]), "{word}");
        // A chain of queued runs is no loop.
        assert_eq!(properties["RecursiveLoop"], "Allow", "{word}");
    }
    let Some(other) = Stack::of(STACK, &[("Architecture", "x86_64"), ("WorkerMemory", "4096")]) else { return };
    let worker = other.properties("WorkerFunction");
    assert_eq!((&worker["Architectures"], &worker["MemorySize"]), (&json!(["x86_64"]), &json!("4096")));
    assert_eq!(other.properties("AggregatorFunction")["MemorySize"], Function::Aggregator.memory());
}

#[test]
fn functions_get_the_variables_that_they_read() {
    let Some(stack) = stack() else { return };
    let outputs = stack.outputs();
    let blocked = [&deployment::BLOCKED_LINK_LOCAL[..], &deployment::BLOCKED_LOOPBACK[..]].concat().join(",");
    let values: BTreeMap<&str, Value> = BTreeMap::from([
        (variable::BUCKET, outputs[output::BUCKET].clone()),
        (variable::TABLE, outputs[output::TABLE].clone()),
        (variable::RETENTION_DAYS, json!(400)),
        (variable::CAPACITY, json!(200)),
        (variable::LAUNCHER_FUNCTION, json!(Function::Launcher.name(STACK))),
        (variable::WORKER_FUNCTION, json!(Function::Worker.name(STACK))),
        (variable::AGGREGATOR_FUNCTION, json!(Function::Aggregator.name(STACK))),
        (variable::REAPER_ARN, json!(stack.arn("ReaperFunction"))),
        (variable::SCHEDULE_GROUP, json!(STACK)),
        (variable::SCHEDULE_ROLE, json!(stack.arn("ScheduleRole"))),
        (variable::SECRET_PREFIX, json!(deployment::secret_prefix(STACK))),
        (variable::BLOCKED_IPS, json!(blocked)),
        (variable::TASK_CAPACITY, json!(50)),
        (variable::CLUSTER, json!(STACK)),
        (variable::TASK_DEFINITION, json!(format!("{STACK}-worker"))),
    ]);
    for function in Function::ALL {
        let properties = stack.properties(logical(function));
        let found = properties["Environment"]["Variables"].as_object().unwrap();
        let expected: BTreeSet<&str> =
            function.variables().iter().chain(function.fargate_variables()).copied().collect();
        assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{}", function.word());
        for (name, value) in found {
            let expected =
                if name == variable::FUNCTION { json!(function.word()) } else { values[name.as_str()].clone() };
            assert_eq!(*value, expected, "{name} of {}", function.word());
        }
    }
    let Some(emulated) = Stack::of(STACK, &[("AllowLoopback", "true")]) else { return };
    let variables = &emulated.properties("WorkerFunction")["Environment"]["Variables"];
    assert_eq!(variables[variable::BLOCKED_IPS], deployment::BLOCKED_LINK_LOCAL.join(","));
}

#[test]
fn calls_are_tried_once_and_soon_and_failures_reach_the_reaper() {
    let Some(stack) = stack() else { return };
    let configs = stack.all("AWS::Lambda::EventInvokeConfig");
    assert_eq!(configs.len(), Function::ALL.len());
    for function in Function::ALL {
        let config = configs.values().find(|config| config["FunctionName"] == function.name(STACK)).unwrap();
        assert_eq!(config["MaximumRetryAttempts"], 0);
        assert_eq!(config["MaximumEventAgeInSeconds"], deployment::EVENT_AGE.as_secs());
        let destination = if function == Function::Reaper { "DeadLetters" } else { "ReaperFunction" };
        assert_eq!(config["DestinationConfig"]["OnFailure"]["Destination"], stack.arn(destination));
    }
    for queue in ["DeadLetters", "MissedTests"] {
        assert_eq!(stack.properties(queue)["SqsManagedSseEnabled"], true);
    }
}

#[test]
fn only_workers_have_k6_and_a_reservation() {
    let Some(stack) = stack() else { return };
    let Some(unreserved) = Stack::of(STACK, &[("ReserveWorkers", "false")]) else { return };
    let layers: Vec<_> = stack.all("AWS::Lambda::LayerVersion").into_iter().collect();
    let [(_, layer)] = &layers[..] else { panic!("there is one layer: {layers:?}") };
    assert_eq!(layer["CompatibleArchitectures"], json!(["arm64"]));
    let directory = deployment::K6_PATH.strip_prefix("/opt/").unwrap();
    assert_eq!(directory, "bin/k6", "the layer has k6 there; see the test of what is built");
    for function in Function::ALL {
        let properties = stack.properties(logical(function));
        let worker = function == Function::Worker;
        assert_eq!(properties.get("Layers").is_some(), worker, "{}", function.word());
        let reserved = properties.get("ReservedConcurrentExecutions");
        assert_eq!(reserved, worker.then(|| json!(200)).as_ref(), "{}", function.word());
        assert!(unreserved.properties(logical(function)).get("ReservedConcurrentExecutions").is_none());
    }
}

#[test]
fn logs_are_json_and_have_an_end() {
    let Some(stack) = Stack::of(STACK, &[("LogRetentionDays", "7")]) else { return };
    let groups = stack.all("AWS::Logs::LogGroup");
    for function in Function::ALL {
        let properties = stack.properties(logical(function));
        let name = format!("/aws/lambda/{}", function.name(STACK));
        assert_eq!(properties["LoggingConfig"], json!({ "LogFormat": "JSON", "LogGroup": name }));
        let group = groups.values().find(|group| group["LogGroupName"] == name).unwrap();
        assert_eq!(group["RetentionInDays"], "7");
    }
    assert_eq!(stack.properties("TaskLogs")["LogGroupName"], format!("/aws/ecs/{STACK}-worker"));
    assert_eq!(groups.len(), Function::ALL.len() + 1, "those of functions and that of tasks: {groups:?}");
    for (name, group) in groups {
        assert_eq!(group["RetentionInDays"], "7", "{name}");
    }
}

#[test]
fn the_table_forgets_and_can_be_restored() {
    let Some(stack) = stack() else { return };
    let properties = stack.properties("Table");
    assert_eq!(properties["BillingMode"], "PAY_PER_REQUEST");
    let keys = json!([
        { "AttributeName": table::PARTITION_KEY, "KeyType": "HASH" },
        { "AttributeName": table::SORT_KEY, "KeyType": "RANGE" },
    ]);
    assert_eq!(properties["KeySchema"], keys);
    assert_eq!(properties["TimeToLiveSpecification"], json!({ "AttributeName": table::EXPIRES, "Enabled": true }));
    assert_eq!(properties["PointInTimeRecoverySpecification"], json!({ "PointInTimeRecoveryEnabled": true }));
    assert_eq!(properties["SSESpecification"], json!({ "SSEEnabled": true }));
}

#[test]
fn the_bucket_is_private_and_forgets() {
    let Some(stack) = Stack::of(STACK, &[("InterimRetentionDays", "9"), ("DataRetentionDays", "90")]) else { return };
    let properties = stack.properties("Bucket");
    let encryption = &properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
    assert_eq!(encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256");
    let blocked = properties["PublicAccessBlockConfiguration"].as_object().unwrap();
    assert_eq!((blocked.len(), blocked.values().all(|value| *value == true)), (4, true));
    assert_eq!(properties["OwnershipControls"]["Rules"][0]["ObjectOwnership"], "BucketOwnerEnforced");

    let rules = properties["LifecycleConfiguration"]["Rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["Status"] == "Enabled"), "{rules:?}");
    let days = |key: &str| {
        let applies = |rule: &&Value| rule["Prefix"].as_str().is_some_and(|prefix| key.starts_with(prefix));
        rules.iter().find(applies).map(|rule| rule["ExpirationInDays"].clone())
    };
    let run = RunId::parse("01M81P3GY89CZ3RGBE6N28MQ6V").unwrap();
    assert_eq!(days(&keys::live(&run)), Some(json!("90")));
    let key = ChunkKey { run: run.clone(), worker: WorkerIndex(0), attempt: Attempt(1), sequence: 1 };
    for key in [keys::chunk(&key), keys::checkpoint(&run, 1)] {
        assert_eq!(days(&key), Some(json!("9")), "{key}");
    }
    assert_eq!(days("archives/0123.tar"), Some(json!("90")));
    let uploads = rules.iter().find_map(|rule| rule.get("AbortIncompleteMultipartUpload")).unwrap();
    assert_eq!(uploads["DaysAfterInitiation"], 1);
}

#[test]
fn data_outlive_the_stack_and_nothing_else_does() {
    let Some(stack) = stack() else { return };
    for name in stack.resources() {
        let kept = matches!(name, "Bucket" | "Table");
        for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
            let found = stack.resource(name).get(policy).and_then(Value::as_str);
            assert_eq!(found == Some("Retain"), kept, "{policy} of {name} is {found:?}");
        }
    }
}

#[test]
fn the_account_s_boundary_is_that_of_every_role() {
    let arn = "arn:aws:iam::123456789012:policy/boundary";
    let (Some(bound), Some(free)) = (Stack::of(STACK, &[("PermissionsBoundaryArn", arn)]), stack()) else { return };
    for (name, role) in bound.all("AWS::IAM::Role") {
        assert_eq!(role["PermissionsBoundary"], arn, "{name}");
        assert!(free.properties(&name).get("PermissionsBoundary").is_none(), "{name}");
    }
}

#[test]
fn what_must_not_happen_silently_has_an_alarm() {
    let topic = "arn:aws:sns:eu-central-1:123456789012:on-call";
    let Some(stack) = Stack::of(STACK, &[("AlarmTopicArn", topic)]) else { return };
    let alarms = stack.all("AWS::CloudWatch::Alarm");
    let mut expected: BTreeSet<(String, String)> =
        Function::ALL.into_iter().map(|function| ("AsyncEventsDropped".to_owned(), function.name(STACK))).collect();
    for (metric, function) in
        [("Throttles", Function::Worker), ("Errors", Function::Aggregator), ("Errors", Function::Reaper)]
    {
        expected.insert((metric.to_owned(), function.name(STACK)));
    }
    for queue in [format!("{STACK}-dead-letters"), deployment::missed_queue(STACK)] {
        expected.insert(("ApproximateNumberOfMessagesVisible".to_owned(), queue));
    }
    let found: BTreeSet<(String, String)> = alarms
        .values()
        .map(|alarm| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&alarm["MetricName"]), text(&alarm["Dimensions"][0]["Value"]))
        })
        .collect();
    assert_eq!(found, expected);
    for (name, alarm) in alarms {
        assert_eq!(alarm["AlarmActions"], json!([topic]), "{name}");
        assert_eq!((&alarm["Threshold"], &alarm["TreatMissingData"]), (&json!(0), &json!("notBreaching")), "{name}");
    }
}

#[test]
fn everything_that_can_have_tags_has_one() {
    let Some(stack) = stack() else { return };
    for name in stack.resources() {
        let of_type = stack.resource(name)["Type"].as_str().unwrap();
        let takes_tags = !matches!(
            of_type,
            "AWS::S3::BucketPolicy"
                | "AWS::SQS::QueuePolicy"
                | "AWS::Lambda::EventInvokeConfig"
                | "AWS::Lambda::LayerVersion"
                | "AWS::Lambda::Permission"
                | "AWS::IAM::Policy"
                | "AWS::Events::Rule"
        );
        let tag = json!({ "Key": "Application", "Value": "lambdaload" });
        let tagged = stack.properties(name)["Tags"].as_array().is_some_and(|tags| tags.contains(&tag));
        assert_eq!(tagged, takes_tags, "{name} ({of_type})");
    }
}

#[test]
fn outputs_are_those_that_the_command_reads() {
    let Some(stack) = stack() else { return };
    let outputs = stack.outputs();
    let found: BTreeSet<&str> = outputs.keys().map(String::as_str).collect();
    assert_eq!(found, output::ALL.into_iter().chain(output::FARGATE).collect());
    assert_eq!(outputs[output::FARGATE_CAPACITY], 50);
    assert_eq!(outputs[output::CLUSTER], STACK);
    let repository = format!("123456789012.dkr.ecr.{REGION}.amazonaws.com/{STACK}-worker");
    assert_eq!(outputs[output::WORKER_IMAGE_REPOSITORY], repository);
    assert_eq!(outputs[output::VERSION], env!("CARGO_PKG_VERSION"));
    assert_eq!(outputs[output::REGION], REGION);
    assert_eq!(outputs[output::WORKER_MEMORY], Function::Worker.memory());
    assert_eq!(outputs[output::WORKER_CAPACITY], 200);
    assert_eq!(outputs[output::WORKERS_RESERVED], "true");
    assert_eq!(outputs[output::ARCHITECTURE], "arm64");
    assert_eq!(outputs[output::SECRET_PREFIX], deployment::secret_prefix(STACK));
    assert_eq!(outputs[output::LAUNCHER_ARN], stack.arn("LauncherFunction"));
    assert_eq!(outputs[output::TEST_GROUP], deployment::test_group(STACK));
    assert_eq!(outputs[output::TEST_ROLE], stack.arn("TestScheduleRole"));
    assert_eq!(outputs[output::MISSED_TESTS], stack.arn("MissedTests"));
    assert_eq!(outputs[output::NOTIFY_TOPICS], deployment::NO_TOPICS);
    let Some(told) = Stack::of(STACK, &[("NotifyTopicArns", "arn:a,arn:b")]) else { return };
    assert_eq!(told.outputs()[output::NOTIFY_TOPICS], "arn:a,arn:b");
    for (name, function) in [
        (output::LAUNCHER_FUNCTION, Function::Launcher),
        (output::WORKER_FUNCTION, Function::Worker),
        (output::AGGREGATOR_FUNCTION, Function::Aggregator),
        (output::REAPER_FUNCTION, Function::Reaper),
    ] {
        assert_eq!(outputs[name], function.name(STACK));
    }
}

#[test]
fn sam_deploys_the_stack_that_the_command_looks_for() {
    let samconfig = include_str!("../../../samconfig.toml");
    assert!(samconfig.contains(&format!("\nstack_name = \"{}\"\n", deployment::DEFAULT_STACK)));
}
