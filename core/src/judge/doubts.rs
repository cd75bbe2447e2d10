//! Why a measurement cannot be believed.

use std::collections::BTreeSet;

use crate::{
    ids::WorkerIndex,
    judge::{Evidence, MAX_UNREADABLE, is_script_exception, reason},
    lifecycle::{AbortCause, Phase},
    plan::plural,
    records::{Failure, FailureKind, RunRecord, WorkerPhase, WorkerRecord},
    summary::format::grouped,
    verdict::{Conservation, Reason, ReasonCode},
};

/// Why the measurement cannot be believed, most important first; empty if it can.
pub(super) fn doubts(evidence: &Evidence<'_>, accepted: &BTreeSet<WorkerIndex>, samples: &Conservation) -> Vec<Reason> {
    let is_accepted = |index: &WorkerIndex| accepted.contains(index);
    // The first root cause comes first: what failed by itself, then what was lost after it.
    let fallen = failed_workers(evidence).chain(lost_workers(evidence));
    let mut reasons: Vec<Reason> = fallen.filter(|(index, _)| !is_accepted(index)).map(|(_, reason)| reason).collect();
    reasons.extend(unclosed_workers(evidence).filter(|(index, _)| !is_accepted(index)).map(|(_, reason)| reason));
    reasons.extend(stopped_by_us(evidence, reasons.is_empty()));
    reasons.extend(unheard_workers(evidence));
    reasons.extend(teardown_missing(evidence));
    reasons.extend(unreadable_chunks(evidence));
    reasons.extend(missing_closings(evidence));
    if evidence.aggregator_lost {
        let message = "the aggregator of this run died; this is what it left".to_owned();
        reasons.push(reason(ReasonCode::AggregatorLost, message, Some("run the test again")));
    }
    if samples.refused > 0 {
        reasons.push(refused_lines(evidence));
    }
    if samples.unwritten > 0 {
        let count = plural(samples.unwritten, "sample");
        let message = format!("k6 could not write {count}: from 2.0 on its output has no infinite values");
        let next_step = "keep infinite values out of metrics, or run on k6 1.x, which writes them";
        reasons.push(reason(ReasonCode::SamplesMissing, message, Some(next_step)));
    }
    reasons.extend(lost_batches(evidence).filter(|(index, _)| !is_accepted(index)).map(|(_, reason)| reason));
    if !samples.missing.is_empty() && evidence.unreadable.is_empty() {
        let missing = samples.read.saturating_sub(samples.merged);
        let message =
            format!("{} of {} samples that the workers read are missing", grouped(missing), grouped(samples.read));
        let next_step = "look at `samples.missing` for the series, and run the test again";
        reasons.push(reason(ReasonCode::SamplesMissing, message, Some(next_step)));
    }
    reasons
}

/// What was lost, and accepted: the verdict stands, and says on what.
pub(super) fn accepted_losses(evidence: &Evidence<'_>, accepted: &BTreeSet<WorkerIndex>) -> Vec<Reason> {
    let mut told = BTreeSet::new();
    let fallen = failed_workers(evidence).chain(lost_workers(evidence));
    let first_words = fallen.filter(|(index, _)| accepted.contains(index) && told.insert(*index));
    let least = evidence.run.plan.min_workers;
    first_words
        .map(|(_, lost)| Reason {
            code: ReasonCode::LossAccepted,
            message: format!(
                "{}; accepted, since --min-workers is {least}: the load was less than planned",
                lost.message
            ),
            worker: lost.worker,
            next_step: None,
        })
        .collect()
}

/// Whether a worker's failure makes the measurement doubtful: what the script itself asks for does not.
pub(super) fn is_doubt(failure: &Failure) -> bool {
    !matches!(failure.kind, FailureKind::ScriptAborted | FailureKind::ScriptFailed)
}

/// What became of `teardown()`, if this is the worker that should have run it.
fn torn_down(evidence: &Evidence<'_>, index: WorkerIndex) -> &'static str {
    let run = evidence.run;
    let by_another = index.is_first() && run.teardown_begun == Some(run.plan.substitute());
    if by_another { "; another k6 ran teardown()" } else { "" }
}

fn lost_workers<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (WorkerIndex, Reason)> + 'a {
    // What became of a worker may be in its record too, by whoever else was told.
    let is_recorded =
        |index, failure| evidence.workers.iter().any(|w| w.index == index && w.failure.as_ref() == Some(failure));
    let lost = evidence.lost.iter().filter(move |(index, failure)| !is_recorded(**index, *failure));
    lost.map(|(index, failure)| {
        if *index == evidence.run.plan.substitute() {
            let message = format!("teardown() was not finished: the k6 that was to run it {}", failure.message);
            let next_step = "clean up by hand what setup() made, and run the test again";
            return (*index, reason(ReasonCode::WorkerLost, message, Some(next_step)));
        }
        let record = evidence.workers.iter().find(|w| w.index == *index);
        let how = match (failure.kind, evidence.run.start_at, record.and_then(|w| w.resumed_at)) {
            (FailureKind::NotLaunched, ..) => "",
            (_, Some(_), Some(_)) => " was lost while it ran",
            _ => " was lost before it started",
        };
        let message = format!("{index}{how}: {}{}", failure.message, torn_down(evidence, *index));
        let (code, next_step) = advice(failure);
        (*index, Reason { worker: Some(index.number()), ..reason(code, message, Some(next_step)) })
    })
}

fn failed_workers<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (WorkerIndex, Reason)> + 'a {
    let failures = evidence.workers.iter().filter_map(|w| Some((w.index, w.failure.as_ref().filter(|f| is_doubt(f))?)));
    failures.map(|(index, failure)| {
        let (code, next_step) = advice(failure);
        let log = failure.log.last().filter(|line| !failure.message.contains(line.as_str()));
        let said = log.map(|line| format!("; k6 said: {line}")).unwrap_or_default();
        let message = format!("{index}: {}{said}{}", failure.message, torn_down(evidence, index));
        (index, Reason { worker: Some(index.number()), ..reason(code, message, Some(next_step)) })
    })
}

/// What kind of doubt a worker's failure is, and what to do about it.
fn advice(failure: &Failure) -> (ReasonCode, &'static str) {
    match failure.kind {
        FailureKind::NotLaunched => (
            ReasonCode::WorkerNotLaunched,
            "see what kept it from starting; `lambdaload doctor` looks at the usual causes",
        ),
        FailureKind::K6DidNotStart if is_script_exception(failure) => {
            (ReasonCode::WorkerFailed, "mend the script; `k6 run` on one machine shows the same exception")
        }
        FailureKind::Setup | FailureKind::Teardown => {
            (ReasonCode::WorkerFailed, "mend the script; its console output is in the worker's log")
        }
        FailureKind::K6Hung => {
            (ReasonCode::WorkerFailed, "see whether the machine was overloaded; fewer workers or VUs may help")
        }
        FailureKind::Lost => (
            ReasonCode::WorkerLost,
            "its samples since its last chunk are missing; run the test again, with more memory for each worker if it was killed, or accept losses with --min-workers",
        ),
        FailureKind::OutOfTime => {
            (ReasonCode::WorkerFailed, "shorten the test, so that its workers need less time than they have")
        }
        FailureKind::Taken => (
            ReasonCode::WorkerLost,
            "run it again, on capacity that is not taken back (without --spot), or accept losses with --min-workers",
        ),
        FailureKind::Store => {
            (ReasonCode::WorkerFailed, "make room on the disk or make the store reachable, and run the test again")
        }
        _ => (ReasonCode::WorkerFailed, "look at the worker's log, and run the test again"),
    }
}

/// Workers of a run that started of which nobody knows how they ended.
fn unclosed_workers<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (WorkerIndex, Reason)> + 'a {
    let has_started = evidence.workers.iter().any(|w| w.resumed_at.is_some());
    let has_closed = |index| evidence.workers.iter().any(|w| w.index == index && w.phase == WorkerPhase::Closed);
    let planned = evidence.run.plan.worker_indices().filter(move |_| has_started);
    planned.filter(move |index| !has_closed(*index) && !evidence.lost.contains_key(index)).map(|index| {
        let message = format!("{index} has not said how it ended");
        let worker = Some(index.number());
        (index, Reason { worker, ..reason(ReasonCode::WorkerLost, message, Some("run the test again")) })
    })
}

/// Workers that were waited for and never claimed their segment.
fn unheard_workers<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = Reason> + 'a {
    let run = evidence.run;
    let is_late = run.state.abort.as_ref().is_some_and(|abort| abort.cause == AbortCause::Deadline);
    let planned = run.plan.worker_indices().filter(move |_| is_late && run.state.phase >= Phase::Initializing);
    let is_known = |index| evidence.workers.iter().any(|w| w.index == index) || evidence.lost.contains_key(&index);
    planned.filter(move |index| !is_known(*index)).map(|index| {
        let message = format!("{index} was called and never came");
        let next_step = "look for its call in the log of whoever should run it, and run the test again";
        Reason { worker: Some(index.number()), ..reason(ReasonCode::WorkerNotLaunched, message, Some(next_step)) }
    })
}

/// A stop that was no part of the test, unless `alone` is false and what led to it has been told.
fn stopped_by_us(evidence: &Evidence<'_>, alone: bool) -> Option<Reason> {
    let abort = evidence.run.state.abort.as_ref()?;
    let is_late = |f: &Failure| matches!(f.kind, FailureKind::K6Hung | FailureKind::OutOfTime);
    let hung = evidence.workers.iter().any(|w| w.failure.as_ref().is_some_and(is_late));
    let not_started = |next_step| Some(reason(ReasonCode::NotStarted, abort.message.clone(), Some(next_step)));
    match abort.cause {
        AbortCause::Deadline if evidence.run.state.phase < Phase::Initializing => not_started(
            "let it wait longer (--queue-timeout), or run it when less is going on; `lambdaload runs list` shows what is",
        ),
        AbortCause::System if alone && evidence.workers.is_empty() => not_started("run the test again"),
        // Where k6 itself was too late, the worker's failure has said so.
        AbortCause::Deadline if !hung => Some(reason(
            ReasonCode::DeadlinePassed,
            abort.message.clone(),
            Some("see what the named workers were waiting for in their logs"),
        )),
        // What an earlier aggregator saw may not be seen any more; that it stopped the run is.
        AbortCause::System if alone => {
            let message = format!("the run was stopped because of {}", abort.message);
            Some(reason(ReasonCode::WorkerLost, message, Some("run the test again")))
        }
        _ => None,
    }
}

/// Whether `setup()` has run, and no k6 has begun the script's `teardown()`. After a stop at once nobody does.
pub(crate) fn teardown_is_due(run: &RunRecord, is_set_up: bool) -> bool {
    let is_killed = run.state.abort.as_ref().is_some_and(|abort| abort.at_once);
    run.plan.has_teardown && is_set_up && run.teardown_begun.is_none() && !is_killed
}

fn teardown_missing(evidence: &Evidence<'_>) -> Option<Reason> {
    teardown_is_due(evidence.run, evidence.is_set_up()).then(|| {
        let message = "setup() was run and teardown() was not".to_owned();
        let next_step = "clean up by hand what setup() made, and run the test again";
        reason(ReasonCode::TeardownMissing, message, Some(next_step))
    })
}

fn unreadable_chunks(evidence: &Evidence<'_>) -> impl Iterator<Item = Reason> {
    let next_step = "check the disk or bucket that holds the store";
    let each = evidence.unreadable.iter().map(move |((worker, sequence), problem)| {
        let message = format!("chunk {sequence} of {worker} cannot be read: {problem}");
        Reason { worker: Some(worker.number()), ..reason(ReasonCode::ChunkUnreadable, message, Some(next_step)) }
    });
    let more = (evidence.unreadable.len() >= MAX_UNREADABLE).then(|| {
        let message = "more chunks than these may be unreadable, and are not listed".to_owned();
        reason(ReasonCode::ChunkUnreadable, message, Some(next_step))
    });
    each.chain(more)
}

/// Closing records of workers that closed in order. Of the others it is known that something is missing.
fn missing_closings(evidence: &Evidence<'_>) -> impl Iterator<Item = Reason> {
    let in_order = |w: &&&WorkerRecord| w.phase == WorkerPhase::Closed && !w.failure.as_ref().is_some_and(is_doubt);
    let is_missing = |w: &&&WorkerRecord| !evidence.closings.iter().any(|c| c.worker == w.index);
    evidence.workers.iter().filter(in_order).filter(is_missing).map(|worker| {
        let index = worker.index;
        let message =
            format!("the closing record of {index} is missing, so nobody knows whether its samples are complete");
        Reason { worker: Some(index.number()), ..reason(ReasonCode::SamplesMissing, message, None) }
    })
}

/// Workers whose k6 could not hand over all that it had gathered.
fn lost_batches<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (WorkerIndex, Reason)> + 'a {
    let lossy = evidence.closings.iter().filter(|closing| closing.lines.lost_batches > 0);
    lossy.map(|closing| {
        let index = closing.worker;
        let count = match closing.lines.lost_batches {
            1 => "a batch".to_owned(),
            many => format!("{} batches", grouped(many)),
        };
        let message = format!("{index}: k6 gave up {count} of its aggregated samples, which are in nothing");
        let next_step = "see why in the worker's log; run the test again, with fewer VUs for each worker if it was overloaded, or without --samples aggregated";
        let worker = Some(index.number());
        (index, Reason { worker, ..reason(ReasonCode::SamplesMissing, message, Some(next_step)) })
    })
}

fn refused_lines(evidence: &Evidence<'_>) -> Reason {
    let refused: u64 = evidence.closings.iter().map(|c| c.lines.refused).sum();
    let first = evidence.closings.iter().find_map(|c| c.lines.first_refused.as_deref()).unwrap_or_default();
    let refused = plural(refused, evidence.run.plan.samples.unit());
    let message = format!("{refused} of k6's output could not be read; the first begins: {first}");
    reason(ReasonCode::LinesRefused, message, Some("report this with the version of k6"))
}
