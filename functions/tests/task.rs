//! Workers as tasks: the real program in processes of their own, real k6, a strict S3 and a strict DynamoDB, and the signal
//! with which ECS ends a task.

#![expect(clippy::expect_used, reason = "these are tests")]

mod servers;

use std::{
    path::Path,
    process::ExitStatus,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract, routing::get};
use lambdaload_adapters::{
    aws::{DynamoLedger, Retention, S3Store},
    clock::TokioClock,
    k6::K6,
};
use lambdaload_core::{
    ids::{Attempt, RunId, WorkerIndex},
    plan::{Machine, Request, Workers},
    ports::{Fleet, FleetLoss, Ledger, ObjectStore, WorkerTask},
    records::{FailureKind, WorkerPhase},
    run::{
        Ports,
        aggregate::aggregate,
        batch::{Batch, Order, Roster},
        prepare::{Given, Source, prepare},
        start::start,
    },
    verdict::{Outcome, Verdict},
};
use lambdaload_tests::{
    fixture, k6_binary,
    servers::{DynamoDbLocal, Versitygw, make_table},
};
use serde_json::json;
use tokio::process::{Child, Command};

use servers::{BUCKET, TABLE, config, make_bucket};

/// Longer than anything takes here.
const DEADLINE: Duration = Duration::from_mins(3);

/// A run of which every worker is a process of the functions' program.
struct Scene {
    ports: Ports,
    tasks: Arc<Tasks>,
    run: RunId,
    _servers: (Versitygw, DynamoDbLocal),
}

/// A fleet that launches one batch, as ECS does: all of it get the same order, and each its name from the metadata service.
struct Tasks {
    environment: Vec<(String, String)>,
    metadata: String,
    store: Arc<dyn ObjectStore>,
    /// More tasks than the roster has.
    surplus: u32,
    started: Mutex<Vec<Child>>,
}

impl Tasks {
    fn start(&self, order: &Order, place: u32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lambdaload-functions"));
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("LAMBDALOAD_TASK", serde_json::to_string(order).expect("JSON"))
            .env("ECS_CONTAINER_METADATA_URI_V4", format!("{}/v4/{place}", self.metadata))
            .current_dir("/")
            .kill_on_drop(true);
        self.started.lock().expect("whole").push(command.spawn().expect("starts"));
    }

    fn pid(&self, number: usize) -> rustix::process::Pid {
        let id = self.started.lock().expect("whole")[number - 1].id().expect("runs");
        rustix::process::Pid::from_raw(i32::try_from(id).expect("a pid")).expect("a pid")
    }

    /// Waits until all have ended.
    async fn ends(&self) -> Vec<ExitStatus> {
        let children = std::mem::take(&mut *self.started.lock().expect("whole"));
        let mut ends = Vec::new();
        for mut child in children {
            ends.push(tokio::time::timeout(DEADLINE, child.wait()).await.expect("ends in time").expect("has ended"));
        }
        ends
    }
}

#[async_trait::async_trait]
impl Fleet for Tasks {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        let first = tasks.first().expect("a task").clone();
        let count = u32::try_from(tasks.len()).expect("a few");
        let batch = Batch { run: first.run, first: first.index, count, attempt: Attempt(1) };
        let order = Order::Batch(batch.clone());
        // They begin before it is known who is who.
        (0..count + self.surplus).for_each(|place| self.start(&order, place));
        let roster = Roster { names: (0..count).map(|place| format!("task/{place}")).collect() };
        batch.enrol(&*self.store, &roster).await.expect("stores");
        Vec::new()
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        Vec::new()
    }

    async fn kill_all(&self) {}
}

/// The service that tells a task what it is called.
async fn metadata() -> String {
    let answer = async |extract::Path(place): extract::Path<String>| Json(json!({"TaskARN": format!("task/{place}")}));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        axum::serve(listener, Router::new().route("/v4/{place}/task", get(answer))).await.expect("serves");
    });
    url
}

impl Scene {
    async fn start(script: &Path, env: &[(&str, &str)], workers: u32, surplus: u32) -> Self {
        let servers = (Versitygw::start(), DynamoDbLocal::start());
        let (s3, dynamodb) = (config(&servers.0.endpoint()).await, config(&servers.1.endpoint()).await);
        make_bucket(&s3).await;
        make_table(&servers.1.endpoint(), TABLE);
        let settings = [
            ("LAMBDALOAD_FUNCTION", "task"),
            ("LAMBDALOAD_BUCKET", BUCKET),
            ("LAMBDALOAD_TABLE", TABLE),
            ("LAMBDALOAD_RETENTION_DAYS", "1"),
            ("LAMBDALOAD_SECRET_PREFIX", "lambdaload/tests/"),
            ("LAMBDALOAD_BLOCKED_IPS", "169.254.0.0/16"),
            ("LAMBDALOAD_K6", k6_binary().to_str().expect("UTF-8")),
            ("LAMBDALOAD_TASK_MEMORY", "1024"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = [servers.0.environment(), servers.1.environment(), settings.to_vec()].concat();
        let store: Arc<dyn ObjectStore> = Arc::new(S3Store::new(&s3, BUCKET));
        let retention = Retention { runs: Duration::from_hours(24), workers: Duration::from_hours(24) };
        let ledger: Arc<dyn Ledger> = Arc::new(DynamoLedger::new(&dynamodb, TABLE, retention));
        let started = Mutex::default();
        let metadata = metadata().await;
        let tasks = Arc::new(Tasks { environment, metadata, store: Arc::clone(&store), surplus, started });
        let ports = Ports { clock: Arc::new(TokioClock::new()), store, ledger, fleet: tasks.clone() };
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let source = Source::Script { path: script.to_owned(), given: Given { env, ..Given::default() } };
        let request = Request { script: "test.js".into(), workers: Workers::Exactly(workers), ..Request::default() };
        let machine = Machine { cores: 2, open_files: 1_024 };
        let prepared = prepare(&K6::new(k6_binary()), source, request, machine).await.expect("prepares");
        let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
        start(&ports, run.clone(), prepared).await.expect("starts");
        Self { ports, tasks, run, _servers: servers }
    }

    async fn verdict(&self) -> Verdict {
        let mut nobody_looks = |_: &_| {};
        let aggregated = aggregate(&self.ports, &self.run, "0.1.0", &mut nobody_looks);
        tokio::time::timeout(DEADLINE, aggregated).await.expect("a verdict in time").expect("a verdict")
    }

    /// Returns when all workers run, and this one has stored something.
    async fn all_run(&self, number: u32) {
        let all = async {
            loop {
                let workers = self.ports.ledger.workers(&self.run).await.expect("answers");
                let stores = |index| workers.iter().any(|w| w.index == WorkerIndex(index) && w.chunks > 0);
                if workers.iter().all(|w| w.phase == WorkerPhase::Running) && stores(number - 1) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(DEADLINE, all).await.expect("all run in time");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_batch_of_tasks_gives_the_verdict_and_one_too_many_leaves() {
    let scene = Scene::start(&fixture("deterministic.js"), &[("VUS", "4")], 4, 1).await;
    let verdict = scene.verdict().await;
    assert_eq!(verdict.outcome, Outcome::Passed, "{:?}", verdict.reasons);
    assert_eq!((verdict.workers.len(), verdict.samples.missing.len()), (4, 0));
    // Each knew by the roster which it was.
    for worker in scene.ports.ledger.workers(&scene.run).await.expect("answers") {
        let name = format!("task/{}/", worker.index.0);
        assert!(worker.claimant.starts_with(&name), "{} has claimed {}", worker.claimant, worker.index);
    }
    let ends = scene.tasks.ends().await;
    assert!(ends.len() == 5 && ends.iter().all(ExitStatus::success), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_task_that_gets_sigterm_stops_its_k6_uploads_all_and_says_so() {
    let scene = Scene::start(&fixture("steady.js"), &[("DURATION", "150s")], 3, 0).await;
    let (verdict, ()) = tokio::join!(scene.verdict(), async {
        scene.all_run(2).await;
        rustix::process::kill_process(scene.tasks.pid(2), rustix::process::Signal::TERM).expect("is there");
    });
    // It ends like the others: nothing has failed in it.
    let ends = scene.tasks.ends().await;
    assert!(ends.len() == 3 && ends.iter().all(ExitStatus::success), "{ends:?}");
    assert_eq!(verdict.outcome, Outcome::Invalid);
    let taken: Vec<_> =
        verdict.workers.iter().filter_map(|w| Some((w.index.number(), w.failure.as_ref()?.kind))).collect();
    assert_eq!(taken, [(2, FailureKind::Taken)], "{:?}", verdict.reasons);
    assert_eq!(verdict.reasons[0].worker, Some(2), "{:?}", verdict.reasons);
    assert!(verdict.reasons[0].message.contains("it was told to end (SIGTERM)"), "{:?}", verdict.reasons);
    // All that it had measured is there.
    assert_eq!((verdict.samples.read, verdict.samples.missing.len()), (verdict.samples.merged, 0));
    assert!(verdict.samples.read > 0);
}
