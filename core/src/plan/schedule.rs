//! What each executor does and when, as k6's documentation of its executors and execution segments has it.
//!
//! All of it is the plan of k6: what happens if every iteration ends in time and VUs are ready when they are needed.
//! Graceful stops and ramp-downs only count where VUs are kept for them ([`Schedule::vu_changes`]).

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    ids::WorkerIndex,
    k6::options::Scenario,
    millis,
    plan::ramps::{self, Ramp},
    segment::{Dealer, Segment},
};

/// How long k6 lets iterations finish, and VUs leave, unless the script says otherwise.
const GRACE: Duration = Duration::from_secs(30);

/// How long the executors that count iterations may take, unless the script says otherwise.
const MAX_DURATION: Duration = Duration::from_mins(10);

/// Whether an iteration of a constant rate that comes up so shortly before the end still starts is luck; it is not counted.
const TOO_LATE: Duration = Duration::from_micros(100);

/// When a scenario does what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// From the start of the test to that of the scenario.
    #[serde(with = "millis")]
    pub starts_after: Duration,
    /// From its end by plan until iterations that still run are cut off.
    #[serde(with = "millis")]
    pub graceful_stop: Duration,
    /// What it does.
    pub work: Work,
}

/// What a scenario does, by its executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// `constant-vus` and `ramping-vus`: VUs that loop.
    Looping {
        /// VUs at the start.
        vus: u64,
        /// How their number changes; of `constant-vus` one that stays where it is.
        ramps: Vec<Ramp>,
        /// How long a VU that has to leave may finish its iteration.
        #[serde(with = "millis")]
        graceful_ramp_down: Duration,
    },
    /// `shared-iterations`.
    SharedIterations {
        /// VUs.
        vus: u64,
        /// Iterations of all VUs together.
        iterations: u64,
        /// How long it may take.
        #[serde(with = "millis")]
        lasts: Duration,
    },
    /// `per-vu-iterations`.
    PerVuIterations {
        /// VUs.
        vus: u64,
        /// Iterations of each VU.
        iterations: u64,
        /// How long it may take.
        #[serde(with = "millis")]
        lasts: Duration,
    },
    /// `constant-arrival-rate`.
    ConstantArrivals {
        /// Iterations per unit of time.
        rate: u64,
        /// That unit in nanoseconds.
        unit_nanos: u64,
        /// VUs at most.
        max_vus: u64,
        /// How long.
        #[serde(with = "millis")]
        lasts: Duration,
    },
    /// `ramping-arrival-rate`.
    RampingArrivals {
        /// Iterations per unit of time at the start.
        rate: u64,
        /// That unit in nanoseconds.
        unit_nanos: u64,
        /// VUs at most.
        max_vus: u64,
        /// How the rate changes.
        ramps: Vec<Ramp>,
    },
    /// `externally-controlled`: VUs that loop, as many as somebody wants.
    Controlled {
        /// VUs at the start.
        vus: u64,
        /// VUs at most.
        max_vus: u64,
        /// How long.
        #[serde(with = "millis")]
        lasts: Duration,
    },
}

impl Schedule {
    /// The schedule of a scenario; none for an executor that is not known.
    pub(super) fn of(scenario: &Scenario) -> Option<Self> {
        let vus = scenario.vus.unwrap_or(1);
        let lasts = scenario.duration.unwrap_or_default();
        let at_most = scenario.max_duration.unwrap_or(MAX_DURATION);
        let iterations = scenario.iterations.unwrap_or(1);
        let unit = scenario.time_unit.unwrap_or(Duration::from_secs(1));
        let unit_nanos = u64::try_from(unit.as_nanos()).unwrap_or(u64::MAX).max(1);
        let max_vus = scenario.max_vus.or(scenario.pre_allocated_vus).unwrap_or(0);
        let ramps = || scenario.stages.iter().map(Ramp::of).collect();
        let work = match scenario.executor.as_str() {
            "constant-vus" => {
                let ramps = vec![Ramp { lasts, target: vus }];
                Work::Looping { vus, ramps, graceful_ramp_down: Duration::ZERO }
            }
            "ramping-vus" => Work::Looping {
                vus: scenario.start_vus.unwrap_or(1),
                ramps: ramps(),
                graceful_ramp_down: scenario.graceful_ramp_down.unwrap_or(GRACE),
            },
            "shared-iterations" => Work::SharedIterations { vus, iterations, lasts: at_most },
            "per-vu-iterations" => Work::PerVuIterations { vus, iterations, lasts: at_most },
            "constant-arrival-rate" => {
                Work::ConstantArrivals { rate: whole(scenario.rate), unit_nanos, max_vus, lasts }
            }
            "ramping-arrival-rate" => {
                Work::RampingArrivals { rate: whole(scenario.start_rate), unit_nanos, max_vus, ramps: ramps() }
            }
            // It starts with no VU unless told otherwise, and knows no graceful stop.
            "externally-controlled" => {
                let vus = scenario.vus.unwrap_or(0);
                Work::Controlled { vus, max_vus: scenario.max_vus.unwrap_or(vus), lasts }
            }
            _ => return None,
        };
        let graceful_stop = match work {
            Work::Controlled { .. } => Duration::ZERO,
            _ => scenario.graceful_stop.unwrap_or(GRACE),
        };
        Some(Self { starts_after: scenario.start_time.unwrap_or_default(), graceful_stop, work })
    }

    /// From the start of the test until it is over by plan, without the graceful stop; the executors that count
    /// iterations may be over long before.
    pub fn ends_after(&self) -> Duration {
        self.starts_after.saturating_add(self.lasts())
    }

    fn lasts(&self) -> Duration {
        match &self.work {
            Work::Looping { ramps, .. } | Work::RampingArrivals { ramps, .. } => ramps::lasts(ramps),
            Work::SharedIterations { lasts, .. }
            | Work::PerVuIterations { lasts, .. }
            | Work::ConstantArrivals { lasts, .. }
            | Work::Controlled { lasts, .. } => *lasts,
        }
    }

    /// VUs at most; segments deal these out.
    pub fn max_vus(&self) -> u64 {
        match &self.work {
            Work::Looping { vus, ramps, .. } => ramps::peak(*vus, ramps),
            Work::SharedIterations { vus, .. } | Work::PerVuIterations { vus, .. } => *vus,
            Work::ConstantArrivals { max_vus, .. }
            | Work::RampingArrivals { max_vus, .. }
            | Work::Controlled { max_vus, .. } => *max_vus,
        }
    }

    /// Iterations per second at most, of arrival rates.
    pub fn peak_rate(&self) -> Option<f64> {
        match &self.work {
            Work::ConstantArrivals { rate, unit_nanos, .. } => Some(per_second(*rate as f64, *unit_nanos)),
            Work::RampingArrivals { rate, unit_nanos, ramps, .. } => {
                Some(per_second(ramps::peak(*rate, ramps) as f64, *unit_nanos))
            }
            _ => None,
        }
    }

    /// VUs so long after the start of the test: of those that count iterations at most so many, since VUs leave when there
    /// is nothing left to do. None while an arrival rate decides, for which k6 takes as many as it needs. A worker's are its
    /// segment's share of these.
    pub fn vus_at(&self, at: Duration) -> Option<u64> {
        let Some(at) = self.within(at) else { return Some(0) };
        match &self.work {
            Work::Looping { vus, ramps, .. } => Some(ramps::level_at(*vus, ramps, at)),
            Work::SharedIterations { vus, .. } | Work::PerVuIterations { vus, .. } | Work::Controlled { vus, .. } => {
                Some(*vus)
            }
            Work::ConstantArrivals { .. } | Work::RampingArrivals { .. } => None,
        }
    }

    /// The time since its start, while it goes on.
    fn within(&self, at: Duration) -> Option<Duration> {
        at.checked_sub(self.starts_after).filter(|at| *at < self.lasts())
    }

    /// VUs that a worker must keep for it, as changes in the order of time after the start of the test, graceful stops and
    /// ramp-downs included.
    pub(super) fn vu_changes(&self, segment: Segment) -> Vec<(Duration, i64)> {
        let ends = self.lasts().saturating_add(self.graceful_stop);
        let mut changes = if let Work::Looping { vus, ramps, graceful_ramp_down } = &self.work {
            ramps::vu_changes(*vus, ramps, segment, *graceful_ramp_down, ends)
        } else {
            let vus = i64::try_from(segment.share(self.max_vus())).unwrap_or(i64::MAX);
            vec![(Duration::ZERO, vus), (ends, -vus)]
        };
        for (at, _) in &mut changes {
            *at = at.saturating_add(self.starts_after);
        }
        changes
    }

    /// Iterations per second that start at one moment, of arrival rates.
    pub fn rate_at(&self, at: Duration) -> Option<f64> {
        let at = self.within(at);
        let (unit_nanos, rate) = match &self.work {
            Work::ConstantArrivals { rate, unit_nanos, .. } => (*unit_nanos, at.map(|_| *rate as f64)),
            Work::RampingArrivals { rate, unit_nanos, ramps, .. } => {
                (*unit_nanos, at.map(|at| ramps::rate_at(*rate, ramps, at)))
            }
            _ => return None,
        };
        Some(per_second(rate.unwrap_or(0.0), unit_nanos))
    }

    /// The moments at which the rate may change its course.
    pub(super) fn bends(&self) -> Vec<Duration> {
        let ramps = if let Work::RampingArrivals { ramps, .. } = &self.work { ramps.as_slice() } else { &[] };
        let ends = ramps.iter().scan(self.starts_after, |at, ramp| {
            *at = at.saturating_add(ramp.lasts);
            Some(*at)
        });
        [self.starts_after, self.ends_after()].into_iter().chain(ends).collect()
    }

    /// Iterations, and parts of one, that have come up so long after the start of the test, of arrival rates.
    pub fn offered_until(&self, at: Duration) -> Option<f64> {
        let at = at.saturating_sub(self.starts_after).min(self.lasts());
        match &self.work {
            Work::ConstantArrivals { rate, unit_nanos, .. } => {
                Some(per_second(*rate as f64, *unit_nanos) * at.as_secs_f64())
            }
            Work::RampingArrivals { rate, unit_nanos, ramps, .. } => Some(ramps::area(*rate, *unit_nanos, ramps, at)),
            _ => None,
        }
    }

    /// When iterations 0, 1, 2 and so on start, after the start of the test, of arrival rates.
    pub fn arrivals(&self) -> Box<dyn Iterator<Item = Duration> + '_> {
        let times: Box<dyn Iterator<Item = Duration>> = match &self.work {
            Work::ConstantArrivals { rate, unit_nanos, lasts, .. } => {
                let period = period_nanos(*rate, *unit_nanos);
                let times = (0..).map(move |k: u64| Duration::from_nanos(k.saturating_mul(period)));
                Box::new(times.take_while(|at| *at < lasts.saturating_sub(TOO_LATE)))
            }
            Work::RampingArrivals { rate, unit_nanos, ramps, .. } => {
                Box::new(ramps::arrivals(*rate, *unit_nanos, ramps))
            }
            _ => Box::new(std::iter::empty()),
        };
        Box::new(times.map(|at| at.saturating_add(self.starts_after)))
    }

    /// Iterations by plan; none of those that loop.
    pub fn iterations(&self) -> Option<u64> {
        match &self.work {
            Work::SharedIterations { iterations, .. } => Some(*iterations),
            Work::PerVuIterations { vus, iterations, .. } => Some(vus.saturating_mul(*iterations)),
            Work::ConstantArrivals { rate, unit_nanos, lasts, .. } => {
                let period = u128::from(period_nanos(*rate, *unit_nanos));
                let until = lasts.saturating_sub(TOO_LATE).as_nanos();
                Some(u64::try_from(until.div_ceil(period)).unwrap_or(u64::MAX))
            }
            Work::RampingArrivals { rate, unit_nanos, ramps, .. } => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, from k6")]
                let whole = ramps::area(*rate, *unit_nanos, ramps, Duration::MAX) as u64;
                Some(whole)
            }
            Work::Looping { .. } | Work::Controlled { .. } => None,
        }
    }

    /// Who does which iteration, where the iterations' numbers decide: not where VUs loop or have iterations of their own.
    pub fn dealer(&self, workers: u32) -> Option<Dealer> {
        match &self.work {
            Work::SharedIterations { .. } | Work::ConstantArrivals { .. } | Work::RampingArrivals { .. } => {
                Some(Dealer::new(workers, self.max_vus()))
            }
            Work::Looping { .. } | Work::PerVuIterations { .. } | Work::Controlled { .. } => None,
        }
    }

    /// How many of its iterations each worker does; workers that are not in it do none. None where VUs loop.
    pub fn iterations_by_worker(&self, workers: u32) -> Option<BTreeMap<WorkerIndex, u64>> {
        let all = self.iterations()?;
        if let Some(dealer) = self.dealer(workers) {
            return Some(dealer.shares(all));
        }
        let each = all.checked_div(self.max_vus()).unwrap_or(0);
        let share = |index| Some((index, Segment::new(index, workers)?.share(self.max_vus()) * each));
        Some((0..workers).map(WorkerIndex).filter_map(share).collect())
    }
}

/// The time from one iteration of a constant rate to the next, in whole nanoseconds as k6 has it; never 0.
fn period_nanos(rate: u64, unit_nanos: u64) -> u64 {
    unit_nanos.checked_div(rate).unwrap_or(u64::MAX).max(1)
}

fn per_second(rate: f64, unit_nanos: u64) -> f64 {
    rate * 1e9 / unit_nanos as f64
}

/// A number of something, which k6 prints as it has read it: whole.
fn whole(number: Option<f64>) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    let whole = number.unwrap_or(0.0) as u64;
    whole
}

#[cfg(test)]
mod tests;
