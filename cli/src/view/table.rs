//! Text in columns.

use console::{Alignment, measure_text_width, pad_str};

use crate::printer::Paint;

/// Lines of cells, each column as wide as its widest cell and two spaces from the next. Colours take no width.
pub(crate) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell_width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max();
    let widths: Vec<usize> = (0..count).map(|column| cell_width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| pad_str(cell, *width, Alignment::Left, None));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Label and lines, as `plan` and `doctor` show them: the label once, its lines below each other.
pub(crate) fn labelled(label: &str, lines: impl IntoIterator<Item = String>, paint: Paint) -> String {
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    labels
        .zip(lines)
        .fold(String::new(), |text, (label, line)| text + &paint.dim(&format!("{label:<13}")) + " " + &line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = columns(&[
            row(["run", "p95", "note"]),
            row(["01JD8Q…4K", "\u{1b}[31m412 ms\u{1b}[0m", ""]),
            row(["a", "–", "x"]),
        ]);
        assert_eq!(lines, ["run        p95     note", "01JD8Q…4K  \u{1b}[31m412 ms\u{1b}[0m", "a          –       x"]);
    }

    #[test]
    fn a_label_stands_once() {
        assert_eq!(
            labelled("warnings", ["one".to_owned(), "two".to_owned()], Paint::OFF),
            "warnings      one\n              two\n"
        );
    }
}
