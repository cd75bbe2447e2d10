//! A run with fakes of everything outside.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use lambdaload_core::{
    ids::{RunId, WorkerIndex},
    lifecycle::{Abort, AbortCause},
    live::LiveState,
    plan::{Host, Machine, Request, Samples, Workers},
    ports::{Ledger, ObjectStore},
    records::{RunRecord, WorkerRecord},
    run::{
        Ports, WatchPorts,
        abort::abort,
        aggregate::{AggregateError, aggregate},
        prepare::{Given, Prepared, Source, prepare},
        scale::{ScaleError, scale},
        start::{StartError, start},
        work::{Notice, WorkPorts},
    },
    secrets::Secrets,
    testing::{
        clock::{Task, VirtualTime},
        faulty::{Faults, Faulty},
        fleet::VirtualFleet,
        generator::{Event, ScriptedK6},
        ledger::MemoryLedger,
        stack,
        store::MemoryStore,
    },
    verdict::{Reason, ReasonCode, Verdict},
};

use crate::script::{Test, worker};

/// The faults of whoever has these ports.
#[derive(Clone, Default)]
pub(crate) struct PortFaults {
    pub(crate) store: Arc<Faults>,
    pub(crate) ledger: Arc<Faults>,
}

impl PortFaults {
    /// Lets everything work again.
    pub(crate) fn clear(&self) {
        self.store.clear();
        self.ledger.clear();
    }
}

/// A test that is being played.
pub(crate) struct Scene {
    pub(crate) time: VirtualTime,
    pub(crate) id: RunId,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) k6: ScriptedK6,
    pub(crate) fleet: Arc<VirtualFleet>,
    /// The ports of whoever starts and aggregates.
    pub(crate) ports: Ports,
    pub(crate) aggregator_faults: PortFaults,
    worker_faults: BTreeMap<WorkerIndex, PortFaults>,
    workers: u32,
    min_workers: Option<u32>,
    samples: Samples,
    on_lambda: bool,
}

impl Scene {
    pub(crate) fn new(test: Test, time: &VirtualTime) -> Self {
        let store = Arc::new(MemoryStore::default());
        let ledger = Arc::new(if test.stale { MemoryLedger::stale() } else { MemoryLedger::default() });
        let options = format!(
            r#"{{"scenarios":{{"default":{{{2},"duration":"{0}ms"}}}},
                "thresholds":{1},"totalDuration":"{0}ms","maxVUs":64}}"#,
            test.duration.as_millis(),
            test.thresholds,
            test.executor,
        );
        let workers = u32::try_from(test.scripts.len()).expect("a few");
        let k6 = ScriptedK6::new(time, test.scripts, &options);
        let k6 = match test.handle_summary {
            Some((after, printed)) => k6.with_handle_summary(after, printed),
            None => k6,
        };
        let faulty_store = |faults: &PortFaults| -> Arc<dyn ObjectStore> {
            let store: Arc<dyn ObjectStore> = store.clone();
            Arc::new(Faulty::new(store, faults.store.clone(), time.clone()))
        };
        let faulty_ledger = |faults: &PortFaults| -> Arc<dyn Ledger> {
            let ledger: Arc<dyn Ledger> = ledger.clone();
            Arc::new(Faulty::new(ledger, faults.ledger.clone(), time.clone()))
        };
        let (min_workers, samples, on_lambda) = (test.min_workers, test.samples, test.on_lambda);
        // One more than there are segments: the substitute.
        let worker_faults: BTreeMap<_, _> =
            (0..=workers).map(|index| (WorkerIndex(index), PortFaults::default())).collect();
        let work_ports = worker_faults.iter().map(|(index, faults)| {
            let clock = time.stepping_clock(test.fast_clocks.get(index).copied().unwrap_or(0), test.steps.clone());
            let ports = WorkPorts {
                clock: clock.clone(),
                store: faulty_store(faults),
                ledger: faulty_ledger(faults),
                generator: Arc::new(k6.on(clock)),
                claimant: String::new(),
                ends_at: None,
                notice: Notice::default(),
                secrets: Secrets::default(),
            };
            (*index, ports)
        });
        let mut fleet = VirtualFleet::new(time, work_ports.collect());
        for (index, launch) in test.launches {
            fleet = fleet.with_launch(index, launch);
        }
        let fleet = Arc::new(if test.blind { fleet.blind() } else { fleet });
        let aggregator_faults = PortFaults::default();
        let ports = Ports {
            clock: time.stepping_clock(0, test.steps),
            store: faulty_store(&aggregator_faults),
            ledger: faulty_ledger(&aggregator_faults),
            fleet: fleet.clone(),
        };
        let id = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
        Self {
            time: time.clone(),
            id,
            store,
            ledger,
            k6,
            fleet,
            ports,
            aggregator_faults,
            worker_faults,
            workers,
            min_workers,
            samples,
            on_lambda,
        }
    }

    /// What goes wrong with the ports of one worker.
    pub(crate) fn faults_of(&self, number: u32) -> &PortFaults {
        &self.worker_faults[&worker(number)]
    }

    /// Adds the same fault to the stores, or ledgers, of everybody.
    pub(crate) fn everybodys_faults(&self) -> impl Iterator<Item = &PortFaults> {
        self.worker_faults.values().chain([&self.aggregator_faults])
    }

    /// Plans the run.
    pub(crate) async fn prepare(&self) -> Prepared {
        let request = Request {
            script: "test.js".into(),
            workers: Workers::Exactly(self.workers),
            min_workers: self.min_workers,
            samples: self.samples,
            ..Request::default()
        };
        let source = Source::Script { path: "test.js".into(), given: Given::default() };
        let machine = Machine { cores: 4, open_files: 1024 };
        let host = if self.on_lambda { stack::lambda().into() } else { Host::from(machine) };
        prepare(&self.k6, source, request, host).await.expect("prepares")
    }

    /// Plans and starts the run.
    pub(crate) async fn try_to_start(&self) -> Result<(), StartError> {
        start(&self.ports, self.id.clone(), self.prepare().await).await
    }

    /// Plans and starts the run.
    pub(crate) async fn start(&self) {
        self.try_to_start().await.expect("starts");
    }

    /// Aggregates the run to its end.
    pub(crate) async fn aggregate(&self) -> Result<Verdict, AggregateError> {
        aggregate(&self.ports, &self.id, "0.1.0", &mut |_| {}).await
    }

    /// Starts, aggregates, and waits until all workers have left.
    pub(crate) async fn verdict(&self) -> Verdict {
        self.start().await;
        let verdict = self.aggregate().await.expect("a verdict");
        self.fleet.all_over().await;
        verdict
    }

    /// Aggregates beside what else goes on.
    pub(crate) fn aggregator(&self) -> Aggregator {
        let (ports, id) = (self.ports.clone(), self.id.clone());
        let outcome = Arc::new(Mutex::new(None));
        let live = Arc::new(Mutex::new(Vec::new()));
        let (set_outcome, add_live) = (outcome.clone(), live.clone());
        let task = self.time.spawn(async move {
            let mut on_live = |state: &LiveState| add_live.lock().expect("whole").push(state.clone());
            let aggregated = aggregate(&ports, &id, "0.1.0", &mut on_live).await;
            *set_outcome.lock().expect("whole") = Some(aggregated.map_err(|error| error.to_string()));
        });
        Aggregator { task, outcome, live, time: self.time.clone() }
    }

    /// Returns at this moment of virtual time.
    pub(crate) async fn at(&self, moment: Duration) {
        self.time.sleep(moment.saturating_sub(self.time.elapsed())).await;
    }

    /// A person stops the run.
    pub(crate) async fn stop(&self, at_once: bool) {
        abort(&*self.ledger, &self.id, Self::by_user(at_once)).await.expect("stops");
    }

    /// A person wants to stop the run, which may be over.
    pub(crate) async fn try_to_stop(&self, at_once: bool) {
        abort(&*self.ledger, &self.id, Self::by_user(at_once)).await.ok();
    }

    fn by_user(at_once: bool) -> Abort {
        Abort { cause: AbortCause::User, message: "stopped by a person".into(), at_once }
    }

    /// Somebody scales the run; what came of it is there once it has come.
    pub(crate) fn spawn_scale(&self, vus: u64) -> Arc<Mutex<Option<Result<RunRecord, ScaleError>>>> {
        let outcome = Arc::new(Mutex::new(None));
        let (ports, id, set) = (self.watch_ports(), self.id.clone(), outcome.clone());
        self.time.spawn(async move {
            let scaled = scale(&ports, &id, vus).await;
            *set.lock().expect("whole") = Some(scaled);
        });
        outcome
    }

    /// What the workers have said last.
    pub(crate) async fn workers(&self) -> Vec<WorkerRecord> {
        self.ledger.workers(&self.id).await.expect("answers")
    }

    /// The ports of whoever looks on.
    pub(crate) fn watch_ports(&self) -> WatchPorts {
        let Ports { clock, store, ledger, .. } = self.ports.clone();
        WatchPorts { clock, store, ledger }
    }

    /// The run as it is.
    pub(crate) fn run(&self) -> RunRecord {
        self.ledger.peek(&self.id).expect("recorded")
    }

    /// When an event happened to the k6 of each worker.
    pub(crate) fn when(&self, is_it: impl Fn(&Event) -> bool) -> Vec<(Duration, u32)> {
        let journal = self.k6.journal().into_iter().filter(|(_, _, event)| is_it(event));
        journal.map(|(at, index, _)| (at, index.number())).collect()
    }

    /// Workers to whose k6 an event happened, in the order in which it did.
    pub(crate) fn whose(&self, event: &Event) -> Vec<u32> {
        self.when(|e| e == event).into_iter().map(|(_, number)| number).collect()
    }
}

/// An aggregator that can be killed.
pub(crate) struct Aggregator {
    pub(crate) task: Task,
    outcome: Arc<Mutex<Option<Result<Verdict, String>>>>,
    live: Arc<Mutex<Vec<LiveState>>>,
    time: VirtualTime,
}

impl Aggregator {
    /// What it came to, once it has.
    pub(crate) async fn outcome(&self) -> Result<Verdict, String> {
        loop {
            if let Some(outcome) = self.outcome.lock().expect("whole").clone() {
                return outcome;
            }
            self.time.sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it showed so far.
    pub(crate) fn live(&self) -> Vec<LiveState> {
        self.live.lock().expect("whole").clone()
    }
}

/// The reasons of one kind.
pub(crate) fn reasons(verdict: &Verdict, code: ReasonCode) -> Vec<&Reason> {
    verdict.reasons.iter().filter(|reason| reason.code == code).collect()
}

/// The kinds of all reasons.
pub(crate) fn codes(verdict: &Verdict) -> Vec<ReasonCode> {
    verdict.reasons.iter().map(|reason| reason.code).collect()
}
