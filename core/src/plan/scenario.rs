//! A scenario's work, from its executor's options.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    k6::options::Scenario,
    millis,
    plan::{
        PlanError, plural,
        schedule::{Schedule, Work},
        words,
    },
};

/// One scenario's work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedScenario {
    /// Its name.
    pub name: String,
    /// Its executor.
    pub executor: String,
    /// What it does, in a few words, for example `0 → 400/s in 2m, 5m hold`.
    pub shape: String,
    /// VUs at most; segments deal these out, and arrival rates follow their share.
    pub max_vus: u64,
    /// Iterations per second at most, of the arrival-rate executors.
    pub peak_rate: Option<f64>,
    /// When it is over by plan, after the start of the test, without graceful stops; the executors that count
    /// iterations may be over long before.
    #[serde(with = "millis")]
    pub ends_after: Duration,
    /// When it does what.
    pub schedule: Schedule,
}

/// Reads one scenario; refuses what has no end or cannot be spread.
pub(super) fn planned((name, scenario): (&String, &Scenario)) -> Result<PlannedScenario, PlanError> {
    let executor = scenario.executor.clone();
    let Some(schedule) = Schedule::of(scenario) else {
        return Err(PlanError::Executor { scenario: name.clone(), executor });
    };
    let shape = match &schedule.work {
        Work::Controlled { lasts: Duration::ZERO, .. } => return Err(PlanError::Endless { scenario: name.clone() }),
        Work::Looping { vus, .. } if scenario.stages.is_empty() => {
            format!("{}, {}", plural(*vus, "VU"), words(scenario.duration.unwrap_or_default()))
        }
        Work::Looping { vus, .. } => ramps(*vus as f64, " VUs", scenario, |v| v),
        Work::SharedIterations { vus, iterations, .. } => {
            format!("{} shared by {}", plural(*iterations, "iteration"), plural(*vus, "VU"))
        }
        Work::PerVuIterations { vus, iterations, .. } => {
            format!("{} for each of {}", plural(*iterations, "iteration"), plural(*vus, "VU"))
        }
        Work::ConstantArrivals { lasts, .. } => {
            format!("{}/s, {}", number(schedule.peak_rate().unwrap_or(0.0)), words(*lasts))
        }
        Work::RampingArrivals { rate, unit_nanos, .. } => {
            let per_second = |rate: f64| rate * 1e9 / *unit_nanos as f64;
            ramps(per_second(*rate as f64), "/s", scenario, per_second)
        }
        Work::Controlled { vus, max_vus, lasts } => {
            format!(
                "{} until `lambdaload scale` changes that, at most {max_vus}, {}",
                plural(*vus, "VU"),
                words(*lasts)
            )
        }
    };
    let shape = match schedule.starts_after {
        Duration::ZERO => shape,
        start => format!("{shape}, from {}", words(start)),
    };
    Ok(PlannedScenario {
        name: name.clone(),
        executor,
        shape,
        max_vus: schedule.max_vus(),
        peak_rate: schedule.peak_rate(),
        ends_after: schedule.ends_after(),
        schedule,
    })
}

fn number(value: f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `0 → 400/s in 2m, 5m hold`; `of` is what the levels count.
fn ramps(start: f64, of: &str, scenario: &Scenario, unit: impl Fn(f64) -> f64) -> String {
    let mut text = number(start);
    let mut level = start;
    for stage in &scenario.stages {
        let target = unit(stage.target.unwrap_or(0.0));
        let time = words(stage.duration.unwrap_or_default());
        text += &if (target - level).abs() < f64::EPSILON {
            format!(", {time} hold")
        } else {
            format!(" → {}{of} in {time}", number(target))
        };
        level = target;
    }
    text
}
