//! However the work is split, the verdict is that of one worker who does it all.

use std::time::Duration;

use lambdaload_core::{
    testing::generator::{K6Script, SampleLine},
    verdict::{MetricSummary, Outcome, ThresholdResult, Values, Verdict},
};
use proptest::{prelude::*, test_runner::RngSeed};

use crate::script::Test;

const THRESHOLDS: &str = r#"{
    "http_req_duration":["p(95)<80","p(50)>=40.5","avg<55","max<99.5","min>0.25"],
    "http_req_duration{name:b}":["p(90)<90","p(99.9)<=98"],
    "http_reqs":["count>120"],
    "http_req_failed":["rate<0.4"],
    "http_req_failed{name:c}":["rate<0.3"],
    "checks":["rate>0.5"]
}"#;

/// One sample: when, of which metric, with which value and name.
type Drawn = (u16, usize, f64, usize);

fn line((at, metric, value, name): &Drawn) -> (Duration, SampleLine) {
    let metric = ["http_req_duration", "http_reqs", "http_req_failed", "checks"][*metric];
    let value = match metric {
        "http_req_duration" => *value,
        "http_reqs" => 1.0,
        _ => f64::from(*value > 60.0),
    };
    let name = ["a", "b", "c"][*name];
    let tags = format!(r#"{{"name":"{name}","check":"{name} is well","group":""}}"#);
    (Duration::from_millis(u64::from(*at)), SampleLine::Sample { metric: metric.into(), value, tags })
}

/// What does not depend on who did the work. Rates per second refer to the run's own length, and k6's VUs to its clock.
fn essence(verdict: &Verdict) -> (Outcome, i32, Vec<ThresholdResult>, Vec<MetricSummary>, usize) {
    let thresholds = verdict.thresholds.iter().map(|t| ThresholdResult { first_crossed_ms: None, ..t.clone() });
    let metrics = verdict.summary.metrics.iter().filter(|m| !m.name.starts_with("vus")).map(|metric| {
        let mut metric = metric.clone();
        if let Values::Counter { rate, .. } = &mut metric.values {
            rate.0 = 0.0;
        }
        metric
    });
    (verdict.outcome, verdict.exit_code, thresholds.collect(), metrics.collect(), verdict.summary.checks.len())
}

fn k6(samples: Vec<(Duration, SampleLine)>, ready_after: u64) -> K6Script {
    K6Script { samples, ready_after: Duration::from_millis(ready_after), ..K6Script::default() }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_split_run_is_judged_as_a_whole_one(
        samples in prop::collection::vec((0u16..10_000, 0usize..4, 0.0..100.0_f64, 0usize..3), 0..500),
        owners in prop::collection::vec(0usize..6, 500),
        ready in prop::collection::vec(0u64..3_000, 6),
    ) {
        let whole = k6(samples.iter().map(line).collect(), ready[0]);
        let one = Test { thresholds: THRESHOLDS, scripts: vec![whole], ..Test::of(0) }.verdict();
        let part = |owner: usize| {
            let its = samples.iter().zip(&owners).filter(|(_, o)| **o == owner).map(|(sample, _)| line(sample));
            k6(its.collect(), ready[owner])
        };
        let many = Test { thresholds: THRESHOLDS, scripts: (0..6).map(part).collect(), ..Test::of(0) }.verdict();
        prop_assert_ne!(many.outcome, Outcome::Invalid, "{:?}", many.reasons);
        prop_assert!(many.thresholds.iter().all(|t| t.exact));
        prop_assert_eq!(essence(&many), essence(&one));
    }
}
