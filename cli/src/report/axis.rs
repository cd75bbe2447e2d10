//! Axes of charts: where they have marks, and how these are labelled.

use std::{ops::Range, time::Duration};

use lambdaload_core::{plan::words, summary::format};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// What the values of a chart are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Things per second.
    PerSecond,
    /// Milliseconds.
    Milliseconds,
    /// Percent.
    Percent,
    /// Whole things.
    Things,
}

/// An axis from 0 to its end.
pub(super) struct Axis {
    end: f64,
    marks: Vec<f64>,
    /// What its values are; none for the axis of time, whose values are seconds.
    unit: Option<Unit>,
}

impl Axis {
    /// The axis of time.
    pub(super) fn of_time(seconds: f64) -> Self {
        Self { end: seconds, marks: time_marks(seconds), unit: None }
    }

    /// An axis for values from 0 to `highest`; it ends at the first mark that is not below.
    pub(super) fn of_values(highest: f64, unit: Unit) -> Self {
        let marks = value_marks(highest, unit);
        Self { end: marks.last().copied().unwrap_or(1.0), marks, unit: Some(unit) }
    }

    /// Its end.
    pub(super) fn end(&self) -> f64 {
        self.end
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "a point on the page")]
    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        first + (value / self.end * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        0.0..self.end
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.unit.map_or_else(|| time_label(*value), |unit| value_label(*value, unit))
    }
}

/// Distances between marks of time that people find easy, in seconds.
const TIME_STEPS: [f64; 18] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 21_600.0,
    43_200.0, 86_400.0,
];

/// Between an axis' ends there are at most so many marks of time.
const TIME_MARKS: f64 = 6.0;

/// A value axis is cut into at most so many parts.
const PARTS: f64 = 4.0;

/// Marks for the given number of seconds.
fn time_marks(seconds: f64) -> Vec<f64> {
    multiples(time_step(seconds / TIME_MARKS), seconds, f64::floor)
}

/// Marks for values from 0 to `highest`; the last one is the end of the axis and not below `highest`.
fn value_marks(highest: f64, unit: Unit) -> Vec<f64> {
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let step = match unit {
        Unit::Milliseconds if highest > 60_000.0 => time_step(highest / 1000.0 / PARTS) * 1000.0,
        Unit::Things => round_step(highest / PARTS).max(1.0).ceil(),
        Unit::Percent | Unit::PerSecond | Unit::Milliseconds => round_step(highest / PARTS),
    };
    multiples(step, highest, f64::ceil)
}

/// The text at a mark of time.
pub(super) fn time_label(seconds: f64) -> String {
    words(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// The text at a mark of value.
pub(super) fn value_label(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds => format::milliseconds(value, None),
        Unit::Percent => format!("{}%", format::number(value)),
        Unit::PerSecond | Unit::Things if value >= 1e6 => format!("{}M", format::number(value / 1e6)),
        Unit::PerSecond | Unit::Things if value >= 1e4 => format!("{}k", format::number(value / 1e3)),
        Unit::PerSecond | Unit::Things => format::number(value),
    }
}

fn time_step(least: f64) -> f64 {
    TIME_STEPS.into_iter().find(|step| *step >= least).unwrap_or_else(|| round_step(least))
}

/// The least of 1, 2, 2.5 and 5 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| factor * power >= least);
    factor.unwrap_or(10.0) * power
}

fn multiples(step: f64, end: f64, rounded: impl Fn(f64) -> f64) -> Vec<f64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of marks")]
    let count = rounded(end / step) as u32;
    (0..=count).map(|mark| f64::from(mark) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_marked_where_a_clock_would() {
        assert_eq!(time_marks(450.0), [0.0, 120.0, 240.0, 360.0]);
        assert_eq!(time_marks(1.0), [0.0, 1.0]);
        assert_eq!(time_marks(86_400.0 * 3.0), [0.0, 43_200.0, 86_400.0, 129_600.0, 172_800.0, 216_000.0, 259_200.0]);
        assert_eq!([0.0, 90.0, 5400.0].map(time_label), ["0s", "1m30s", "1h30m"]);
    }

    #[test]
    fn values_are_marked_at_round_numbers_up_to_their_highest() {
        assert_eq!(value_marks(1021.0, Unit::PerSecond), [0.0, 500.0, 1000.0, 1500.0]);
        assert_eq!(value_marks(3.0, Unit::Things), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(value_marks(0.0, Unit::Percent), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(value_marks(100_000.0, Unit::Milliseconds), [0.0, 30_000.0, 60_000.0, 90_000.0, 120_000.0]);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(value_label(1500.0, Unit::Milliseconds), "1.5s");
        assert_eq!(value_label(0.25, Unit::Percent), "0.25%");
        assert_eq!(value_label(25_000.0, Unit::PerSecond), "25k");
        assert_eq!(value_label(2_500_000.0, Unit::Things), "2.5M");
        assert_eq!(value_label(672.0, Unit::Things), "672");
    }
}
