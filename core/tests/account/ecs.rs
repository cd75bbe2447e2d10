//! Tasks as ECS runs them, with its bad habits.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{self, Either};
use lambdaload_core::{
    ids::{Attempt, RunId},
    ports::{Fleet, FleetLoss, WorkerTask},
    records::{FailureKind, RunRecord},
    run::{
        batch::{Batch, Order, Roster, batches, own_part},
        tasks::{StopReason, refusal},
        work::{Notice, WorkPorts, work},
    },
    testing::clock::Task,
};
use serde_json::json;

use crate::{
    account::{Account, Function},
    test::seconds,
};

/// How long a task takes to start if nothing is special about it.
const START: Duration = seconds(25);

/// From SIGTERM to SIGKILL.
const STOP_TIMEOUT: Duration = seconds(120);

/// What becomes of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskHabit {
    /// It takes so long to start.
    Slow(Duration),
    /// `RunTask` does not place it, and says why.
    NotPlaced(&'static str),
    /// It stops before it has started.
    NeverStarts(&'static str),
    /// It stops before it has started, and its events are lost: only who asks hears of it.
    NeverStartsUntold(&'static str),
    /// Nothing is ever heard of it: its events are lost, too.
    Vanishes,
    /// AWS takes it back when it has run for so long.
    Spot(Duration),
    /// It is killed when it has run for so long: it needs more memory than it has.
    OutOfMemory(Duration),
    /// The answer to the call that launches it is lost, and the call is repeated.
    AnsweredTwice,
}

/// What ECS knows.
#[derive(Default)]
pub(crate) struct Ecs {
    habits: BTreeMap<(RunId, u32), TaskHabit>,
    /// What was answered to calls with these tokens.
    answers: BTreeMap<String, Vec<String>>,
    /// Tasks of each call.
    pub(crate) calls: Vec<u32>,
    tasks: Vec<(RunId, String, Task)>,
    stopped: BTreeMap<String, Stopped>,
    /// Runs of which all tasks were stopped.
    pub(crate) kills: BTreeSet<RunId>,
}

#[derive(Clone)]
struct Stopped {
    code: &'static str,
    reason: String,
    exit: Option<i32>,
}

impl Account {
    /// Lets a task of a run go otherwise, by the number of its worker.
    pub(crate) fn task_habit(&self, run: &RunId, number: u32, habit: TaskHabit) {
        self.lock().ecs.habits.insert((run.clone(), number), habit);
    }
}

/// The tasks of one run.
pub(crate) struct Tasks {
    account: Account,
    run: RunRecord,
}

impl Tasks {
    pub(crate) fn of(account: &Account, run: &RunRecord) -> Self {
        Self { account: account.clone(), run: run.clone() }
    }

    /// The same token is answered alike, and starts nothing again.
    fn run_task(&self, batch: &Batch) -> (Vec<String>, Vec<&'static str>) {
        let token = format!("{}-{}", batch.run, batch.first.0);
        if let Some(names) = self.account.lock().ecs.answers.get(&token) {
            return (names.clone(), Vec::new());
        }
        let (mut names, mut failures) = (Vec::new(), Vec::new());
        for worker in batch.workers() {
            let habit = self.account.lock().ecs.habits.get(&(batch.run.clone(), worker.index.number())).cloned();
            if let Some(TaskHabit::NotPlaced(reason)) = habit {
                failures.push(reason);
                continue;
            }
            // Which of them becomes which worker is not known to ECS.
            let name = format!("task/{}/{}", batch.run, worker.index.number());
            self.begin(batch.clone(), name.clone(), habit);
            names.push(name);
        }
        let mut state = self.account.lock();
        state.ecs.calls.push(batch.count);
        state.ecs.answers.insert(token, names.clone());
        (names, failures)
    }

    fn begin(&self, batch: Batch, name: String, habit: Option<TaskHabit>) {
        let (account, run, called) = (self.account.clone(), batch.run.clone(), name.clone());
        let task = self.account.time().spawn(async move {
            let stopped = live(&account, &batch, &called, habit.as_ref()).await;
            let Some(stopped) = stopped else { return };
            account.lock().ecs.stopped.insert(called.clone(), stopped.clone());
            if !matches!(habit, Some(TaskHabit::NeverStartsUntold(_))) {
                tell_the_reaper(&account, &batch, &called, &stopped);
            }
        });
        self.account.lock().ecs.tasks.push((run, name, task));
    }
}

/// A task's life; none if nothing is ever heard of it.
async fn live(account: &Account, batch: &Batch, name: &str, habit: Option<&TaskHabit>) -> Option<Stopped> {
    let time = account.time();
    let start = match habit {
        Some(TaskHabit::Slow(after)) => *after,
        Some(TaskHabit::Vanishes) => return None,
        _ => START,
    };
    time.sleep(start).await;
    if let Some(TaskHabit::NeverStarts(reason) | TaskHabit::NeverStartsUntold(reason)) = habit {
        return Some(Stopped { code: "TaskFailedToStart", reason: (*reason).to_owned(), exit: None });
    }
    let notice = Notice::default();
    let process = Box::pin(process(account, batch, name, notice.clone()));
    let exited = |exit| Stopped {
        code: "EssentialContainerExited",
        reason: "Essential container in task exited".to_owned(),
        exit: Some(exit),
    };
    match habit {
        Some(TaskHabit::Spot(after)) => {
            let taken = async {
                time.sleep(*after).await;
                notice.give();
                time.sleep(STOP_TIMEOUT).await;
            };
            let exit = match future::select(process, Box::pin(taken)).await {
                Either::Left((exit, _)) => exit,
                Either::Right(_) => 137,
            };
            let reason = "Your Spot Task was interrupted.".to_owned();
            Some(Stopped { code: "SpotInterruption", reason, exit: Some(exit) })
        }
        Some(TaskHabit::OutOfMemory(after)) => match future::select(process, Box::pin(time.sleep(*after))).await {
            Either::Left((exit, _)) => Some(exited(exit)),
            Either::Right(_) => {
                Some(Stopped { reason: "OutOfMemoryError: Container killed".to_owned(), ..exited(137) })
            }
        },
        _ => Some(exited(process.await)),
    }
}

/// The process of a task; its exit code.
async fn process(account: &Account, batch: &Batch, name: &str, notice: Notice) -> i32 {
    let ports = account.ports(Function::Worker);
    let part = own_part(&*ports.clock, &*ports.store, &notice, batch, name).await;
    let Ok(part) = part else { return 1 };
    let Some(task) = part else { return 0 };
    let ports = WorkPorts {
        ends_at: None,
        notice,
        claimant: name.to_owned(),
        ..account.work_ports(&task, &ports, Duration::ZERO)
    };
    i32::from(work(&ports, &task).await.is_err())
}

fn tell_the_reaper(account: &Account, batch: &Batch, name: &str, stopped: &Stopped) {
    let order = serde_json::to_string(&Order::Batch(batch.clone())).expect("JSON");
    let event = json!({
        "detail-type": "ECS Task State Change", "source": "aws.ecs", "run": batch.run,
        "detail": {"taskArn": name, "lastStatus": "STOPPED", "stopCode": stopped.code, "stoppedReason": stopped.reason,
            "containers": [{"name": "worker", "exitCode": stopped.exit}],
            "overrides": {"containerOverrides": [{"name": "worker", "environment": [
                {"name": "LAMBDALOAD_TASK", "value": order}]}]}},
    });
    account.call(Function::Reaper, event.clone());
    // EventBridge delivers at least once.
    account.call(Function::Reaper, event);
}

#[async_trait]
impl Fleet for Tasks {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        let store = self.account.ports(Function::Launcher).store;
        let mut losses = Vec::new();
        for batch in batches(&self.run.plan, tasks) {
            if self.account.lock().ecs.habits.values().any(|habit| *habit == TaskHabit::AnsweredTwice) {
                self.run_task(&batch);
            }
            let (names, failures) = self.run_task(&batch);
            let roster = batch.enrol(&*store, &Roster { names }).await.expect("stores");
            let said = failures.first().copied().unwrap_or_default();
            let message = format!("its task was not started: {}", refusal(said).unwrap_or(said));
            let lost = batch.workers().skip(roster.names.len());
            let kind = FailureKind::NotLaunched;
            losses.extend(lost.map(|task| FleetLoss { index: task.index, kind, message: message.clone() }));
        }
        losses
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        let store = self.account.ports(Function::Aggregator).store;
        let all: Vec<WorkerTask> = (self.run.plan.worker_indices())
            .map(|index| WorkerTask { run: self.run.id.clone(), index, attempt: Attempt(1) })
            .collect();
        let mut gone = Vec::new();
        for batch in batches(&self.run.plan, &all) {
            let Ok(roster) = batch.read(&*store).await else { continue };
            for (worker, name) in batch.workers().zip(roster.names) {
                let stopped = self.account.lock().ecs.stopped.get(&name).cloned();
                let Some(Stopped { code, reason, exit }) = stopped else { continue };
                let end = StopReason { code, reason: &reason, exit, container: "" }.explain();
                gone.extend(end.map(|end| FleetLoss { index: worker.index, kind: end.kind, message: end.words }));
            }
        }
        gone
    }

    async fn kill_all(&self) {
        let mut state = self.account.lock();
        state.ecs.kills.insert(self.run.id.clone());
        let its = state.ecs.tasks.iter().filter(|(run, ..)| *run == self.run.id);
        its.for_each(|(.., task)| task.cancel());
    }
}
