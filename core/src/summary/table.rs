//! k6's lines of names, dots and columns.

use super::{EXTRA, FAINT, PLAIN, Style, VALUE};

/// One line of a section.
pub(super) struct Row {
    /// The name with the indentation of a sub-metric.
    pub(super) name: String,
    /// What stands to the right of the dots.
    pub(super) cells: Cells,
}

/// What stands to the right of the dots.
pub(super) enum Cells {
    /// Of a trend: names of statistics and their values, in order.
    Statistics(Vec<(String, String)>),
    /// Of other metrics: a value and what goes with it.
    Value {
        /// The value.
        value: String,
        /// What goes with it.
        extras: Vec<String>,
    },
}

/// Widths of columns, in characters: k6 aligns all sections of a summary together.
pub(super) struct Widths {
    name: usize,
    value: usize,
    statistics: Vec<usize>,
    extras: Vec<usize>,
}

impl Widths {
    /// The widths that fit all the given lines.
    pub(super) fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut widths = Self { name: 0, value: 0, statistics: Vec::new(), extras: Vec::new() };
        for row in rows {
            widths.name = widths.name.max(length(&row.name));
            match &row.cells {
                Cells::Statistics(cells) => grow(&mut widths.statistics, cells.iter().map(|(_, value)| value)),
                Cells::Value { value, extras } => {
                    widths.value = widths.value.max(length(value));
                    grow(&mut widths.extras, extras);
                }
            }
        }
        widths
    }

    /// The line of a row, without indentation.
    pub(super) fn line(&self, row: &Row, style: &Style) -> String {
        let dots = ".".repeat(self.name - length(&row.name) + 3) + ":";
        let mut line = format!("{}{} ", row.name, style.paint(FAINT, &dots));
        line += &match &row.cells {
            Cells::Statistics(cells) => {
                let cells = cells.iter().zip(&self.statistics).map(|((name, value), width)| {
                    format!("{name}={}{}", style.paint(VALUE, value), padding(value, *width))
                });
                cells.collect::<Vec<_>>().join(" ")
            }
            Cells::Value { value, extras } => {
                // A single extra is the last in its line, so k6 leaves it as short as it is.
                let last_is_padded = extras.len() > 1;
                let extras = extras.iter().zip(&self.extras).map(|(extra, width)| {
                    let width = if last_is_padded { *width } else { 0 };
                    format!(" {}{}", style.paint(EXTRA, extra), padding(extra, width))
                });
                format!("{}{}{}", style.paint(VALUE, value), padding(value, self.value), extras.collect::<String>())
            }
        };
        line
    }
}

/// `name=value`, as k6 shows what a threshold compared.
pub(super) fn assignment(name: &str, value: &str, style: &Style) -> String {
    format!("{}={}", style.paint(PLAIN, name), style.paint(VALUE, value))
}

fn grow<'a>(widths: &mut Vec<usize>, cells: impl IntoIterator<Item = &'a String>) {
    for (column, cell) in cells.into_iter().enumerate() {
        if column == widths.len() {
            widths.push(0);
        }
        widths[column] = widths[column].max(length(cell));
    }
}

fn padding(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(length(text)))
}

/// Characters, not columns of a terminal: k6 counts an ideograph as one.
fn length(text: &str) -> usize {
    text.chars().count()
}
