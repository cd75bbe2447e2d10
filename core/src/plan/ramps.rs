//! Levels that go up or down in a straight line from one stage to the next: numbers of VUs, and arrival rates.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{k6::options::Stage, millis, segment::Segment};

/// One ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramp {
    /// How long it takes; with 0 the level jumps.
    #[serde(with = "millis")]
    pub lasts: Duration,
    /// The level at its end.
    pub target: u64,
}

impl Ramp {
    pub(super) fn of(stage: &Stage) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
        let target = stage.target.unwrap_or(0.0) as u64;
        Self { lasts: stage.duration.unwrap_or_default(), target }
    }
}

pub(super) fn lasts(ramps: &[Ramp]) -> Duration {
    ramps.iter().fold(Duration::ZERO, |sum, ramp| sum.saturating_add(ramp.lasts))
}

pub(super) fn peak(start: u64, ramps: &[Ramp]) -> u64 {
    ramps.iter().fold(start, |peak, ramp| peak.max(ramp.target))
}

/// Ramps one after the other: the level each starts from, when, and the ramp.
pub(super) fn each(start: u64, ramps: &[Ramp]) -> impl Iterator<Item = (u64, Duration, Ramp)> {
    ramps.iter().scan((start, Duration::ZERO), |(level, begins), ramp| {
        let this = (*level, *begins, *ramp);
        (*level, *begins) = (ramp.target, begins.saturating_add(ramp.lasts));
        Some(this)
    })
}

/// The level at a moment, in whole steps: one is taken when all of its time is over. After the last ramp it stays.
pub(super) fn level_at(start: u64, ramps: &[Ramp], at: Duration) -> u64 {
    let mut level = start;
    for (from, begins, ramp) in each(start, ramps) {
        let Some(into) = at.checked_sub(begins) else { break };
        if into >= ramp.lasts {
            level = ramp.target;
            continue;
        }
        let steps =
            into.as_nanos().saturating_mul(u128::from(from.abs_diff(ramp.target))) / ramp.lasts.as_nanos().max(1);
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        return if from < ramp.target { from.saturating_add(steps) } else { from.saturating_sub(steps) };
    }
    level
}

/// When VUs of one worker come and go, in order of time. Every VU of the whole belongs to one worker, so the worker sees
/// only some of the steps. A VU that leaves is kept for as long as it may finish its iteration, and taken up again if it
/// is wanted before. All have gone at `ends`.
pub(super) fn vu_changes(
    start: u64,
    ramps: &[Ramp],
    segment: Segment,
    grace: Duration,
    ends: Duration,
) -> Vec<(Duration, i64)> {
    // These stay from the start to the end.
    let always = ramps.iter().map(|ramp| segment.share(ramp.target)).fold(segment.share(start), u64::min);
    let mut own = segment.share(start);
    let count = |vus| i64::try_from(vus).unwrap_or(i64::MAX);
    let mut changes = vec![(Duration::ZERO, count(own)), (ends, -count(always))];
    // For each of the others that was ever there, when it is gone for good unless it is wanted again.
    let mut leaves: Vec<Option<Duration>> = (always..own).map(|_| None).collect();
    let place = |own: u64| usize::try_from(own - always).unwrap_or(usize::MAX);
    for (from, begins, ramp) in each(start, ramps) {
        let to = segment.share(ramp.target);
        let after = |steps: u64| {
            let all = u128::from(from.abs_diff(ramp.target).max(1));
            let nanos = ramp.lasts.as_nanos().saturating_mul(u128::from(steps)).div_ceil(all);
            begins.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
        };
        while own < to {
            let at = after(segment.nth(own).saturating_add(1).saturating_sub(from));
            match leaves.get_mut(place(own)).map(Option::take) {
                Some(Some(gone)) if gone >= at => {}
                Some(gone) => {
                    changes.extend(gone.map(|gone| (gone, -1)));
                    changes.push((at, 1));
                }
                None => {
                    leaves.push(None);
                    changes.push((at, 1));
                }
            }
            own += 1;
        }
        while own > to {
            own -= 1;
            let at = after(from.saturating_sub(segment.nth(own)));
            if let Some(leaves) = leaves.get_mut(place(own)) {
                *leaves = Some(at.saturating_add(grace));
            }
        }
    }
    changes.extend(leaves.into_iter().map(|gone| (gone.unwrap_or(ends).min(ends), -1)));
    changes.sort_by_key(|(at, _)| *at);
    changes
}

/// The level at a moment, in parts of a step; 0 after the last ramp.
pub(super) fn rate_at(start: u64, ramps: &[Ramp], at: Duration) -> f64 {
    let now = each(start, ramps).find_map(|(from, begins, ramp)| {
        let into = at.checked_sub(begins).filter(|into| *into < ramp.lasts)?;
        let (from, to) = (from as f64, ramp.target as f64);
        Some(from + (to - from) * into.as_secs_f64() / ramp.lasts.as_secs_f64())
    });
    now.unwrap_or(0.0)
}

/// Iterations of a ramping rate up to a moment: the area below its line. Times are nanoseconds, as in k6, since the number
/// of iterations may depend on how floats are rounded.
pub(super) fn area(start: u64, unit_nanos: u64, ramps: &[Ramp], until: Duration) -> f64 {
    let unit = unit_nanos as f64;
    each(start, ramps).fold(0.0, |sum, (from, begins, ramp)| {
        let into = until.saturating_sub(begins).min(ramp.lasts);
        let (from, to, lasts) = (from as f64 / unit, ramp.target as f64 / unit, ramp.lasts.as_nanos() as f64);
        let into = into.as_nanos() as f64;
        let reached = if into < lasts { from + (to - from) * into / lasts } else { to };
        sum + into * area_height(from, reached)
    })
}

/// The mean height of a ramp.
fn area_height(from: f64, to: f64) -> f64 {
    from + (to - from) / 2.0
}

/// When the iterations of a ramping rate start. Iteration k starts when the area below the line has grown to k + 1.
pub(super) fn arrivals(start: u64, unit_nanos: u64, ramps: &[Ramp]) -> impl Iterator<Item = Duration> {
    let unit = unit_nanos as f64;
    let mut before = 0.0;
    let mut next = 1.0;
    each(start, ramps).flat_map(move |(from, begins, ramp)| {
        let (from, to, lasts) = (from as f64 / unit, ramp.target as f64 / unit, ramp.lasts.as_nanos() as f64);
        let start = before;
        before += lasts * area_height(from, to);
        let first = next;
        let count = (before - next + 1.0).floor().max(0.0);
        next += count;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
        let count = count as u64;
        (0..count).map(move |k| {
            let area = first + k as f64 - start;
            // Where from · x + (to - from) ÷ (2 · lasts) · x² has reached that area.
            let root = (from * from + 2.0 * area * (to - from) / lasts).max(0.0).sqrt();
            let nanos = 2.0 * area / (from + root);
            begins.saturating_add(Duration::try_from_secs_f64(nanos / 1e9).unwrap_or(Duration::MAX))
        })
    })
}
