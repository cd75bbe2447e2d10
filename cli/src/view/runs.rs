//! The list of runs.

use console::truncate_str;
use jiff::tz::TimeZone;
use lambdaload_core::{
    ports::{RunSummary, Timestamp},
    records::WorkerPhase,
    schedule::Origin,
    verdict::{MetricSummary, Outcome, Values, Verdict},
};

use super::{numbers, table, when::when};
use crate::printer::{Paint, one_line};

/// The list as a table, latest run first.
/// `width` is that of the terminal, for which lines are cut; a file or a pipe takes them whole.
pub(crate) fn render(
    runs: &[RunSummary],
    now: Timestamp,
    zone: &TimeZone,
    paint: Paint,
    width: Option<usize>,
) -> String {
    let head = ["run", "when", "test", "verdict", "p95", "failed", "workers", "note"];
    let mut rows = vec![head.map(|title| paint.dim(title)).to_vec()];
    rows.extend(runs.iter().map(|run| row(run, now, zone, paint)));
    let cut = |line: &String| width.map_or(line.clone(), |width| truncate_str(line, width, "…").into_owned());
    table::columns(&rows).iter().map(cut).collect::<Vec<_>>().join("\n") + "\n"
}

fn row(run: &RunSummary, now: Timestamp, zone: &TimeZone, paint: Paint) -> Vec<String> {
    let none = || "–".to_owned();
    let plan = &run.record.plan;
    let verdict = run.verdict.as_ref();
    vec![
        numbers::short_id(&run.record.id),
        when(run.record.created_at, now, zone),
        one_line(&plan.name),
        verdict.map_or_else(|| paint.dim(&run.record.state.status()), |verdict| outcome(verdict.outcome, paint)),
        verdict.and_then(p95).unwrap_or_else(none),
        verdict.and_then(failed).unwrap_or_else(none),
        verdict.map_or_else(|| plan.workers.to_string(), workers),
        note(run),
    ]
}

/// The outcome in its colour.
pub(crate) fn outcome(outcome: Outcome, paint: Paint) -> String {
    match outcome {
        Outcome::Passed => paint.green(outcome.word()),
        Outcome::Failed => paint.red(outcome.word()),
        Outcome::NoThresholds => outcome.word().to_owned(),
        Outcome::Invalid => paint.yellow(outcome.word()),
    }
}

fn metric<'v>(verdict: &'v Verdict, name: &str) -> Option<&'v MetricSummary> {
    verdict.summary.metrics.iter().find(|metric| metric.name == name && metric.suffix.is_none())
}

/// An invalid measurement has no percentile that could be compared with others.
pub(crate) fn p95(verdict: &Verdict) -> Option<String> {
    let metric = metric(verdict, "http_req_duration").filter(|_| verdict.outcome != Outcome::Invalid)?;
    match &metric.values {
        Values::Trend { count: 1.., percentiles, .. } => Some(numbers::milliseconds(percentiles.get("p(95)")?.0)),
        _ => None,
    }
}

/// The share of failed requests, likewise.
pub(crate) fn failed(verdict: &Verdict) -> Option<String> {
    let metric = metric(verdict, "http_req_failed").filter(|_| verdict.outcome != Outcome::Invalid)?;
    match &metric.values {
        Values::Rate { rate, passes, fails } if passes + fails > 0 => Some(numbers::percent(rate.0)),
        _ => None,
    }
}

/// `12`, or `49 of 50` where not all came to their end.
fn workers(verdict: &Verdict) -> String {
    let closed = verdict.workers.iter().filter(|worker| worker.phase == Some(WorkerPhase::Closed)).count();
    let planned = verdict.planned_workers;
    if u32::try_from(closed) == Ok(planned) { planned.to_string() } else { format!("{closed} of {planned}") }
}

/// Of what schedule it is; what the user wrote, else why the measurement is invalid.
fn note(run: &RunSummary) -> String {
    let reason = || {
        let verdict = run.verdict.as_ref().filter(|verdict| verdict.outcome == Outcome::Invalid)?;
        Some(verdict.reasons.first()?.message.clone())
    };
    let note = run.record.plan.note.clone().or_else(reason);
    let origin = run.record.origin.as_ref().map(Origin::short);
    let parts = [origin, note.and_then(|note| Some(note.lines().next()?.to_owned()))];
    one_line(&parts.into_iter().flatten().collect::<Vec<_>>().join(": "))
}

#[cfg(test)]
mod tests {
    use lambdaload_core::{
        ids::RunId,
        lifecycle::{RunEvent, RunState},
        plan::Workers,
        records::RunRecord,
        schedule::ScheduleName,
        testing::sample,
    };

    use super::*;
    use crate::view::plan::tests::{SHOP, plan};

    fn run(id: &str, minutes_ago: i64, note: Option<&str>, verdict: Option<Verdict>) -> RunSummary {
        let mut plan = plan(SHOP, "{}", Workers::Exactly(12));
        plan.note = note.map(str::to_owned);
        let state = [RunEvent::Validated, RunEvent::Launched, RunEvent::Started];
        let state = state.into_iter().try_fold(RunState::new(), |state, event| state.next(event)).expect("legal");
        let created_at = Timestamp(NOW.0 - minutes_ago * 60_000_000);
        let record = RunRecord { state, ..RunRecord::new(RunId::parse(id).expect("an id"), created_at, plan) };
        RunSummary { record, verdict }
    }

    const NOW: Timestamp = Timestamp(1_795_348_800_000_000);

    fn runs() -> [RunSummary; 3] {
        let schedule = ScheduleName::parse("nightly").expect("a name");
        let mut scheduled = run("01JD8QZV3M4T5W6X7Y8Z9A0B4K", 0, None, None);
        scheduled.record.origin = Some(Origin { schedule, version: 3, scheduled_for: None });
        [
            scheduled,
            run("01JD7AZV3M4T5W6X7Y8Z9A0BZ2", 2, Some("after cache change"), Some(sample::verdict())),
            run("01JD6FZV3M4T5W6X7Y8Z9A0B11", 1_500, None, Some(sample::incomplete())),
        ]
    }

    #[test]
    fn runs_in_a_table() {
        insta::assert_snapshot!(render(&runs(), NOW, &TimeZone::UTC, Paint::OFF, None), @r#"
        run        when             test         verdict  p95     failed  workers   note
        01JD8Q…4K  just now         checkout.js  running  –       –       12        nightly v3
        01JD7A…Z2  2m ago           checkout.js  failed   412 ms  0.31 %  12        after cache change
        01JD6F…11  yesterday 11:00  checkout.js  invalid  –       –       11 of 12  worker 7 was lost while it ran: it gave no sign of life for 10s
        "#);
    }

    #[test]
    fn a_terminal_gets_no_more_than_it_has_room_for() {
        let text = render(&runs(), NOW, &TimeZone::UTC, Paint::OFF, Some(60));
        assert!(text.lines().all(|line| console::measure_text_width(line) <= 60), "{text}");
        assert!(text.contains('…'), "{text}");
    }
}
