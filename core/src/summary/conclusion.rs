//! Our own block below k6's: the verdict, why, on what it rests, and what to do.

use std::time::Duration;

use super::{
    BAD, BOLD, GOOD, Style, UNSURE,
    facts::{NAME_TAG_ADVICE, facts, folded},
    format,
    text::threshold_value,
    wrap::wrapped,
};
use crate::verdict::{Outcome, Reason, ReasonCode, ThresholdResult, Values, Verdict};

/// Series with missing samples, and messages of k6, that are shown for one reason; the verdict has all.
const SHOWN: usize = 3;

/// What decides a threshold that aggregated samples cannot.
const TOO_CLOSE_ADVICE: &str = "run it with --samples exact to decide the thresholds that are too close to call";

/// The block `█ VERDICT`. `report` is where the report was written, if one was.
pub fn conclusion(verdict: &Verdict, style: &Style, report: Option<&str>) -> String {
    let mut text = heading(verdict, style);
    let thresholds: String =
        verdict.thresholds.iter().filter(|t| !t.passed).map(|t| crossed(t, verdict, style)).collect();
    let reasons: String = verdict
        .reasons
        .iter()
        .filter(|r| r.code != ReasonCode::ThresholdCrossed)
        .map(|r| reason(r, verdict, style))
        .collect();
    let believed = verdict.outcome != Outcome::Invalid;
    let why = if believed { [thresholds, reasons].concat() } else { [reasons, arrived(verdict, style)].concat() };
    if !why.is_empty() {
        text += &why;
        text.push('\n');
    }
    text += &facts(verdict, style, report);
    text += &what_to_do(verdict, style);
    text
}

fn heading(verdict: &Verdict, style: &Style) -> String {
    let look = match verdict.outcome {
        Outcome::Passed => GOOD,
        Outcome::Failed => BAD,
        Outcome::NoThresholds => BOLD,
        Outcome::Invalid => UNSURE,
    };
    let (word, why) = (verdict.outcome.word(), headline(verdict));
    let taken = "  █ VERDICT  ".chars().count() + word.chars().count();
    // The second half starts where a line of 80 has its last third, or earlier where it would not fit.
    let gap = 54usize.min(style.width.saturating_sub(why.chars().count())).saturating_sub(taken).max(2);
    format!("\n  █ {}  {}{}{why}\n\n", style.paint(BOLD, "VERDICT"), style.paint(look.bold(), word), " ".repeat(gap))
}

/// The outcome's reason in a few words, and on how many workers it rests if some were lost and that was accepted.
pub fn headline(verdict: &Verdict) -> String {
    let close = verdict.thresholds.iter().filter(|t| t.within_error).count();
    let lost = verdict.reasons.iter().filter(|reason| reason.code == ReasonCode::LossAccepted).count();
    let words = match verdict.outcome {
        Outcome::Passed | Outcome::Failed if close > 0 => {
            format!("{}, {close} too close to call", outcome_words(verdict))
        }
        _ => outcome_words(verdict),
    };
    let planned = verdict.planned_workers as usize;
    if lost == 0 { words } else { format!("{words}, with {} of {planned} workers", planned.saturating_sub(lost)) }
}

fn outcome_words(verdict: &Verdict) -> String {
    let total = verdict.thresholds.len();
    let crossed = verdict.thresholds.iter().filter(|t| !t.passed).count();
    match verdict.outcome {
        Outcome::Passed if total == 1 => "the threshold holds".to_owned(),
        Outcome::Passed => format!("all {total} thresholds hold"),
        Outcome::Failed if crossed > 0 => format!("{crossed} of {} crossed", thresholds(total)),
        // Only the script itself can fail a test without a threshold.
        Outcome::Failed if verdict.abort.is_none() => "the script called the test failed".to_owned(),
        Outcome::Failed => verdict.status.clone(),
        Outcome::NoThresholds => "the script has no thresholds".to_owned(),
        Outcome::Invalid => "the measurement is not complete".to_owned(),
    }
}

fn thresholds(count: usize) -> String {
    format!("{count} threshold{}", if count == 1 { "" } else { "s" })
}

/// What a threshold compared, in the unit of its limit: a share as a share and not in percent.
pub fn compared_value(threshold: &ThresholdResult, verdict: &Verdict) -> String {
    match (values(threshold, verdict), threshold.value) {
        (Some(Values::Rate { .. }), Some(share)) => format::number(share.0),
        (_, Some(_)) => threshold_value(threshold, &verdict.summary),
        (_, None) => "no samples".to_owned(),
    }
}

/// What crossing a threshold came to: `was 0.0031  (1,204 of 388,410 requests; first crossed at 1m2s)`.
pub fn crossing(threshold: &ThresholdResult, verdict: &Verdict) -> String {
    let was = compared_value(threshold, verdict);
    let mut details = Vec::new();
    if let Some(Values::Rate { passes, fails, .. }) = values(threshold, verdict) {
        let things = if threshold.metric == "http_req_failed" { "requests" } else { "samples" };
        details.push(format!("{} of {} {things}", format::grouped(*passes), format::grouped(passes + fails)));
    }
    if threshold.within_error {
        details.push("too close to call on aggregated samples".to_owned());
    }
    if let Some(first) = threshold.first_crossed_ms {
        details.push(format!("first crossed at {}", format::duration(Duration::from_millis(first))));
    }
    if details.is_empty() { format!("was {was}") } else { format!("was {was}  ({})", details.join("; ")) }
}

/// The values of the metric or sub-metric that a threshold is on.
fn values<'a>(threshold: &ThresholdResult, verdict: &'a Verdict) -> Option<&'a Values> {
    let mut metrics = verdict.summary.metrics.iter();
    metrics.find(|m| m.name == threshold.metric && m.suffix == threshold.suffix).map(|m| &m.values)
}

fn crossed(threshold: &ThresholdResult, verdict: &Verdict, style: &Style) -> String {
    let line = format!("{}  {}  {}", threshold.key(), threshold.expression.trim(), crossing(threshold, verdict));
    wrapped(&line, 4, 6, style)
}

fn reason(reason: &Reason, verdict: &Verdict, style: &Style) -> String {
    let named = reason.worker.map(|number| format!("worker {number}")).filter(|name| !reason.message.contains(name));
    let message = named.map_or_else(|| reason.message.clone(), |name| format!("{name}: {}", reason.message));
    let mut text = wrapped(&message, 4, 6, style);
    if reason.code == ReasonCode::SamplesMissing && reason.worker.is_none() {
        let missing = &verdict.samples.missing;
        for series in missing.iter().take(SHOWN) {
            let (merged, read) = (format::grouped(series.merged), format::grouped(series.read));
            let line = format!("{}, {}: {merged} of {read} samples arrived", series.worker, series.series);
            text += &wrapped(&line, 6, 8, style);
        }
        if missing.len() > SHOWN {
            text += &wrapped(&format!("and {} more series", missing.len() - SHOWN), 6, 8, style);
        }
    }
    let worker = verdict.workers.iter().find(|w| Some(w.index.number()) == reason.worker);
    let log = worker.and_then(|w| w.failure.as_ref()).into_iter().flat_map(|failure| &failure.log);
    for said in log.filter(|line| !message.contains(line.as_str())).take(SHOWN) {
        text += &wrapped(&format!("k6 said: {said}"), 6, 8, style);
    }
    text
}

/// What the thresholds came to on an incomplete measurement, and why that is no answer.
fn arrived(verdict: &Verdict, style: &Style) -> String {
    let total = verdict.thresholds.len();
    if total == 0 {
        return String::new();
    }
    let hold = verdict.thresholds.iter().filter(|t| t.passed).count();
    let why = if hold == total {
        "not a pass, because the missing samples may be the slow or failed ones"
    } else {
        "not a fail either, because the missing samples may be the good ones"
    };
    wrapped(&format!("thresholds on what did arrive: {hold} of {total} hold — {why}"), 4, 6, style)
}

/// What to do after a run, each thing once.
pub fn next_steps(verdict: &Verdict) -> Vec<&str> {
    let mut steps: Vec<&str> = Vec::new();
    for step in verdict.reasons.iter().filter_map(|r| r.next_step.as_deref()) {
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    if folded(verdict).is_some() {
        steps.push(NAME_TAG_ADVICE);
    }
    if verdict.outcome != Outcome::Invalid && verdict.thresholds.iter().any(|t| t.within_error) {
        steps.push(TOO_CLOSE_ADVICE);
    }
    steps
}

fn what_to_do(verdict: &Verdict, style: &Style) -> String {
    match next_steps(verdict).as_slice() {
        [] => String::new(),
        [step] => format!("\n{}", wrapped(&format!("what to do: {step}"), 4, 6, style)),
        steps => {
            let list: String = steps.iter().map(|step| wrapped(&format!("- {step}"), 6, 8, style)).collect();
            format!("\n    what to do:\n{list}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn a_failed_run_says_what_was_crossed_and_on_what_it_rests() {
        let said = conclusion(&sample::verdict(), &Style::default(), Some("runs/1/report.html"));
        let expected = "
  █ VERDICT  failed                                   1 of 4 thresholds crossed

    http_req_failed  rate<0.001  was 0.0031  (1,204 of 388,410 requests; first
      crossed at 1m2s)

    run............: 01JD8QZV3M4T5W6X7Y8Z9A0B4K, finished after 7m30s
    workers........: 12 of 12 finished, start skew p99 18.39ms
    samples........: 5,437,740 read = 5,437,740 merged
    percentiles....: ±0.05 %; thresholds decided exactly
    report.........: runs/1/report.html
";
        assert_eq!(said, expected);
    }

    #[test]
    fn an_incomplete_run_says_what_is_missing_and_what_to_do() {
        let said = conclusion(&sample::incomplete(), &Style::default(), None);
        let expected = "
  █ VERDICT  invalid                             the measurement is not complete

    worker 7 was lost while it ran: it gave no sign of life for 10s
      k6 said: runtime: out of memory: cannot allocate 4194304-byte block
    188 of 5437740 samples that the workers read are missing
      worker 7, http_req_duration{name:cart}: 9,112 of 9,300 samples arrived
    thresholds on what did arrive: 4 of 4 hold — not a pass, because the missing
      samples may be the slow or failed ones

    run............: 01JD8QZV3M4T5W6X7Y8Z9A0B4K, aborted (by system) after 7m30s
    workers........: 11 of 12 finished, start skew p99 18.39ms; worker 7 did not
    samples........: 5,437,740 read ≠ 5,437,552 merged: 188 missing; worker 7
                     never said how many it read
    percentiles....: ±0.05 %

    what to do:
      - give workers more memory, and run the test again
      - look at `samples.missing` for the series, and run the test again
";
        assert_eq!(said, expected);
    }

    #[test]
    fn too_many_tag_sets_call_for_names() {
        let mut verdict = sample::verdict();
        (verdict.samples.folded, verdict.samples.folded_metrics) = (144_018, 9);
        let said = conclusion(&verdict, &Style::default(), None);
        let end = "
    tag sets.......: 144,018 samples of 9 metrics are beyond the 4,000 that a
                     worker keeps apart; metrics are whole

    what to do: give requests whose URLs differ one name, as in http.get(url, {
      tags: { name: 'item' } })
";
        assert!(said.ends_with(end), "{said}");
    }

    #[test]
    fn every_outcome_has_a_headline() {
        let mut verdict = sample::verdict();
        verdict.thresholds.retain(|t| t.passed);
        for (outcome, words) in [
            (Outcome::Passed, "all 3 thresholds hold"),
            (Outcome::Failed, "the script called the test failed"),
            (Outcome::NoThresholds, "the script has no thresholds"),
            (Outcome::Invalid, "the measurement is not complete"),
        ] {
            verdict.outcome = outcome;
            assert_eq!(headline(&verdict), words);
        }
    }

    #[test]
    fn what_is_too_close_to_call_is_told_beside_the_outcome() {
        let mut verdict = sample::verdict();
        verdict.thresholds[1].within_error = true;
        assert_eq!(headline(&verdict), "1 of 4 thresholds crossed, 1 too close to call");
        assert!(next_steps(&verdict).contains(&TOO_CLOSE_ADVICE));
        verdict.outcome = Outcome::Invalid;
        assert_eq!(headline(&verdict), "the measurement is not complete");
        assert!(!next_steps(&verdict).contains(&TOO_CLOSE_ADVICE));
    }

    #[test]
    fn an_accepted_loss_is_told_beside_the_outcome() {
        let mut verdict = sample::verdict();
        verdict.thresholds.retain(|t| t.passed);
        verdict.outcome = Outcome::Passed;
        let message = "worker 7 was lost while it ran: silent; accepted, since --min-workers is 11";
        let (code, message) = (ReasonCode::LossAccepted, message.to_owned());
        verdict.reasons = vec![Reason { code, message, worker: Some(7), next_step: None }];
        assert_eq!(headline(&verdict), "all 3 thresholds hold, with 11 of 12 workers");
        assert!(conclusion(&verdict, &Style::default(), None).contains("    worker 7 was lost while it ran: silent;"));
    }

    #[test]
    fn no_line_is_wider_than_asked_and_hostile_names_do_not_steer_the_terminal() {
        let mut verdict = sample::incomplete();
        verdict.reasons[0].message = "worker 7 \u{1b}]0;owned\u{7} ".repeat(9);
        for width in [60, 80, 120] {
            let said = conclusion(&verdict, &Style { color: false, width }, None);
            assert!(!said.contains('\u{1b}'));
            assert!(said.lines().skip(3).all(|line| line.chars().count() <= width), "{said}");
        }
    }
}
