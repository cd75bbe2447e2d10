//! From evidence to verdict. Pure: the same evidence gives the same verdict, whoever judges.
//!
//! A measurement is believed only if every planned worker closed in order, every line of k6 was understood, and every
//! sample that was read was merged. Missing data is never a pass. Then the thresholds decide.

mod doubts;

pub(crate) use doubts::teardown_is_due;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    aggregate::Aggregate,
    closing::Closing,
    ids::WorkerIndex,
    judge::doubts::{accepted_losses, doubts, is_doubt},
    k6::exit::{ProcessExit, code},
    lifecycle::{Abort, AbortCause, Phase, RunState},
    losses::borne,
    number::Number,
    plan::{Plan, words},
    records::{Failure, FailureKind, RunRecord, WorkerRecord},
    run::aggregate::skew_p99_ms,
    threshold::{Decision, Threshold},
    timestamp::Timestamp,
    verdict::{Conservation, FORMAT, Outcome, Reason, ReasonCode, ThresholdResult, Verdict, WorkerResult},
};

/// The exit code of a measurement that cannot be believed. k6 has no such thing; its codes begin at 97.
pub const INVALID: i32 = 96;

/// Chunks that cannot be read that are named in a verdict. A store that damages every object must not make it grow with the
/// length of the run.
pub(crate) const MAX_UNREADABLE: usize = 100;

/// All that is known of a run at its end.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The run.
    pub run: &'a RunRecord,
    /// Its workers' records.
    pub workers: Vec<&'a WorkerRecord>,
    /// Workers that have gone without closing, and why.
    pub lost: &'a BTreeMap<WorkerIndex, Failure>,
    /// The workers' closing records.
    pub closings: &'a [Closing],
    /// Chunks that could not be read, and why; of very many some.
    pub unreadable: &'a BTreeMap<(WorkerIndex, u32), String>,
    /// The merged samples.
    pub aggregate: &'a Aggregate,
    /// When each threshold was first seen not to hold, after the start.
    pub first_crossed: &'a [Option<Duration>],
    /// Whether the run was concluded by somebody else than its aggregator.
    pub aggregator_lost: bool,
    /// The version that judges.
    pub lambdaload_version: &'a str,
}

impl Evidence<'_> {
    /// Whether `setup()` has run.
    fn is_set_up(&self) -> bool {
        self.workers.iter().any(|w| w.index.is_first() && w.set_up)
    }
}

/// Judges a run.
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let Evidence { run, aggregate, .. } = evidence;
    let plan = &run.plan;
    let started_at = evidence.workers.iter().filter_map(|w| w.resumed_at).min();
    let ended_at = evidence.workers.iter().filter(|w| w.resumed_at.is_some()).filter_map(|w| w.ended_at).max();
    let accepted = accepted(evidence);
    let duration = duration(evidence, &accepted, started_at, ended_at);
    let samples = Conservation { kind: plan.samples, ..aggregate.conservation(evidence.closings) };
    let decide = |threshold: &Threshold| aggregate.decide(threshold, plan.samples, duration);
    let thresholds = threshold_results(plan, decide, evidence.first_crossed);

    let mut reasons = doubts(evidence, &accepted, &samples);
    let nothing_ran = started_at.is_none();
    let invalid = nothing_ran || !reasons.is_empty();
    reasons.extend(script_reason(evidence));
    reasons.extend(stop_reason(evidence, duration));
    if nothing_ran && reasons.is_empty() {
        reasons.push(reason(ReasonCode::SamplesMissing, "no worker ever started".to_owned(), None));
    }
    if !nothing_ran {
        reasons.extend(threshold_reasons(evidence, &thresholds));
    }
    reasons.extend(accepted_losses(evidence, &accepted));
    let has = |code| reasons.iter().any(|r: &Reason| r.code == code);
    let outcome = match (has(ReasonCode::Script), has(ReasonCode::ThresholdCrossed)) {
        _ if invalid => Outcome::Invalid,
        (false, false) if thresholds.is_empty() => Outcome::NoThresholds,
        (false, false) => Outcome::Passed,
        _ => Outcome::Failed,
    };
    Verdict {
        format: FORMAT,
        lambdaload_version: evidence.lambdaload_version.to_owned(),
        run: run.id.clone(),
        script: plan.script.clone(),
        name: plan.name.clone(),
        note: plan.note.clone(),
        tags: plan.tags.clone(),
        origin: run.origin.clone(),
        archive: plan.archive.clone(),
        k6_version: plan.k6_version,
        outcome,
        status: RunState { phase: Phase::Concluded, abort: run.state.abort.clone() }.status(),
        exit_code: exit_code(evidence, &accepted, outcome),
        reasons,
        abort: run.state.abort.clone(),
        thresholds,
        planned_workers: plan.workers,
        min_workers: plan.min_workers,
        workers: worker_results(evidence),
        start_skew_p99_ms: skew_p99_ms(evidence.workers.iter().filter_map(|w| w.skew_micros)),
        samples,
        percentile_error: plan.samples.percentile_error(),
        created_at: run.created_at,
        started_at,
        ended_at,
        duration_ms: duration.as_secs_f64() * 1e3,
        drift: aggregate.drift(run, duration),
        summary: aggregate.summary(plan, duration),
    }
}

/// The thresholds as they are decided.
pub fn threshold_results(
    plan: &Plan,
    decide: impl Fn(&Threshold) -> Decision,
    first_crossed: &[Option<Duration>],
) -> Vec<ThresholdResult> {
    let each = plan.thresholds.iter().zip(first_crossed.iter().copied().chain(std::iter::repeat(None)));
    let results = each.map(|(threshold, crossed)| {
        let decision = decide(threshold);
        ThresholdResult {
            metric: threshold.selector.metric.clone(),
            suffix: threshold.selector.suffix.clone(),
            expression: threshold.expression.clone(),
            passed: decision.passed,
            value: decision.value.map(Number),
            exact: decision.exact,
            within_error: decision.within_error,
            // What holds was not crossed: a count that has yet to be reached does not hold at first.
            first_crossed_ms: crossed
                .filter(|_| !decision.passed)
                .map(|at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
            abort_on_fail: threshold.abort_on_fail,
        }
    });
    results.collect()
}

/// The workers whose loss `--min-workers` accepts. The measurement is then believed without them, and the verdict says so.
fn accepted(evidence: &Evidence<'_>) -> BTreeSet<WorkerIndex> {
    let run = evidence.run;
    // A run that was stopped for what a worker did or suffered is not whole, whoever is accepted.
    let is_stopped = |abort: &Abort| !matches!(abort.cause, AbortCause::User | AbortCause::Threshold);
    if run.state.abort.as_ref().is_some_and(is_stopped) {
        return BTreeSet::new();
    }
    let plan = &run.plan;
    let failed = evidence.workers.iter().filter_map(|w| Some((w.index, w.failure.as_ref()?)));
    let lost = evidence.lost.iter().map(|(index, failure)| (*index, failure));
    // Without the substitute: what it was to do is not borne by having many workers.
    let fallen: Vec<_> = failed
        .filter(|(_, failure)| failure.kind != FailureKind::ScriptFailed)
        .chain(lost)
        .filter(|(index, _)| *index != plan.substitute())
        .collect();
    borne(plan, &fallen, evidence.is_set_up()).map(|without| without.into_keys().collect()).unwrap_or_default()
}

/// Whether a failure is an exception in the script.
pub(crate) fn is_script_exception(failure: &Failure) -> bool {
    failure.exit == Some(ProcessExit::Code(code::SCRIPT_EXCEPTION))
}

/// How long the longest worker ran, by its monotonic clock. A worker that was lost has not said that; then it is from the
/// first start to the last end, by the clocks on the walls, or to the end of the samples.
fn duration(
    evidence: &Evidence<'_>,
    accepted: &BTreeSet<WorkerIndex>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
) -> Duration {
    let Some(started_at) = started_at else { return Duration::ZERO };
    let counted = evidence.workers.iter().filter(|w| w.resumed_at.is_some() && !accepted.contains(&w.index));
    let mut ran_for = counted.map(|w| w.ran_for_micros);
    if let Some(longest) = ran_for.try_fold(0, |longest, ran_for| Some(ran_for?.max(longest))) {
        return Duration::from_micros(longest);
    }
    let open = evidence.workers.iter().any(|w| w.resumed_at.is_some() && w.ended_at.is_none());
    let last_sample = evidence.aggregate.newest_sample().filter(|_| open);
    ended_at.max(last_sample).map_or(Duration::ZERO, |end| end.since(started_at))
}

fn script_reason(evidence: &Evidence<'_>) -> Option<Reason> {
    let own = |w: &&&WorkerRecord| w.failure.as_ref().is_some_and(|f| !is_doubt(f));
    let worker = evidence.workers.iter().find(own)?;
    let failure = worker.failure.as_ref()?;
    let message = format!("{}: {}", worker.index, failure.message);
    Some(Reason { worker: Some(worker.index.number()), ..reason(ReasonCode::Script, message, None) })
}

/// Which thresholds do not hold. One that has stopped the run did not, whatever the samples say that came in later.
fn threshold_reasons(evidence: &Evidence<'_>, thresholds: &[ThresholdResult]) -> Vec<Reason> {
    let crossed = |message| reason(ReasonCode::ThresholdCrossed, message, None);
    let failed = thresholds.iter().filter(|t| !t.passed);
    let mut reasons: Vec<Reason> =
        failed.map(|t| crossed(format!("{} {} does not hold", t.key(), t.expression))).collect();
    if let Some(abort) = evidence.run.state.abort.as_ref().filter(|a| a.cause == AbortCause::Threshold)
        && !reasons.iter().any(|r| r.message == abort.message)
    {
        reasons.insert(0, crossed(format!("{} when it stopped the run", abort.message)));
    }
    reasons
}

fn stop_reason(evidence: &Evidence<'_>, duration: Duration) -> Option<Reason> {
    let abort = evidence.run.state.abort.as_ref()?;
    let whole = words(evidence.run.plan.duration);
    let after = words(Duration::from_secs(duration.as_secs()));
    match abort.cause {
        AbortCause::User if evidence.workers.iter().all(|w| w.resumed_at.is_none()) => {
            let message = "stopped by a person before it started; nothing was measured".to_owned();
            Some(reason(ReasonCode::Stopped, message, None))
        }
        AbortCause::User => Some(reason(
            ReasonCode::Stopped,
            format!("stopped by a person after {after} of {whole}; judged on what was measured until then"),
            None,
        )),
        _ => None,
    }
}

fn reason(code: ReasonCode, message: String, next_step: Option<&str>) -> Reason {
    Reason { code, message, worker: None, next_step: next_step.map(str::to_owned) }
}

/// k6's code where k6 has one for what happened first, lambdaload's own for what k6 cannot know.
fn exit_code(evidence: &Evidence<'_>, accepted: &BTreeSet<WorkerIndex>, outcome: Outcome) -> i32 {
    let counted = evidence.workers.iter().filter(|w| !accepted.contains(&w.index));
    let failures = || counted.clone().filter_map(|w| w.failure.as_ref());
    let k6_code = |failure: &Failure| match failure.exit {
        // What k6 says when it is told to stop is no cause.
        Some(ProcessExit::Code(code @ (97..=102 | 104 | 106..=110))) => Some(code),
        _ => None,
    };
    let failed = || failures().find_map(k6_code);
    match evidence.run.state.abort.as_ref().map(|abort| abort.cause) {
        Some(AbortCause::User) => code::EXTERNAL_ABORT,
        Some(AbortCause::Threshold) if outcome != Outcome::Invalid => code::THRESHOLDS_FAILED,
        _ => match (outcome, failed()) {
            (_, Some(code)) => code,
            (Outcome::Invalid, None) => INVALID,
            (Outcome::Failed, None) => code::THRESHOLDS_FAILED,
            (Outcome::Passed | Outcome::NoThresholds, None) => code::OK,
        },
    }
}

fn worker_results(evidence: &Evidence<'_>) -> Vec<WorkerResult> {
    let result = |index: WorkerIndex| {
        let record = evidence.workers.iter().find(|w| w.index == index);
        let closing = evidence.closings.iter().find(|c| c.worker == index);
        let lost = evidence.lost.get(&index);
        WorkerResult {
            index,
            phase: record.map(|w| w.phase),
            skew_ms: record.and_then(|w| w.skew_micros).map(|micros| micros as f64 / 1e3),
            samples_read: closing.map(|c| c.lines.samples),
            samples_merged: evidence.aggregate.samples_of(index),
            failure: record.and_then(|w| w.failure.clone()).or_else(|| lost.cloned()),
        }
    };
    evidence.run.plan.worker_indices().map(result).collect()
}
