use lambdaload_core::{
    number::Number,
    records::{Failure, FailureKind},
    testing::sample,
    timeline::{Slice, Timeline},
    verdict::{CheckSummary, Outcome, Reason, ReasonCode, Verdict},
};

use super::render_html;

fn page(verdict: &Verdict, timeline: &Timeline) -> String {
    render_html(verdict, timeline).expect("renders")
}

#[test]
fn the_page_has_every_part_and_nothing_of_another_place() {
    let page = page(&sample::verdict(), &sample::timeline());
    for part in ["Thresholds", "Over time", "Trends", "Rates", "Counters", "Gauges", "Checks", "Workers", "Run"] {
        assert!(page.contains(&format!(">{part}<")), "{part}");
    }
    assert_eq!(page.matches("<svg ").count(), 6);
    assert!(page.contains("default-src 'none'"));
    for forbidden in
        ["http://", "https://", "src=", "href=", "url(", "@import", "<script", "<link", "<img", "javascript:"]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn what_the_script_chooses_is_text_and_nothing_else() {
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;";
    let mut verdict = sample::verdict();
    verdict.name = hostile.into();
    verdict.script = hostile.into();
    verdict.note = Some(hostile.into());
    verdict.tags.insert(hostile.into(), hostile.into());
    verdict.reasons.push(Reason {
        code: ReasonCode::Script,
        message: hostile.into(),
        worker: Some(1),
        next_step: Some(hostile.into()),
    });
    verdict.thresholds[0].metric = hostile.into();
    verdict.thresholds[1].suffix = Some(hostile.into());
    verdict.thresholds[2].expression = hostile.into();
    verdict.summary.metrics[0].name = hostile.into();
    verdict.summary.metrics[7].suffix = Some(hostile.into());
    verdict.summary.trend_stats.push(hostile.into());
    verdict.summary.checks.push(CheckSummary {
        group: format!("::{hostile}"),
        name: hostile.into(),
        passes: 1,
        fails: 1,
    });
    verdict.workers[0].failure = Some(Failure {
        kind: FailureKind::ScriptFailed,
        message: hostile.into(),
        exit: None,
        log: vec![hostile.into()],
    });
    verdict.samples.missing = sample::incomplete().samples.missing;
    verdict.samples.missing[0].series = hostile.into();
    let page = page(&verdict, &sample::timeline());
    assert!(!page.contains("<script") && !page.contains("<img"));
    // Once for each place above, and the name twice: as the title and as the heading.
    assert!(page.matches("alert(1)").count() >= 2 * 17, "{}", page.matches("alert(1)").count());
}

#[test]
fn without_slices_there_are_no_charts() {
    let page = page(&sample::verdict(), &Timeline::default());
    assert!(page.contains("Nothing was recorded over time."));
    assert!(!page.contains("<svg"));
}

#[test]
fn a_single_slice_is_drawn() {
    let mut timeline = sample::timeline();
    timeline.slices.truncate(1);
    let page = page(&sample::verdict(), &timeline);
    assert!(page.contains("<circle"));
}

#[test]
fn odd_numbers_do_not_stop_the_report() {
    let mut verdict = sample::verdict();
    verdict.duration_ms = f64::NAN;
    verdict.thresholds[0].value = None;
    verdict.thresholds[1].value = Some(Number(f64::INFINITY));
    let slice = Slice { p99: Some(f64::INFINITY), p95: Some(f64::NAN), ..Slice::default() };
    let timeline = Timeline { slice_seconds: 0, slices: vec![slice; 3], ..Timeline::default() };
    assert!(page(&verdict, &timeline).contains("no samples"));
}

#[test]
fn an_incomplete_measurement_says_so_first() {
    let page = page(&sample::incomplete(), &sample::timeline());
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(
        at("the measurement is not complete") < at("worker 7 was lost") && at("worker 7 was lost") < at("Thresholds")
    );
    assert!(page.contains("lost while it ran") && page.contains("out of memory") && page.contains("What to do"));
    assert!(page.contains("On the samples that did arrive"));
}

#[test]
fn too_many_tag_sets_call_for_names_also_where_all_is_well() {
    let mut verdict = sample::verdict();
    verdict.outcome = Outcome::Passed;
    verdict.reasons.clear();
    verdict.thresholds.iter_mut().for_each(|threshold| threshold.passed = true);
    assert!(!page(&verdict, &sample::timeline()).contains("What to do"));
    (verdict.samples.folded, verdict.samples.folded_metrics) = (144_018, 9);
    let page = page(&verdict, &sample::timeline());
    assert!(page.contains("144,018 samples of 9 metrics") && page.contains("What to do") && page.contains("one name"));
}

#[test]
fn a_long_run_stays_small_and_many_workers_stay_folded() {
    let mut timeline = sample::timeline();
    timeline.slices = timeline.slices.iter().cycle().take(900).cloned().collect();
    let mut verdict = sample::verdict();
    verdict.workers = verdict.workers.iter().cycle().take(1000).cloned().collect();
    let page = page(&verdict, &timeline);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert!(page.contains("<details>"));
}
