//! One chart over time, as SVG for embedding in the page.
//!
//! Colours are only names here: the page's style sheet maps each to the colour of the reader's scheme.

use anyhow::Context as _;
use plotters::prelude::*;

use super::axis::{Axis, Unit, time_label, value_label};

/// Twice the size at which a chart is usually seen, since plotters rounds to whole units.
const SIZE: (u32, u32) = (1200, 500);
const LABEL_FONT: (&str, u32) = ("sans-serif", 34);
const LINE_WIDTH: u32 = 4;

/// Stand for `--grid`, `--mark` and the colours of the lines in the style sheet.
const GRID: RGBColor = RGBColor(1, 1, 1);
const MARK: RGBColor = RGBColor(2, 2, 2);
const LINES: [RGBColor; 3] = [RGBColor(17, 0, 0), RGBColor(34, 0, 0), RGBColor(51, 0, 0)];

/// A chart to draw.
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: &'static str,
    /// What its values are.
    pub(super) unit: Unit,
    /// Up to three lines, the most important last.
    pub(super) lines: Vec<Line>,
}

/// One line of a chart.
pub(super) struct Line {
    /// Its name.
    pub(super) name: &'static str,
    /// A value for each slice of time; none where there is a gap.
    pub(super) values: Vec<Option<f64>>,
}

/// The time that a chart covers.
pub(super) struct TimeAxis {
    /// Seconds that a slice covers.
    pub(super) slice_seconds: f64,
    /// Slices.
    pub(super) slices: usize,
    /// Moments to mark with a vertical line, in seconds after the start.
    pub(super) marks: Vec<f64>,
}

impl TimeAxis {
    fn seconds(&self) -> f64 {
        self.slice_seconds * self.slices as f64
    }

    /// The middle of a slice.
    fn middle(&self, slice: usize) -> f64 {
        self.slice_seconds * (slice as f64 + 0.5)
    }
}

impl Chart {
    /// Whether there is anything to draw.
    pub(super) fn has_values(&self) -> bool {
        self.lines.iter().any(|line| line.values.iter().any(Option::is_some))
    }

    /// What the chart tells in one sentence: where its most important line is highest.
    pub(super) fn peak(&self, time: &TimeAxis) -> Option<String> {
        let line = self.lines.last()?;
        let values = line.values.iter().enumerate().filter_map(|(slice, value)| Some((slice, (*value)?)));
        // Of several equal ones the last in this order, and so the first in time.
        let (slice, highest) = values.rev().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        if highest == 0.0 {
            return Some("none".to_owned());
        }
        let name = if self.lines.len() > 1 { format!("{} ", line.name) } else { String::new() };
        let at = time_label((slice as f64 * time.slice_seconds).floor());
        // Two decimals are what a person reads off a chart at most.
        let highest = value_label((highest * 100.0).round() / 100.0, self.unit);
        Some(format!("{name}highest {highest} at {at}"))
    }

    /// Everything between `<svg>` and `</svg>`; the page opens the element, with the size of [`view_box`].
    pub(super) fn draw(&self, time: &TimeAxis) -> anyhow::Result<String> {
        let mut svg = String::new();
        self.draw_into(&mut svg, time).with_context(|| format!("the chart {} cannot be drawn", self.title))?;
        let inner = svg.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</svg>"));
        Ok(inner.map_or_else(String::new, |(inner, _)| inner.to_owned()))
    }

    fn draw_into(&self, svg: &mut String, time: &TimeAxis) -> anyhow::Result<()> {
        let highest = self.lines.iter().flat_map(|line| line.values.iter().flatten()).copied().fold(0.0, f64::max);
        let values = Axis::of_values(highest, self.unit);
        let top = values.end();
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(24)
            .margin_right(30)
            .x_label_area_size(50)
            .y_label_area_size(120)
            .build_cartesian_2d(Axis::of_time(time.seconds()), values)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .axis_style(GRID.stroke_width(2))
            .bold_line_style(GRID.stroke_width(2))
            .light_line_style(TRANSPARENT)
            .label_style(LABEL_FONT)
            .draw()?;
        for mark in time.marks.iter().filter(|mark| **mark <= time.seconds()) {
            chart.draw_series(LineSeries::new([(*mark, 0.0), (*mark, top)], MARK.stroke_width(3)))?;
        }
        for (line, color) in self.lines.iter().zip(LINES) {
            for (first, values) in without_gaps(&line.values) {
                let points = || values.iter().enumerate().map(|(i, value)| (time.middle(first + i), *value));
                if self.lines.len() == 1 && values.len() > 1 {
                    // The area below a lone line; between several it would only hide.
                    let (start, end) = (time.middle(first), time.middle(first + values.len() - 1));
                    let outline: Vec<_> = [(start, 0.0)].into_iter().chain(points()).chain([(end, 0.0)]).collect();
                    chart.draw_series([Polygon::new(outline, color.mix(0.14).filled())])?;
                }
                if values.len() == 1 {
                    chart.draw_series(points().map(|point| Circle::new(point, LINE_WIDTH * 2, color.filled())))?;
                } else {
                    chart.draw_series(LineSeries::new(points(), color.stroke_width(LINE_WIDTH)))?;
                }
            }
        }
        area.present()?;
        Ok(())
    }
}

/// The `viewBox` of all charts.
pub(super) fn view_box() -> String {
    format!("0 0 {} {}", SIZE.0, SIZE.1)
}

/// The unbroken runs of a line with the slices at which they begin.
fn without_gaps(values: &[Option<f64>]) -> Vec<(usize, Vec<f64>)> {
    let mut runs: Vec<(usize, Vec<f64>)> = Vec::new();
    let mut open = false;
    for (slice, value) in values.iter().enumerate() {
        match (value, runs.last_mut()) {
            (Some(value), Some((_, run))) if open => run.push(*value),
            (Some(value), _) => runs.push((slice, vec![*value])),
            (None, _) => {}
        }
        open = value.is_some();
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[Option<f64>]) -> Chart {
        let line = Line { name: "requests", values: values.to_vec() };
        Chart { title: "Requests", unit: Unit::PerSecond, lines: vec![line] }
    }

    fn time(slices: usize) -> TimeAxis {
        TimeAxis { slice_seconds: 2.0, slices, marks: vec![1.0, 99.0] }
    }

    #[test]
    fn a_gap_parts_a_line() {
        assert_eq!(without_gaps(&[None, Some(1.0), Some(2.0), None, Some(3.0)]), [(1, vec![1.0, 2.0]), (4, vec![3.0])]);
        let drawn = chart(&[Some(1.0), Some(2.0), None, Some(3.0), Some(1.0)]).draw(&time(5)).expect("draws");
        assert_eq!(drawn.matches(r##"stroke="#110000""##).count(), 2, "{drawn}");
    }

    #[test]
    fn a_single_slice_is_a_dot() {
        let drawn = chart(&[Some(5.0)]).draw(&time(1)).expect("draws");
        assert!(drawn.contains("<circle"), "{drawn}");
        assert_eq!(drawn.matches(r##"stroke="#020202""##).count(), 1, "only marks within the time are drawn");
    }

    #[test]
    fn the_peak_is_said_in_words() {
        assert_eq!(chart(&[Some(1.0), Some(2.345), None]).peak(&time(3)).as_deref(), Some("highest 2.35 at 2s"));
        assert_eq!(chart(&[Some(2.0), Some(1.0), Some(2.0)]).peak(&time(3)).as_deref(), Some("highest 2 at 0s"));
        assert_eq!(chart(&[Some(0.0)]).peak(&time(1)).as_deref(), Some("none"));
        assert_eq!(chart(&[None]).peak(&time(1)), None);
        assert!(!chart(&[None]).has_values());
    }
}
