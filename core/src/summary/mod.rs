//! What a person or a script reads at the end of a run: the text that k6 prints, our own conclusion below it, and the
//! document of k6's `--summary-export`.
//!
//! Everything here is a pure function of a [`Verdict`](crate::verdict::Verdict). The text is that of k6 1.8.1, byte for byte, so
//! that whatever was built on k6's output goes on working; `golden/summary` holds what k6 itself printed.

mod conclusion;
pub mod drift;
pub mod export;
mod facts;
pub mod format;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_full;
mod groups;
mod handle;
mod handled;
pub mod machine_readable;
mod order;
mod table;
pub mod text;
mod wrap;

use std::borrow::Cow;

use anstyle::AnsiColor;

pub use conclusion::{compared_value, conclusion, crossing, headline, next_steps};
pub use export::summary_export;
pub use facts::{error_bound, folded};
pub use handle::{Terminal, handle_summary_input, summarizing};
pub use handled::{Handled, Returned};
pub use machine_readable::machine_readable;
pub use text::k6_blocks;

use crate::verdict::Values;

/// How text is written. Whoever prints it knows the terminal; this crate does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour, in k6's colours.
    pub color: bool,
    /// Characters in a line. Only our own sentences wrap at it; k6's lines are as long as they are.
    pub width: usize,
}

impl Default for Style {
    /// Without colour, 80 characters wide.
    fn default() -> Self {
        Self { color: false, width: 80 }
    }
}

impl Style {
    /// `text` in the given look, or plain without colour.
    fn paint<'a>(&self, look: anstyle::Style, text: &'a str) -> Cow<'a, str> {
        if self.color { format!("{look}{text}{look:#}").into() } else { text.into() }
    }
}

/// Titles.
const BOLD: anstyle::Style = anstyle::Style::new().bold();
/// What holds.
const GOOD: anstyle::Style = AnsiColor::Green.on_default();
/// What does not hold.
const BAD: anstyle::Style = AnsiColor::Red.on_default();
/// What cannot be said.
const UNSURE: anstyle::Style = AnsiColor::Yellow.on_default();
/// Values.
const VALUE: anstyle::Style = AnsiColor::Cyan.on_default();
/// What goes with a value.
const EXTRA: anstyle::Style = AnsiColor::Cyan.on_default().dimmed();
/// What stands around values.
const PLAIN: anstyle::Style = AnsiColor::White.on_default();
/// Dots.
const FAINT: anstyle::Style = AnsiColor::White.on_default().dimmed();

/// A statistic of a trend by k6's name for it: `avg`, `count`, `p(95)` …
fn trend_value(values: &Values, stat: &str) -> Option<f64> {
    let Values::Trend { count, avg, min, max, percentiles } = values else { return None };
    match stat {
        "count" => Some(*count as f64),
        "avg" => Some(avg.0),
        "min" => Some(min.0),
        "max" => Some(max.0),
        percentile => percentiles.get(percentile).map(|value| value.0),
    }
}

/// `text` without the control characters that could steer a terminal. The script under test chooses names; k6 prints
/// line ends and tabs in them as they are, and so do we.
fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(steers) { text.replace(steers, "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_there_or_not() {
        let color = Style { color: true, ..Style::default() };
        assert_eq!(color.paint(GOOD, "✓"), "\u{1b}[32m✓\u{1b}[0m");
        assert_eq!(Style::default().paint(GOOD, "✓"), "✓");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("\u{1b}[2Jcart\u{7}\n\t✓"), "\u{fffd}[2Jcart\u{fffd}\n\t✓");
    }
}
