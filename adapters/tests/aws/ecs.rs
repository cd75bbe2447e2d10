//! Tasks: what ECS is asked, what it answers, and what is made of that.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{body::Bytes, http::request::Parts, response::Response};
use lambdaload_adapters::aws::{EcsFleet, EcsTasks};
use lambdaload_core::{
    ids::{Attempt, WorkerIndex},
    plan::{Architecture, FargateStack, Network, Platform},
    ports::{Fleet as _, ObjectStore, WorkerTask},
    records::{FailureKind, RunRecord},
    run::batch::{Batch, Roster, batches},
    testing::{contract, stack::fargate, store::MemoryStore},
};
use lambdaload_tests::servers::{Fault, Recorder};
use serde_json::{Value, json};

use crate::common::{Stub, config, json_error, ministack, name, run_id};

/// What was asked: the call, and its body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

fn stack(spot: bool) -> FargateStack {
    FargateStack {
        cpu: 512,
        memory_mb: 1_024,
        architecture: Architecture::X86,
        region: "eu-central-1".into(),
        spot,
        network: Network {
            subnets: vec!["subnet-1".into(), "subnet-2".into()],
            security_groups: vec![],
            public_ip: true,
        },
        ..fargate()
    }
}

fn run(workers: u32, spot: bool) -> RunRecord {
    let mut run = contract::sample_run(&run_id(1));
    run.plan.workers = workers;
    run.plan.platform = Platform::Fargate(stack(spot));
    run
}

fn tasks(indices: impl IntoIterator<Item = u32>) -> Vec<WorkerTask> {
    let task = |index| WorkerTask { run: run_id(1), index: WorkerIndex(index), attempt: Attempt(1) };
    indices.into_iter().map(task).collect()
}

async fn fleet(endpoint: &str, store: &Arc<MemoryStore>, run: &RunRecord) -> EcsFleet {
    let store: Arc<dyn ObjectStore> = store.clone();
    let ecs = EcsTasks::new(&config(endpoint).await, "load", "load-worker", store);
    ecs.fleet(run, run.plan.platform.fargate().unwrap())
}

fn answer(body: &Value) -> Response {
    Response::builder().header("content-type", "application/x-amz-json-1.1").body(body.to_string().into()).unwrap()
}

fn call_of(head: &Parts) -> String {
    head.headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap().to_owned()
}

fn arn(token: &str, place: u64) -> String {
    format!("arn:aws:ecs:eu-central-1:123456789012:task/load/{token}-{place}")
}

/// Starts whatever is asked for.
fn started(body: &Value, count: u64) -> Value {
    let token = body["clientToken"].as_str().unwrap();
    let tasks: Vec<Value> = (0..count).map(|place| json!({"taskArn": arn(token, place)})).collect();
    json!({"tasks": tasks, "failures": []})
}

/// A service that notes what it is asked, and answers `RunTask` by this.
async fn ecs<F>(asked: &Asked, run_task: F) -> Stub
where
    F: Fn(&Value, usize) -> Response + Clone + Send + Sync + 'static,
{
    let asked = asked.clone();
    Stub::start(move |head: Parts, body: Bytes, number| {
        let (asked, run_task) = (asked.clone(), run_task.clone());
        async move {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let call = call_of(&head);
            asked.lock().unwrap().push((call.clone(), body.clone()));
            match call.as_str() {
                "RunTask" => run_task(&body, number),
                _ => answer(&json!({"tasks": [], "failures": []})),
            }
        }
    })
    .await
}

fn all(body: &Value) -> Response {
    answer(&started(body, body["count"].as_u64().unwrap()))
}

#[tokio::test]
async fn tasks_are_started_ten_at_a_time_with_all_that_they_need() {
    let (asked, store) = (Asked::default(), Arc::new(MemoryStore::default()));
    let stub = ecs(&asked, |body, _| all(body)).await;
    let run = run(25, false);
    let fleet = fleet(&stub.endpoint, &store, &run).await;
    assert_eq!(fleet.launch(&tasks(0..25)).await, []);
    let mut calls = asked.lock().unwrap().clone();
    calls.sort_by_key(|(_, body)| body["clientToken"].as_str().unwrap().to_owned());
    let counts: Vec<u64> = calls.iter().map(|(_, body)| body["count"].as_u64().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 25);
    assert!(counts.len() == 3 && counts.iter().all(|count| *count <= 10), "{counts:?}");
    for (_, body) in &calls {
        assert!(body["clientToken"].as_str().unwrap().len() <= 64);
        assert!(body["startedBy"].as_str().unwrap().len() <= 36 && body["startedBy"] == run_id(1).as_str());
        assert_eq!((&body["cluster"], &body["taskDefinition"]), (&json!("load"), &json!("load-worker")));
        assert_eq!((&body["launchType"], body.get("capacityProviderStrategy")), (&json!("FARGATE"), None));
        let network = &body["networkConfiguration"]["awsvpcConfiguration"];
        assert_eq!(
            (&network["subnets"], &network["assignPublicIp"]),
            (&json!(["subnet-1", "subnet-2"]), &json!("ENABLED"))
        );
        assert_eq!(network.get("securityGroups"), None);
        assert_eq!((&body["overrides"]["cpu"], &body["overrides"]["memory"]), (&json!("512"), &json!("1024")));
        let container = &body["overrides"]["containerOverrides"][0];
        assert_eq!(container["name"], "worker");
        let order = container["environment"][0]["value"].as_str().unwrap();
        let batch: Batch = serde_json::from_str(order).unwrap();
        assert_eq!(u64::from(batch.count), body["count"].as_u64().unwrap());
        // Each of them finds its part.
        let name = arn(body["clientToken"].as_str().unwrap(), 1);
        let own = batch.find(&*store, &name).await.unwrap().unwrap();
        assert_eq!(own.index.0, batch.first.0 + 1);
        assert!(body["tags"].as_array().unwrap().contains(&json!({"key": "Run", "value": run_id(1).as_str()})));
    }
    // Launching again, whoever does it, asks for nothing: it is known who is who.
    assert_eq!(fleet.launch(&tasks(5..25)).await, []);
    assert_eq!(asked.lock().unwrap().len(), 3);
    // The substitute is a call of its own.
    assert_eq!(fleet.launch(&tasks([25])).await, []);
    assert_eq!(asked.lock().unwrap()[3].1["count"], 1);
}

#[tokio::test]
async fn beyond_a_hundred_tasks_no_more_are_started_than_aws_takes_each_second() {
    let (asked, store) = (Asked::default(), Arc::new(MemoryStore::default()));
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let noted = arrivals.clone();
    let stub = ecs(&asked, move |body, _| {
        noted.lock().unwrap().push((Instant::now(), body["count"].as_u64().unwrap()));
        all(body)
    })
    .await;
    let fleet = fleet(&stub.endpoint, &store, &run(130, false)).await;
    let began_at = Instant::now();
    assert_eq!(fleet.launch(&tasks(0..130)).await, []);
    let mut started = 0;
    for (at, count) in &*arrivals.lock().unwrap() {
        started += count;
        let seconds = at.duration_since(began_at).as_secs_f64();
        let most = 100.0 + 20.0 * seconds;
        assert!(f64::from(u32::try_from(started).unwrap()) <= most, "{started} after {seconds} s: at most {most}");
    }
    assert_eq!(started, 130);
}

#[tokio::test]
async fn tasks_are_in_the_network_that_was_named() {
    let (asked, store) = (Asked::default(), Arc::new(MemoryStore::default()));
    let stub = ecs(&asked, |body, _| all(body)).await;
    let network = Network {
        subnets: vec!["subnet-3".into()],
        security_groups: vec!["sg-1".into(), "sg-2".into()],
        public_ip: false,
    };
    let mut run = run(12, false);
    run.plan.platform = Platform::Fargate(FargateStack { network, ..stack(false) });
    let fleet = fleet(&stub.endpoint, &store, &run).await;
    assert_eq!(fleet.launch(&tasks(0..12)).await, []);
    let networks =
        asked.lock().unwrap().iter().map(|(_, body)| body["networkConfiguration"].clone()).collect::<Vec<_>>();
    let expected = json!({ "awsvpcConfiguration": {
        "subnets": ["subnet-3"], "securityGroups": ["sg-1", "sg-2"], "assignPublicIp": "DISABLED",
    } });
    assert_eq!(networks, [expected.clone(), expected]);
}

#[tokio::test]
async fn spot_is_a_capacity_provider() {
    let (asked, store) = (Asked::default(), Arc::new(MemoryStore::default()));
    let stub = ecs(&asked, |body, _| all(body)).await;
    let fleet = fleet(&stub.endpoint, &store, &run(1, true)).await;
    assert_eq!(fleet.launch(&tasks([0])).await, []);
    let body = asked.lock().unwrap()[0].1.clone();
    assert_eq!(body["capacityProviderStrategy"][0]["capacityProvider"], "FARGATE_SPOT");
    assert_eq!(body.get("launchType"), None);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_with_the_same_token() {
    let (asked, store) = (Asked::default(), Arc::new(MemoryStore::default()));
    let stub = ecs(&asked, |body, number| match number {
        1 => json_error(400, "ThrottlingException", "Rate exceeded"),
        2 => json_error(500, "ServerException", "Service Unavailable. Please try again later."),
        _ => all(body),
    })
    .await;
    let fleet = fleet(&stub.endpoint, &store, &run(4, false)).await;
    assert_eq!(fleet.launch(&tasks(0..4)).await, []);
    let tokens: Vec<Value> = asked.lock().unwrap().iter().map(|(_, body)| body["clientToken"].clone()).collect();
    assert!(tokens.len() == 3 && tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
}

#[tokio::test]
async fn tasks_that_are_not_placed_are_asked_for_again_and_then_named_with_the_reason() {
    // Of ten, six are placed, and of the rest in the end three.
    let (asked, store) = (Asked::default(), Arc::new(MemoryStore::default()));
    let stub = ecs(&asked, |body, number| {
        let mut said = started(body, if number == 1 { 6 } else { 3 });
        let reason = match number {
            1 => "Capacity is unavailable at this time. Please try again later or in a different availability zone",
            _ => "You've reached the limit on the number of vCPUs you can run concurrently",
        };
        said["failures"] = json!([{"reason": reason}]);
        answer(&said)
    })
    .await;
    let run = run(10, false);
    let fleet = fleet(&stub.endpoint, &store, &run).await;
    let losses = fleet.launch(&tasks(0..10)).await;
    assert_eq!(
        losses.iter().map(|loss| (loss.index.0, loss.kind)).collect::<Vec<_>>(),
        [(9, FailureKind::NotLaunched)]
    );
    assert!(
        losses[0].message.starts_with("its task was not started: the account's quota of Fargate vCPUs is used up"),
        "{losses:?}"
    );
    let calls = asked.lock().unwrap().clone();
    assert_eq!(calls.iter().map(|(_, body)| body["count"].as_u64().unwrap()).collect::<Vec<_>>(), [10, 4]);
    assert_ne!(calls[0].1["clientToken"], calls[1].1["clientToken"], "the same token would be answered alike");
    let batch = batches(&run.plan, &tasks([0])).remove(0);
    assert_eq!(batch.read(&*store).await.unwrap().names.len(), 9);
}

#[tokio::test]
async fn what_will_not_pass_is_said_at_once() {
    for (code, said, words) in [
        (
            "AccessDeniedException",
            "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: ecs:RunTask on \
            resource: arn:aws:ecs:eu-central-1:123456789012:task-definition/load-worker:1 because no identity-based policy \
            allows the ecs:RunTask action",
            "may not do ecs:RunTask",
        ),
        ("InvalidParameterException", "No Container Instances were found", "No Container Instances were found"),
        ("ClientException", "You've reached the limit on the number of vCPUs you can run concurrently", "L-3032A538"),
    ] {
        let (asked, store) = (Asked::default(), Arc::new(MemoryStore::default()));
        let stub = ecs(&asked, move |_, _| json_error(400, code, said)).await;
        let fleet = fleet(&stub.endpoint, &store, &run(3, false)).await;
        let losses = fleet.launch(&tasks(0..3)).await;
        assert_eq!(losses.len(), 3, "{losses:?}");
        assert!(losses[0].message.contains(words), "{}", losses[0].message);
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn stopped_tasks_are_explained_and_all_can_be_stopped() {
    let store = Arc::new(MemoryStore::default());
    let run = run(4, false);
    let batch = batches(&run.plan, &tasks([0])).remove(0);
    let names: Vec<String> = (0..4).map(|place| arn("x", place)).collect();
    batch.enrol(&*store, &Roster { names: names.clone() }).await.unwrap();
    let asked = Asked::default();
    let (noted, described) = (asked.clone(), names.clone());
    let stub = Stub::start(move |head: Parts, body: Bytes, _| {
        let (asked, names) = (noted.clone(), described.clone());
        async move {
            let call = call_of(&head);
            asked.lock().unwrap().push((call.clone(), serde_json::from_slice(&body).unwrap()));
            if call == "StopTask" {
                return answer(&json!({"task": {}}));
            }
            answer(&json!({"failures": [], "tasks": [
                {"taskArn": names[0], "lastStatus": "RUNNING"},
                {"taskArn": names[1], "lastStatus": "STOPPED", "stopCode": "EssentialContainerExited",
                    "stoppedReason": "Essential container in task exited", "containers": [{"exitCode": 137,
                    "reason": "OutOfMemoryError: Container killed due to memory usage"}]},
                {"taskArn": names[2], "lastStatus": "STOPPED", "stopCode": "EssentialContainerExited",
                    "stoppedReason": "Essential container in task exited", "containers": [{"exitCode": 0}]},
                {"taskArn": names[3], "lastStatus": "STOPPED", "stopCode": "TaskFailedToStart",
                    "stoppedReason": "CannotPullContainerError: not found", "containers": [{}]},
            ]}))
        }
    })
    .await;
    let fleet = fleet(&stub.endpoint, &store, &run).await;
    for _ in 0..3 {
        let gone = fleet.gone().await;
        let kinds: Vec<_> = gone.iter().map(|loss| (loss.index.0, loss.kind)).collect();
        assert_eq!(kinds, [(1, FailureKind::Lost), (3, FailureKind::NotLaunched)], "{gone:?}");
        assert!(gone[0].message.contains("give workers more (--memory)"), "{gone:?}");
        assert!(gone[1].message.contains("lambdaload image push"), "{gone:?}");
    }
    // It is asked every second, and asks only now and then.
    assert_eq!(asked.lock().unwrap().len(), 1);
    fleet.kill_all().await;
    let stopped: Vec<Value> = asked.lock().unwrap()[1..].iter().map(|(_, body)| body["task"].clone()).collect();
    assert_eq!(stopped, [json!(names[0])], "those that have stopped are left alone");
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn an_emulated_cluster_runs_tasks_and_stops_them() {
    // A call whose answer is lost, or comes late on a busy machine, is repeated with the same client token.
    let recorder = Recorder::before(&ministack());
    recorder.make(Fault::AnswerLost, 1, |call| call.is("ecs:RunTask"));
    let config = config(&recorder.endpoint()).await;
    let client = aws_sdk_ecs::Client::new(config.sdk());
    let (cluster, family) = (name("cluster"), name("worker"));
    client.create_cluster().cluster_name(&cluster).send().await.unwrap();
    let container =
        aws_sdk_ecs::types::ContainerDefinition::builder().name("worker").image("none").essential(true).build();
    let definition = client.register_task_definition().family(&family).container_definitions(container);
    definition.network_mode(aws_sdk_ecs::types::NetworkMode::Awsvpc).cpu("256").memory("512").send().await.unwrap();
    let store = Arc::new(MemoryStore::default());
    let run = run(12, false);
    let ecs = EcsTasks::new(&config, &cluster, &family, store.clone());
    let fleet = ecs.fleet(&run, run.plan.platform.fargate().unwrap());
    assert_eq!(fleet.launch(&tasks(0..12)).await, []);
    let asked = recorder.calls().iter().filter(|call| call.is("ecs:RunTask")).count();
    assert!(asked > 2, "two batches and a repetition are {asked} calls");
    let listed = async || client.list_tasks().cluster(&cluster).send().await.unwrap().task_arns().to_vec();
    let mut running = listed().await;
    running.sort();
    let mut rostered = Vec::new();
    for batch in batches(&run.plan, &tasks(0..12)) {
        rostered.extend(batch.read(&*store).await.unwrap().names);
    }
    rostered.sort();
    assert_eq!(running, rostered);
    fleet.kill_all().await;
    let mut tries = 0;
    while !listed().await.is_empty() {
        tries += 1;
        assert!(tries < 600, "tasks are not stopped");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(lambdaload_adapters::aws::stop_all_tasks(&config, &cluster).await.unwrap(), 0);
    assert_eq!(lambdaload_adapters::aws::stop_all_tasks(&config, "no-such-cluster").await.unwrap(), 0);
}
