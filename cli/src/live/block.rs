//! The live view as a block of lines for a terminal.

use console::{measure_text_width, truncate_str};
use lambdaload_core::{
    live::LiveState,
    plan::{plural, words as duration_words},
    verdict::ThresholdResult,
};

use super::words;
use crate::{
    printer::{Paint, one_line},
    view::{numbers, table},
};

/// What the lines must fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Columns.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// Colours.
    pub(super) paint: Paint,
}

/// Lines that are always there: head, workers, load, latency, failed.
const FIXED_LINES: usize = 5;

/// The block. No line is wider than the frame, and there are fewer of them than it has rows: a terminal scrolls what is
/// higher than itself, and what has scrolled cannot be drawn again.
pub(super) fn render(state: &LiveState, frame: Frame) -> Vec<String> {
    let mut lines = vec![head(state, frame), workers(state, frame.paint)];
    if state.elapsed_ms.is_some() {
        lines.push(labelled("load", &words::load(state)));
        lines.push(latency(state, frame));
        lines.extend(failed(state, frame.paint));
    }
    lines.extend(thresholds(state, frame));
    lines.truncate(frame.height.saturating_sub(1).max(1));
    lines.iter().map(|line| truncate_str(line, frame.width, "…").into_owned()).collect()
}

fn labelled(label: &str, parts: &[String]) -> String {
    format!(" {label:<8} {}", parts.join("   "))
}

fn head(state: &LiveState, frame: Frame) -> String {
    let (name, id) = (frame.paint.bold(&one_line(&state.name)), frame.paint.dim(&numbers::short_id(&state.run)));
    let before = format!(" {name}   {id}   {}", words::progress(state));
    let Some(elapsed) = state.elapsed_ms else { return before };
    let after = words::left(state).map(|left| format!("  eta {}", duration_words(left))).unwrap_or_default();
    let room = frame.width.saturating_sub(measure_text_width(&before) + after.chars().count() + 2);
    // A bar of a few cells tells nothing that the numbers do not.
    if room < 8 || state.duration_ms == 0 {
        return before + &after;
    }
    let done = (elapsed as f64 / state.duration_ms as f64).min(1.0);
    format!("{before} {}{after}", bar(done, room.min(40), frame.paint))
}

/// `━━━━╸─────`, in half cells.
fn bar(done: f64, cells: usize, paint: Paint) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most twice the cells")]
    let halves = ((done * cells as f64 * 2.0).floor() as usize).min(cells * 2);
    let mut full = "━".repeat(halves / 2);
    if halves % 2 == 1 {
        full.push('╸');
    }
    let rest = "─".repeat(cells - full.chars().count());
    format!("{}{}", paint.green(&full), paint.dim(&rest))
}

fn workers(state: &LiveState, paint: Paint) -> String {
    let mut parts = vec![words::workers(&state.workers)];
    parts.extend(words::lost(&state.workers).map(|lost| paint.red(&lost)));
    parts.extend(state.start_skew_p99_ms.map(|skew| format!("start skew p99 {}", numbers::milliseconds(skew))));
    labelled("workers", &parts)
}

fn latency(state: &LiveState, frame: Frame) -> String {
    let Some(latency) = &state.latency else { return labelled("latency", &["–".to_owned()]) };
    let line = labelled("latency", &words::latency(latency));
    let with_history = format!("{line}   {}", words::sparkline(&latency.history_p95));
    if measure_text_width(&with_history) <= frame.width { with_history } else { line }
}

fn failed(state: &LiveState, paint: Paint) -> Option<String> {
    let checks = words::checks(state);
    let failed = words::failed(state);
    if checks.is_none() && failed.is_none() {
        return None;
    }
    let some_failed = state.failed_rate.is_some_and(|rate| rate > 0.0);
    let failed = failed.map_or("–".to_owned(), |rate| if some_failed { paint.red(&rate) } else { rate });
    Some(labelled("failed", &std::iter::once(failed).chain(checks).collect::<Vec<_>>()))
}

/// The thresholds, crossed ones first where there is no room for all.
fn thresholds(state: &LiveState, frame: Frame) -> Vec<String> {
    let room = frame.height.saturating_sub(FIXED_LINES + 1).max(1);
    let mut shown: Vec<&ThresholdResult> = state.thresholds.iter().collect();
    let hidden = if shown.len() > room {
        shown.sort_by_key(|threshold| threshold.passed);
        shown.split_off(room - 1)
    } else {
        Vec::new()
    };
    let row = |threshold: &&ThresholdResult| {
        let mark = if threshold.passed { frame.paint.green("✓") } else { frame.paint.red("✗") };
        let so_far = if threshold.passed { "" } else { "   so far" };
        vec![
            format!(" {mark} {}", one_line(&threshold.key())),
            one_line(&threshold.expression),
            words::threshold_value(threshold) + so_far,
        ]
    };
    let mut lines = table::columns(&shown.iter().map(row).collect::<Vec<_>>());
    if !hidden.is_empty() {
        let crossed = hidden.iter().filter(|threshold| !threshold.passed).count();
        let all = plural(hidden.len() as u64, "more threshold");
        lines.push(if crossed == 0 {
            format!("   {all}, none crossed")
        } else {
            format!("   {all}, {crossed} crossed")
        });
    }
    lines
}
