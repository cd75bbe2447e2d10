//! An account and what a test wants to know of it or do to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use lambdaload_core::{
    ids::{RunId, WorkerIndex},
    lifecycle::{Abort, AbortCause},
    ports::{Ledger, ObjectStore, SlotBook, keys},
    records::RunRecord,
    run::{
        Deployment,
        abort::abort,
        launch::{LaunchReply, LaunchRequest},
        prepare::Prepared,
    },
    slots::Slots,
    testing::{
        clock::{Task, VirtualTime, run_virtual_within},
        faulty::Faults,
        generator::{Event, ScriptedK6},
        ledger::MemoryLedger,
        slots::MemorySlots,
        store::MemoryStore,
        tests::{MemoryTests, MemoryTopic},
    },
    verdict::{ReasonCode, Verdict},
};
use serde_json::{Value, json};

use crate::{
    ecs::Ecs,
    test::{Test, seconds},
};

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
pub(crate) struct Rule {
    pub(crate) function: Function,
    /// Only calls whose event has this in it.
    pub(crate) about: String,
    /// The first such call is 1.
    pub(crate) nth: u32,
    pub(crate) seen: u32,
    pub(crate) habit: Habit,
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
pub(crate) struct State {
    pub(crate) rules: Vec<Rule>,
    pub(crate) tests: BTreeMap<RunId, ScriptedK6>,
    pub(crate) appointments: BTreeSet<(RunId, &'static str)>,
    /// Invocations that began: which function, with what, when.
    pub(crate) begun: Vec<(Function, Value, Duration)>,
    pub(crate) running: Vec<(Function, Value, RunId, Task)>,
    /// Calls of the reaper that came to nothing for good.
    pub(crate) dead_letters: u32,
    pub(crate) calls: u64,
    /// What ECS knows.
    pub(crate) ecs: Ecs,
    pub(crate) most_taken: u32,
}

pub(crate) struct Inner {
    pub(crate) time: VirtualTime,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) slots: MemorySlots,
    pub(crate) tests: Arc<MemoryTests>,
    pub(crate) topic: Arc<MemoryTopic>,
    pub(crate) task_slots: Arc<MemorySlots>,
    pub(crate) faults: BTreeMap<Function, PortFaults>,
    pub(crate) deployment: Mutex<Deployment>,
    /// How long an aggregator lives.
    pub(crate) aggregator_life: Duration,
    /// How long a worker lives.
    pub(crate) worker_life: Duration,
    pub(crate) state: Mutex<State>,
}

/// An account. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) inner: Arc<Inner>,
}

/// Workers that may be on Fargate at one time.
pub(crate) const TASK_CAPACITY: u32 = 30;

/// How long workers live.
pub(crate) const WORKER_LIFE: Duration = seconds(900);

/// Plays a scene in an account in which so many workers may run at one time.
pub(crate) fn play<T>(capacity: u32, scene: impl AsyncFnOnce(&Account) -> T) -> T {
    play_with(capacity, seconds(900), scene)
}

/// The same with aggregators that live so long.
pub(crate) fn play_with<T>(capacity: u32, aggregator_life: Duration, scene: impl AsyncFnOnce(&Account) -> T) -> T {
    play_on(MemoryLedger::default(), capacity, aggregator_life, scene)
}

/// The same with this ledger.
pub(crate) fn play_on<T>(
    ledger: MemoryLedger,
    capacity: u32,
    aggregator_life: Duration,
    scene: impl AsyncFnOnce(&Account) -> T,
) -> T {
    play_within(seconds(7_200), ledger, capacity, (aggregator_life, WORKER_LIFE), scene)
}

/// The same for so long, with aggregators and workers that live so long.
pub(crate) fn play_within<T>(
    limit: Duration,
    ledger: MemoryLedger,
    capacity: u32,
    (aggregator_life, worker_life): (Duration, Duration),
    scene: impl AsyncFnOnce(&Account) -> T,
) -> T {
    run_virtual_within(limit, |time| async move {
        let deployment = Deployment { capacity, worker_life, task_capacity: TASK_CAPACITY, version: "0.1.0".into() };
        let inner = Inner {
            time,
            store: Arc::default(),
            ledger: Arc::new(ledger),
            slots: MemorySlots::default(),
            tests: Arc::default(),
            topic: Arc::default(),
            task_slots: Arc::default(),
            faults: FUNCTIONS.map(|function| (function, PortFaults::default())).into(),
            deployment: Mutex::new(deployment),
            aggregator_life,
            worker_life,
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

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("whole")
    }

    pub(crate) fn deployment(&self) -> Deployment {
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
            self.habit_of(Function::Launcher, "ask").as_ref(),
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
        let tasks = self.inner.task_slots.slots().await.expect("answers");
        assert!(tasks.held.is_empty() && tasks.waiting.is_empty(), "{tasks:?}");
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
        self.failed(Function::Worker, &event, condition, &json!({"errorType": "x", "errorMessage": "it broke"}));
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
}

/// The kinds of all reasons.
pub(crate) fn codes(verdict: &Verdict) -> Vec<ReasonCode> {
    verdict.reasons.iter().map(|reason| reason.code).collect()
}

/// All reasons in one text.
pub(crate) fn told(verdict: &Verdict) -> String {
    verdict.reasons.iter().map(|reason| reason.message.as_str()).collect::<Vec<_>>().join("\n")
}
