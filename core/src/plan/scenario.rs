//! A scenario's work, from its executor's options.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    k6::options::Scenario,
    millis,
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
    /// When it is over by plan, after the start of the test, without graceful stops; the executors that count
    /// iterations may be over long before.
    #[serde(with = "millis")]
    pub ends_after: Duration,
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
            (ramps(start as f64, " VUs", scenario, |v| v), peak, None)
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
            (format!("{}/s, {duration}", number(rate)), arrival_vus, Some(rate))
        }
        "ramping-arrival-rate" => {
            let start = scenario.start_rate.unwrap_or(0.0);
            let peak = scenario.stages.iter().filter_map(|s| s.target).fold(start, f64::max);
            (ramps(per_second(start), "/s", scenario, per_second), arrival_vus, Some(per_second(peak)))
        }
        executor => {
            return Err(PlanError::Executor { scenario: name.clone(), executor: executor.to_owned() });
        }
    };
    let shape = match scenario.start_time.filter(|t| !t.is_zero()) {
        Some(start) => format!("{shape}, from {}", words(start)),
        None => shape,
    };
    let executor = scenario.executor.clone();
    Ok(PlannedScenario { name: name.clone(), executor, shape, max_vus, peak_rate, ends_after: ends_after(scenario) })
}

/// Start, and then the duration, the ramps, or what iterations may take (k6's default is ten minutes).
fn ends_after(scenario: &Scenario) -> Duration {
    let ramps = || scenario.stages.iter().filter_map(|stage| stage.duration).reduce(|a, b| a + b);
    let lasts = scenario.duration.or_else(ramps).or(scenario.max_duration).unwrap_or(Duration::from_mins(10));
    scenario.start_time.unwrap_or_default() + lasts
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
