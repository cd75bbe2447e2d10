//! A fleet whose workers are futures in virtual time, with what happens to workers of real fleets.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    ids::WorkerIndex,
    ports::{Fleet, FleetLoss, WorkerTask},
    records::FailureKind,
    run::work::{WorkPorts, Worked, work},
    testing::clock::{Task, VirtualTime},
};

/// What becomes of a launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Launch {
    /// A worker begins at once.
    #[default]
    Once,
    /// Two begin, the second so much later.
    Twice(Duration),
    /// One begins so much later.
    Late(Duration),
    /// None begins, and the fleet says so.
    Refused(String),
    /// One begins, and yet the fleet says that none does.
    RefusedInError(String),
    /// None begins, and nobody says so.
    Swallowed,
}

/// How a worker ended: what it did, or what it could not in words; `None` if it was lost.
pub type Ending = (WorkerIndex, Option<Result<Worked, String>>);

/// A fleet in this process.
pub struct VirtualFleet {
    time: VirtualTime,
    ports: BTreeMap<WorkerIndex, WorkPorts>,
    launches: BTreeMap<WorkerIndex, Launch>,
    /// Whether it knows which workers have gone.
    knows_the_gone: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    tasks: Vec<(WorkerIndex, Task)>,
    endings: Vec<Ending>,
    /// Lost without the fleet's knowing.
    silent: Vec<WorkerIndex>,
    /// What the fleet takes ends for, if not for losses.
    kinds: BTreeMap<WorkerIndex, FailureKind>,
    kills: u32,
}

impl VirtualFleet {
    /// A fleet of workers with these ports. Like one of local processes, it knows which workers have gone.
    pub fn new(time: &VirtualTime, ports: BTreeMap<WorkerIndex, WorkPorts>) -> Self {
        Self { time: time.clone(), ports, launches: BTreeMap::new(), knows_the_gone: true, state: Arc::default() }
    }

    /// The same fleet without knowledge of which workers have gone, like one of functions.
    #[must_use]
    pub fn blind(self) -> Self {
        Self { knows_the_gone: false, ..self }
    }

    /// The same fleet with something else happening to the launch of one worker.
    #[must_use]
    pub fn with_launch(mut self, index: WorkerIndex, launch: Launch) -> Self {
        self.launches.insert(index, launch);
        self
    }

    /// Kills a worker where it stands; the fleet knows.
    pub fn lose(&self, index: WorkerIndex) {
        let mut state = self.lock();
        let lost = state.tasks.iter().filter(|(of, task)| *of == index && !task.is_over());
        let lost: Vec<WorkerIndex> = lost.map(|(of, task)| (task.cancel(), *of).1).collect();
        state.endings.extend(lost.into_iter().map(|index| (index, None)));
    }

    /// Kills a worker where it stands; the fleet takes its end for one of this kind.
    pub fn lose_as(&self, index: WorkerIndex, kind: FailureKind) {
        self.lock().kinds.insert(index, kind);
        self.lose(index);
    }

    /// Tells a worker that it is about to be ended.
    pub fn give_notice(&self, index: WorkerIndex) {
        self.ports.get(&index).into_iter().for_each(|ports| ports.notice.give());
    }

    /// Kills a worker where it stands; nobody knows.
    pub fn lose_silently(&self, index: WorkerIndex) {
        self.lock().silent.push(index);
        self.lose(index);
    }

    /// How workers ended so far, in order.
    pub fn endings(&self) -> Vec<Ending> {
        self.lock().endings.clone()
    }

    /// How often all workers were to be ended at once.
    pub fn kills(&self) -> u32 {
        self.lock().kills
    }

    /// Returns when no worker is left.
    pub async fn all_over(&self) {
        while !self.lock().tasks.iter().all(|(_, task)| task.is_over()) {
            self.time.sleep(Duration::from_millis(50)).await;
        }
    }

    fn begin(&self, task: &WorkerTask, after: Duration) {
        let Some(ports) = self.ports.get(&task.index).cloned() else { return };
        // Each launch is a process of its own.
        let ports = WorkPorts { claimant: format!("process {}", self.lock().tasks.len()), ..ports };
        let (time, task, index) = (self.time.clone(), task.clone(), task.index);
        let state = Arc::clone(&self.state);
        let running = self.time.spawn(async move {
            time.sleep(after).await;
            let worked = work(&ports, &task).await.map_err(|error| error.to_string());
            lock(&state).endings.push((index, Some(worked)));
        });
        self.lock().tasks.push((index, running));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_launched(task: &WorkerTask, message: String) -> FleetLoss {
    FleetLoss { index: task.index, kind: FailureKind::NotLaunched, message }
}

#[async_trait]
impl Fleet for VirtualFleet {
    async fn launch(&self, tasks: &[WorkerTask]) -> Vec<FleetLoss> {
        let mut losses = Vec::new();
        for task in tasks {
            match self.launches.get(&task.index).cloned().unwrap_or_default() {
                Launch::Once => self.begin(task, Duration::ZERO),
                Launch::Twice(later) => {
                    self.begin(task, Duration::ZERO);
                    self.begin(task, later);
                }
                Launch::Late(later) => self.begin(task, later),
                Launch::Refused(message) => losses.push(not_launched(task, message)),
                Launch::RefusedInError(message) => {
                    self.begin(task, Duration::ZERO);
                    losses.push(not_launched(task, message));
                }
                Launch::Swallowed => {}
            }
        }
        losses
    }

    async fn gone(&self) -> Vec<FleetLoss> {
        if !self.knows_the_gone {
            return Vec::new();
        }
        let state = self.lock();
        let has_left = |index: &WorkerIndex| state.tasks.iter().all(|(of, task)| of != index || task.is_over());
        let known = state.endings.iter().filter(|(index, _)| has_left(index) && !state.silent.contains(index));
        let loss = |index: &WorkerIndex| FleetLoss {
            index: *index,
            kind: state.kinds.get(index).copied().unwrap_or(FailureKind::Lost),
            message: "its process has ended".to_owned(),
        };
        known.map(|(index, _)| loss(index)).collect()
    }

    async fn kill_all(&self) {
        let tasks = {
            let mut state = self.lock();
            state.kills += 1;
            std::mem::take(&mut state.tasks)
        };
        tasks.iter().for_each(|(_, task)| task.cancel());
    }
}
