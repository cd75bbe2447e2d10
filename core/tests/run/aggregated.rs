//! Runs of which k6 aggregates the samples.

use std::time::Duration;

use lambdaload_core::{
    plan::Samples,
    testing::generator::K6Script,
    verdict::{Outcome, ReasonCode, Values, Verdict},
};

use crate::script::{Test, seconds};

/// Response times go from 1 to 100 ms.
const THRESHOLDS: &str = r#"{
    "http_req_duration":["p(95)<80","p(50)<50.8","avg<51","max<=100"],
    "http_req_duration{name:page 1}":["p(90)<200"],
    "http_reqs":["count==300"]
}"#;

fn run(samples: Samples, thresholds: &'static str) -> Verdict {
    Test { thresholds, samples, ..Test::of(3) }.verdict()
}

fn metric<'a>(verdict: &'a Verdict, name: &str) -> &'a Values {
    &verdict.summary.metrics.iter().find(|m| m.name == name && m.suffix.is_none()).expect(name).values
}

#[test]
fn all_but_percentiles_is_what_single_samples_say() {
    let (exact, aggregated) = (run(Samples::Exact, THRESHOLDS), run(Samples::Aggregated, THRESHOLDS));
    assert_eq!((exact.outcome, aggregated.outcome), (Outcome::Failed, Outcome::Failed));
    assert_eq!((exact.samples.kind, aggregated.samples.kind), (Samples::Exact, Samples::Aggregated));
    assert_eq!(aggregated.samples.read, aggregated.samples.merged);
    for name in ["http_reqs", "http_req_failed", "iterations"] {
        assert_eq!(metric(&aggregated, name), metric(&exact, name), "{name}");
    }
    let results = |verdict: &Verdict| verdict.thresholds.iter().map(|t| t.passed).collect::<Vec<_>>();
    assert_eq!(results(&aggregated), results(&exact));
    // The median is 50.5, which is less than 0.78 % away from 50.8; nothing else is near.
    let marked: Vec<_> =
        aggregated.thresholds.iter().filter(|t| t.within_error).map(|t| t.expression.as_str()).collect();
    assert_eq!(marked, ["p(50)<50.8"]);
    assert!(exact.thresholds.iter().all(|t| t.exact && !t.within_error));
    assert!((aggregated.percentile_error - 1.0 / 128.0).abs() < 1e-12 && exact.percentile_error < 0.001);
}

#[test]
fn what_is_too_close_to_call_stops_no_run_and_what_is_clear_does() {
    let close = r#"{"http_req_duration":["max<1000",{"threshold":"p(100)<100.0","abortOnFail":true}]}"#;
    let test = |thresholds| {
        let slow = |k6: &mut K6Script| {
            *k6 = k6.clone().sample(Duration::from_millis(100), "http_req_duration", 100.0, "{}");
            k6.lasts = seconds(20);
        };
        let duration = seconds(20);
        Test { thresholds, duration, samples: Samples::Aggregated, ..Test::of(1) }.with(1, slow).verdict()
    };
    let verdict = test(close);
    assert!(verdict.abort.is_none() && verdict.thresholds[1].within_error, "{:?}", verdict.abort);
    assert_eq!(verdict.outcome, Outcome::Failed, "decided from the histogram, and marked");
    let clear = r#"{"http_req_duration":[{"threshold":"p(100)<90","abortOnFail":true}]}"#;
    let verdict = test(clear);
    assert!(verdict.abort.is_some() && !verdict.thresholds[0].within_error, "{:?}", verdict.thresholds);
}

#[test]
fn batches_that_k6_gave_up_are_missing_by_worker() {
    let test = Test { samples: Samples::Aggregated, ..Test::of(3) };
    let verdict = test.with(2, |k6| k6.unwritten.batches = 2).with(3, |k6| k6.unwritten.batches = 1).verdict();
    assert_eq!((verdict.outcome, verdict.exit_code, verdict.samples.lost_batches), (Outcome::Invalid, 96, 3));
    let told: Vec<_> = verdict.reasons.iter().map(|r| (r.code, r.worker, r.message.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                ReasonCode::SamplesMissing,
                Some(2),
                "worker 2: k6 gave up 2 batches of its aggregated samples, which are in nothing"
            ),
            (
                ReasonCode::SamplesMissing,
                Some(3),
                "worker 3: k6 gave up a batch of its aggregated samples, which are in nothing"
            ),
        ]
    );
}

#[test]
fn clocks_that_step_and_clocks_that_are_wrong_change_nothing_either() {
    let usual = run(Samples::Aggregated, THRESHOLDS);
    let hour = 3_600_000_000;
    let steps = vec![(seconds(5), hour), (seconds(9), -hour)];
    let mut stepped = Test { thresholds: THRESHOLDS, steps, samples: Samples::Aggregated, ..Test::of(3) };
    stepped.fast_clocks.insert(crate::script::worker(2), 2 * hour);
    let stepped = stepped.verdict();
    assert_ne!(stepped.outcome, Outcome::Invalid, "{:?}", stepped.reasons);
    for name in ["http_reqs", "http_req_duration"] {
        let without_rate = |values: &Values| match values.clone() {
            Values::Counter { count, .. } => format!("{count:?}"),
            values => format!("{values:?}"),
        };
        assert_eq!(without_rate(metric(&stepped, name)), without_rate(metric(&usual, name)), "{name}");
    }
}
