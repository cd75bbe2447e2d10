//! A block of lines at the bottom of a terminal that is drawn again and again.

use console::{Term, measure_text_width};

/// The block. What is written above it stays.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Term,
    /// Widths of the lines that stand there now.
    drawn: Vec<usize>,
}

impl Screen {
    /// Nothing drawn yet; `terminal` is one that buffers, so that each change reaches the eye at once.
    pub(super) fn new(terminal: Term) -> Self {
        Self { terminal, drawn: Vec::new() }
    }

    /// Rows and columns now; 24 times 80 where the terminal does not know.
    pub(super) fn size(&self) -> (usize, usize) {
        let (rows, columns) = self.terminal.size_checked().unwrap_or((24, 80));
        (usize::from(rows).max(2), usize::from(columns).max(2))
    }

    /// Replaces the block by these lines, with `above` written over them to stay.
    pub(super) fn draw(&mut self, above: Option<&str>, lines: &[String]) {
        let (_, columns) = self.size();
        let rows = rows_of(&self.drawn, columns);
        // A terminal that cannot be written to has nobody looking; the run does not depend on that.
        let _ = self.terminal.move_cursor_up(rows);
        let _ = self.terminal.clear_to_end_of_screen();
        for line in above.into_iter().chain(lines.iter().map(String::as_str)) {
            let _ = self.terminal.write_line(line);
        }
        let _ = self.terminal.flush();
        self.drawn = lines.iter().map(|line| measure_text_width(line)).collect();
    }
}

/// Rows that lines of these widths take: a terminal that has become narrower has wrapped those that are wider than it.
fn rows_of(widths: &[usize], columns: usize) -> usize {
    widths.iter().map(|width| width.div_ceil(columns).max(1)).sum()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    /// What is written when `draw` is called with each of these.
    fn written(draws: &[(Option<&str>, &[&str])]) -> String {
        let mut file = tempfile::tempfile().expect("a file");
        let (input, output) = (file.try_clone().expect("a handle"), file.try_clone().expect("a handle"));
        let mut screen = Screen::new(Term::read_write_pair(input, output));
        for (above, lines) in draws {
            screen.draw(*above, &lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>());
        }
        let mut text = String::new();
        file.rewind().expect("rewinds");
        file.read_to_string(&mut text).expect("reads");
        text
    }

    #[test]
    fn each_block_takes_the_place_of_the_one_before() {
        let (up, clear) = ("\u{1b}[2A", "\r\u{1b}[0J");
        assert_eq!(written(&[(None, &["a", "b"]), (None, &["c"])]), format!("{clear}a\nb\n{up}{clear}c\n"));
        assert_eq!(
            written(&[(None, &["a", "b"]), (Some("said"), &["c"])]),
            format!("{clear}a\nb\n{up}{clear}said\nc\n")
        );
        assert_eq!(written(&[(None, &["a", "b"]), (None, &[])]), format!("{clear}a\nb\n{up}{clear}"));
    }

    #[test]
    fn wrapped_lines_take_more_rows() {
        assert_eq!(rows_of(&[79, 0, 20], 80), 3);
        assert_eq!(rows_of(&[79, 0, 20], 40), 4);
        assert_eq!(rows_of(&[], 40), 0);
    }
}
