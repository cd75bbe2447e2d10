//! When the load of a run is level: what changes over time there is the system's doing and not the plan's.

use std::{collections::BTreeSet, time::Duration};

use crate::plan::{Plan, Schedule, Work, ramps};

/// A part of a run: when it begins and ends, after the start.
type Stretch = (Duration, Duration);

impl Plan {
    /// The longest time over which every scenario keeps its VUs, or its arrival rate, by plan; of equally long ones the
    /// first. None if the load ramps all the time. The executors that count iterations may be over sooner.
    pub fn level_stretch(&self) -> Option<Stretch> {
        let courses: Vec<Vec<(Stretch, Option<u64>)>> = self.scenarios.iter().map(|s| course(&s.schedule)).collect();
        let cuts: BTreeSet<Duration> =
            courses.iter().flatten().flat_map(|((from, until), _)| [*from, *until]).collect();
        let mut longest: Option<Stretch> = None;
        let mut current: Option<(Stretch, Vec<u64>)> = None;
        for (from, until) in cuts.iter().copied().zip(cuts.iter().copied().skip(1)) {
            let level_in = |course: &Vec<(Stretch, Option<u64>)>| {
                let part = course.iter().find(|((begins, ends), _)| *begins <= from && until <= *ends);
                part.map_or(Some(0), |(_, level)| *level)
            };
            let levels: Option<Vec<u64>> = courses.iter().map(level_in).collect();
            let levels = levels.filter(|levels| levels.iter().any(|level| *level > 0));
            current = levels.map(|levels| match current.take() {
                Some(((began, _), before)) if before == levels => ((began, until), levels),
                _ => ((from, until), levels),
            });
            let length = |(from, until): Stretch| until.saturating_sub(from);
            if let Some((stretch, _)) = &current
                && longest.is_none_or(|longest| length(*stretch) > length(longest))
            {
                longest = Some(*stretch);
            }
        }
        longest
    }
}

/// The parts of a scenario, each with its level, or none while it ramps.
fn course(schedule: &Schedule) -> Vec<(Stretch, Option<u64>)> {
    let begins = schedule.starts_after;
    match &schedule.work {
        Work::Looping { vus: start, ramps, .. } | Work::RampingArrivals { rate: start, ramps, .. } => {
            ramps::each(*start, ramps)
                .filter(|(_, _, ramp)| !ramp.lasts.is_zero())
                .map(|(level, at, ramp)| {
                    let from = begins.saturating_add(at);
                    ((from, from.saturating_add(ramp.lasts)), (level == ramp.target).then_some(level))
                })
                .collect()
        }
        Work::SharedIterations { vus, .. } | Work::PerVuIterations { vus, .. } | Work::Controlled { vus, .. } => {
            vec![((begins, schedule.ends_after()), Some(*vus))]
        }
        Work::ConstantArrivals { rate, .. } => vec![((begins, schedule.ends_after()), Some(*rate))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        archive::Archive,
        k6::{options::Options, version::K6Version},
        plan::{Machine, Request},
    };

    /// In seconds.
    fn level(scenarios: &str) -> Option<(u64, u64)> {
        let options = format!(r#"{{"scenarios":{{{scenarios}}},"totalDuration":"1h","maxVUs":50}}"#);
        let hash = serde_json::from_str("\"ab\"").expect("a hash");
        let archive = Archive { hash, size: 1, files: 1, filename: "file:///a.js".into() };
        let request = Request { script: "a.js".into(), ..Request::default() };
        let options = Options::parse(options.as_bytes()).expect("reads");
        let machine = Machine { cores: 1, open_files: 1_024 };
        let plan = Plan::new(request, archive, K6Version::new(1, 8, 1), &options, machine).expect("plans");
        plan.level_stretch().map(|(from, until)| (from.as_secs(), until.as_secs()))
    }

    #[test]
    fn ramps_are_left_out() {
        let ramping = |stages: &str| format!(r#""a":{{"executor":"ramping-vus","startVUs":0,"stages":[{stages}]}}"#);
        let up_hold_down =
            r#"{"duration":"2m","target":20},{"duration":"10m","target":20},{"duration":"1m","target":0}"#;
        assert_eq!(level(&ramping(up_hold_down)), Some((120, 720)));
        assert_eq!(level(&ramping(r#"{"duration":"2m","target":20},{"duration":"2m","target":0}"#)), None);
        // A jump is no ramp, and ends what was level.
        let jump = r#"{"duration":"0s","target":5},{"duration":"3m","target":5},{"duration":"0s","target":9},{"duration":"4m","target":9},{"duration":"2m","target":9}"#;
        assert_eq!(level(&ramping(jump)), Some((180, 540)));
    }

    #[test]
    fn all_scenarios_together_are_level() {
        let constant = r#""a":{"executor":"constant-vus","vus":3,"duration":"30m"}"#;
        assert_eq!(level(constant), Some((0, 1_800)));
        let late = r#""b":{"executor":"constant-arrival-rate","rate":5,"duration":"5m","startTime":"10m","preAllocatedVUs":2}"#;
        assert_eq!(level(&format!("{constant},{late}")), Some((900, 1_800)));
    }
}
