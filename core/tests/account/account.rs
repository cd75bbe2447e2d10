//! An account: functions that are called as Lambda calls them, with its bad habits, and appointments as EventBridge keeps
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{self, Either};
use lambdaload_core::{
    ids::{RunId, WorkerIndex},
    lifecycle::{Abort, AbortCause},
    ports::{
        AggregatorTask, CallError, Clock, Fleet, FleetLoss, Functions, Ledger, LedgerError, ObjectStore, SlotBook,
        Timestamp, WorkerTask, keys,
    },
    records::RunRecord,
    run::{
        AccountPorts, Deployment,
        abort::abort,
        conduct::conduct,
        launch::{LaunchReply, LaunchRequest, launch},
        prepare::Prepared,
        reap::{ReaperEvent, reap_event},
        work::{WorkPorts, work},
    },
    secrets::Secrets,
    slots::Slots,
    testing::{
        clock::{Task, VirtualTime, run_virtual},
        faulty::{Faults, Faulty},
        generator::{Event, ScriptedK6},
        ledger::MemoryLedger,
        slots::MemorySlots,
        store::MemoryStore,
    },
    verdict::{ReasonCode, Verdict},
};
use serde_json::{Value, json};

use crate::test::{Test, seconds};

/// The four functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Function {
    Launcher,
    Aggregator,
    Worker,
    Reaper,
}

pub(crate) const FUNCTIONS: [Function; 4] =
    [Function::Launcher, Function::Aggregator, Function::Worker, Function::Reaper];

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// It is delivered twice, the second time so much later.
    Twice(Duration),
    /// It is delivered so much later.
    Late(Duration),
    /// It never comes, and nobody says so.
    Lost,
    /// It never comes, and its destination hears so after a minute.
    Throttled,
    /// The function dies so long after it began, and its destination hears so.
    Dies(Duration),
    /// The function dies so long after it began, and nobody says so.
    DiesSilently(Duration),
    /// The call itself fails.
    Fails,
}

/// Which call of a function has a habit.
struct Rule {
    function: Function,
    /// Only calls whose event has this in it.
    about: String,
    /// The first such call is 1.
    nth: u32,
    seen: u32,
    habit: Habit,
}

/// The faults of the ports of one function.
#[derive(Clone, Default)]
pub(crate) struct PortFaults {
    pub(crate) store: Arc<Faults>,
    pub(crate) ledger: Arc<Faults>,
    pub(crate) slots: Arc<Faults>,
}

impl PortFaults {
    pub(crate) fn clear(&self) {
        [&self.store, &self.ledger, &self.slots].into_iter().for_each(|faults| faults.clear());
    }
}

/// What happened in an account.
#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    tests: BTreeMap<RunId, ScriptedK6>,
    appointments: BTreeSet<(RunId, &'static str)>,
    /// Invocations that began: which function, with what, when.
    begun: Vec<(Function, Value, Duration)>,
    running: Vec<(Function, Value, RunId, Task)>,
    /// Calls of the reaper that came to nothing for good.
    dead_letters: u32,
    calls: u64,
    most_taken: u32,
}

struct Inner {
    time: VirtualTime,
    store: Arc<MemoryStore>,
    ledger: Arc<MemoryLedger>,
    slots: MemorySlots,
    faults: BTreeMap<Function, PortFaults>,
    deployment: Mutex<Deployment>,
    /// How long an aggregator lives.
    aggregator_life: Duration,
    state: Mutex<State>,
}

/// An account. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Account {
    inner: Arc<Inner>,
}

/// How long workers live.
pub(crate) const WORKER_LIFE: Duration = seconds(900);
const LAUNCHER_LIFE: Duration = seconds(60);
const REAPER_LIFE: Duration = seconds(300);
/// How long a call waits for concurrency.
const EVENT_AGE: Duration = seconds(60);

/// Plays a scene in an account in which so many workers may run at one time.
pub(crate) fn play<T>(capacity: u32, scene: impl AsyncFnOnce(&Account) -> T) -> T {
    play_with(capacity, seconds(900), scene)
}

/// The same with aggregators that live so long.
pub(crate) fn play_with<T>(capacity: u32, aggregator_life: Duration, scene: impl AsyncFnOnce(&Account) -> T) -> T {
    run_virtual(|time| async move {
        let deployment = Deployment { capacity, worker_life: WORKER_LIFE, version: "0.1.0".into() };
        let inner = Inner {
            time,
            store: Arc::default(),
            ledger: Arc::default(),
            slots: MemorySlots::default(),
            faults: FUNCTIONS.map(|function| (function, PortFaults::default())).into(),
            deployment: Mutex::new(deployment),
            aggregator_life,
            state: Mutex::default(),
        };
        scene(&Account { inner: Arc::new(inner) }).await
    })
}

impl Account {
    pub(crate) fn time(&self) -> &VirtualTime {
        &self.inner.time
    }

    pub(crate) fn ledger(&self) -> &MemoryLedger {
        &self.inner.ledger
    }

    pub(crate) fn store(&self) -> &MemoryStore {
        &self.inner.store
    }

    pub(crate) fn faults(&self, of: Function) -> &PortFaults {
        &self.inner.faults[&of]
    }

    /// Lets the `nth` call of a function whose event has `about` in it go otherwise.
    pub(crate) fn habit(&self, function: Function, about: &str, nth: u32, habit: Habit) {
        self.lock().rules.push(Rule { function, about: about.to_owned(), nth, seen: 0, habit });
    }

    /// Lets the launcher believe that workers live so long.
    pub(crate) fn promise_life(&self, worker_life: Duration) {
        self.inner.deployment.lock().expect("whole").worker_life = worker_life;
    }

    /// Deploys again, with another capacity.
    pub(crate) fn resize(&self, capacity: u32) {
        self.inner.deployment.lock().expect("whole").capacity = capacity;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("whole")
    }

    fn deployment(&self) -> Deployment {
        self.inner.deployment.lock().expect("whole").clone()
    }

    /// Plans a run and uploads its archive, as the command does.
    pub(crate) async fn request(&self, test: &Test) -> LaunchRequest {
        let (Prepared { plan, archive }, k6) = test.prepare(self.time()).await;
        self.lock().tests.entry(test.id.clone()).or_insert(k6);
        // The same archive may be there from another run.
        drop(self.inner.store.put_new(&keys::archive(&plan.archive.hash), archive).await);
        LaunchRequest::Start { version: "0.1.0".into(), run: test.id.clone(), plan: Box::new(plan) }
    }

    /// Calls the launcher and waits for its answer; an error if there is none.
    pub(crate) async fn ask(&self, request: &LaunchRequest) -> Result<LaunchReply, String> {
        let event = serde_json::to_value(request).expect("JSON");
        let answer = Arc::new(Mutex::new(None));
        self.begin(
            Function::Launcher,
            event,
            Duration::ZERO,
            &self.habit_of(Function::Launcher, "ask"),
            Some(answer.clone()),
        );
        loop {
            if let Some(answer) = answer.lock().expect("whole").take() {
                return answer;
            }
            if Arc::strong_count(&answer) == 1 {
                return Err("the launcher was killed".to_owned());
            }
            self.time().sleep(Duration::from_millis(20)).await;
        }
    }

    /// Plans, uploads, asks, and expects that the run is launched at once.
    pub(crate) async fn launch(&self, test: &Test) {
        assert_eq!(self.start(test).await, Ok(LaunchReply::Launched));
    }

    /// Plans, uploads and asks.
    pub(crate) async fn start(&self, test: &Test) -> Result<LaunchReply, String> {
        self.ask(&self.request(test).await).await
    }

    /// Has the reaper look at a run, as the command does that stops one.
    pub(crate) fn reap(&self, run: &RunId) {
        self.call(Function::Reaper, json!({ "run": run }));
    }

    /// A person stops a run; whether it could be stopped.
    pub(crate) async fn stop(&self, run: &RunId, at_once: bool) -> bool {
        let message = "stopped by a person".to_owned();
        abort(&*self.inner.ledger, run, Abort { cause: AbortCause::User, message, at_once }).await.is_ok()
    }

    /// The run's verdict, once there is one.
    pub(crate) async fn verdict(&self, run: &RunId) -> Verdict {
        loop {
            if let Some(verdict) = self.inner.ledger.verdict(run).await.expect("recorded") {
                return verdict;
            }
            self.time().sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts a run and waits until everything is over.
    pub(crate) async fn verdict_of(&self, test: &Test) -> Verdict {
        self.launch(test).await;
        let verdict = self.verdict(&test.id).await;
        self.all_over().await;
        verdict
    }

    /// Returns when no function runs and no appointment is left.
    pub(crate) async fn all_quiet(&self) {
        while !self.lock().running.iter().all(|(.., task)| task.is_over()) {
            self.time().sleep(seconds(1)).await;
        }
    }

    /// Returns when all is quiet; nobody may have room any more then.
    pub(crate) async fn all_over(&self) {
        self.all_quiet().await;
        let slots = self.slots().await;
        assert!(slots.held.is_empty() && slots.waiting.is_empty(), "{slots:?}");
    }

    /// Returns at this moment of virtual time.
    pub(crate) async fn at(&self, moment: Duration) {
        self.time().sleep(moment.saturating_sub(self.time().elapsed())).await;
    }

    pub(crate) async fn slots(&self) -> Slots {
        self.inner.slots.slots().await.expect("answers")
    }

    /// A run as it is.
    pub(crate) fn run(&self, id: &RunId) -> RunRecord {
        self.inner.ledger.peek(id).expect("recorded")
    }

    /// When invocations of a function began whose event has `about` in it.
    pub(crate) fn begun(&self, function: Function, about: &str) -> Vec<Duration> {
        let state = self.lock();
        let its = state.begun.iter().filter(|(of, event, _)| *of == function && event.to_string().contains(about));
        its.map(|(_, _, at)| *at).collect()
    }

    pub(crate) fn dead_letters(&self) -> u32 {
        self.lock().dead_letters
    }

    /// The most room that runs ever had at one time.
    pub(crate) fn most_taken(&self) -> u32 {
        self.lock().most_taken
    }

    /// Kills all invocations of a function for a run, silently.
    pub(crate) fn kill(&self, function: Function, run: &RunId) {
        let state = self.lock();
        let its = state.running.iter().filter(|(of, _, id, _)| (*of, id) == (function, run));
        its.for_each(|(.., task)| task.cancel());
    }

    /// Kills one worker of a run, silently.
    pub(crate) fn kill_worker(&self, run: &RunId, number: u32) {
        let state = self.lock();
        let is_it = |event: &Value| event["index"].as_u64() == Some(u64::from(number - 1));
        let its = state.running.iter().filter(|(_, event, id, _)| id == run && is_it(event));
        its.for_each(|(.., task)| task.cancel());
    }

    /// Tells the reaper that a worker, by its index, has failed.
    pub(crate) fn report_failed(&self, run: &RunId, index: u32, condition: &str) {
        let event = json!({ "run": run, "index": index, "attempt": 1 });
        self.failed(Function::Worker, event, condition, json!({"errorType": "x", "errorMessage": "it broke"}));
    }

    /// When an event happened to the k6 of each worker of a run.
    pub(crate) fn when(&self, run: &RunId, is_it: impl Fn(&Event) -> bool) -> Vec<(Duration, u32)> {
        let journal = self.lock().tests.get(run).map(ScriptedK6::journal).unwrap_or_default();
        journal.into_iter().filter(|(_, _, event)| is_it(event)).map(|(at, index, _)| (at, index.number())).collect()
    }

    /// The most k6 that ever ran at one time, in all runs, without those that only tear down.
    pub(crate) fn most_alive(&self) -> usize {
        let state = self.lock();
        let mut changes: Vec<(Duration, bool)> = Vec::new();
        for (id, k6) in &state.tests {
            let Some(run) = self.inner.ledger.peek(id) else { continue };
            let of_segments = |index: &WorkerIndex| *index != run.plan.substitute();
            for (at, _, event) in k6.journal().into_iter().filter(|(_, index, _)| of_segments(index)) {
                match event {
                    Event::Started => changes.push((at, true)),
                    Event::Exited(_) => changes.push((at, false)),
                    _ => {}
                }
            }
        }
        // Of one moment those that leave come first.
        changes.sort_unstable();
        let mut alive = 0_usize;
        let counts = changes.into_iter().map(|(_, begins)| {
            alive = if begins { alive + 1 } else { alive.saturating_sub(1) };
            alive
        });
        counts.max().unwrap_or_default()
    }

    fn habit_of(&self, function: Function, event: &str) -> Option<Habit> {
        let mut found = None;
        let fits = |rule: &&mut Rule| rule.function == function && event.contains(&rule.about);
        for rule in self.lock().rules.iter_mut().filter(fits) {
            rule.seen += 1;
            found = found.or_else(|| (rule.seen == rule.nth).then(|| rule.habit.clone()));
        }
        found
    }

    /// Calls a function; whether the call was accepted.
    fn call(&self, function: Function, event: Value) -> bool {
        match self.habit_of(function, &event.to_string()) {
            Some(Habit::Fails) => return false,
            Some(Habit::Twice(later)) => {
                self.begin(function, event.clone(), Duration::ZERO, &None, None);
                self.begin(function, event, later, &None, None);
            }
            Some(Habit::Late(later)) => self.begin(function, event, later, &None, None),
            Some(Habit::Lost) => {}
            Some(Habit::Throttled) => {
                let account = self.clone();
                self.spawn(function, &event.clone(), async move {
                    account.time().sleep(EVENT_AGE).await;
                    account.failed(function, event, "EventAgeExceeded", Value::Null);
                });
            }
            death => self.begin(function, event, Duration::ZERO, &death, None),
        }
        true
    }

    fn spawn(&self, function: Function, event: &Value, future: impl Future<Output = ()> + Send + 'static) {
        let run = event["run"]
            .as_str()
            .map_or_else(|| RunId::parse(event["requestPayload"]["run"].as_str().expect("a run")), RunId::parse);
        let task = self.time().spawn(future);
        self.lock().running.push((function, event.clone(), run.expect("an id"), task));
    }

    fn begin(
        &self,
        function: Function,
        event: Value,
        after: Duration,
        death: &Option<Habit>,
        answer: Option<Arc<Mutex<Option<Result<LaunchReply, String>>>>>,
    ) {
        let (account, death) = (self.clone(), death.clone());
        self.spawn(function, &event.clone(), async move {
            account.time().sleep(after).await;
            // The reaper is tried again after one and two minutes.
            let pauses: &[u64] = if function == Function::Reaper { &[60, 120] } else { &[] };
            let mut pauses = pauses.iter();
            loop {
                let outcome = account.invoke(function, &event, &death).await;
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
                        return account.failed(function, event, "RetriesExhausted", error);
                    }
                }
            }
        });
    }

    /// What the destination of a call that came to nothing is told.
    fn failed(&self, function: Function, event: Value, condition: &str, error: Value) {
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
        death: &Option<Habit>,
    ) -> Option<Result<LaunchReply, String>> {
        self.lock().begun.push((function, event.clone(), self.time().elapsed()));
        let life = match function {
            Function::Launcher => LAUNCHER_LIFE,
            Function::Aggregator => self.inner.aggregator_life,
            Function::Worker => WORKER_LIFE,
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

    fn ports(&self, function: Function) -> AccountPorts {
        let Inner { time, store, ledger, faults, .. } = &*self.inner;
        let faults = &faults[&function];
        let (store, ledger): (Arc<dyn ObjectStore>, Arc<dyn Ledger>) = (store.clone(), ledger.clone());
        let slots: Arc<dyn SlotBook> = Arc::new(self.clone());
        AccountPorts {
            clock: Arc::new(ProcessClock { time: time.clone(), began_at: time.elapsed() }),
            store: Arc::new(Faulty::new(store, faults.store.clone(), time.clone())),
            ledger: Arc::new(Faulty::new(ledger, faults.ledger.clone(), time.clone())),
            fleet: Arc::new(self.clone()),
            slots: Arc::new(Faulty::new(slots, faults.slots.clone(), time.clone())),
            functions: Arc::new(self.clone()),
        }
    }

    fn work_ports(&self, task: &WorkerTask, ports: &AccountPorts, life: Duration) -> WorkPorts {
        let mut state = self.lock();
        state.calls += 1;
        let generator = state.tests[&task.run].on(self.time().clock());
        let AccountPorts { clock, store, ledger, .. } = ports.clone();
        WorkPorts {
            ends_at: Some(clock.monotonic() + life),
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

fn accepted(is_accepted: bool) -> Result<(), CallError> {
    if is_accepted { Ok(()) } else { Err(CallError { operation: "calling", cause: "rate exceeded".into() }) }
}

#[async_trait]
impl Fleet for Account {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        let refused =
            tasks.iter().filter(|task| !self.call(Function::Worker, serde_json::to_value(task).expect("JSON")));
        refused.map(|task| FleetLoss { index: task.index, message: "rate exceeded".into() }).collect()
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

/// The kinds of all reasons.
pub(crate) fn codes(verdict: &Verdict) -> Vec<ReasonCode> {
    verdict.reasons.iter().map(|reason| reason.code).collect()
}

/// All reasons in one text.
pub(crate) fn told(verdict: &Verdict) -> String {
    verdict.reasons.iter().map(|reason| reason.message.as_str()).collect::<Vec<_>>().join("\n")
}
