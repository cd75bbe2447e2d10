//! From evidence to verdict: what is believed, what it means, and what the command exits with.

#![expect(clippy::expect_used, reason = "these are tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lambdaload_core::{
    aggregate::Aggregate,
    chunk::{Chunk, ChunkKey},
    closing::Closing,
    ids::{Attempt, RunId, WorkerIndex},
    judge::{Evidence, INVALID, judge},
    k6::exit::ProcessExit,
    lifecycle::{Abort, AbortCause, Phase},
    ports::Timestamp,
    recorder::Recorder,
    records::{Failure, FailureKind, RunRecord, WorkerPhase, WorkerRecord},
    testing::{clock::NOON, contract::sample_run},
    verdict::{Outcome, ReasonCode, Verdict},
};

/// All that is known of a run of three workers at its end; nothing is wrong with it.
struct Case {
    run: RunRecord,
    workers: Vec<WorkerRecord>,
    lost: BTreeMap<WorkerIndex, Failure>,
    /// Response times in milliseconds that each worker saw.
    responses: f64,
    /// A line that each worker could not read.
    junk: &'static str,
    closings_missing: BTreeSet<WorkerIndex>,
    chunks_missing: BTreeSet<WorkerIndex>,
    unreadable: BTreeMap<(WorkerIndex, u32), String>,
    aggregator_lost: bool,
}

impl Case {
    /// A run with one threshold, `http_req_duration p(95)<200.5`, which holds.
    fn new() -> Self {
        let mut run = sample_run(&RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id"));
        run.state.phase = Phase::Finishing;
        run.start_at = Some(NOON);
        let worker = |index| WorkerRecord {
            phase: WorkerPhase::Closed,
            beat: 70,
            chunks: 1,
            skew_micros: Some(1_000),
            resumed_at: Some(NOON),
            ended_at: Some(NOON.plus(Duration::from_mins(1))),
            ..WorkerRecord::claim(run.id.clone(), index, Attempt(1))
        };
        Self {
            workers: run.plan.worker_indices().map(worker).collect(),
            run,
            lost: BTreeMap::new(),
            responses: 100.0,
            junk: "",
            closings_missing: BTreeSet::new(),
            chunks_missing: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            aggregator_lost: false,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn stopped(self, cause: AbortCause) -> Self {
        self.with(|case| case.run.state.abort = Some(Abort { cause, message: "the cause".into(), at_once: false }))
    }

    fn failed(self, index: u32, kind: FailureKind, exit: impl Into<Option<ProcessExit>>) -> Self {
        let failure =
            Failure { kind, message: "what went wrong".into(), exit: exit.into(), log: vec!["k6's words".into()] };
        self.with(|case| case.workers[index as usize].failure = Some(failure))
    }

    fn lost(self, index: u32) -> Self {
        let failure = Failure { kind: FailureKind::Lost, message: "silent".into(), exit: None, log: Vec::new() };
        self.with(|case| {
            case.workers[index as usize].phase = WorkerPhase::Running;
            case.workers[index as usize].ended_at = None;
            case.closings_missing.insert(WorkerIndex(index));
            case.lost.insert(WorkerIndex(index), failure);
        })
    }

    fn never_started(self) -> Self {
        self.with(|case| {
            for worker in &mut case.workers {
                (worker.resumed_at, worker.ended_at, worker.chunks) = (None, None, 0);
            }
            case.chunks_missing = case.run.plan.worker_indices().collect();
            case.closings_missing = case.chunks_missing.clone();
        })
    }

    fn crossed(self) -> Self {
        self.with(|case| case.responses = 300.0)
    }

    fn without_thresholds(self) -> Self {
        self.with(|case| case.run.plan.thresholds.clear())
    }

    fn judge(&self) -> Verdict {
        let mut aggregate = Aggregate::new();
        let mut closings = Vec::new();
        for record in &self.workers {
            let (run, worker) = (record.run.clone(), record.index);
            let mut recorder = Recorder::new(self.run.plan.watches(), 100);
            for second in 0..60 {
                let line = format!(
                    r#"{{"metric":"http_req_duration","type":"Point","data":{{"time":"2026-11-22T12:00:{second:02}.5Z","value":{},"tags":{{}}}}}}"#,
                    self.responses
                );
                recorder.feed(line.as_bytes());
                recorder.feed(b"\n");
            }
            recorder.feed(self.junk.as_bytes());
            recorder.finish();
            let key = ChunkKey { run: run.clone(), worker, attempt: Attempt(1), sequence: 1 };
            let chunk = Chunk { key, series: recorder.take_windows(true) };
            let unreadable = self.unreadable.contains_key(&(worker, 1));
            if !self.chunks_missing.contains(&worker) && !unreadable {
                aggregate.apply(&chunk).expect("applies");
            }
            if !self.closings_missing.contains(&worker) {
                closings.push(Closing {
                    run,
                    worker,
                    attempt: Attempt(1),
                    chunks: 1,
                    lines: recorder.counts().clone(),
                    totals: recorder.totals().map(|(id, total)| (id.clone(), total)).collect(),
                });
            }
        }
        judge(&Evidence {
            run: &self.run,
            workers: self.workers.iter().collect(),
            lost: &self.lost,
            closings: &closings,
            unreadable: &self.unreadable,
            aggregate: &aggregate,
            first_crossed: &[],
            aggregator_lost: self.aggregator_lost,
            lambdaload_version: "0.1.0",
        })
    }
}

const fn code(code: i32) -> ProcessExit {
    ProcessExit::Code(code)
}

const KILLED: ProcessExit = ProcessExit::Signal(9);

#[track_caller]
fn check(case: &Case, outcome: Outcome, exit_code: i32) {
    let verdict = case.judge();
    assert_eq!((verdict.outcome, verdict.exit_code), (outcome, exit_code), "{:?}", verdict.reasons);
    let is_success = exit_code == 0 && outcome != Outcome::Invalid;
    assert_eq!(is_success, verdict.reasons.is_empty(), "{:?}", verdict.reasons);
}

#[test]
fn what_the_measurement_says() {
    check(&Case::new(), Outcome::Passed, 0);
    check(&Case::new().crossed(), Outcome::Failed, 99);
    check(&Case::new().without_thresholds(), Outcome::NoThresholds, 0);
}

#[test]
fn what_stops_a_run() {
    use {AbortCause as A, Outcome as O};
    let stopped = |cause| Case::new().stopped(cause);
    check(&stopped(A::Threshold).crossed(), O::Failed, 99);
    check(&stopped(A::Threshold), O::Failed, 99);
    check(&stopped(A::Threshold).crossed().lost(2), O::Invalid, INVALID);
    check(&stopped(A::User), O::Passed, 105);
    check(&stopped(A::User).crossed(), O::Failed, 105);
    check(&stopped(A::User).without_thresholds(), O::NoThresholds, 105);
    check(&stopped(A::User).never_started(), O::Invalid, 105);
    check(&stopped(A::User).lost(1), O::Invalid, 105);
    check(&stopped(A::System), O::Invalid, INVALID);
    check(&stopped(A::System).lost(2), O::Invalid, INVALID);
    check(&stopped(A::Deadline), O::Invalid, INVALID);
}

#[test]
fn what_the_script_asks_for() {
    use {AbortCause as A, FailureKind as F, Outcome as O};
    let failed = |kind, exit| Case::new().failed(1, kind, code(exit));
    check(&failed(F::ScriptAborted, 108).stopped(A::Script), O::Failed, 108);
    check(&failed(F::ScriptFailed, 110), O::Failed, 110);
    check(&failed(F::ScriptFailed, 110).crossed(), O::Failed, 110);
    check(&failed(F::ScriptFailed, 110).stopped(A::User), O::Failed, 105);
}

#[test]
fn what_breaks_before_the_start() {
    use {AbortCause as A, FailureKind as F, Outcome as O};
    let failed = |kind, exit: Option<_>| Case::new().never_started().failed(0, kind, exit);
    check(&failed(F::K6DidNotStart, Some(code(107))).stopped(A::Script), O::Invalid, 107);
    check(&failed(F::K6DidNotStart, Some(code(104))).stopped(A::System), O::Invalid, 104);
    check(&failed(F::K6DidNotStart, Some(code(255))).stopped(A::System), O::Invalid, INVALID);
    check(&failed(F::Setup, Some(code(107))).stopped(A::Script), O::Invalid, 107);
    check(&failed(F::Setup, Some(code(100))).stopped(A::Script), O::Invalid, 100);
    check(&failed(F::NotLaunched, None).stopped(A::System), O::Invalid, INVALID);
    check(&Case::new().never_started(), O::Invalid, INVALID);
}

#[test]
fn what_breaks_later() {
    use {AbortCause as A, FailureKind as F, Outcome as O};
    let failed = |kind, exit: Option<_>| Case::new().failed(2, kind, exit);
    check(&failed(F::Teardown, Some(code(107))), O::Invalid, 107);
    check(&failed(F::Teardown, Some(code(101))), O::Invalid, 101);
    check(&failed(F::K6Failed, Some(code(109))).stopped(A::System), O::Invalid, 109);
    // Who told it to end?
    check(&failed(F::K6Failed, Some(code(105))).stopped(A::System), O::Invalid, INVALID);
    check(&failed(F::K6Failed, Some(KILLED)).stopped(A::System), O::Invalid, INVALID);
    check(&failed(F::K6Hung, None).stopped(A::Deadline), O::Invalid, INVALID);
    check(&failed(F::Store, None).stopped(A::System), O::Invalid, INVALID);
    check(&failed(F::Abandoned, None), O::Invalid, INVALID);
}

#[test]
fn what_is_missing() {
    let missing = |change: fn(&mut Case)| check(&Case::new().with(change), Outcome::Invalid, INVALID);
    missing(|case| case.chunks_missing = [WorkerIndex(1)].into());
    missing(|case| case.unreadable = [((WorkerIndex(1), 1), "damaged".into())].into());
    missing(|case| case.closings_missing = [WorkerIndex(1)].into());
    missing(|case| case.junk = "what?\n");
    missing(|case| case.aggregator_lost = true);
    missing(|case| case.workers.truncate(2));
    missing(|case| case.workers[1].phase = WorkerPhase::Ended);
}

#[test]
fn how_a_run_ended_in_words() {
    use AbortCause as A;
    assert_eq!(Case::new().judge().status, "finished");
    for (cause, status) in [
        (A::User, "aborted (by user)"),
        (A::Threshold, "aborted (by threshold)"),
        (A::Script, "aborted (by script)"),
        (A::System, "aborted (by system)"),
        (A::Deadline, "timed out"),
    ] {
        assert_eq!(Case::new().stopped(cause).judge().status, status);
    }
}

fn codes(verdict: &Verdict) -> Vec<ReasonCode> {
    verdict.reasons.iter().map(|reason| reason.code).collect()
}

#[test]
fn the_root_cause_comes_before_what_followed_it() {
    let verdict = Case::new().lost(0).failed(2, FailureKind::K6Failed, KILLED).judge();
    assert_eq!(codes(&verdict), [ReasonCode::WorkerFailed, ReasonCode::WorkerLost]);
    assert_eq!(verdict.reasons[0].message, "worker 3: what went wrong; k6 said: k6's words");
    assert_eq!((verdict.reasons[0].worker, verdict.reasons[1].worker), (Some(3), Some(1)));
    assert!(verdict.reasons.iter().all(|reason| reason.next_step.is_some()));
}

#[test]
fn what_two_were_told_of_one_worker_is_told_once() {
    let end = |message: &str| Failure {
        kind: FailureKind::NotLaunched,
        message: message.into(),
        exit: None,
        log: Vec::new(),
    };
    let told = |recorded: &str| {
        let case = Case::new().never_started().stopped(AbortCause::System).with(|case| {
            case.workers[1].failure = Some(end(recorded));
            case.lost.insert(WorkerIndex(1), end("no image"));
        });
        let reasons = case.judge().reasons.into_iter().filter(|reason| reason.code == ReasonCode::WorkerNotLaunched);
        reasons.map(|reason| reason.message).collect::<Vec<_>>()
    };
    assert_eq!(told("no image"), ["worker 2: no image"]);
    assert_eq!(told("no address"), ["worker 2: no address", "worker 2: no image"]);
}

#[test]
fn a_failure_that_is_no_doubt_still_needs_its_samples() {
    let case = Case::new().failed(1, FailureKind::ScriptFailed, code(110));
    let verdict = case.with(|case| case.closings_missing = [WorkerIndex(1)].into()).judge();
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Invalid, 110));
    assert!(codes(&verdict).contains(&ReasonCode::SamplesMissing));
}

#[test]
fn what_is_missing_is_named_by_worker_and_series() {
    let verdict = Case::new().with(|case| case.chunks_missing = [WorkerIndex(1)].into()).judge();
    assert_eq!((verdict.samples.read, verdict.samples.merged), (180, 120));
    let missing = &verdict.samples.missing;
    assert!(missing.iter().all(|m| m.worker == WorkerIndex(1) && (m.read, m.merged) == (60, 0)), "{missing:?}");
    assert!(missing.iter().any(|m| m.series == "http_req_duration"), "{missing:?}");
    assert!(verdict.reasons[0].message.starts_with("60 of 180 samples"), "{:?}", verdict.reasons);
}

#[test]
fn the_duration_is_that_of_the_longest_worker_whatever_the_walls_show() {
    let case = Case::new().with(|case| {
        for (worker, seconds) in case.workers.iter_mut().zip([60, 61, 59]) {
            worker.ran_for_micros = Some(seconds * 1_000_000);
        }
        // Somebody has set the clock.
        case.workers[0].ended_at = Some(NOON.plus(Duration::from_hours(1)));
        case.workers[1].ended_at = Some(Timestamp(NOON.0 - 3_600_000_000));
    });
    assert_eq!(case.judge().duration_ms.to_bits(), 61_000_f64.to_bits());
}

#[test]
fn without_monotonic_clocks_the_duration_is_from_the_first_start_to_the_last_end() {
    let case = Case::new().with(|case| {
        case.workers[0].resumed_at = Some(Timestamp(NOON.0 - 50_000));
        case.workers[2].ended_at = Some(NOON.plus(Duration::from_secs(75)));
    });
    let verdict = case.judge();
    assert_eq!(verdict.duration_ms.to_bits(), 75_050_f64.to_bits());
    assert_eq!(verdict.ended_at, Some(NOON.plus(Duration::from_secs(75))));
}

#[test]
fn the_duration_of_a_lost_worker_goes_to_its_last_sample() {
    let case = Case::new().with(|case| {
        for worker in &mut case.workers {
            worker.ended_at = Some(NOON.plus(Duration::from_secs(20)));
        }
    });
    assert_eq!(case.judge().duration_ms.to_bits(), 20_000_f64.to_bits());
    assert_eq!(case.lost(1).judge().duration_ms.to_bits(), 60_000_f64.to_bits());
}

#[test]
fn a_loss_that_is_accepted_is_no_doubt_and_distorts_no_rate() {
    let verdict = Case::new()
        .lost(2)
        .with(|case| {
            case.run.plan.min_workers = 2;
            case.workers[0].set_up = true;
            case.run.teardown_begun = Some(WorkerIndex(0));
            for worker in &mut case.workers {
                worker.ran_for_micros = Some(60_000_000);
            }
            case.workers[2].ran_for_micros = None;
        })
        .judge();
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::Passed, 0), "{:?}", verdict.reasons);
    assert_eq!(verdict.reasons.iter().map(|r| r.code).collect::<Vec<_>>(), [ReasonCode::LossAccepted]);
    assert!((verdict.duration_ms - 60_000.0).abs() < 1e-9, "{}", verdict.duration_ms);
}
