//! A run of which every worker is a container.

use std::{path::Path, sync::Arc, time::Duration};

use lambdaload_adapters::{
    aws::{DynamoLedger, Retention, S3Store},
    clock::TokioClock,
    k6::K6,
};
use lambdaload_core::{
    ids::RunId,
    plan::{Machine, Request, Workers},
    ports::Ledger,
    records::WorkerPhase,
    run::{
        Ports,
        aggregate::aggregate,
        prepare::{Given, Source, prepare},
        start::start,
    },
    verdict::Verdict,
};
use lambdaload_tests::{
    k6_binary,
    servers::{DynamoDbLocal, Versitygw, make_table},
};

use crate::{
    containers::{Containers, reachable},
    servers::{BUCKET, TABLE, config, make_bucket},
};

/// Longer than anything takes here.
const DEADLINE: Duration = Duration::from_mins(3);

pub(crate) struct Scene {
    ports: Ports,
    pub(crate) containers: Arc<Containers>,
    run: RunId,
    _servers: (Versitygw, DynamoDbLocal),
}

/// # Panics
/// If it takes longer than anything may.
pub(crate) async fn within_deadline<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("waited {DEADLINE:?}: {what}"))
}

impl Scene {
    pub(crate) async fn start(containers: Containers, script: &Path, env: &[(&str, &str)], workers: u32) -> Self {
        let servers = (Versitygw::start(), DynamoDbLocal::start());
        let (s3, dynamodb) = (config(&servers.0.endpoint()).await, config(&servers.1.endpoint()).await);
        make_bucket(&s3).await;
        make_table(&servers.1.endpoint(), TABLE);
        let memory = containers.memory();
        let settings = [
            ("LAMBDALOAD_BUCKET", BUCKET),
            ("LAMBDALOAD_TABLE", TABLE),
            ("LAMBDALOAD_RETENTION_DAYS", "1"),
            ("LAMBDALOAD_SECRET_PREFIX", "lambdaload/tests/"),
            ("LAMBDALOAD_BLOCKED_IPS", "169.254.0.0/16,fe80::/10,127.0.0.0/8,::1/128"),
            ("LAMBDALOAD_TASK_MEMORY", &memory),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = [servers.0.environment(), servers.1.environment(), settings.to_vec()].concat();
        containers.tell(environment.into_iter().map(|(name, value)| (name, reachable(&value))).collect());
        let containers = Arc::new(containers);
        let retention = Retention { runs: Duration::from_hours(24), workers: Duration::from_hours(24) };
        let ledger: Arc<dyn Ledger> = Arc::new(DynamoLedger::new(&dynamodb, TABLE, retention));
        let store = Arc::new(S3Store::new(&s3, BUCKET));
        let ports = Ports { clock: Arc::new(TokioClock::new()), store, ledger, fleet: containers.clone() };
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let source = Source::Script { path: script.to_owned(), given: Given { env, ..Given::default() } };
        let request = Request { script: "test.js".into(), workers: Workers::Exactly(workers), ..Request::default() };
        let machine = Machine { cores: 2, open_files: 1_024 };
        let prepared = prepare(&K6::new(k6_binary()), source, request, machine).await.expect("prepares");
        let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
        start(&ports, run.clone(), prepared).await.expect("starts");
        Self { ports, containers, run, _servers: servers }
    }

    pub(crate) async fn verdict(&self) -> Verdict {
        let mut nobody_looks = |_: &_| {};
        let aggregated = aggregate(&self.ports, &self.run, "0.1.0", &mut nobody_looks);
        Box::pin(within_deadline("a verdict", aggregated)).await.expect("a verdict")
    }

    /// Returns when all workers run and have stored something.
    pub(crate) async fn all_run(&self) {
        loop {
            let workers = self.ports.ledger.workers(&self.run).await.expect("answers");
            if workers.iter().all(|worker| worker.phase == WorkerPhase::Running && worker.chunks > 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
