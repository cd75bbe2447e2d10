//! Changing the VUs of a run that can be controlled (`externally-controlled`).

use std::{fmt::Write as _, time::Duration};

use crate::{
    ids::{RunId, WorkerIndex},
    lifecycle::Phase,
    records::{RunRecord, Scale, WorkerPhase, WorkerRecord},
    run::{
        UpdateError, WatchPorts,
        timely::{PATIENCE, persist},
        update_run,
    },
};

/// How long workers that are ready may take to follow: some looks at the ledger, and a k6 that is slow to answer.
const FOLLOW: Duration = Duration::from_secs(30);

/// Why a run does not have the VUs that were wanted.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] UpdateError),
    /// It has no such scenario.
    #[error(
        "none of the scenarios of this run is externally-controlled, so its VUs follow the script\n\
         k6 1.x has this executor: {{ executor: 'externally-controlled', vus: 10, maxVUs: 100, duration: '10m' }}"
    )]
    NotControlled,
    /// More than the script allows.
    #[error("{wanted} VUs are too many: the script allows scenario `{scenario}` at most {max_vus} (its maxVUs)")]
    TooMany {
        /// The scenario.
        scenario: String,
        /// VUs that were wanted.
        wanted: u64,
        /// VUs it may have.
        max_vus: u64,
    },
    /// The run is over, or about to be.
    #[error("nothing is left to scale: the run is {status}")]
    RunOver {
        /// Where the run is.
        status: String,
    },
    /// The run goes on, but not this scenario.
    #[error("nothing is left to scale: scenario `{scenario}` is over")]
    ScenarioOver {
        /// The scenario.
        scenario: String,
    },
    /// Somebody else was there after us.
    #[error("somebody else has scaled the run to {vus} VUs meanwhile")]
    Overtaken {
        /// VUs that were wanted last.
        vus: u64,
    },
    /// Some workers have not followed.
    #[error("{} of {planned} workers had not followed after {} s, and go on trying{}", .late.len(), .waited.as_secs(), reasons(.late))]
    Unconfirmed {
        /// Workers of the run.
        planned: u32,
        /// Those that have not followed, and why as far as they have said.
        late: Vec<(WorkerIndex, Option<String>)>,
        /// How long they had.
        waited: Duration,
    },
}

fn reasons(late: &[(WorkerIndex, Option<String>)]) -> String {
    late.iter().fold(String::new(), |mut text, (index, problem)| {
        let problem = problem.as_deref().unwrap_or("has not said anything of it yet");
        // Writing into a string cannot fail.
        let _ = write!(text, "\n{index}: {problem}");
        text
    })
}

/// Lets the run's controlled scenario have `vus` VUs over all workers; returns the run once all of them have said that
/// their k6 has followed. Before the start it counts from the start.
pub async fn scale(ports: &WatchPorts, id: &RunId, vus: u64) -> Result<RunRecord, ScaleError> {
    let ports = &ports.timely();
    let clock = &*ports.clock;
    let wish = || async {
        let mut refusal = None;
        let run = update_run(&*ports.ledger, id, |run| {
            refusal = check(run, vus, ports).err();
            if refusal.is_none() {
                let revision = run.scale.map_or(0, |scale| scale.revision) + 1;
                run.scale = Some(Scale { revision, vus });
            }
            Ok(refusal.is_none())
        });
        let run = run.await?;
        Ok::<_, UpdateError>((run, refusal))
    };
    let (run, refusal) = persist(clock, PATIENCE, wish).await?;
    match (refusal, run.scale) {
        (Some(refusal), _) => Err(refusal),
        (None, Some(wanted)) => followed(ports, run, wanted).await,
        (None, None) => Err(ScaleError::NotControlled),
    }
}

/// Whether the run can be scaled so.
fn check(run: &RunRecord, vus: u64, ports: &WatchPorts) -> Result<(), ScaleError> {
    let scenario = run.plan.controlled().ok_or(ScaleError::NotControlled)?;
    if vus > scenario.max_vus {
        let (scenario, max_vus) = (scenario.name.clone(), scenario.max_vus);
        return Err(ScaleError::TooMany { scenario, wanted: vus, max_vus });
    }
    still_goes_on(run)?;
    let is_over = run.start_at.is_some_and(|start| ports.clock.now().since(start) >= scenario.ends_after);
    if is_over { Err(ScaleError::ScenarioOver { scenario: scenario.name.clone() }) } else { Ok(()) }
}

fn still_goes_on(run: &RunRecord) -> Result<(), ScaleError> {
    let goes_on = run.state.abort.is_none() && run.state.phase < Phase::Finishing;
    if goes_on { Ok(()) } else { Err(ScaleError::RunOver { status: run.state.status() }) }
}

fn has_followed(worker: &WorkerRecord, wish: Scale) -> bool {
    worker.scaled.as_ref().is_some_and(|scaled| scaled.revision >= wish.revision && scaled.problem.is_none())
}

/// Waits until all workers have followed. Those that have ended have nothing to follow with.
async fn followed(ports: &WatchPorts, mut run: RunRecord, wish: Scale) -> Result<RunRecord, ScaleError> {
    let clock = &*ports.clock;
    let deadlines = run.plan.deadlines;
    let get_ready =
        if run.state.phase < Phase::Running { deadlines.begun_and_ready() + deadlines.setup } else { Duration::ZERO };
    let (begun, patience) = (clock.monotonic(), get_ready + FOLLOW);
    let late_of = |worker: &WorkerRecord| match &worker.scaled {
        _ if worker.phase >= WorkerPhase::Ended || worker.failure.is_some() => None,
        Some(scaled) if scaled.revision >= wish.revision => scaled.problem.clone().map(Some),
        _ => Some(None),
    };
    loop {
        let workers = persist(clock, PATIENCE, || ports.ledger.workers(&run.id)).await.map_err(UpdateError::from)?;
        let late: Vec<(WorkerIndex, Option<String>)> = run
            .plan
            .worker_indices()
            .filter(|index| !run.left_out.contains_key(index))
            .filter_map(|index| match workers.iter().find(|worker| worker.index == index) {
                Some(worker) => Some((index, late_of(worker)?)),
                None => Some((index, None)),
            })
            .collect();
        run = persist(clock, PATIENCE, || ports.ledger.run(&run.id)).await.map_err(UpdateError::from)?;
        match run.scale {
            Some(latest) if latest.revision > wish.revision => {
                return Err(ScaleError::Overtaken { vus: latest.vus });
            }
            _ if late.is_empty() && workers.iter().any(|w| has_followed(w, wish)) => return Ok(run),
            _ => still_goes_on(&run)?,
        }
        let waited = clock.monotonic().saturating_sub(begun);
        if waited >= patience {
            return Err(ScaleError::Unconfirmed { planned: run.plan.workers, late, waited });
        }
        clock.sleep(run.plan.pace.poll).await;
    }
}
