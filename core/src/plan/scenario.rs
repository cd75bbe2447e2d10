//! A scenario's work, from its executor's options.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    k6::options::Scenario,
    plan::{PlanError, plural, words},
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
}

/// Reads one scenario; refuses an executor that cannot be spread.
pub(super) fn planned((name, scenario): (&String, &Scenario)) -> Result<PlannedScenario, PlanError> {
    let per_second = |rate: f64| rate / scenario.time_unit.unwrap_or(Duration::from_secs(1)).as_secs_f64();
    let arrival_vus = scenario.max_vus.or(scenario.pre_allocated_vus).unwrap_or(1);
    let vus = scenario.vus.unwrap_or(1);
    let duration = words(scenario.duration.unwrap_or_default());
    let (shape, max_vus, peak_rate) = match scenario.executor.as_str() {
        "constant-vus" => (format!("{}, {duration}", plural(vus, "VU")), vus, None),
        "ramping-vus" => {
            let start = scenario.start_vus.unwrap_or(1);
            let peak = scenario.stages.iter().filter_map(|s| s.target).fold(start as f64, f64::max);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of VUs, from k6")]
            let peak = peak as u64;
            (format!("{} VUs", ramps(start as f64, scenario, |v| v)), peak, None)
        }
        "shared-iterations" => {
            let iterations = plural(scenario.iterations.unwrap_or(1), "iteration");
            (format!("{iterations} shared by {}", plural(vus, "VU")), vus, None)
        }
        "per-vu-iterations" => {
            let iterations = plural(scenario.iterations.unwrap_or(1), "iteration");
            (format!("{iterations} for each of {}", plural(vus, "VU")), vus, None)
        }
        "constant-arrival-rate" => {
            let rate = per_second(scenario.rate.unwrap_or(0.0));
            (format!("{rate:.4}/s, {duration}").replace(".0000", ""), arrival_vus, Some(rate))
        }
        "ramping-arrival-rate" => {
            let start = scenario.start_rate.unwrap_or(0.0);
            let peak = scenario.stages.iter().filter_map(|s| s.target).fold(start, f64::max);
            (format!("{} /s", ramps(per_second(start), scenario, per_second)), arrival_vus, Some(per_second(peak)))
        }
        executor => {
            return Err(PlanError::Executor { scenario: name.clone(), executor: executor.to_owned() });
        }
    };
    let shape = match scenario.start_time.filter(|t| !t.is_zero()) {
        Some(start) => format!("{shape}, from {}", words(start)),
        None => shape,
    };
    Ok(PlannedScenario { name: name.clone(), executor: scenario.executor.clone(), shape, max_vus, peak_rate })
}

/// `0 → 400 in 2m, 5m hold`.
fn ramps(start: f64, scenario: &Scenario, unit: impl Fn(f64) -> f64) -> String {
    let number = |value: f64| format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
    let mut text = number(start);
    let mut level = start;
    for stage in &scenario.stages {
        let target = unit(stage.target.unwrap_or(0.0));
        let time = words(stage.duration.unwrap_or_default());
        text += &if (target - level).abs() < f64::EPSILON {
            format!(", {time} hold")
        } else {
            format!(" → {} in {time}", number(target))
        };
        level = target;
    }
    text
}
