//! The plan as people read it, and as programs do.

use std::time::Duration;

use lambdaload_core::{
    ids::WorkerIndex,
    plan::{Plan, PlannedScenario, Platform, Samples, Work, plural, words},
    segment::Segment,
    series::{Contains, Metric, MetricKind},
    summary::error_bound,
    threshold::Threshold,
};
use serde::Serialize;

use super::{cost, numbers, table};
use crate::printer::{Paint, one_line};

/// Workers that are listed one by one before the rest becomes a number.
const LISTED_WORKERS: u32 = 8;

/// How much of a plan is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What fits on top of a run.
    Short,
    /// Each worker's part and the deadlines too.
    Full,
}

/// The plan in lines; `account` is what was found out about the account's room for it.
pub(crate) fn render(plan: &Plan, account: Option<&str>, detail: Detail, paint: Paint) -> String {
    let archive = &plan.archive;
    let files = plural(u64::from(archive.files), "file");
    let (size, hash) = (numbers::bytes(archive.size as f64), archive.hash.short());
    let mut text = format!(
        "{}   k6 v{}   archive {hash} ({size}, {files})\n",
        paint.bold(&one_line(&plan.script)),
        plan.k6_version
    );
    let mut add = |label: &str, lines: Vec<String>| text += &table::labelled(label, lines, paint);
    if plan.name != plan.script {
        add("test", vec![one_line(&plan.name)]);
    }
    // Names are not secret.
    for (label, names) in [("variables", &plan.env), ("secrets", &plan.secrets)] {
        if !names.is_empty() {
            add(label, vec![one_line(&names.join(", "))]);
        }
    }
    add("scenarios", scenarios(plan));
    add("thresholds", vec![thresholds(plan)]);
    add("samples", samples(plan).into_iter().collect());
    add("workers", workers(plan));
    if detail == Detail::Full {
        add("segments", segments(plan));
    }
    add("lasts", vec![lasts(plan)]);
    if detail == Detail::Full {
        add("deadlines", vec![deadlines(plan)]);
    }
    add("costs", costs(plan, detail));
    add("account", account.map(str::to_owned).into_iter().collect());
    add("warnings", warnings(plan).iter().map(|warning| paint.yellow(warning)).collect());
    text
}

/// What a worker is to do.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct WorkerPart {
    /// The worker, from 1.
    worker: u32,
    /// The value of k6's `--execution-segment`.
    segment: String,
    /// VUs at most.
    max_vus: u64,
    /// Iterations per second that it starts at most; none without arrival rates.
    peak_iterations_per_second: Option<f64>,
    /// Iterations by plan; none if VUs loop.
    iterations: Option<u64>,
}

/// The plan for programs.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'p> {
    plan: &'p Plan,
    workers: Vec<WorkerPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'p str>,
    warnings: Vec<String>,
}

impl<'p> Document<'p> {
    /// Everything that is known before a run.
    pub(crate) fn new(plan: &'p Plan, account: Option<&'p str>) -> Self {
        Self { plan, workers: parts(plan, plan.workers), account, warnings: warnings(plan) }
    }
}

/// The parts of the first few workers.
fn parts(plan: &Plan, few: u32) -> Vec<WorkerPart> {
    let iterations = plan.worker_iterations();
    let iterations = |index| iterations.as_ref().and_then(|all| all.get(&index).copied());
    let few = plan.worker_indices().take(few as usize);
    few.map(|index| WorkerPart { iterations: iterations(index), ..part(plan, index) }).collect()
}

fn part(plan: &Plan, index: WorkerIndex) -> WorkerPart {
    WorkerPart {
        worker: index.number(),
        segment: plan.segment(index).map(Segment::argument).unwrap_or_default(),
        max_vus: plan.worker_vus(index),
        peak_iterations_per_second: plan.worker_rate(index),
        iterations: None,
    }
}

fn scenarios(plan: &Plan) -> Vec<String> {
    let row = |scenario: &PlannedScenario| {
        let mut row = vec![one_line(&scenario.name), scenario.executor.clone(), scenario.shape.clone()];
        // VUs say it all where there is no arrival rate.
        row.extend(scenario.peak_rate.map(|_| format!("maxVUs {}", scenario.max_vus)));
        row
    };
    table::columns(&plan.scenarios.iter().map(row).collect::<Vec<_>>())
}

fn thresholds(plan: &Plan) -> String {
    if plan.thresholds.is_empty() {
        return "none".to_owned();
    }
    let mut metrics: Vec<String> = plan.thresholds.iter().map(|threshold| threshold.selector.key()).collect();
    metrics.sort();
    metrics.dedup();
    let stopping = plan.thresholds.iter().filter(|threshold| threshold.abort_on_fail).count();
    let stops = match stopping {
        0 => String::new(),
        1 => ", 1 stops the run".to_owned(),
        many => format!(", {many} stop the run"),
    };
    format!("{} on {}{stops}", plan.thresholds.len(), plural(metrics.len() as u64, "metric"))
}

/// How workers read their k6, if that is worth a word.
fn samples(plan: &Plan) -> Option<String> {
    match plan.samples {
        Samples::Exact => plan.samples_hint().map(str::to_owned),
        Samples::Aggregated => Some(format!(
            "aggregated by k6: percentiles are within {}, and thresholds that near to their limit too close to call",
            error_bound(plan.samples.percentile_error())
        )),
    }
}

fn workers(plan: &Plan) -> Vec<String> {
    let first = part(plan, WorkerIndex::FIRST);
    let last = part(plan, WorkerIndex(plan.workers.saturating_sub(1)));
    let platform = match &plan.platform {
        Platform::Local => "local".to_owned(),
        Platform::Lambda(stack) => format!("lambda ({} MB, {})", stack.memory_mb, stack.architecture.name()),
        Platform::Fargate(stack) => format!(
            "fargate ({} vCPU, {} MB, {}{})",
            stack.vcpus(),
            stack.memory_mb,
            stack.architecture.name(),
            if stack.spot { ", Spot" } else { "" }
        ),
    };
    let mut line = format!("{} × {platform}   {}", plan.workers, each(&first, &last));
    if let Some(rates) = each_rate(&first, &last) {
        line += &format!(", {rates}");
    }
    let name = if plan.platform.fargate().is_some() { "fargate" } else { "lambda" };
    let place = plan.platform_reason.as_ref().map(|reason| format!("why {name}: {reason}"));
    let reason = plan.workers_reason.as_ref().map(|reason| format!("why {}: {reason}", plan.workers));
    let (in_time, needed) = (words(plan.deadlines.begun_and_ready()), plan.min_workers);
    let accepts = (needed < plan.workers)
        .then(|| format!("after {in_time} the run starts with {needed} or more; losing others later is accepted, too"));
    std::iter::once(line).chain(place).chain(reason).chain(accepts).collect()
}

/// With equal segments the first worker has most and the last least.
fn each(first: &WorkerPart, last: &WorkerPart) -> String {
    match (first.max_vus, last.max_vus) {
        (vus, same) if vus == same && first.worker == last.worker => plural(vus, "VU"),
        (vus, same) if vus == same => format!("{} each", plural(vus, "VU")),
        (larger, smaller) => format!("{smaller} to {} each", plural(larger, "VU")),
    }
}

fn each_rate(first: &WorkerPart, last: &WorkerPart) -> Option<String> {
    let (first_text, last_text) =
        (numbers::rate(first.peak_iterations_per_second?), numbers::rate(last.peak_iterations_per_second?));
    let each = if first.worker == last.worker { "" } else { " each" };
    let range = if first_text == last_text { first_text } else { format!("{last_text} to {first_text}") };
    Some(format!("{range} iterations/s{each}"))
}

fn segments(plan: &Plan) -> Vec<String> {
    // A rest of one is shown as itself.
    let listed = if plan.workers > LISTED_WORKERS + 1 { LISTED_WORKERS } else { plan.workers };
    let row = |part: WorkerPart| {
        let rate = part.peak_iterations_per_second.map(|rate| format!("{} iterations/s", numbers::rate(rate)));
        let iterations = part.iterations.map(|iterations| plural(iterations, "iteration"));
        let cells = [format!("worker {}", part.worker), part.segment, plural(part.max_vus, "VU")];
        cells.into_iter().chain(rate).chain(iterations).collect::<Vec<_>>()
    };
    let rows: Vec<_> = parts(plan, listed).into_iter().map(row).collect();
    let mut lines = table::columns(&rows);
    if listed < plan.workers {
        lines.push(format!("… and {} more (all of them with --output json)", plan.workers - listed));
    }
    lines
}

fn lasts(plan: &Plan) -> String {
    let at_most = format!("{} at most", words(plan.duration));
    match plan.longest() {
        Some(longest) => format!("{at_most}, of {} that Lambda allows", words(longest)),
        None => at_most,
    }
}

fn costs(plan: &Plan, detail: Detail) -> Vec<String> {
    let Some(estimate) = &plan.cost else { return Vec::new() };
    let line = format!("{} ({})", cost::about(estimate.total), cost::parts(estimate));
    let basis = (detail == Detail::Full).then(|| cost::basis(estimate, plan));
    std::iter::once(line).chain(basis.into_iter().flatten()).collect()
}

fn deadlines(plan: &Plan) -> String {
    let deadlines = &plan.deadlines;
    let queue = match deadlines.queue {
        none if none.is_zero() => String::new(),
        queue => format!("room {}, ", words(queue)),
    };
    // Where workers begin at once it is not worth a word.
    let launch = match deadlines.launch {
        short if short < Duration::from_mins(1) => String::new(),
        launch => format!("launch {}, ", words(launch)),
    };
    format!(
        "{queue}{launch}ready {}, setup {}, run {}, teardown {}, stop {}",
        words(deadlines.ready),
        words(deadlines.setup),
        words(deadlines.run),
        words(deadlines.teardown),
        words(deadlines.stop)
    )
}

/// What will make the numbers mean less than a person may think.
pub(crate) fn warnings(plan: &Plan) -> Vec<String> {
    let is_latency = |threshold: &Threshold| {
        Metric::built_in(&threshold.selector.metric)
            .is_some_and(|metric| metric.kind == MetricKind::Trend && metric.contains == Contains::Time)
    };
    let judges_latency = plan.thresholds.iter().any(is_latency);
    let closed = plan.scenarios.iter().filter(|scenario| judges_latency && scenario.peak_rate.is_none());
    let closed_model =
        closed.map(|scenario| format!("{} is a closed model: a slow target gets less load", one_line(&scenario.name)));
    let fixed = plan.scenarios.iter().filter(|s| {
        matches!(s.schedule.work, Work::Controlled { .. })
            && plan.controlled().is_some_and(|first| first.name != s.name)
    });
    let fixed = fixed.map(|scenario| {
        format!(
            "{} keeps its VUs: k6 lets only its first externally-controlled scenario be scaled",
            one_line(&scenario.name)
        )
    });
    let gaps = plan.scenarios.iter().filter(|s| {
        matches!(s.schedule.work, Work::PerVuIterations { .. }) && !s.max_vus.is_multiple_of(plan.workers.into())
    });
    let gaps = gaps.map(|scenario| {
        format!(
            "{}: numbers of iterations (iterationInTest) have gaps, because its {} cannot be dealt out evenly",
            one_line(&scenario.name),
            plural(scenario.max_vus, "VU")
        )
    });
    let no_thresholds =
        plan.thresholds.is_empty().then(|| "no thresholds: this run can neither pass nor fail".to_owned());
    let untested = plan.k6_version.untested().into_iter();
    let on_lambda = plan.account_warnings().into_iter();
    untested.chain(on_lambda).chain(closed_model).chain(fixed).chain(gaps).chain(no_thresholds).collect()
}

#[cfg(test)]
pub(crate) mod tests;
