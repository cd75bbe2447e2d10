//! The two parts of a simulated run: all its workers, and its aggregator.

use std::{
    fs,
    sync::{Arc, Mutex},
    thread,
};

use futures::{
    future::join_all,
    stream::{self, StreamExt},
};
use lambdaload_adapters::{
    aws::{DynamoLedger, Retention, S3Store},
    clock::TokioClock,
};
use lambdaload_core::{
    ids::{Attempt, RunId, WorkerIndex},
    lifecycle::Phase,
    live::LiveState,
    ports::{Fleet, FleetLoss, Ledger, ObjectStore, WorkerTask},
    records::WorkerRecord,
    run::{
        Ports,
        aggregate::aggregate,
        start::start,
        work::{Notice, WorkPorts, Worked, work},
    },
    secrets::Secrets,
    verdict::Verdict,
};
use lambdaload_tests::servers::make_table;
use serde::{Deserialize, Serialize};

use crate::{
    counted::{Counted, Counts, lock, micros},
    load::Load,
    servers::{BUCKET, TABLE, config, make_bucket},
    setting::{Setting, launched_after, run_id},
    within,
};

/// Threads of the workers.
const THREADS: u32 = 2;

/// What the kernel counts processor time in, per second.
const TICKS: f64 = 100.0;

/// To warm up, each worker's record is changed so often, of so many workers at one time.
const RENEWALS: u64 = 3;
const AT_ONE_TIME: usize = 32;

/// Where chunks and records are.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) ledger: Arc<dyn Ledger>,
}

impl Places {
    /// In the servers.
    pub(crate) async fn of_servers(setting: &Setting) -> Self {
        let (s3, dynamodb) = (config(&setting.s3).await, config(&setting.dynamodb).await);
        let day = std::time::Duration::from_hours(24);
        let retention = Retention { runs: day, workers: day };
        Self {
            store: Arc::new(S3Store::new(&s3, BUCKET)),
            ledger: Arc::new(DynamoLedger::new(&dynamodb, TABLE, retention)),
        }
    }

    fn counted(&self, counts: &Arc<Mutex<Counts>>) -> Self {
        let store = Counted::<dyn ObjectStore>::new(Arc::clone(&self.store), counts);
        let ledger = Counted::<dyn Ledger>::new(Arc::clone(&self.ledger), counts);
        Self { store: Arc::new(store), ledger: Arc::new(ledger) }
    }
}

/// Makes the bucket and the table of a deployment.
pub(crate) async fn deploy(setting: &Setting) {
    make_bucket(&config(&setting.s3).await).await;
    make_table(&setting.dynamodb, TABLE);
}

/// Lets the ledger's server run for a moment. It is a program that becomes fast while it runs: a thousand workers that begin
/// within seconds would wait half a minute for it, which they would not for DynamoDB.
pub(crate) async fn warm_up(setting: &Setting, ledger: &dyn Ledger) {
    let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4Z").expect("an id");
    let worker = async |index| {
        let worker = WorkerRecord::claim(run.clone(), WorkerIndex(index), Attempt(1));
        ledger.claim_worker(&worker).await.expect("claims");
        for beat in 1..=RENEWALS {
            ledger.replace_worker(&WorkerRecord { beat, ..worker.clone() }).await.expect("renews");
        }
    };
    stream::iter((0..setting.workers).map(worker)).buffer_unordered(AT_ONE_TIME).collect::<()>().await;
    for _ in 0..RENEWALS {
        ledger.workers(&run).await.expect("answers");
    }
}

/// The workers are launched by whoever plays them.
struct Nobody;

#[async_trait::async_trait]
impl Fleet for Nobody {
    async fn launch(&self, _: &[WorkerTask]) -> Vec<FleetLoss> {
        Vec::new()
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        Vec::new()
    }

    async fn kill_all(&self) {}
}

/// Records the run.
pub(crate) async fn begin(setting: &Setting, places: &Places) {
    let Places { store, ledger } = places.clone();
    let ports = Ports { clock: Arc::new(TokioClock::new()), store, ledger, fleet: Arc::new(Nobody) };
    // Apart, since what is in virtual time blocks its thread.
    let prepared = thread::scope(|scope| scope.spawn(|| setting.prepare()).join().expect("prepares"));
    start(&ports, run_id(), prepared).await.expect("starts");
}

/// What came of the workers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct WorkersReport {
    pub(crate) counts: Counts,
    /// Processor time in seconds.
    pub(crate) cpu: f64,
    /// Workers that did not do their part, and why.
    pub(crate) problems: Vec<String>,
}

/// Plays all workers.
pub(crate) fn play_workers<F: Future<Output = Places>>(
    setting: &Setting,
    places: impl Fn() -> F + Sync,
) -> WorkersReport {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let each = |first: u32| {
        let problems = within(setting, async {
            let places = places().await.counted(&counts);
            let workers = (first..setting.workers).step_by(THREADS as usize).map(WorkerIndex);
            join_all(workers.map(|index| play_worker(setting, &places, index))).await
        });
        (problems.into_iter().flatten().collect::<Vec<String>>(), cpu("/proc/thread-self/stat"))
    };
    let each = &each;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || each(first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("plays on")).collect()
    });
    let mut report = WorkersReport { counts: std::mem::take(&mut *lock(&counts)), ..WorkersReport::default() };
    for (problems, cpu) in outcomes {
        report.problems.extend(problems);
        report.cpu += cpu;
    }
    report
}

async fn play_worker(setting: &Setting, places: &Places, index: WorkerIndex) -> Option<String> {
    tokio::time::sleep(launched_after(index)).await;
    let lasts = std::time::Duration::from_secs(setting.seconds);
    let load = Load { series: setting.series, rate: setting.rate, lasts, seed: index.0 };
    let ports = WorkPorts {
        clock: Arc::new(TokioClock::new()),
        store: Arc::clone(&places.store),
        ledger: Arc::clone(&places.ledger),
        generator: Arc::new(load),
        secrets: Secrets::default(),
        claimant: format!("simulated {}", index.0),
        ends_at: None,
        notice: Notice::default(),
    };
    let problem = match work(&ports, &WorkerTask { run: run_id(), index, attempt: Attempt(1) }).await {
        Ok(Worked::Closed) => return None,
        Ok(worked) => format!("{index}: {worked:?}"),
        Err(error) => format!("{index}: {error}"),
    };
    // At once: the aggregator may wait for it for minutes.
    eprintln!("{problem}");
    Some(problem)
}

/// What the aggregator did.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AggregatorReport {
    pub(crate) counts: Counts,
    /// When the first live state was shown that has a chunk in it, by the chunk's key.
    pub(crate) visible: Vec<(String, i64)>,
    /// When the load began and ended for it, and the processor time in seconds then.
    pub(crate) loaded: Vec<(i64, f64)>,
    /// Live states while the load lasted.
    pub(crate) shown: Vec<i64>,
    /// When there was a verdict.
    pub(crate) judged_at: i64,
    pub(crate) verdict: Verdict,
    /// The most memory that was resident, in MiB; of the whole process.
    pub(crate) peak_mib: f64,
}

/// Plays the aggregator; its processor time is in this file.
pub(crate) async fn play_aggregator(places: &Places, stat: &'static str) -> AggregatorReport {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let Places { store, ledger } = places.counted(&counts);
    let ports = Ports { clock: Arc::new(TokioClock::new()), store, ledger, fleet: Arc::new(Nobody) };
    let (mut visible, mut shown, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
    let mut phase = None;
    let mut on_live = |live: &LiveState| {
        let now = micros();
        if phase.replace(live.phase) != Some(live.phase) {
            eprintln!("{:?}: {:?}", live.phase, live.workers);
        }
        let counts = lock(&counts);
        visible.extend(counts.chunks[visible.len()..].iter().map(|chunk| (chunk.key.clone(), now)));
        // What comes before T0 is no load.
        if live.phase == Phase::Running && live.elapsed_ms.is_some() {
            shown.push(now);
            loaded.truncate(1);
            loaded.push((now, cpu(stat)));
        }
    };
    let verdict = aggregate(&ports, &run_id(), "0.1.0", &mut on_live).await.expect("comes to a verdict");
    let judged_at = micros();
    let counts = std::mem::take(&mut *lock(&counts));
    AggregatorReport { counts, visible, loaded, shown, judged_at, verdict, peak_mib: peak_mib() }
}

/// Seconds of processor time so far, from a file of the kernel about a process or a thread.
pub(crate) fn cpu(stat: &str) -> f64 {
    let text = fs::read_to_string(stat).unwrap_or_default();
    // A program's name may have anything in it; after it come its state and numbers.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
