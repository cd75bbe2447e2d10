//! Functions that are called as Lambda calls them, with its bad habits, and appointments as they are kept.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{self, Either};
use lambdaload_core::{
    ids::RunId,
    plan::Platform,
    ports::{
        AggregatorTask, CallError, Clock, Fleet, FleetLoss, Fleets, Functions, Ledger, LedgerError, ObjectStore,
        SlotBook, Timestamp, WorkerTask,
    },
    records::{FailureKind, RunRecord},
    run::{
        AccountPorts,
        conduct::conduct,
        fire::FireRequest,
        launch::{LaunchReply, LaunchRequest, launch},
        reap::{ReaperEvent, reap_event},
        work::{Notice, WorkPorts, work},
    },
    schedule::scheduled_for,
    secrets::Secrets,
    slots::Slots,
    testing::{clock::VirtualTime, faulty::Faulty},
};
use serde_json::{Value, json};

use crate::{
    account::{Account, Function, Habit, Inner, Rule},
    ecs::Tasks,
    test::seconds,
};

const LAUNCHER_LIFE: Duration = seconds(60);
const REAPER_LIFE: Duration = seconds(300);
/// How long a call waits for concurrency.
const EVENT_AGE: Duration = seconds(60);

/// What who waits for a launcher is told.
pub(crate) type Answer = Arc<Mutex<Option<Result<LaunchReply, String>>>>;

impl Account {
    pub(crate) fn habit_of(&self, function: Function, event: &str) -> Option<Habit> {
        let mut found = None;
        let fits = |rule: &&mut Rule| rule.function == function && event.contains(&rule.about);
        for rule in self.lock().rules.iter_mut().filter(fits) {
            rule.seen += 1;
            found = found.or_else(|| (rule.seen == rule.nth).then(|| rule.habit.clone()));
        }
        found
    }

    /// Calls a function; whether the call was accepted.
    pub(crate) fn call(&self, function: Function, event: Value) -> bool {
        match self.habit_of(function, &event.to_string()) {
            Some(Habit::Fails) => return false,
            Some(Habit::Twice(later)) => {
                self.begin(function, event.clone(), Duration::ZERO, None, None);
                self.begin(function, event, later, None, None);
            }
            Some(Habit::Late(later)) => self.begin(function, event, later, None, None),
            Some(Habit::Lost) => {}
            Some(Habit::Throttled) => {
                let account = self.clone();
                self.spawn(function, &event.clone(), async move {
                    account.time().sleep(EVENT_AGE).await;
                    account.failed(function, &event, "EventAgeExceeded", &Value::Null);
                });
            }
            death => self.begin(function, event, Duration::ZERO, death.as_ref(), None),
        }
        true
    }

    pub(crate) fn spawn(&self, function: Function, event: &Value, future: impl Future<Output = ()> + Send + 'static) {
        let run = run_of(event).or_else(|| run_of(&event["requestPayload"]));
        let task = self.time().spawn(future);
        self.lock().running.push((function, event.clone(), run.expect("a run"), task));
    }

    pub(crate) fn begin(
        &self,
        function: Function,
        event: Value,
        after: Duration,
        death: Option<&Habit>,
        answer: Option<Answer>,
    ) {
        let (account, death) = (self.clone(), death.cloned());
        self.spawn(function, &event.clone(), async move {
            account.time().sleep(after).await;
            // The reaper is tried again after one and two minutes.
            let pauses: &[u64] = if function == Function::Reaper { &[60, 120] } else { &[] };
            let mut pauses = pauses.iter();
            loop {
                let outcome = account.invoke(function, &event, death.as_ref()).await;
                if let Some(answer) = &answer {
                    let told = outcome.clone().unwrap_or_else(|| Err("no answer".to_owned()));
                    *answer.lock().expect("whole") = Some(told);
                    return;
                }
                let Some(Err(words)) = outcome else { return };
                match pauses.next() {
                    Some(pause) => account.time().sleep(seconds(*pause)).await,
                    None if function == Function::Reaper => {
                        account.lock().dead_letters += 1;
                        return;
                    }
                    None => {
                        let kind =
                            if words.contains("timed out after") { "Sandbox.Timedout" } else { "Runtime.ExitError" };
                        let error = json!({"errorType": kind, "errorMessage": words});
                        return account.failed(function, &event, "RetriesExhausted", &error);
                    }
                }
            }
        });
    }

    /// What the destination of a call that came to nothing is told.
    pub(crate) fn failed(&self, function: Function, event: &Value, condition: &str, error: &Value) {
        if function == Function::Reaper {
            self.lock().dead_letters += 1;
            return;
        }
        let record = json!({
            "version": "1.0", "timestamp": "2026-11-22T12:03:04.567Z",
            "requestContext": {"requestId": "e4b46cbf", "functionArn": format!("arn:aws:lambda:::function:{function:?}"),
                "condition": condition, "approximateInvokeCount": 1},
            "requestPayload": event,
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": error,
        });
        self.call(Function::Reaper, record);
    }

    /// One invocation; none if it died and nobody is told.
    async fn invoke(
        &self,
        function: Function,
        event: &Value,
        death: Option<&Habit>,
    ) -> Option<Result<LaunchReply, String>> {
        self.lock().begun.push((function, event.clone(), self.time().elapsed()));
        let life = match function {
            Function::Launcher => LAUNCHER_LIFE,
            Function::Aggregator => self.inner.aggregator_life,
            Function::Worker => self.inner.worker_life,
            Function::Reaper => REAPER_LIFE,
        };
        let (ends_after, words) = match death {
            Some(Habit::Dies(after)) => (*after, Some("Error: Runtime exited with error: signal: killed".to_owned())),
            Some(Habit::DiesSilently(after)) => (*after, None),
            _ => (life, Some(format!("Task timed out after {:.2} seconds", life.as_secs_f64()))),
        };
        let handler = Box::pin(self.handle(function, event, life));
        let end = Box::pin(self.time().sleep(ends_after));
        match future::select(handler, end).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => words.map(Err),
        }
    }

    /// What the functions of the account do.
    async fn handle(&self, function: Function, event: &Value, life: Duration) -> Result<LaunchReply, String> {
        let (ports, deployment) = (self.ports(function), self.deployment());
        let json = event.to_string();
        match function {
            Function::Launcher => match LaunchRequest::parse(json.as_bytes(), &deployment) {
                Ok(request) => launch(&ports, &deployment, &request).await.map_err(|error| error.to_string()),
                Err(refused) => Ok(refused),
            },
            Function::Aggregator => {
                let task: AggregatorTask = serde_json::from_str(&json).expect("a task");
                let conducted = conduct(&ports, &deployment, &task, ports.clock.monotonic() + life).await;
                conducted.map(|_| LaunchReply::Launched).map_err(|error| error.to_string())
            }
            Function::Worker => {
                let task: WorkerTask = serde_json::from_str(&json).expect("a task");
                let worked = work(&self.work_ports(&task, &ports, life), &task).await;
                worked.map(|_| LaunchReply::Launched).map_err(|error| error.to_string())
            }
            Function::Reaper => {
                let event = ReaperEvent::parse(json.as_bytes()).expect("an event");
                let reaped = reap_event(&ports, &deployment, &event).await;
                reaped.map(|_| LaunchReply::Launched).map_err(|error| error.to_string())
            }
        }
    }

    pub(crate) fn ports(&self, function: Function) -> AccountPorts {
        let Inner { time, store, ledger, faults, .. } = &*self.inner;
        let faults = &faults[&function];
        let (store, ledger): (Arc<dyn ObjectStore>, Arc<dyn Ledger>) = (store.clone(), ledger.clone());
        let slots: Arc<dyn SlotBook> = Arc::new(self.clone());
        AccountPorts {
            clock: Arc::new(ProcessClock { time: time.clone(), began_at: time.elapsed() }),
            store: Arc::new(Faulty::new(store, faults.store.clone(), time.clone())),
            ledger: Arc::new(Faulty::new(ledger, faults.ledger.clone(), time.clone())),
            fleets: Arc::new(self.clone()),
            slots: Arc::new(Faulty::new(slots, faults.slots.clone(), time.clone())),
            task_slots: self.inner.task_slots.clone(),
            functions: Arc::new(self.clone()),
            tests: self.inner.tests.clone(),
            notifier: self.inner.topic.clone(),
        }
    }

    pub(crate) fn work_ports(&self, task: &WorkerTask, ports: &AccountPorts, life: Duration) -> WorkPorts {
        let mut state = self.lock();
        state.calls += 1;
        let generator = state.tests[&task.run].on(self.time().clock());
        let AccountPorts { clock, store, ledger, .. } = ports.clone();
        WorkPorts {
            ends_at: Some(clock.monotonic() + life),
            notice: Notice::default(),
            clock,
            store,
            ledger,
            generator: Arc::new(generator),
            secrets: Secrets::default(),
            claimant: format!("call {}", state.calls),
        }
    }
}

#[async_trait]
impl Functions for Account {
    async fn aggregate(&self, task: &AggregatorTask) -> Result<(), CallError> {
        accepted(self.call(Function::Aggregator, serde_json::to_value(task).expect("JSON")))
    }

    async fn launch(&self, run: &RunId) -> Result<(), CallError> {
        let request = LaunchRequest::Resume { run: run.clone() };
        accepted(self.call(Function::Launcher, serde_json::to_value(request).expect("JSON")))
    }

    async fn fire(&self, request: &FireRequest) -> Result<(), CallError> {
        let request = LaunchRequest::Fire(request.clone());
        accepted(self.call(Function::Launcher, serde_json::to_value(request).expect("JSON")))
    }

    async fn reap_at(&self, run: &RunId, name: &'static str, at: Timestamp) -> Result<(), CallError> {
        if self.lock().appointments.insert((run.clone(), name)) {
            let (account, event) = (self.clone(), json!({ "run": run, "appointment": name }));
            let in_time = at.since(self.time().clock().now());
            let number = self.lock().appointments.len() as u64;
            self.spawn(Function::Reaper, &event.clone(), async move {
                // Up to a minute late.
                account.time().sleep(in_time + Duration::from_millis(number * 17_777 % 60_000)).await;
                account.call(Function::Reaper, event);
            });
        }
        Ok(())
    }
}

/// The run that an event is about: by its id, or by the schedule that fires.
fn run_of(event: &Value) -> Option<RunId> {
    let by_id = event["run"].as_str().map(|run| RunId::parse(run).expect("an id"));
    by_id.or_else(|| {
        let at = scheduled_for(event["scheduled_at"].as_str()?, Timestamp(0)).expect("a time");
        Some(RunId::derived(at, event["schedule"].as_str()?))
    })
}

fn accepted(is_accepted: bool) -> Result<(), CallError> {
    if is_accepted { Ok(()) } else { Err(CallError { operation: "calling", cause: "rate exceeded".into() }) }
}

impl Fleets for Account {
    fn of(&self, run: &RunRecord) -> Arc<dyn Fleet> {
        match run.plan.platform {
            Platform::Fargate(_) => Arc::new(Tasks::of(self, run)),
            Platform::Local | Platform::Lambda(_) => Arc::new(self.clone()),
        }
    }
}

#[async_trait]
impl Fleet for Account {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        let refused =
            tasks.iter().filter(|task| !self.call(Function::Worker, serde_json::to_value(task).expect("JSON")));
        let kind = FailureKind::NotLaunched;
        refused.map(|task| FleetLoss { index: task.index, kind, message: "rate exceeded".into() }).collect()
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        Vec::new()
    }

    async fn kill_all(&self) {}
}

#[async_trait]
impl SlotBook for Account {
    async fn slots(&self) -> Result<Slots, LedgerError> {
        self.inner.slots.slots().await
    }

    async fn replace_slots(&self, slots: &Slots) -> Result<Slots, LedgerError> {
        let written = self.inner.slots.replace_slots(slots).await?;
        let mut state = self.lock();
        state.most_taken = state.most_taken.max(written.taken());
        Ok(written)
    }
}

/// The clock of one process: its monotonic time begins with it.
struct ProcessClock {
    time: VirtualTime,
    began_at: Duration,
}

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.time.clock().now()
    }

    fn monotonic(&self) -> Duration {
        self.time.elapsed().saturating_sub(self.began_at)
    }

    async fn sleep(&self, duration: Duration) {
        self.time.sleep(duration).await;
    }
}
