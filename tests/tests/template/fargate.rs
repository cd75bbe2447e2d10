//! Workers as tasks: what ECS is told of them, and a stack without them.

use std::collections::BTreeSet;

use lambdaload_core::{
    deployment::{self, Function, output, variable},
    plan::{DEFAULT_TASK_SIZE, MAX_TASKS, TASK_FILES},
};
use lambdaload_tests::template::{REGION, Stack};
use serde_json::{Value, json};

const STACK: &str = "shop-load";

#[test]
fn tasks_are_what_the_code_says() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let task = stack.properties("TaskDefinition");
    assert_eq!((&task["NetworkMode"], &task["RequiresCompatibilities"]), (&json!("awsvpc"), &json!(["FARGATE"])));
    assert_eq!(task["Family"], format!("{STACK}-worker"));
    let (cpu, memory) = DEFAULT_TASK_SIZE;
    assert_eq!((&task["Cpu"], &task["Memory"]), (&json!(cpu.to_string()), &json!(memory.to_string())));
    assert_eq!(task["RuntimePlatform"]["CpuArchitecture"], "ARM64");
    assert_eq!(task["ExecutionRoleArn"], stack.arn("ExecutionRole"));
    assert_eq!(task["TaskRoleArn"], stack.arn("TaskRole"));
    let containers = task["ContainerDefinitions"].as_array().unwrap();
    let [container] = &containers[..] else { panic!("there is one container: {containers:?}") };
    assert_eq!(container["Name"], deployment::TASK_CONTAINER);
    let image = stack.outputs()[output::WORKER_IMAGE_REPOSITORY].as_str().unwrap().to_owned();
    assert_eq!(container["Image"], format!("{image}:{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(container["ReadonlyRootFilesystem"], true);
    assert_eq!(container["User"], format!("{0}:{0}", deployment::TASK_USER));
    assert_eq!(
        container["MountPoints"],
        json!([{ "SourceVolume": "tmp", "ContainerPath": "/tmp", "ReadOnly": false }])
    );
    assert_eq!(container["LinuxParameters"]["Capabilities"]["Drop"], json!(["ALL"]));
    assert_eq!(container["StopTimeout"], deployment::STOP_TIMEOUT.as_secs());
    let files = json!([{ "Name": "nofile", "SoftLimit": TASK_FILES, "HardLimit": TASK_FILES }]);
    assert_eq!(container["Ulimits"], files);
    let Some(other) = Stack::of(STACK, &[("Architecture", "x86_64")]) else { return };
    assert_eq!(other.properties("TaskDefinition")["RuntimePlatform"]["CpuArchitecture"], "X86_64");
}

#[test]
fn the_cluster_starts_tasks_on_demand_and_on_spot_capacity() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let cluster = stack.properties("Cluster");
    assert_eq!(cluster["ClusterName"], STACK);
    // Without the second one ECS refuses every run with --spot.
    let providers: BTreeSet<&str> =
        cluster["CapacityProviders"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(providers, BTreeSet::from(["FARGATE", "FARGATE_SPOT"]));
}

#[test]
fn a_task_gets_the_variables_of_a_worker() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let task = stack.properties("TaskDefinition");
    let variables = task["ContainerDefinitions"][0]["Environment"].as_array().unwrap();
    let value = |name: &str| variables.iter().find(|pair| pair["Name"] == name).map(|pair| &pair["Value"]);
    let of_worker = &stack.properties("WorkerFunction")["Environment"]["Variables"];
    let names: BTreeSet<&str> = variables.iter().filter_map(|pair| pair["Name"].as_str()).collect();
    // Of ECS a container does not learn where it is.
    assert_eq!(value("AWS_REGION"), Some(&json!(REGION)));
    assert_eq!(names, Function::Worker.variables().iter().copied().chain(["AWS_REGION"]).collect());
    for name in Function::Worker.variables() {
        let expected = if *name == variable::FUNCTION { json!(deployment::TASK) } else { of_worker[*name].clone() };
        assert_eq!(value(name), Some(&expected), "{name}");
    }
}

#[test]
fn the_reaper_hears_of_tasks_of_this_cluster_that_have_stopped() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let rule = stack.properties("TaskStoppedRule");
    let pattern = &rule["EventPattern"];
    assert_eq!((&pattern["source"], &pattern["detail-type"]), (&json!(["aws.ecs"]), &json!(["ECS Task State Change"])));
    assert_eq!(pattern["detail"], json!({ "lastStatus": ["STOPPED"], "clusterArn": [stack.arn("Cluster")] }));
    assert_eq!(rule["Targets"][0]["Arn"], stack.arn("ReaperFunction"));
    assert_eq!(rule["Targets"][0]["DeadLetterConfig"]["Arn"], stack.arn("DeadLetters"));
    let permission = stack.properties("TaskStoppedPermission");
    assert_eq!(permission["SourceArn"], stack.arn("TaskStoppedRule"));
    assert_eq!(permission["Principal"], "events.amazonaws.com");
}

#[test]
fn the_repository_forgets_what_was_replaced_and_goes_with_the_stack() {
    let Some(stack) = Stack::of(STACK, &[]) else { return };
    let repository = stack.properties("WorkerRepository");
    assert_eq!(repository["EmptyOnDelete"], true);
    assert_eq!(repository["RepositoryName"], format!("{STACK}-worker"));
    let policy = repository["LifecyclePolicy"]["LifecyclePolicyText"].as_str().unwrap();
    let policy: Value = serde_json::from_str(policy).unwrap();
    let rules = policy["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["action"]["type"] == "expire"), "{policy:#}");
    let selected = |rule: &Value| [&rule["selection"]["tagStatus"], &rule["selection"]["countType"]].map(Value::clone);
    let selections: Vec<_> = rules.iter().map(selected).collect();
    // A rule for all images must be the last one, or ECR refuses the policy.
    assert_eq!(selections, [["untagged", "sinceImagePushed"], ["any", "imageCountMoreThan"]]);
    let priorities: Vec<u64> = rules.iter().filter_map(|rule| rule["rulePriority"].as_u64()).collect();
    assert_eq!((priorities.len(), priorities.is_sorted_by(|one, next| one < next)), (2, true), "{priorities:?}");
    // The last ten versions: of each an image for two architectures, and their list.
    let kept = rules[1]["selection"]["countNumber"].as_u64().unwrap();
    assert!(kept.is_multiple_of(3) && kept >= 30, "{kept}");
    // What a newer build has replaced, for two weeks.
    let replaced = &rules[0]["selection"];
    assert_eq!(
        (&replaced["countUnit"], replaced["countNumber"].as_u64() >= Some(14)),
        (&json!("days"), true),
        "{policy:#}"
    );
}

#[test]
fn a_stack_may_be_without_fargate() {
    let (Some(with), Some(without)) = (Stack::of(STACK, &[]), Stack::of(STACK, &[("Fargate", "false")])) else {
        return;
    };
    let names = |stack: &Stack| stack.resources().into_iter().map(str::to_owned).collect::<BTreeSet<String>>();
    let (with_names, without_names) = (names(&with), names(&without));
    let only_with: Vec<&str> = with_names.difference(&without_names).map(String::as_str).collect();
    let expected = [
        "Cluster",
        "ExecutionRole",
        "RunTasks",
        "TaskDefinition",
        "TaskLogs",
        "TaskRole",
        "TaskStoppedPermission",
        "TaskStoppedRule",
        "WatchTasks",
        "WorkerRepository",
    ];
    assert_eq!(only_with, expected);
    assert!(output::FARGATE.iter().all(|name| !without.outputs().contains_key(*name)));
    for function in Function::ALL {
        let logical = ["LauncherFunction", "WorkerFunction", "AggregatorFunction", "ReaperFunction"]
            .into_iter()
            .find(|name| without.properties(name)["FunctionName"] == function.name(STACK))
            .unwrap();
        let variables = without.properties(logical)["Environment"]["Variables"].clone();
        let names: BTreeSet<&str> = variables.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, function.variables().iter().copied().collect(), "{logical}");
    }
}

#[test]
fn the_capacity_is_what_a_launcher_can_start() {
    let template = include_str!("../../../template.yaml");
    assert!(template.contains(&format!("MaxValue: {MAX_TASKS}\n")), "the parameter FargateCapacity");
}
