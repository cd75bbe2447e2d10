//! The variables that lambdaload itself gives to scripts.
//!
//! They say which worker a script runs on, in lambdaload's words and in those of Grafana Cloud, by which scripts that were
//! written for it share out their data.

use crate::{
    ids::{RunId, WorkerIndex},
    k6::options::LoadZone,
    plan::Plan,
};

/// The run in the eyes of init code that runs while a script is archived, before there is a run. It is always the same, so
/// that the same script makes the same archive.
const NO_RUN: &str = "00000000000000000000000000";

/// What one worker's script is given.
pub fn of_worker(run: &RunId, index: WorkerIndex, plan: &Plan) -> Vec<(String, String)> {
    let all = variables(run.as_str(), index, plan.workers, zone_of(&plan.distribution, index, plan.workers));
    // What the user set stays.
    all.into_iter().filter(|(name, _)| !plan.env.contains(name)).collect()
}

/// What a script is given while it is archived: it sees a run with one worker, so that options that are computed from the
/// number of workers are those of the whole test.
pub fn while_archiving() -> Vec<(String, String)> {
    variables(NO_RUN, WorkerIndex(0), 1, None)
}

fn variables(run: &str, index: WorkerIndex, workers: u32, zone: Option<&LoadZone>) -> Vec<(String, String)> {
    let (label, zone) = zone.map_or(("default", "lambdaload"), |zone| (&zone.label, &zone.load_zone));
    let pairs = [
        ("LAMBDALOAD_RUN_ID", run.to_owned()),
        ("LAMBDALOAD_WORKER", index.number().to_string()),
        ("LAMBDALOAD_WORKERS", workers.to_string()),
        ("K6_CLOUDRUN_INSTANCE_ID", index.0.to_string()),
        ("K6_CLOUDRUN_TEST_RUN_ID", run.to_owned()),
        ("K6_CLOUDRUN_LOAD_ZONE", zone.to_owned()),
        ("K6_CLOUDRUN_DISTRIBUTION", label.to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The load zone that a worker stands for: workers are dealt out in the proportions of `options.cloud.distribution`.
fn zone_of(distribution: &[LoadZone], index: WorkerIndex, workers: u32) -> Option<&LoadZone> {
    let total: f64 = distribution.iter().map(|zone| zone.percent).sum();
    let place = (f64::from(index.0) + 0.5) / f64::from(workers) * total;
    let mut end = 0.0;
    let found = distribution.iter().find(|zone| {
        end += zone.percent;
        place < end
    });
    found.or(distribution.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_dealt_out_to_load_zones() {
        let zone = |label: &str, percent| LoadZone { label: label.into(), load_zone: "amazon:us:x".into(), percent };
        let labels = |zones: &[LoadZone], workers| {
            let of = |i| zone_of(zones, WorkerIndex(i), workers).map_or("none", |zone| &zone.label).to_owned();
            (0..workers).map(of).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels(&[zone("a", 60.0), zone("b", 40.0)], 5), "a a a b b");
        assert_eq!(labels(&[zone("a", 50.0), zone("b", 50.0)], 2), "a b");
        assert_eq!(labels(&[zone("a", 50.0), zone("b", 50.0)], 1), "b");
        assert_eq!(labels(&[zone("a", 0.0)], 2), "a a");
        assert_eq!(labels(&[], 1), "none");
    }

    #[test]
    fn an_archive_sees_the_whole_and_is_always_the_same() {
        let all = while_archiving();
        let value = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(value("LAMBDALOAD_WORKERS"), Some("1"));
        assert!(RunId::parse(value("LAMBDALOAD_RUN_ID").expect("is there")).is_ok(), "init code may read it as an id");
        assert_eq!(value("K6_CLOUDRUN_DISTRIBUTION"), Some("default"));
    }
}
